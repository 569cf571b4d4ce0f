//go:build cuda

package gpu

// #include "kernels.h"
import "C"

import "ict/tensor"

// PrecondForward is defined in tensor/precond.go.
func (d *Device) PrecondForward(f, raw, x, skip, out tensor.Tensor, p tensor.Precond) {
	l := d.begin("precond_forward")
	n, size := l.images(x, skip, out)
	l.sameElems(x, raw, f)
	pf, praw, px, ps, po := l.outF(f), l.in(raw, raw.DType), l.inF(x), l.inF(skip), l.inF(out)
	l.run(func() C.int {
		return C.ict_precond_forward(pf, praw, px, ps, po, n, size, flag(p.Clamp), C.ict_dtype(raw.DType), d.exec)
	})
}

// PrecondBackward is defined in tensor/precond.go.
func (d *Device) PrecondBackward(draw tensor.Acc, df, out tensor.Tensor) {
	if draw.Absent() {
		return
	}
	l := d.begin("precond_backward")
	n, size := l.images(df, out)
	l.sameElems(df, draw.Tensor)
	pd, beta := l.acc(draw, draw.DType)
	pdf, po := l.inF(df), l.inF(out)
	l.run(func() C.int {
		return C.ict_precond_backward(pd, beta, pdf, po, n, size, C.ict_dtype(draw.DType), d.exec)
	})
}
