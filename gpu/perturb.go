//go:build cuda

package gpu

// #include "kernels.h"
import "C"

import (
	"fmt"

	"ict/tensor"
)

// pixels checks bytes (N,H,W,C), flip (N) or absent, and images of that shape, and gives the sizes and the two pointers.
func (l *launch) pixels(bytes, flip tensor.Tensor, images ...tensor.Tensor) (n, h, w, c C.int32_t) {
	s := bytes.Shape
	if bytes.Absent() || len(s) != 4 {
		l.must(fmt.Errorf("got bytes %v, want (N,H,W,C)", s))
	}
	l.shape("flip", flip, s[0])
	for _, x := range images {
		l.shape("image", x, s...)
	}
	return C.int32_t(s[0]), C.int32_t(s[1]), C.int32_t(s[2]), C.int32_t(s[3])
}

func (l *launch) inBytes(t tensor.Tensor) *C.uint8_t { return (*C.uint8_t)(l.in(t, tensor.U8)) }

// ImageLoad is defined in tensor/perturb.go.
func (d *Device) ImageLoad(x, bytes, flip tensor.Tensor) {
	l := d.begin("image_load")
	n, h, w, c := l.pixels(bytes, flip)
	l.sameElems(bytes, x)
	px, pb, pf := l.out(x, x.DType), l.inBytes(bytes), l.inBytes(flip)
	l.run(func() C.int { return C.ict_image_load(px, pb, pf, n, h, w, c, C.ict_dtype(x.DType), d.exec) })
}

// ImageStore is defined in tensor/perturb.go.
func (d *Device) ImageStore(bytes, x tensor.Tensor, rule tensor.ByteRule) {
	l := d.begin("image_store")
	n := l.sameElems(x, bytes)
	if rule != tensor.Floor && rule != tensor.Round {
		l.must(fmt.Errorf("no byte rule %d", rule))
	}
	pb, px := (*C.uint8_t)(l.out(bytes, tensor.U8)), l.inF(x)
	l.run(func() C.int { return C.ict_image_store(pb, px, C.int64_t(n), C.int32_t(rule), d.exec) })
}

// Perturb is defined in tensor/perturb.go.
func (d *Device) Perturb(p tensor.Perturbed, bytes, flip tensor.Tensor, v tensor.PerturbLevels, step tensor.Tensor) {
	l := d.begin("perturb")
	if p.Xt.Absent() || p.CXt.Absent() || p.Xr.Absent() != p.CXr.Absent() {
		l.must(fmt.Errorf("want Xt and CXt, and Xr and CXr both or neither"))
	}
	n, h, w, c := l.pixels(bytes, flip, p.Xt, p.CXt, p.Xr, p.CXr)
	l.images(bytes, v.T, v.InT)
	if p.Xr.Absent() {
		v.R, v.InR = tensor.Tensor{}, tensor.Tensor{}
	} else {
		l.images(bytes, v.R, v.InR)
	}
	xt, cxt, xr, cxr := l.outF(p.Xt), l.outF(p.CXt), l.outF(p.Xr), l.outF(p.CXr)
	pb, pf := l.inBytes(bytes), l.inBytes(flip)
	t, r, inT, inR := l.inF(v.T), l.inF(v.R), l.inF(v.InT), l.inF(v.InR)
	ps := l.step(step)
	l.run(func() C.int { return C.ict_perturb(xt, cxt, xr, cxr, pb, pf, t, r, inT, inR, ps, n, h, w, c, d.exec) })
}
