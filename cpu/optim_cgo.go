//go:build cgo

package cpu

/*
#cgo LDFLAGS: -lm
#cgo noescape optim_sum_squares
#cgo nocallback optim_sum_squares
#cgo noescape optim_adam
#cgo nocallback optim_adam
#cgo noescape optim_lerp
#cgo nocallback optim_lerp
#include <stddef.h>
double optim_sum_squares(const float *x, size_t n);
void optim_adam(float *w, float *m, float *v, const float *g, size_t n, float factor, float decay, float beta1, float rest1,
                float beta2, float rest2, float step_size, float v_scale, float eps, int adaptive);
void optim_lerp(float *e, const float *w, size_t n, float rate);
*/
import "C"

// sumSquares is sumSquaresGo.
func sumSquares(x []float32) float64 {
	return float64(C.optim_sum_squares(cfloat(x), C.size_t(len(x))))
}

// adamStep is adamStepGo.
func adamStep(w, m, v, g []float32, a adam) {
	adaptive := C.int(0)
	if a.adaptive {
		adaptive = 1
	}
	n := len(w)
	C.optim_adam(cfloat(w), cfloat(m[:n]), cfloat(v[:n]), cfloat(g[:n]), C.size_t(n), C.float(a.factor), C.float(a.decay),
		C.float(a.beta1), C.float(a.rest1), C.float(a.beta2), C.float(a.rest2), C.float(a.stepSize), C.float(a.vScale),
		C.float(a.eps), adaptive)
}

// lerp is lerpGo.
func lerp(e, w []float32, rate float32) {
	C.optim_lerp(cfloat(e), cfloat(w[:len(e)]), C.size_t(len(e)), C.float(rate))
}
