package nn

import "ict/tensor"

// Precond records f (N,H,W,C) = skip[n]·x + out[n]·raw: the consistency function of the raw network's output and its
// noisy input. x, skip (N) and out (N) are inputs and want no gradient.
func Precond(t *Tape, name string, raw, x, skip, out *Value) *Value {
	if !raw.Shape.Equal(x.Shape) {
		t.Refuse(name, "network output %v, image %v", raw.Shape, x.Shape)
	}
	o := &precond{raw: raw, x: x, skip: skip, out: out}
	o.f = t.activation(t.Path(name), tensor.F32, x.Shape, raw)
	t.record(t.Path(name), o)
	return o.f
}

type precond struct{ raw, x, skip, out, f *Value }

func (o *precond) Forward(e *Exec) {
	e.PrecondForward(e.T(o.f), e.T(o.raw), e.T(o.x), e.T(o.skip), e.T(o.out), tensor.Precond{})
}

func (o *precond) Backward(e *Exec) {
	if wanted(o.raw) {
		df := e.D(o.f)
		e.PrecondBackward(e.Acc(o.raw), df, e.T(o.out))
	}
}
