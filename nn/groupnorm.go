package nn

import (
	"fmt"

	"ict/tensor"
)

// GroupNorm normalises over groups of channels, with SiLU, scale-shift and dropout where asked for.
type GroupNorm struct {
	t           *Tape
	name        string
	gamma, beta *Value
	p           tensor.GroupNorm
}

// NewGroupNorm records name.weight (ones) and name.bias (zeros) for c channels.
func NewGroupNorm(t *Tape, name string, c int, p tensor.GroupNorm) *GroupNorm {
	if p.Groups < 1 || c%p.Groups != 0 {
		t.Refuse(name, "%d channels cannot be split into %d groups", c, p.Groups)
	}
	l := &GroupNorm{t, t.Path(name), t.Param(name+".weight", Init{Const: 1}, c), t.Param(name+".bias", Init{}, c), p}
	if p.Dropout.P > 0 {
		l.p.Dropout.Op = t.dropouts
		t.dropouts++
	}
	return l
}

// Forward records y of x, which it joins if it is two values. scaleShift (N,2C) may be nil.
func (l *GroupNorm) Forward(x Pair, scaleShift *Value) *Value {
	n := x.A.Shape[0]
	shape := tensor.Shape{n, x.A.Shape[1], x.A.Shape[2], x.Channels()}
	if err := l.p.Check(shape, tensor.Shape{n, l.p.Groups}, x.A.Shape, x.B.shape(), l.gamma.Shape); err != nil {
		panic(&RecordError{l.name, err})
	}
	if scaleShift != nil && !scaleShift.Shape.Equal(tensor.Shape{n, 2 * x.Channels()}) {
		panic(&RecordError{l.name, fmt.Errorf("scale-shift got %v, want (%d,%d)", scaleShift.Shape, n, 2*x.Channels())})
	}
	o := &groupnorm{x: x.A, x2: x.B, gamma: l.gamma, beta: l.beta, ss: scaleShift, p: l.p}
	o.y = l.t.activation(l.name, l.t.Act, shape, x.A, x.B, l.gamma, scaleShift)
	o.mean = l.t.value(&Value{Name: l.name + ".mean", Shape: tensor.Shape{n, l.p.Groups}})
	o.rstd = l.t.value(&Value{Name: l.name + ".rstd", Shape: tensor.Shape{n, l.p.Groups}})
	l.t.record(l.name, o)
	return o.y
}

type groupnorm struct {
	x, x2, gamma, beta, ss, mean, rstd, y *Value // x2, ss may be nil
	p                                     tensor.GroupNorm
}

func (o *groupnorm) params(e *Exec) tensor.GroupNorm {
	p := o.p
	p.Dropout = e.dropout(p.Dropout)
	return p
}

func (o *groupnorm) Forward(e *Exec) {
	e.GroupNormForward(e.T(o.y), e.T(o.mean), e.T(o.rstd), e.T(o.x), e.T(o.x2), e.T(o.gamma), e.T(o.beta), e.T(o.ss), e.Step(), o.params(e))
}

func (o *groupnorm) Backward(e *Exec) {
	dy, ws := e.D(o.y), e.Work(e.GroupNormBackwardScratch(o.x.Shape, o.x2.shape()))
	e.GroupNormBackward(e.Acc(o.x), e.Acc(o.x2), e.Acc(o.gamma), e.Acc(o.beta), e.Acc(o.ss), dy, e.T(o.x), e.T(o.x2),
		e.T(o.mean), e.T(o.rstd), e.T(o.gamma), e.T(o.beta), e.T(o.ss), e.Step(), o.params(e), ws)
}
