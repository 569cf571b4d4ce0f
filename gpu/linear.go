//go:build cuda

package gpu

// #include "kernels.h"
import "C"

import "ict/tensor"

// LinearFprop is defined in tensor/linear.go.
func (d *Device) LinearFprop(y, x, w, b tensor.Tensor, p tensor.Linear) {
	l := d.begin("linear_fprop")
	l.must(p.Check(y.Shape, x.Shape, w.Shape))
	m, i, o := C.int32_t(x.Shape[0]), C.int32_t(x.Shape[1]), C.int32_t(w.Shape[0])
	l.shape("bias", b, w.Shape[0])
	py, px, pw, pb := l.outF(y), l.inF(x), l.inF(w), l.inF(b)
	l.run(func() C.int {
		return C.ict_linear_fprop(py, px, pw, pb, m, i, o, activation(p.SiLU), nil, 0, C.ICT_F32, d.exec)
	})
}

// LinearDgrad is defined in tensor/linear.go.
func (d *Device) LinearDgrad(dx tensor.Acc, dy, x, w tensor.Tensor, p tensor.Linear) {
	if dx.Absent() {
		return
	}
	l := d.begin("linear_dgrad")
	l.must(p.Check(dy.Shape, dx.Shape, w.Shape))
	m, i, o := C.int32_t(dx.Shape[0]), C.int32_t(dx.Shape[1]), C.int32_t(w.Shape[0])
	if !p.SiLU {
		x = tensor.Tensor{}
	}
	l.shape("x", x, dx.Shape...)
	pdx, beta := l.accF(dx)
	pdy, px, pw := l.inF(dy), l.inF(x), l.inF(w)
	l.run(func() C.int {
		return C.ict_linear_dgrad(pdx, beta, pdy, px, pw, m, i, o, activation(p.SiLU), nil, 0, C.ICT_F32, d.exec)
	})
}

// LinearWgradScratch asks the launcher.
func (d *Device) LinearWgradScratch(w, dy tensor.Shape) int {
	return int(C.ict_linear_wgrad_workspace(C.int32_t(dy[0]), C.int32_t(w[1]), C.int32_t(w[0]), d.exec))
}

// LinearWgrad is defined in tensor/linear.go.
func (d *Device) LinearWgrad(dw, db tensor.Acc, x, dy tensor.Tensor, p tensor.Linear, ws tensor.Tensor) {
	l := d.begin("linear_wgrad")
	var w tensor.Shape
	if len(dy.Shape) == 2 && len(x.Shape) == 2 {
		w = tensor.Shape{dy.Shape[1], x.Shape[1]}
	}
	l.must(p.Check(dy.Shape, x.Shape, w))
	if dw.Absent() && db.Absent() {
		return
	}
	m, i, o := C.int32_t(x.Shape[0]), C.int32_t(x.Shape[1]), C.int32_t(dy.Shape[1])
	l.shape("dw", dw.Tensor, w...)
	l.shape("db", db.Tensor, w[0])
	pdw, beta := l.accF(dw)
	pdb, betaB := l.accF(db)
	px, pdy := l.inF(x), l.inF(dy)
	pws, size := l.scratch(ws)
	l.run(func() C.int {
		return C.ict_linear_wgrad(pdw, beta, pdb, betaB, px, pdy, m, i, o, activation(p.SiLU), pws, size, C.ICT_F32, d.exec)
	})
}
