package optest

import (
	"fmt"
	"math"
	"testing"

	"ict/tensor"
)

// Precond proves PrecondForward and PrecondBackward.
func Precond(t *testing.T, open Open) {
	d := open(t)
	for _, s := range []tensor.Shape{{1, 4, 4, 3}, {3, 7, 5, 3}, {17, 8, 8, 1}, {2, 81, 82, 3}} {
		n := s[0]
		x, raw, skip, out := Normal("x", s...), Normal("raw", s...), Normal("skip", n), Normal("out", n)
		forward := func(raw, x, skip, out Host, clamp bool) Host {
			f := newWide(t, d, nans(s...))
			d.PrecondForward(f.Tensor, Put(t, d, raw), Put(t, d, x), Put(t, d, skip), Put(t, d, out), tensor.Precond{Clamp: clamp})
			return f.get(t, d, fmt.Sprintf("precond_forward %v", s))
		}
		size := len(x.V) / n
		want := Zeros(s...)
		for i := range want.V {
			want.V[i] = float32(float64(skip.V[i/size])*float64(x.V[i]) + float64(out.V[i/size])*float64(raw.V[i]))
		}
		Near(t, fmt.Sprintf("precond_forward %v", s), forward(raw, x, skip, out, false), want, pointwiseTol)
		clamped := want.Map(func(v float32) float32 { return min(max(v, -1), 1) })
		Near(t, fmt.Sprintf("precond_forward %v clamped", s), forward(raw, x, skip, out, true), clamped, pointwiseTol)
		for _, beta := range []float32{0, 1, 0.5} {
			start := before("draw", beta, s...)
			draw := newWide(t, d, start)
			d.PrecondBackward(tensor.Acc{Tensor: draw.Tensor, Beta: beta}, Put(t, d, x), Put(t, d, out))
			for i := range want.V {
				want.V[i] = float32(float64(out.V[i/size])*float64(x.V[i]) + old(start, beta, i))
			}
			what := fmt.Sprintf("precond_backward %v beta=%v", s, beta)
			Near(t, what, draw.get(t, d, what), want, pointwiseTol)
		}
		// at the smallest level skip = 1 and out = 0: f is x to the bit, whatever finite number the network says
		one, zero := Zeros(n).Map(func(float32) float32 { return 1 }), Zeros(n)
		Same(t, fmt.Sprintf("precond_forward %v at the smallest level", s), forward(raw.Map(func(v float32) float32 { return v * 1e30 }), x, one, zero, false), x)
		raw.V[1] = float32(math.NaN())
		raw.V[2] = float32(math.Inf(1))
		for _, clamp := range []bool{false, true} {
			if got := forward(raw, x, skip, out, clamp).V; got[1] == got[1] || (clamp && got[2] != 1 && got[2] != -1) || (!clamp && !math.IsInf(float64(got[2]), 0)) {
				t.Errorf("precond_forward %v clamp=%v: NaN, Inf gave %v, %v", s, clamp, got[1], got[2])
			}
		}
	}
	d.PrecondBackward(tensor.Acc{}, Put(t, d, Zeros(1, 2)), Put(t, d, Zeros(1)))
}
