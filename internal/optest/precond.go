package optest

import (
	"fmt"
	"math"
	"testing"

	"ict/tensor"
)

// Precond proves PrecondForward and PrecondBackward.
func Precond(t *testing.T, open Open) {
	d, e := open(t), Exact(t)
	for _, s := range []tensor.Shape{{1, 4, 4, 3}, {3, 7, 5, 3}, {17, 8, 8, 1}, {2, 81, 82, 3}} {
		n := s[0]
		x, raw, skip, out := Normal("x", s...), Normal("raw", s...), Normal("skip", n), Normal("out", n)
		forward := func(d tensor.Backend, raw, x, skip, out Host, clamp bool) Host {
			f := newWide(t, d, nans(s...))
			d.PrecondForward(f.Tensor, Put(t, d, raw), Put(t, d, x), Put(t, d, skip), Put(t, d, out), tensor.Precond{Clamp: clamp})
			return f.get(t, d, fmt.Sprintf("precond_forward %v", s))
		}
		backward := func(d tensor.Backend, beta float32) Host {
			draw := newWide(t, d, before("draw", beta, s...))
			d.PrecondBackward(tensor.Acc{Tensor: draw.Tensor, Beta: beta}, Put(t, d, x), Put(t, d, out))
			return draw.get(t, d, fmt.Sprintf("precond_backward %v", s))
		}
		for _, clamp := range []bool{false, true} {
			what := fmt.Sprintf("precond_forward %v clamp=%v", s, clamp)
			got := forward(d, raw, x, skip, out, clamp)
			Near(t, what, got, forward(e, raw, x, skip, out, clamp), pointwiseTol)
			for _, v := range got.V {
				if clamp && !(v >= -1 && v <= 1) {
					t.Errorf("%s: got %v", what, v)
					break
				}
			}
		}
		for _, beta := range []float32{0, 1, 0.5} {
			Near(t, fmt.Sprintf("precond_backward %v beta=%v", s, beta), backward(d, beta), backward(e, beta), pointwiseTol)
		}
		// f is linear in raw: ⟨df, f(raw) − f(0)⟩ = ⟨draw, raw⟩, here with df = x
		f, f0 := forward(e, raw, x, skip, out, false), forward(e, Zeros(s...), x, skip, out, false)
		if got, want := Dot(x, f)-Dot(x, f0), Dot(backward(e, 0), raw); math.Abs(got-want) > 1e-4*(1+math.Abs(want)) {
			t.Errorf("precond_backward %v: adjoint got %v, want %v", s, want, got)
		}
		// at the smallest level skip = 1 and out = 0: f is x to the bit, whatever finite number the network says
		one, zero := Zeros(n).Map(func(float32) float32 { return 1 }), Zeros(n)
		Same(t, fmt.Sprintf("precond_forward %v at the smallest level", s), forward(d, raw.Map(func(v float32) float32 { return v * 1e30 }), x, one, zero, false), x)
		raw.V[1] = float32(math.NaN())
		raw.V[2] = float32(math.Inf(1))
		for _, clamp := range []bool{false, true} {
			if got := forward(d, raw, x, skip, out, clamp).V; got[1] == got[1] || (clamp && got[2] != 1 && got[2] != -1) || (!clamp && !math.IsInf(float64(got[2]), 0)) {
				t.Errorf("precond_forward %v clamp=%v: NaN, Inf gave %v, %v", s, clamp, got[1], got[2])
			}
		}
	}
	d.PrecondBackward(tensor.Acc{}, Put(t, d, Zeros(1, 2)), Put(t, d, Zeros(1)))
}
