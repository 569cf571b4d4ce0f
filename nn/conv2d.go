package nn

import (
	"fmt"

	"ict/tensor"
)

// Filter is the size of a convolution.
type Filter struct {
	C, K   int // channels in (of both sources) and out
	R      int // rows and columns
	Stride int // 0: 1
	Valid  bool
}

func (f Filter) params() tensor.Conv2d {
	p := tensor.Conv2d{Stride: max(f.Stride, 1), Scale: 1}
	if !f.Valid {
		p.PadH, p.PadW = (f.R-1)/2, (f.R-1)/2
	}
	return p
}

// Conv2d is a convolution with weight (K,R,R,C) and bias (K); padded to keep the size at stride 1, unless Valid. Its filter
// is read in the type of its input.
type Conv2d struct {
	t    *Tape
	name string
	w, b *Value
	p    tensor.Conv2d
}

// NewConv2d records name.weight and name.bias.
func NewConv2d(t *Tape, name string, f Filter, w, b Init) *Conv2d {
	return &Conv2d{t, t.Path(name), t.Param(name+".weight", w, f.K, f.R, f.R, f.C), t.Param(name+".bias", b, f.K), f.params()}
}

// Conv is what a convolution takes in besides its input: y = Scale·(conv + bias + Emb[n] + Residual).
type Conv struct {
	Emb      *Value
	Residual *Value
	Scale    float64 // 0: 1
	F32      bool    // y is F32 whatever the tape's type is: the last convolution
}

// Forward records y of x.
func (l *Conv2d) Forward(x Pair, c Conv) *Value {
	p := l.p
	if c.Scale != 0 {
		p.Scale = float32(c.Scale)
	}
	if x.Channels() != l.w.Shape[3] {
		panic(&RecordError{l.name, fmt.Errorf("input %v %v has C=%d, filter wants C=%d", x.A.Shape, x.B.shape(), x.Channels(), l.w.Shape[3])})
	}
	shape := p.Out(x.A.Shape, l.w.Shape)
	if err := p.Check(shape, x.A.Shape, x.B.shape(), l.w.Shape); err != nil {
		panic(&RecordError{l.name, err})
	}
	if c.Residual != nil && !c.Residual.Shape.Equal(shape) {
		panic(&RecordError{l.name, fmt.Errorf("residual got %v, want %v", c.Residual.Shape, shape)})
	}
	if c.Emb != nil && !c.Emb.Shape.Equal(tensor.Shape{shape[0], shape[3]}) {
		panic(&RecordError{l.name, fmt.Errorf("embedding got %v, want %v", c.Emb.Shape, tensor.Shape{shape[0], shape[3]})})
	}
	d := l.t.Act
	if c.F32 {
		d = tensor.F32
	}
	if x.B != nil && x.B.DType != x.A.DType || c.Residual != nil && c.Residual.DType != d {
		panic(&RecordError{l.name, fmt.Errorf("sources of one type and a residual of the output's are wanted")})
	}
	l.w.DType = x.A.DType // images are F32, and so are the filters that read them
	o := &conv2d{x: x.A, x2: x.B, w: l.w, b: l.b, emb: c.Emb, res: c.Residual, p: p}
	o.y = l.t.activation(l.name, d, shape, x.A, x.B, l.w, c.Emb, c.Residual)
	l.t.record(l.name, o)
	return o.y
}

type conv2d struct {
	x, x2, w, b, emb, res, y *Value // x2, emb, res may be nil
	p                        tensor.Conv2d
}

func (o *conv2d) Forward(e *Exec) {
	ep := tensor.Epilogue{Bias: e.T(o.b), Emb: e.T(o.emb), Residual: e.T(o.res)}
	e.Conv2dFprop(e.T(o.y), e.T(o.x), e.T(o.x2), e.T(o.w), ep, o.p)
}

func (o *conv2d) Backward(e *Exec) {
	dy := e.D(o.y)
	e.BiasBackward(e.Acc(o.b), e.Acc(o.emb), dy, o.p.Scale, e.Work(e.BiasBackwardScratch(o.y.Shape)))
	if wanted(o.res) {
		e.Axpby(e.Acc(o.res), o.p.Scale, dy, 0, tensor.Tensor{})
	}
	e.Conv2dWgrad(e.Acc(o.w), e.T(o.x), e.T(o.x2), dy, o.p, e.Work(e.Conv2dWgradScratch(o.w.Shape, o.y.Shape)))
	if wanted(o.x, o.x2) {
		e.Conv2dDgrad(e.Acc(o.x), e.Acc(o.x2), dy, e.Packed(o.w), o.p)
	}
}

func (o *conv2d) MACs() int { return o.p.MACs(o.y.Shape, o.w.Shape) }
