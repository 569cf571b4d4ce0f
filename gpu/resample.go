//go:build cuda

package gpu

// #include "kernels.h"
import "C"

import "ict/tensor"

// rateFilter are the launcher's words: Box upwards is what it calls nearest.
func rateFilter(p tensor.Resample) (rate, filter C.int32_t) {
	switch p.Rate {
	case tensor.Up2:
		rate, filter = C.ICT_UP2, C.ICT_NEAREST
	case tensor.Down2:
		rate, filter = C.ICT_DOWN2, C.ICT_BOX
	default:
		rate = C.ICT_SMOOTH
	}
	if p.Filter == tensor.FIR {
		filter = C.ICT_FIR1331
	}
	return rate, filter
}

// ResampleForward is defined in tensor/resample.go.
func (d *Device) ResampleForward(y, x tensor.Tensor, p tensor.Resample) {
	l := d.begin("resample_forward")
	l.must(p.Check(y.Shape, x.Shape))
	s, store := x.Shape, x.DType
	rate, filter := rateFilter(p)
	py, px := l.out(y, store), l.in(x, store)
	l.run(func() C.int {
		return C.ict_resample_forward(py, px, nil, nil, C.int32_t(s[0]), C.int32_t(s[1]), C.int32_t(s[2]), C.int32_t(s[3]), rate, filter,
			C.ICT_ACT_NONE, C.ict_dtype(store), d.exec)
	})
}

// ResampleBackward is defined in tensor/resample.go.
func (d *Device) ResampleBackward(dx tensor.Acc, dy tensor.Tensor, p tensor.Resample) {
	if dx.Absent() {
		return
	}
	l := d.begin("resample_backward")
	l.must(p.Check(dy.Shape, dx.Shape))
	s, store := dx.Shape, dx.DType
	rate, filter := rateFilter(p)
	pdx, beta := l.acc(dx, store)
	pdy := l.in(dy, store)
	l.run(func() C.int {
		return C.ict_resample_backward(pdx, beta, pdy, C.int32_t(s[0]), C.int32_t(s[1]), C.int32_t(s[2]), C.int32_t(s[3]), rate, filter,
			C.ict_dtype(store), d.exec)
	})
}
