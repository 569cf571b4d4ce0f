package cpu

// The Go twins of conv2d.c: the definition, the build without cgo and the test.

// im2colGo writes the pixels that a filter of so many rows of taps reads for rows of output pixels, first being the input
// row of the first tap of the first of them: one row of col per output pixel, (taps,S,C) long, zeros outside the image.
func im2colGo(col []float32, g *conv, x0, x1 []float32, first, rows, taps int) {
	at := 0
	for p := range rows {
		for q := range g.q {
			for t := range taps {
				for s := range g.s {
					h, w := first+p*g.step+t, q*g.step+s-g.padW
					to := col[at : at+g.c]
					at += g.c
					if h < 0 || h >= g.h || w < 0 || w >= g.w {
						clear(to)
						continue
					}
					pixel := h*g.w + w
					copy(to, x0[pixel*g.c0:(pixel+1)*g.c0])
					copy(to[g.c0:], part(x1, pixel*g.c1, (pixel+1)*g.c1))
				}
			}
		}
	}
}

// convBeginGo writes y = v + residual for each pixel, v a vector of channels; residual may be nil.
func convBeginGo(y, v, residual []float32) {
	for i := range y {
		y[i] = v[i%len(v)]
		if residual != nil {
			y[i] += residual[i]
		}
	}
}

// convGatherGo writes y = beta·y + alpha·Σ t over the taps of each output pixel of one image; t holds (K,R,S) products for
// each input pixel, K the channels of y. beta 0 never reads y. The step is 1.
func convGatherGo(y []float32, g *conv, k int, t []float32, alpha, beta float32) {
	for i := range y {
		at, j := i/k, i%k
		var sum float32
		for r := range g.r {
			for s := range g.s {
				h, w := g.tap(at/g.q, r, g.padH, g.h), g.tap(at%g.q, s, g.padW, g.w)
				if h >= 0 && w >= 0 {
					sum += t[(((h*g.w+w)*k+j)*g.r+r)*g.s+s]
				}
			}
		}
		v := float32(alpha * sum)
		if beta != 0 {
			v += float32(beta * y[i])
		}
		y[i] = v
	}
}

// convSpreadGo writes, for each input pixel of one image, the (K,R,S) slopes of the output pixels that read it; step 1.
func convSpreadGo(u []float32, g *conv, dy []float32) {
	at := 0
	for pixel := range g.h * g.w {
		for k := range g.k {
			for r := range g.r {
				for s := range g.s {
					p, q := pixel/g.w-r+g.padH, pixel%g.w-s+g.padW
					u[at] = 0
					if p >= 0 && p < g.p && q >= 0 && q < g.q {
						u[at] = dy[(p*g.q+q)*g.k+k]
					}
					at++
				}
			}
		}
	}
}
