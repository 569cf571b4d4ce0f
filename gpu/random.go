//go:build cuda

package gpu

// #include "kernels.h"
import "C"

import "ict/tensor"

// RandomNormal is defined in tensor/random.go.
func (d *Device) RandomNormal(dst, step tensor.Tensor, purpose uint16) {
	l := d.begin("random_normal")
	n, size := l.images(dst)
	pd, ps := l.outF(dst), l.step(step)
	l.run(func() C.int { return C.ict_random_normal(pd, ps, n, size, C.int32_t(purpose), d.exec) })
}
