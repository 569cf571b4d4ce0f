//go:build cuda

package gpu

// #include "kernels.h"
import "C"

import (
	"fmt"
	"unsafe"

	"ict/tensor"
)

// convolution checks the shapes and describes the geometry.
func (l *launch) convolution(y, x0, x1, w tensor.Shape, p tensor.Conv2d) C.ict_conv2d {
	l.must(p.Check(y, x0, x1, w))
	return C.ict_conv2d{
		N: C.int32_t(x0[0]), H: C.int32_t(x0[1]), W: C.int32_t(x0[2]), C0: C.int32_t(x0[3]), C1: C.int32_t(w[3] - x0[3]),
		K: C.int32_t(w[0]), R: C.int32_t(w[1]), S: C.int32_t(w[2]),
		stride: C.int32_t(p.Stride), pad_h: C.int32_t(p.PadH), pad_w: C.int32_t(p.PadW),
	}
}

// Conv2dFprop is defined in tensor/conv2d.go.
func (d *Device) Conv2dFprop(y, x0, x1, w tensor.Tensor, ep tensor.Epilogue, p tensor.Conv2d) {
	l := d.begin("conv2d_fprop")
	g := l.convolution(y.Shape, x0.Shape, x1.Shape, w.Shape, p)
	n, k := y.Shape[0], y.Shape[3]
	l.shape("bias", ep.Bias, k)
	l.shape("emb", ep.Emb, n, k)
	l.shape("residual", ep.Residual, y.Shape...)
	py, px0, px1, pw := l.out(y, y.DType), l.in(x0, w.DType), l.in(x1, w.DType), l.in(w, w.DType)
	e := C.ict_epilogue{bias: l.inF(ep.Bias), residual: l.in(ep.Residual, y.DType), scale: C.float(p.Scale), act: C.ICT_ACT_NONE}
	e.temb, e.temb_stride = l.rows(ep.Emb)
	e.y_dtype = C.int32_t(y.DType)
	l.run(func() C.int { return C.ict_conv2d_fprop(py, px0, px1, pw, e, g, nil, 0, C.ict_dtype(w.DType), d.exec) })
}

// Conv2dDgrad is defined in tensor/conv2d.go.
func (d *Device) Conv2dDgrad(dx0, dx1 tensor.Acc, dy, wt tensor.Tensor, p tensor.Conv2d) {
	if dx0.Absent() && dx1.Absent() {
		return
	}
	l := d.begin("conv2d_dgrad")
	if len(wt.Shape) != 4 {
		l.must(fmt.Errorf("wt got %v, want (C,R,S,K)", wt.Shape))
	}
	w := tensor.Shape{wt.Shape[3], wt.Shape[1], wt.Shape[2], wt.Shape[0]}
	s0, s1 := dx0.Shape, dx1.Shape
	switch { // what one of two sources leaves to the other
	case dx0.Absent():
		s0 = l.besides(s1, w[3])
	case dx1.Absent() && s0.Last() < w[3]:
		s1 = l.besides(s0, w[3])
	}
	g := l.convolution(dy.Shape, s0, s1, w, p)
	p0, b0 := l.acc(dx0, wt.DType)
	p1, b1 := l.acc(dx1, wt.DType)
	pdy, pwt := l.in(dy, dy.DType), l.in(wt, wt.DType)
	l.run(func() C.int {
		return C.ict_conv2d_dgrad(p0, b0, p1, b1, pdy, pwt, C.ict_norm_epilogue{}, g, C.float(p.Scale),
			C.ict_dtype(dy.DType), nil, 0, C.ict_dtype(wt.DType), d.exec)
	})
}

// besides is the shape of the other source, c channels in all.
func (l *launch) besides(s tensor.Shape, c int) tensor.Shape {
	if len(s) != 4 || s[3] >= c {
		l.must(fmt.Errorf("source got %v, want (N,H,W,C) with C below %d", s, c))
	}
	return tensor.Shape{s[0], s[1], s[2], c - s[3]}
}

// Conv2dWgradScratch asks the launcher.
func (d *Device) Conv2dWgradScratch(w, dy tensor.Shape) int {
	return int(C.ict_conv2d_wgrad_workspace(C.ict_conv2d{
		N: C.int32_t(dy[0]), H: C.int32_t(dy[1] + w[1] - 1), W: C.int32_t(dy[2] + w[2] - 1), C0: C.int32_t(w[3]),
		K: C.int32_t(w[0]), R: C.int32_t(w[1]), S: C.int32_t(w[2]), stride: 1,
	}, C.ICT_F32, d.exec))
}

// Conv2dWgrad is defined in tensor/conv2d.go.
func (d *Device) Conv2dWgrad(dw tensor.Acc, x0, x1, dy tensor.Tensor, p tensor.Conv2d, ws tensor.Tensor) {
	if dw.Absent() {
		return
	}
	l := d.begin("conv2d_wgrad")
	g := l.convolution(dy.Shape, x0.Shape, x1.Shape, dw.Shape, p)
	pdw, beta := l.accF(dw)
	px0, px1, pdy := l.in(x0, x0.DType), l.in(x1, x0.DType), l.in(dy, dy.DType)
	pws, size := l.scratch(ws)
	l.run(func() C.int {
		return C.ict_conv2d_wgrad(pdw, beta, nil, 0, px0, px1, pdy, g, C.float(p.Scale),
			C.ict_dtype(dy.DType), pws, size, C.ict_dtype(x0.DType), d.exec)
	})
}

// Conv2dPack is defined in tensor/conv2d.go.
func (d *Device) Conv2dPack(wt, w tensor.Tensor) {
	l := d.begin("conv2d_pack")
	if len(w.Shape) != 4 || wt.Absent() {
		l.must(fmt.Errorf("want wt (C,R,S,K), w (K,R,S,C), got %v, %v", wt.Shape, w.Shape))
	}
	k, r, s, c := w.Shape[0], w.Shape[1], w.Shape[2], w.Shape[3]
	l.shape("wt", wt, c, r, s, k)
	var pwt, pw unsafe.Pointer = l.out(wt, wt.DType), l.in(w, w.DType)
	l.run(func() C.int {
		return C.ict_conv2d_pack(pwt, pw, C.int32_t(k), C.int32_t(r), C.int32_t(s), C.int32_t(c), C.ict_dtype(w.DType), C.ict_dtype(wt.DType), d.exec)
	})
}
