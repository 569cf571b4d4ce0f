package cpu

import "testing"

func TestConv2dTwins(t *testing.T) {
	for _, g := range []conv{
		{h: 1, w: 1, c0: 1, k: 1, r: 1, s: 1, p: 1, q: 1, step: 1, up: 1},
		{h: 5, w: 7, c0: 9, k: 3, r: 3, s: 3, p: 5, q: 7, step: 1, padH: 1, padW: 1, up: 1},
		{h: 2, w: 1, c0: 3, c1: 17, k: 2, r: 3, s: 3, p: 2, q: 1, step: 1, padH: 1, padW: 1, up: 1},
		{h: 9, w: 8, c0: 5, c1: 2, k: 4, r: 5, s: 3, p: 4, q: 3, step: 2, padH: 1, up: 1},
		{h: 4, w: 3, c0: 5, k: 7, r: 3, s: 3, p: 9, q: 8, step: 1, padH: 2, padW: 2, up: 2},
		{h: 6, w: 3, c0: 8, c1: 8, k: 1, r: 1, s: 7, p: 6, q: 3, step: 1, padW: 3, up: 1},
	} {
		g.n, g.c = 1, g.c0+g.c1
		x0, x1 := normals(0, g.h*g.w*g.c0, inf), normals(1, g.h*g.w*g.c1, nan)
		if g.c1 == 0 {
			x1 = nil
		}
		for _, taps := range []int{1, g.r} {
			for _, first := range []int{-g.padH, 0, 2} {
				got, want := normals(2, g.p*g.q*taps*g.s*g.c), normals(3, g.p*g.q*taps*g.s*g.c)
				im2col(got, &g, x0, x1, first, g.p, taps)
				im2colGo(want, &g, x0, x1, first, g.p, taps)
				sameBits(t, "im2col", got, want)
			}
		}
		for _, residual := range [][]float32{nil, normals(4, g.p*g.q*g.k, inf)} {
			got, want := normals(2, g.p*g.q*g.k), normals(3, g.p*g.q*g.k)
			v := normals(5, g.k)
			convBegin(got, v, residual)
			convBeginGo(want, v, residual)
			sameBits(t, "convBegin", got, want)
		}
		if g.step > 1 {
			continue
		}
		for _, beta := range []float32{0, 1, 0.3} {
			for _, k := range []int{g.k, 1} {
				products := normals(6, g.h*g.w*k*g.r*g.s, 0, 0, inf)
				got, want := normals(7, g.p*g.q*k), normals(7, g.p*g.q*k)
				convGather(got, &g, k, products, 0.7, beta)
				convGatherGo(want, &g, k, products, 0.7, beta)
				sameBits(t, "convGather", got, want)
			}
		}
		if g.up == 1 {
			got, want := normals(8, g.h*g.w*g.k*g.r*g.s), normals(9, g.h*g.w*g.k*g.r*g.s)
			dy := normals(10, g.p*g.q*g.k, inf)
			convSpread(got, &g, dy)
			convSpreadGo(want, &g, dy)
			sameBits(t, "convSpread", got, want)
		}
	}
}
