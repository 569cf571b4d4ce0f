//go:build cuda

package gpu

// #include "kernels.h"
import "C"

import (
	"fmt"

	"ict/tensor"
)

// Axpby is defined in tensor/pointwise.go.
func (d *Device) Axpby(y tensor.Acc, a float32, x0 tensor.Tensor, b float32, x1 tensor.Tensor) {
	if y.Absent() {
		return
	}
	l := d.begin("axpby")
	n := l.sameElems(y.Tensor, x0)
	if !x1.Absent() {
		l.sameElems(y.Tensor, x1)
	}
	store := y.DType
	py, beta := l.acc(y, store)
	p0, p1 := l.in(x0, store), l.in(x1, store)
	l.run(func() C.int {
		return C.ict_axpby(py, beta, C.float(a), p0, C.float(b), p1, C.int64_t(n), C.ict_dtype(store), d.exec)
	})
}

// ScaleImages is defined in tensor/pointwise.go.
func (d *Device) ScaleImages(y, x, s tensor.Tensor) {
	l := d.begin("scale_images")
	n, size := l.images(x, s)
	l.sameElems(x, y)
	py, px, ps := l.out(y, y.DType), l.in(x, x.DType), l.inF(s)
	l.run(func() C.int {
		return C.ict_scale_images(py, px, ps, n, size, C.ict_dtype(y.DType), C.ict_dtype(x.DType), d.exec)
	})
}

// BiasBackwardScratch asks the launcher.
func (d *Device) BiasBackwardScratch(dy tensor.Shape) int {
	n, k := dy[0], dy.Last()
	return int(C.ict_bias_backward_workspace(C.int32_t(n), C.int32_t(dy.Elems()/(n*k)), C.int32_t(k), d.exec))
}

// BiasBackward is defined in tensor/pointwise.go.
func (d *Device) BiasBackward(dbias, demb tensor.Acc, dy tensor.Tensor, scale float32, ws tensor.Tensor) {
	l := d.begin("bias_backward")
	if len(dy.Shape) != 4 && len(dy.Shape) != 2 {
		l.must(fmt.Errorf("dy got %v, want (N,P,Q,K) or (N,K)", dy.Shape))
	}
	n, k := dy.Shape[0], dy.Shape.Last()
	l.shape("dbias", dbias.Tensor, k)
	l.shape("demb", demb.Tensor, n, k)
	if dbias.Absent() && demb.Absent() {
		return
	}
	pb, betaB := l.accF(dbias)
	pe, betaE, row := l.accRows(demb)
	pdy := l.in(dy, dy.DType)
	pws, size := l.scratch(ws)
	l.run(func() C.int {
		return C.ict_bias_backward(pb, betaB, pe, betaE, pdy, C.int32_t(n), C.int32_t(dy.Elems()/(n*k)), C.int32_t(k), row, C.float(scale),
			pws, size, C.ict_dtype(dy.DType), d.exec)
	})
}
