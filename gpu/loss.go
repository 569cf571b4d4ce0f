//go:build cuda

package gpu

// #include "kernels.h"
import "C"

import "ict/tensor"

// PseudoHuber is defined in tensor/loss.go.
func (d *Device) PseudoHuber(loss, dy, y, target, weight, step tensor.Tensor, p tensor.PseudoHuber) {
	l := d.begin("pseudo_huber")
	n, size := l.images(y, weight, loss)
	l.sameElems(y, target, dy)
	pl, pdy, py, pt, pw, ps := l.outF(loss), l.outF(dy), l.inF(y), l.inF(target), l.inF(weight), l.step(step)
	l.run(func() C.int {
		return C.ict_pseudo_huber(pl, pdy, py, pt, pw, ps, n, size, C.float(p.C), C.float(p.InvBatch), d.exec)
	})
}

// L2 is defined in tensor/loss.go.
func (d *Device) L2(loss, dy, y, target, weight, step tensor.Tensor, p tensor.L2) {
	l := d.begin("l2")
	n, size := l.images(y, weight, loss)
	l.sameElems(y, target, dy)
	pl, pdy, py, pt, pw, ps := l.outF(loss), l.outF(dy), l.inF(y), l.inF(target), l.inF(weight), l.step(step)
	l.run(func() C.int {
		return C.ict_l2(pl, pdy, py, pt, pw, ps, n, size, C.float(p.InvBatch), flag(p.Mean), d.exec)
	})
}
