#include "vec.h"

/* Sums and maxima over a row are taken in LANES lanes, element i in lane i mod LANES, and the lanes pairwise. */
enum { LANES = 32 };

VEC_INLINE float lane_sum(float *restrict lane) {
	for (size_t half = LANES / 2; half > 0; half /= 2)
		for (size_t i = 0; i < half; i++) lane[i] += lane[i + half];
	return lane[0];
}

VEC_INLINE float larger(float a, float b) { return a > b ? a : b; }

/* The maximum of a row; *odd becomes NaN where an element is not finite, 0 otherwise. */
VEC_INLINE float row_max(float *restrict odd, const float *restrict s, size_t n) {
	float lane[LANES], bad[LANES] = {0}, max = s[0];
	for (size_t i = 0; i < LANES; i++) lane[i] = max;
	size_t j = 0;
	for (; j + LANES <= n; j += LANES)
		for (size_t i = 0; i < LANES; i++) {
			lane[i] = larger(s[j + i], lane[i]);
			bad[i] += s[j + i] - s[j + i];
		}
	for (size_t i = 0; j + i < n; i++) {
		lane[i] = larger(s[j + i], lane[i]);
		bad[i] += s[j + i] - s[j + i];
	}
	for (size_t i = 0; i < LANES; i++) max = larger(lane[i], max);
	*odd = lane_sum(bad);
	return max;
}

VEC_INLINE float row_sum(const float *restrict a, size_t n) {
	float lane[LANES] = {0};
	size_t j = 0;
	for (; j + LANES <= n; j += LANES)
		for (size_t i = 0; i < LANES; i++) lane[i] += a[j + i];
	for (size_t i = 0; j + i < n; i++) lane[i] += a[j + i];
	return lane_sum(lane);
}

VEC_INLINE float row_dot(const float *restrict a, const float *restrict b, size_t n) {
	float lane[LANES] = {0};
	size_t j = 0;
	for (; j + LANES <= n; j += LANES)
		for (size_t i = 0; i < LANES; i++) lane[i] += a[j + i] * b[j + i];
	for (size_t i = 0; j + i < n; i++) lane[i] += a[j + i] * b[j + i];
	return lane_sum(lane);
}

/* Softmax of each row in place; max and sum of exp(s − max) of each row. A row with an element that is not finite becomes
 * NaN. */
VEC_CLONES void attention_softmax(float *restrict s, float *restrict max, float *restrict sum, size_t rows, size_t n) {
	for (size_t r = 0; r < rows; r++, s += n) {
		float odd, m = row_max(&odd, s, n);
		for (size_t i = 0; i < n; i++) s[i] = vec_exp_minus(m - s[i]);
		max[r] = m;
		sum[r] = row_sum(s, n) + odd;
		float k = 1.0f / sum[r];
		for (size_t i = 0; i < n; i++) s[i] *= k;
	}
}

/* Each row of logits s becomes probabilities p = exp(s − lse), and each of their gradients dp becomes that of the logits,
 * p·(dp − Σ dout·out). dout and out are rows of d elements, stride apart. */
VEC_CLONES void attention_slopes(float *restrict s, float *restrict dp, const float *restrict lse, const float *restrict dout,
                                 const float *restrict out, size_t stride, size_t d, size_t rows, size_t n) {
	for (size_t r = 0; r < rows; r++, s += n, dp += n, dout += stride, out += stride) {
		float l = lse[r], mean = row_dot(dout, out, d);
		for (size_t i = 0; i < n; i++) {
			float p = vec_exp_minus(l - s[i]);
			s[i] = p;
			dp[i] = p * (dp[i] - mean);
		}
	}
}
