package optest

import (
	"fmt"
	"math"
	"testing"

	"ict/tensor"
)

var resamples = []tensor.Resample{
	{Rate: tensor.Up2, Filter: tensor.Box}, {Rate: tensor.Down2, Filter: tensor.Box},
	{Rate: tensor.Up2, Filter: tensor.FIR}, {Rate: tensor.Down2, Filter: tensor.FIR}, {Rate: tensor.Smooth, Filter: tensor.FIR},
}

// Resample proves ResampleForward and ResampleBackward.
func Resample(t *testing.T, open Open) {
	d, e := open(t), Exact(t)
	for _, p := range resamples {
		for _, s := range []tensor.Shape{{1, 2, 2, 1}, {2, 4, 4, 3}, {3, 7, 5, 8}, {1, 6, 10, 33}, {2, 16, 16, 64}, {1, 1, 1, 2}} {
			if p.Rate == tensor.Down2 && (s[1]%2 != 0 || s[2]%2 != 0) {
				continue
			}
			what := fmt.Sprintf("resample %+v %v", p, s)
			x, dy := Normal("x", s...), Normal("dy", p.Out(s)...)
			y, want := resampleForward(t, d, x, p), resampleForward(t, e, x, p)
			Near(t, what, y, want, 1e-6)
			for _, beta := range []float32{0, 1, -0.5} {
				want := accumulated("dx", beta, resampleBackward(t, e, dy, s, 0, p))
				Near(t, fmt.Sprintf("%s backward beta=%v", what, beta), resampleBackward(t, d, dy, s, beta, p), want, 1e-6)
			}
			dx := resampleBackward(t, d, dy, s, 0, p)
			if a, b := Dot(dy, y), Dot(dx, x); !(math.Abs(a-b) <= 1e-5*math.Sqrt(Dot(y, y)*Dot(dy, dy))) {
				t.Errorf("%s: adjoint: <dy, Ax> = %v, <A'dy, x> = %v", what, a, b)
			}
			// every weight is a multiple of 1/64 and more small integers than that fit a float32
			x, dy = Ints("x", 100, s...), Ints("dy", 100, p.Out(s)...)
			Same(t, what, resampleForward(t, d, x, p), resampleForward(t, e, x, p))
			Same(t, what+" backward", resampleBackward(t, d, dy, s, 1, p), resampleBackward(t, e, dy, s, 1, p))
		}
	}
	d.ResampleBackward(tensor.Acc{}, Put(t, d, Zeros(1, 4, 4, 1)), tensor.Resample{})
	// what is not finite stays where it is
	x := Zeros(1, 8, 8, 2)
	x.V[0] = float32(math.Inf(1))
	if v := resampleForward(t, d, x, tensor.Resample{Rate: tensor.Down2, Filter: tensor.FIR}).V; !math.IsInf(float64(v[0]), 1) || v[1] != 0 || v[2*4+4] != 0 {
		t.Errorf("resample of a corner of +Inf: got %v", v)
	}
}

func resampleForward(t testing.TB, d tensor.Backend, x Host, p tensor.Resample) Host {
	y := newWide(t, d, nans(p.Out(x.Shape)...))
	d.ResampleForward(y.Tensor, Put(t, d, x), p)
	return y.get(t, d, fmt.Sprintf("resample_forward %+v", p))
}

func resampleBackward(t testing.TB, d tensor.Backend, dy Host, s tensor.Shape, beta float32, p tensor.Resample) Host {
	dx := newWide(t, d, before("dx", beta, s...))
	d.ResampleBackward(tensor.Acc{Tensor: dx.Tensor, Beta: beta}, Put(t, d, dy), p)
	return dx.get(t, d, fmt.Sprintf("resample_backward %+v", p))
}

// accumulated is what an Acc over before(name, beta) must hold where the contribution is g.
func accumulated(name string, beta float32, g Host) Host {
	if beta == 0 {
		return g
	}
	h := before(name, beta, g.Shape...)
	for i, v := range h.V {
		h.V[i] = float32(float64(beta)*float64(v) + float64(g.V[i]))
	}
	return h
}
