//go:build cgo

package cpu

/*
#cgo noescape conv2d_im2col
#cgo nocallback conv2d_im2col
#cgo noescape conv2d_begin
#cgo nocallback conv2d_begin
#cgo noescape conv2d_gather
#cgo nocallback conv2d_gather
#cgo noescape conv2d_spread
#cgo nocallback conv2d_spread
#include <stddef.h>
void conv2d_im2col(float *col, const float *x0, size_t c0, const float *x1, size_t c1, ptrdiff_t h, ptrdiff_t w, ptrdiff_t first,
                   ptrdiff_t rows, ptrdiff_t q, ptrdiff_t step, ptrdiff_t r, ptrdiff_t s, ptrdiff_t pad);
void conv2d_begin(float *y, size_t pixels, size_t k, const float *v, const float *residual);
void conv2d_gather(float *y, const float *t, ptrdiff_t k, ptrdiff_t h, ptrdiff_t w, ptrdiff_t p, ptrdiff_t q, ptrdiff_t r,
                   ptrdiff_t s, ptrdiff_t pad_h, ptrdiff_t pad_w, ptrdiff_t up, float alpha, float beta);
void conv2d_spread(float *u, const float *dy, ptrdiff_t k, ptrdiff_t h, ptrdiff_t w, ptrdiff_t p, ptrdiff_t q, ptrdiff_t r,
                   ptrdiff_t s, ptrdiff_t pad_h, ptrdiff_t pad_w);
*/
import "C"

func cint(n int) C.ptrdiff_t { return C.ptrdiff_t(n) }

// im2col is im2colGo.
func im2col(col []float32, g *conv, x0, x1 []float32, first, rows, taps int) {
	pixels := g.h * g.w
	_, _, _ = col[:rows*g.q*taps*g.s*g.c], x0[:pixels*g.c0], x1[:pixels*g.c1]
	C.conv2d_im2col(cfloat(col), cfloat(x0), C.size_t(g.c0), cfloat(x1), C.size_t(g.c1), cint(g.h), cint(g.w), cint(first),
		cint(rows), cint(g.q), cint(g.step), cint(taps), cint(g.s), cint(g.padW))
}

// convBegin is convBeginGo.
func convBegin(y, v, residual []float32) {
	if residual != nil {
		residual = residual[:len(y)]
	}
	C.conv2d_begin(cfloat(y), C.size_t(len(y)/len(v)), C.size_t(len(v)), cfloat(v), cfloat(residual))
}

// convGather is convGatherGo.
func convGather(y []float32, g *conv, k int, t []float32, alpha, beta float32) {
	_, _ = y[:g.p*g.q*k], t[:g.h*g.w*k*g.r*g.s]
	C.conv2d_gather(cfloat(y), cfloat(t), cint(k), cint(g.h), cint(g.w), cint(g.p), cint(g.q), cint(g.r), cint(g.s),
		cint(g.padH), cint(g.padW), cint(g.up), C.float(alpha), C.float(beta))
}

// convSpread is convSpreadGo.
func convSpread(u []float32, g *conv, dy []float32) {
	_, _ = u[:g.h*g.w*g.k*g.r*g.s], dy[:g.p*g.q*g.k]
	C.conv2d_spread(cfloat(u), cfloat(dy), cint(g.k), cint(g.h), cint(g.w), cint(g.p), cint(g.q), cint(g.r), cint(g.s),
		cint(g.padH), cint(g.padW))
}
