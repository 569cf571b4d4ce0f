#include "vec.h"

/* Sums and maxima over a row are taken in LANES lanes, element i in lane i mod LANES, and the lanes pairwise. */
enum { LANES = 32 };

static inline float lane_sum(float *restrict lane) {
	for (size_t half = LANES / 2; half > 0; half /= 2)
		for (size_t i = 0; i < half; i++) lane[i] += lane[i + half];
	return lane[0];
}

static inline float larger(float a, float b) { return a > b ? a : b; }

static inline float row_max(const float *restrict s, size_t n) {
	float lane[LANES], max = s[0];
	for (size_t i = 0; i < LANES; i++) lane[i] = max;
	size_t j = 0;
	for (; j + LANES <= n; j += LANES)
		for (size_t i = 0; i < LANES; i++) lane[i] = larger(s[j + i], lane[i]);
	for (size_t i = 0; j + i < n; i++) lane[i] = larger(s[j + i], lane[i]);
	for (size_t i = 0; i < LANES; i++) max = larger(lane[i], max);
	return max;
}

/* Softmax of each row in place; max and sum of exp(s − max) of each row. A NaN in a row makes all of it NaN: d − d is NaN
 * where d is not finite. */
VEC_CLONES void attention_softmax(float *restrict s, float *restrict max, float *restrict sum, size_t rows, size_t n) {
	for (size_t r = 0; r < rows; r++, s += n) {
		float lane[LANES] = {0}, m = row_max(s, n);
		size_t j = 0;
		for (; j + LANES <= n; j += LANES)
			for (size_t i = 0; i < LANES; i++) {
				float d = m - s[j + i], e = vec_exp_minus(d);
				s[j + i] = e;
				lane[i] += e + (d - d);
			}
		for (size_t i = 0; j + i < n; i++) {
			float d = m - s[j + i], e = vec_exp_minus(d);
			s[j + i] = e;
			lane[i] += e + (d - d);
		}
		max[r] = m;
		sum[r] = lane_sum(lane);
		float k = 1.0f / sum[r];
		for (size_t i = 0; i < n; i++) s[i] *= k;
	}
}

static inline float row_dot(const float *restrict a, const float *restrict b, size_t n) {
	float lane[LANES] = {0};
	size_t j = 0;
	for (; j + LANES <= n; j += LANES)
		for (size_t i = 0; i < LANES; i++) lane[i] += a[j + i] * b[j + i];
	for (size_t i = 0; j + i < n; i++) lane[i] += a[j + i] * b[j + i];
	return lane_sum(lane);
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
