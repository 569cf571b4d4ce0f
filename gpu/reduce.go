//go:build cuda

package gpu

// #include "kernels.h"
import "C"

import "ict/tensor"

// result is a number of eight bytes to write.
func (l *launch) result(t tensor.Tensor) *C.uint64_t {
	l.fresh = append(l.fresh, t)
	return (*C.uint64_t)(l.bytes("result", t, 8))
}

// ReduceNonFinite is defined in tensor/reduce.go.
func (d *Device) ReduceNonFinite(count, x tensor.Tensor) {
	l := d.begin("reduce_nonfinite")
	pc, px := l.result(count), l.in(x, x.DType)
	l.run(func() C.int {
		return C.ict_reduce_nonfinite(pc, px, C.int64_t(x.Elems()), C.ict_dtype(x.DType), d.exec)
	})
}

// ReduceHash is defined in tensor/reduce.go.
func (d *Device) ReduceHash(hash, x tensor.Tensor) {
	l := d.begin("reduce_hash")
	ph, px := l.result(hash), l.in(x, x.DType)
	l.run(func() C.int { return C.ict_reduce_hash(ph, px, C.int64_t(x.Elems()), C.ict_dtype(x.DType), d.exec) })
}
