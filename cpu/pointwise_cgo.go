//go:build cgo

package cpu

/*
#cgo noescape pointwise_axpby
#cgo nocallback pointwise_axpby
#cgo noescape pointwise_pixel_sums
#cgo nocallback pointwise_pixel_sums
#include <stddef.h>
void pointwise_axpby(float *y, size_t n, float beta, float a, const float *x0, float b, const float *x1);
void pointwise_pixel_sums(float *sum, const float *x, size_t pixels, size_t k, size_t group, float scale);
*/
import "C"

// axpby is axpbyGo.
func axpby(y []float32, beta, a float32, x0 []float32, b float32, x1 []float32) {
	if x1 != nil {
		x1 = x1[:len(y)]
	}
	C.pointwise_axpby(cfloat(y), C.size_t(len(y)), C.float(beta), C.float(a), cfloat(x0[:len(y)]), C.float(b), cfloat(x1))
}

// pixelSums is pixelSumsGo.
func pixelSums(sum, x []float32, scale float32) {
	k := len(sum)
	C.pointwise_pixel_sums(cfloat(sum), cfloat(x), C.size_t(len(x)/k), C.size_t(k), C.size_t(pixelGroup(k)), C.float(scale))
}
