#include "vec.h"

VEC_CLONES void vec_add(float *restrict y, const float *restrict x, size_t n) {
	for (size_t i = 0; i < n; i++) y[i] += x[i];
}

VEC_CLONES void vec_silu_forward(float *restrict y, const float *restrict x, size_t n) {
	for (size_t i = 0; i < n; i++) y[i] = vec_silu(x[i]);
}

VEC_CLONES void vec_silu_backward(float *restrict dx, const float *restrict dy, const float *restrict x, float beta, size_t n) {
	if (beta == 0)
		for (size_t i = 0; i < n; i++) dx[i] = dy[i] * vec_silu_slope(x[i]);
	else
		for (size_t i = 0; i < n; i++) dx[i] = beta * dx[i] + dy[i] * vec_silu_slope(x[i]);
}
