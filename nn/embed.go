package nn

import (
	"ict/tensor"
)

// Fourier records sin(2πwc) | cos(2πwc) of c (N) with the buffer freqs (F): (N,2F).
func Fourier(t *Tape, name string, c, freqs *Value) *Value {
	o := &fourier{c: c, freqs: freqs}
	o.y = t.activation(t.Path(name), tensor.F32, tensor.Shape{c.Shape[0], 2 * freqs.Shape[0]})
	t.record(t.Path(name), o)
	return o.y
}

type fourier struct{ c, freqs, y *Value }

func (o *fourier) Forward(e *Exec) { e.EmbedFourier(e.T(o.y), e.T(o.c), e.T(o.freqs)) }
func (o *fourier) Backward(*Exec)  {} // neither levels nor frequencies are trained

// Positional records the sinusoidal features of c (N): (N, width).
func Positional(t *Tape, name string, c *Value, width int, p tensor.Positional) *Value {
	if width%2 != 0 {
		t.Refuse(name, "width %d is odd; sines and cosines share it", width)
	}
	o := &positional{c: c, p: p}
	o.y = t.activation(t.Path(name), tensor.F32, tensor.Shape{c.Shape[0], width})
	t.record(t.Path(name), o)
	return o.y
}

type positional struct {
	c, y *Value
	p    tensor.Positional
}

func (o *positional) Forward(e *Exec) { e.EmbedPositional(e.T(o.y), e.T(o.c), o.p) }
func (o *positional) Backward(*Exec)  {}

// Label is x + Scale·table[label] + bias; bias is optional.
type Label struct {
	t           *Tape
	name        string
	table, bias *Value
	scale       float32
}

// NewLabel records name.weight (classes,E) and, where bias is not nil, name.bias (E).
func NewLabel(t *Tape, name string, classes, e int, scale float64, w Init, bias *Init) *Label {
	l := &Label{t: t, name: t.Path(name), table: t.Param(name+".weight", w, classes, e), scale: float32(scale)}
	if bias != nil {
		l.bias = t.Param(name+".bias", *bias, e)
	}
	return l
}

// Forward records y (N,E) of x (N,E) and labels (N) I32.
func (l *Label) Forward(x, labels *Value) *Value {
	o := &label{x: x, labels: labels, table: l.table, bias: l.bias, scale: l.scale}
	o.y = l.t.activation(l.name, tensor.F32, x.Shape, x, l.table)
	l.t.record(l.name, o)
	return o.y
}

type label struct {
	x, labels, table, bias, y *Value
	scale                     float32
}

func (o *label) Forward(e *Exec) {
	y := e.T(o.y)
	e.Axpby(tensor.Write(y), 1, e.T(o.x), 0, tensor.Tensor{})
	e.EmbedLabelForward(tensor.Acc{Tensor: y, Beta: 1}, e.T(o.table), e.T(o.labels), e.T(o.bias), o.scale)
}

func (o *label) Backward(e *Exec) {
	dy := e.D(o.y)
	e.EmbedLabelBackward(e.Acc(o.table), e.Acc(o.bias), dy, e.T(o.labels), o.scale)
	if wanted(o.x) {
		e.Axpby(e.Acc(o.x), 1, dy, 0, tensor.Tensor{})
	}
}

// Add records a + b.
func Add(t *Tape, name string, a, b *Value) *Value {
	if !a.Shape.Equal(b.Shape) {
		t.Refuse(name, "%v and %v cannot be added", a.Shape, b.Shape)
	}
	o := &sum{a: a, b: b}
	o.y = t.activation(t.Path(name), a.DType, a.Shape, a, b)
	t.record(t.Path(name), o)
	return o.y
}

type sum struct{ a, b, y *Value }

func (o *sum) Forward(e *Exec) { e.Axpby(tensor.Write(e.T(o.y)), 1, e.T(o.a), 1, e.T(o.b)) }

func (o *sum) Backward(e *Exec) {
	dy := e.D(o.y)
	for _, v := range []*Value{o.a, o.b} {
		if wanted(v) {
			e.Axpby(e.Acc(v), 1, dy, 0, tensor.Tensor{})
		}
	}
}
