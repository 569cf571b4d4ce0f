//go:build cgo

package cpu

/*
#cgo noescape groupnorm_sum
#cgo nocallback groupnorm_sum
#cgo noescape groupnorm_moments
#cgo nocallback groupnorm_moments
#cgo noescape groupnorm_apply
#cgo nocallback groupnorm_apply
#cgo noescape groupnorm_dropout
#cgo nocallback groupnorm_dropout
#cgo noescape groupnorm_slopes
#cgo nocallback groupnorm_slopes
#cgo noescape groupnorm_dx
#cgo nocallback groupnorm_dx
#include <stddef.h>
#include <stdint.h>
void groupnorm_sum(double *sum, const float *x, size_t hw, size_t c);
void groupnorm_moments(double *s1, double *s2, const float *x, const float *m, size_t hw, size_t c);
void groupnorm_apply(float *y, size_t cy, const float *x, const float *m, const float *a, const float *b, size_t hw, size_t c, int silu);
void groupnorm_dropout(float *y, const float *x, size_t n, uint32_t k0, uint32_t k1, uint32_t c1, uint32_t c2, uint32_t c3,
                       uint32_t threshold, float scale);
void groupnorm_slopes(float *du, size_t cy, double *s1, double *s2, const float *dy, const float *x, const float *m,
                      const float *a, const float *b, size_t hw, size_t c, int silu);
void groupnorm_dx(float *dx, const float *du, size_t cy, const float *x, const float *m, const float *k1, const float *k2,
                  const float *k3, size_t hw, size_t c, float beta);
*/
import "C"

import (
	"unsafe"

	"ict/internal/philox"
)

func cdouble(s []float64) *C.double { return (*C.double)(unsafe.Pointer(unsafe.SliceData(s))) }

// groupNormSum is groupNormSumGo.
func groupNormSum(sum []float64, x []float32, hw int) {
	C.groupnorm_sum(cdouble(sum), cfloat(x), C.size_t(hw), C.size_t(len(sum)))
}

// groupNormMoments is groupNormMomentsGo.
func groupNormMoments(s1, s2 []float64, x, m []float32, hw int) {
	C.groupnorm_moments(cdouble(s1), cdouble(s2), cfloat(x), cfloat(m), C.size_t(hw), C.size_t(len(m)))
}

// groupNormApply is groupNormApplyGo.
func groupNormApply(y []float32, cy int, x, m, a, b []float32, hw int, silu bool) {
	C.groupnorm_apply(cfloat(y), C.size_t(cy), cfloat(x), cfloat(m), cfloat(a), cfloat(b), C.size_t(hw), C.size_t(len(m)), cbool(silu))
}

// groupNormDropout is groupNormDropoutGo.
func groupNormDropout(y, x []float32, s philox.Stream, threshold uint32, keep float32) {
	C.groupnorm_dropout(cfloat(y), cfloat(x), C.size_t(len(y)), C.uint32_t(s.Seed), C.uint32_t(s.Seed>>32), C.uint32_t(s.Image),
		C.uint32_t(s.Step), C.uint32_t(uint32(s.Purpose)<<16|uint32(s.Step>>32)), C.uint32_t(threshold), C.float(keep))
}

// groupNormSlopes is groupNormSlopesGo.
func groupNormSlopes(du []float32, cy int, s1, s2 []float64, dy, x, m, a, b []float32, hw int, silu bool) {
	C.groupnorm_slopes(cfloat(du), C.size_t(cy), cdouble(s1), cdouble(s2), cfloat(dy), cfloat(x), cfloat(m), cfloat(a), cfloat(b),
		C.size_t(hw), C.size_t(len(m)), cbool(silu))
}

// groupNormDx is groupNormDxGo.
func groupNormDx(dx, du []float32, cy int, x, m, k1, k2, k3 []float32, hw int, beta float32) {
	C.groupnorm_dx(cfloat(dx), cfloat(du), C.size_t(cy), cfloat(x), cfloat(m), cfloat(k1), cfloat(k2), cfloat(k3),
		C.size_t(hw), C.size_t(len(m)), C.float(beta))
}
