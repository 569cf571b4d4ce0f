/* The loops of optim.go: sumSquaresGo, adamStepGo and lerpGo are the definitions. */
#include <math.h>

#include "vec.h"

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

typedef float float4 __attribute__((vector_size(16), aligned(4), may_alias));
typedef double double4 __attribute__((vector_size(32)));

/* Sum of squares: element i joins sum i mod 8 (squareLanes). */
VEC_CLONES double optim_sum_squares(const float *restrict x, size_t n) {
	double4 low = {0}, high = {0};
	size_t i = 0;
	for (; i + 8 <= n; i += 8) {
		double4 a = __builtin_convertvector(*(const float4 *)(x + i), double4);
		double4 b = __builtin_convertvector(*(const float4 *)(x + i + 4), double4);
		low += a * a;
		high += b * b;
	}
	double s[8] = {low[0], low[1], low[2], low[3], high[0], high[1], high[2], high[3]};
	for (size_t j = 0; i + j < n; j++) s[j] += (double)x[i + j] * (double)x[i + j];
	return ((s[0] + s[1]) + (s[2] + s[3])) + ((s[4] + s[5]) + (s[6] + s[7]));
}

/* y = sqrt(x). As sqrtf may set errno, the compiler leaves a loop of it alone. */
static inline void optim_root(float *restrict y, const float *restrict x, size_t n) {
	size_t i = 0;
#if defined(__SSE2__)
	for (; i + 4 <= n; i += 4) _mm_storeu_ps(y + i, _mm_sqrt_ps(_mm_loadu_ps(x + i)));
#endif
	for (; i < n; i++) y[i] = sqrtf(x[i]);
}

enum { BLOCK = 512 }; /* stays in the first-level cache between its loops */

VEC_CLONES void optim_adam(float *restrict w, float *restrict m, float *restrict v, const float *restrict g, size_t n,
                           float factor, float decay, float beta1, float rest1, float beta2, float rest2, float step_size,
                           float v_scale, float eps, int adaptive) {
	float grad[BLOCK], root[BLOCK];
	for (size_t first = 0; first < n; first += BLOCK) {
		size_t count = n - first < BLOCK ? n - first : BLOCK;
		const float *gb = g + first;
		float *wb = w + first, *mb = m + first, *vb = v + first;
		if (decay != 0)
			for (size_t i = 0; i < count; i++) grad[i] = factor * gb[i] + decay * wb[i];
		else
			for (size_t i = 0; i < count; i++) grad[i] = factor * gb[i];
		for (size_t i = 0; i < count; i++) {
			mb[i] = beta1 * mb[i] + rest1 * grad[i];
			vb[i] = beta2 * vb[i] + (rest2 * grad[i]) * grad[i];
		}
		if (adaptive) {
			optim_root(root, vb, count);
			for (size_t i = 0; i < count; i++) wb[i] -= step_size * mb[i] / (v_scale * root[i] + eps);
		} else
			for (size_t i = 0; i < count; i++) wb[i] -= step_size * mb[i];
	}
}

VEC_CLONES void optim_lerp(float *restrict e, const float *restrict w, size_t n, float rate) {
	for (size_t i = 0; i < n; i++) e[i] += rate * (w[i] - e[i]);
}
