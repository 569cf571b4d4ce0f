//go:build cuda

package gpu

// #include "kernels.h"
import "C"

import "ict/tensor"

// Cast is defined in tensor/cast.go.
func (d *Device) Cast(dst, src tensor.Tensor) {
	l := d.begin("cast")
	n := l.sameElems(dst, src)
	pd, ps := l.out(dst, dst.DType), l.in(src, src.DType)
	l.run(func() C.int {
		return C.ict_cast(pd, ps, C.int64_t(n), C.ict_dtype(dst.DType), C.ict_dtype(src.DType), d.exec)
	})
}
