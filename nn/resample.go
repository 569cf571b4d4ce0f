package nn

import "ict/tensor"

// Resample records a change of resolution.
func Resample(t *Tape, name string, x *Value, p tensor.Resample) *Value {
	o := &resample{x: x, p: p}
	o.y = t.activation(t.Path(name), x.DType, p.Out(x.Shape), x)
	if err := p.Check(o.y.Shape, x.Shape); err != nil {
		panic(&RecordError{t.Path(name), err})
	}
	t.record(t.Path(name), o)
	return o.y
}

type resample struct {
	x, y *Value
	p    tensor.Resample
}

func (o *resample) Forward(e *Exec) { e.ResampleForward(e.T(o.y), e.T(o.x), o.p) }

func (o *resample) Backward(e *Exec) {
	if wanted(o.x) {
		dy := e.D(o.y)
		e.ResampleBackward(e.Acc(o.x), dy, o.p)
	}
}
