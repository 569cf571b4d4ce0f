//go:build cgo

package cpu

/*
#cgo noescape attention_softmax
#cgo nocallback attention_softmax
#cgo noescape attention_slopes
#cgo nocallback attention_slopes
#include <stddef.h>
void attention_softmax(float *s, float *max, float *sum, size_t rows, size_t n);
void attention_slopes(float *s, float *dp, const float *lse, const float *dout, const float *out, size_t stride, size_t d,
                      size_t rows, size_t n);
*/
import "C"

// attentionSoftmax is attentionSoftmaxGo.
func attentionSoftmax(s, max, sum []float32, n int) {
	C.attention_softmax(cfloat(s), cfloat(max), cfloat(sum), C.size_t(len(max)), C.size_t(n))
}

// attentionSlopes is attentionSlopesGo.
func attentionSlopes(s, dp, lse, dout, out []float32, stride, width, n int) {
	C.attention_slopes(cfloat(s), cfloat(dp), cfloat(lse), cfloat(dout), cfloat(out), C.size_t(stride), C.size_t(width),
		C.size_t(len(lse)), C.size_t(n))
}
