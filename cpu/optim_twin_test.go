package cpu

import (
	"math"
	"testing"
)

func TestOptimTwins(t *testing.T) {
	for _, n := range []int{1, 3, 4, 7, 8, 9, 511, 512, 513, 1500} {
		x := normals(1, n)
		if got, want := sumSquares(x), sumSquaresGo(x); got != want {
			t.Errorf("sumSquares of %d: got %v, want %v", n, got, want)
		}
		for _, special := range [][]float32{{3e38}, {nan}, {inf}} {
			x := normals(1, n, special...)
			if got, want := sumSquares(x), sumSquaresGo(x); math.Float64bits(got) != math.Float64bits(want) && got == got {
				t.Errorf("sumSquares of %d with %v: got %v, want %v", n, special, got, want)
			}
		}
		for _, a := range []adam{
			{factor: 0.25, beta1: 0.9, rest1: 0.1, beta2: 0.999, rest2: 0.001, stepSize: 0.01, vScale: 1, eps: 1e-8, adaptive: true},
			{factor: 1, decay: 0.01, beta1: 0.9, rest1: 0.1, beta2: 0.99, rest2: 0.01, stepSize: 0.01, vScale: 3, eps: 1e-8, adaptive: true},
			{factor: 1, decay: 0.01, beta1: 0.9, rest1: 0.1, beta2: 0.99, rest2: 0.01, stepSize: 0.01},
		} {
			state := func() (w, m, v []float32) {
				w, m, v = normals(2, n), normals(3, n), normals(4, n)
				for i := range v {
					v[i] *= v[i]
				}
				return w, m, v
			}
			g := normals(5, n, 1e-30, 1e30, 0, nan)
			w, m, v := state()
			adamStep(w, m, v, g, a)
			w2, m2, v2 := state()
			adamStepGo(w2, m2, v2, g, a)
			sameBits(t, "adam w", w, w2)
			sameBits(t, "adam m", m, m2)
			sameBits(t, "adam v", v, v2)
		}
		e, e2 := normals(6, n), normals(6, n)
		lerp(e, x, 1e-4)
		lerpGo(e2, x, 1e-4)
		sameBits(t, "lerp", e, e2)
	}
}
