#include "vec.h"

/* One image at a time, (hw, c) in, (hw, cy) out with cy >= c: two sources are written side by side.
 *
 * Sums go over pixels, channel by channel: eight pixels pairwise in float, these sums in double. Where a pixel is
 * shorter than WIDE, several are taken as one long one, so that the inner loop is long enough to vectorise. */
enum { WIDE = VEC_RUN };

VEC_INLINE size_t together(size_t hw, size_t c) {
	size_t r = c < WIDE ? WIDE / c : 1;
	return r < hw ? r : hw;
}

VEC_INLINE void repeat(float *restrict dst, const float *restrict src, size_t c, size_t r) {
	for (size_t k = 0; k < r; k++)
		for (size_t i = 0; i < c; i++) dst[k * c + i] = src[i];
}

/* Adds the r·c sums of wide rows to those of c channels. */
VEC_INLINE void fold(double *restrict sum, const double *restrict wide, size_t c, size_t r) {
	for (size_t k = 0; k < r; k++)
		for (size_t i = 0; i < c; i++) sum[i] += wide[k * c + i];
}

VEC_INLINE float eight(float a, float b, float c, float d, float e, float f, float g, float h) {
	return ((a + b) + (c + d)) + ((e + f) + (g + h));
}

VEC_INLINE void sum_rows(double *restrict sum, const float *restrict x, size_t rows, size_t c) {
	size_t p = 0;
	for (; p + 8 <= rows; p += 8, x += 8 * c)
		for (size_t i = 0; i < c; i++) {
			const float *v = x + i;
			sum[i] += (double)eight(v[0], v[c], v[2 * c], v[3 * c], v[4 * c], v[5 * c], v[6 * c], v[7 * c]);
		}
	for (; p < rows; p++, x += c)
		for (size_t i = 0; i < c; i++) sum[i] += (double)x[i];
}

VEC_INLINE void zero(double *s, size_t n) {
	for (size_t i = 0; i < n; i++) s[i] = 0;
}

/* sum[i] = Σ x[·,i] */
VEC_CLONES void groupnorm_sum(double *restrict sum, const float *restrict x, size_t hw, size_t c) {
	size_t r = together(hw, c), rows = hw / r;
	zero(sum, c);
	if (r > 1) {
		double wide[WIDE];
		zero(wide, r * c);
		sum_rows(wide, x, rows, r * c);
		fold(sum, wide, c, r);
		x += rows * r * c;
		rows = hw - rows * r;
	}
	sum_rows(sum, x, rows, c);
}

VEC_INLINE void moment_rows(double *restrict s1, double *restrict s2, const float *restrict x, const float *restrict m,
                               size_t rows, size_t c) {
	size_t p = 0;
	for (; p + 8 <= rows; p += 8, x += 8 * c)
		for (size_t i = 0; i < c; i++) {
			const float *v = x + i;
			float d0 = v[0] - m[i], d1 = v[c] - m[i], d2 = v[2 * c] - m[i], d3 = v[3 * c] - m[i];
			float d4 = v[4 * c] - m[i], d5 = v[5 * c] - m[i], d6 = v[6 * c] - m[i], d7 = v[7 * c] - m[i];
			s1[i] += (double)eight(d0, d1, d2, d3, d4, d5, d6, d7);
			s2[i] += (double)eight(d0 * d0, d1 * d1, d2 * d2, d3 * d3, d4 * d4, d5 * d5, d6 * d6, d7 * d7);
		}
	for (; p < rows; p++, x += c)
		for (size_t i = 0; i < c; i++) {
			float d = x[i] - m[i];
			s1[i] += (double)d;
			s2[i] += (double)(d * d);
		}
}

/* s1[i] = Σ (x[·,i] − m[i]), s2[i] = Σ (x[·,i] − m[i])² */
VEC_CLONES void groupnorm_moments(double *restrict s1, double *restrict s2, const float *restrict x, const float *restrict m,
                                  size_t hw, size_t c) {
	size_t r = together(hw, c), rows = hw / r;
	zero(s1, c);
	zero(s2, c);
	if (r > 1) {
		double w1[WIDE], w2[WIDE];
		float wm[WIDE];
		zero(w1, r * c);
		zero(w2, r * c);
		repeat(wm, m, c, r);
		moment_rows(w1, w2, x, wm, rows, r * c);
		fold(s1, w1, c, r);
		fold(s2, w2, c, r);
		x += rows * r * c;
		rows = hw - rows * r;
	}
	moment_rows(s1, s2, x, m, rows, c);
}

VEC_INLINE void apply_rows(float *restrict y, size_t cy, const float *restrict x, const float *restrict m,
                              const float *restrict a, const float *restrict b, size_t rows, size_t c, int silu) {
	for (size_t p = 0; p < rows; p++, x += c, y += cy) {
		for (size_t i = 0; i < c; i++) y[i] = (x[i] - m[i]) * a[i] + b[i];
		if (silu)
			for (size_t i = 0; i < c; i++) y[i] = vec_silu(y[i]);
	}
}

/* y = act( (x − m)·a + b ) */
VEC_CLONES void groupnorm_apply(float *restrict y, size_t cy, const float *restrict x, const float *restrict m,
                                const float *restrict a, const float *restrict b, size_t hw, size_t c, int silu) {
	size_t r = cy == c ? together(hw, c) : 1, rows = hw / r;
	if (r > 1) {
		float wm[WIDE], wa[WIDE], wb[WIDE];
		repeat(wm, m, c, r);
		repeat(wa, a, c, r);
		repeat(wb, b, c, r);
		apply_rows(y, r * c, x, wm, wa, wb, rows, r * c, silu);
		x += rows * r * c;
		y += rows * r * c;
		rows = hw - rows * r;
	}
	apply_rows(y, cy, x, m, a, b, rows, c, silu);
}

/* One row of du = dy·act′(u). du may be dy. */
VEC_INLINE void slope_row(float *du, const float *dy, const float *restrict x, const float *restrict m,
                             const float *restrict a, const float *restrict b, size_t c) {
	float u[WIDE], s[WIDE];
	for (size_t at = 0; at < c; at += WIDE) {
		size_t run = c - at < WIDE ? c - at : WIDE;
		for (size_t i = 0; i < run; i++) u[i] = (x[at + i] - m[at + i]) * a[at + i] + b[at + i];
		for (size_t i = 0; i < run; i++) s[i] = vec_sigmoid(u[i]);
#pragma GCC ivdep
		for (size_t i = 0; i < run; i++) du[at + i] = dy[at + i] * vec_silu_slope(u[i], s[i]);
	}
}

/* At most eight rows: du = dy·act′(u), s1 += Σ du, s2 += Σ du·(x − m). du may be dy. */
VEC_INLINE void slope_rows(float *du, size_t cy, double *restrict s1, double *restrict s2, const float *dy,
                              const float *restrict x, const float *restrict m, const float *restrict a,
                              const float *restrict b, size_t rows, size_t c, int silu) {
	for (size_t p = 0; p < rows; p++)
		if (silu)
			slope_row(du + p * cy, dy + p * cy, x + p * c, m, a, b, c);
		else if (du != dy)
			for (size_t i = 0; i < c; i++) du[p * cy + i] = dy[p * cy + i];
	if (rows == 8) {
		for (size_t i = 0; i < c; i++) {
			const float *t = du + i, *v = x + i;
			float t0 = t[0], t1 = t[cy], t2 = t[2 * cy], t3 = t[3 * cy], t4 = t[4 * cy], t5 = t[5 * cy], t6 = t[6 * cy], t7 = t[7 * cy];
			float d0 = v[0] - m[i], d1 = v[c] - m[i], d2 = v[2 * c] - m[i], d3 = v[3 * c] - m[i];
			float d4 = v[4 * c] - m[i], d5 = v[5 * c] - m[i], d6 = v[6 * c] - m[i], d7 = v[7 * c] - m[i];
			s1[i] += (double)eight(t0, t1, t2, t3, t4, t5, t6, t7);
			s2[i] += (double)eight(t0 * d0, t1 * d1, t2 * d2, t3 * d3, t4 * d4, t5 * d5, t6 * d6, t7 * d7);
		}
		return;
	}
	for (size_t p = 0; p < rows; p++)
		for (size_t i = 0; i < c; i++) {
			float t = du[p * cy + i];
			s1[i] += (double)t;
			s2[i] += (double)(t * (x[p * c + i] - m[i]));
		}
}

VEC_INLINE void slope_blocks(float *du, size_t cy, double *restrict s1, double *restrict s2, const float *dy,
                                const float *restrict x, const float *restrict m, const float *restrict a,
                                const float *restrict b, size_t rows, size_t c, int silu) {
	for (size_t p = 0; p < rows; p += 8) {
		size_t n = rows - p < 8 ? rows - p : 8;
		slope_rows(du + p * cy, cy, s1, s2, dy + p * cy, x + p * c, m, a, b, n, c, silu);
	}
}

/* With u = (x − m)·a + b: du = dy·act′(u), s1[i] = Σ du[·,i], s2[i] = Σ du[·,i]·(x[·,i] − m[i]). du may be dy. */
VEC_CLONES void groupnorm_slopes(float *du, size_t cy, double *restrict s1, double *restrict s2, const float *dy,
                                 const float *restrict x, const float *restrict m, const float *restrict a,
                                 const float *restrict b, size_t hw, size_t c, int silu) {
	size_t r = cy == c ? together(hw, c) : 1, rows = hw / r;
	zero(s1, c);
	zero(s2, c);
	if (r > 1) {
		double w1[WIDE], w2[WIDE];
		float wm[WIDE], wa[WIDE], wb[WIDE];
		zero(w1, r * c);
		zero(w2, r * c);
		repeat(wm, m, c, r);
		repeat(wa, a, c, r);
		repeat(wb, b, c, r);
		slope_blocks(du, r * c, w1, w2, dy, x, wm, wa, wb, rows, r * c, silu);
		fold(s1, w1, c, r);
		fold(s2, w2, c, r);
		size_t done = rows * r * c;
		du += done;
		dy += done;
		x += done;
		rows = hw - rows * r;
	}
	slope_blocks(du, cy, s1, s2, dy, x, m, a, b, rows, c, silu);
}

VEC_INLINE void dx_rows(float *restrict dx, const float *restrict du, size_t cy, const float *restrict x,
                           const float *restrict m, const float *restrict k1, const float *restrict k2,
                           const float *restrict k3, size_t rows, size_t c, float beta) {
	if (beta == 0)
		for (size_t p = 0; p < rows; p++, dx += c, x += c, du += cy)
			for (size_t i = 0; i < c; i++) dx[i] = (du[i] * k1[i] + k3[i]) + (x[i] - m[i]) * k2[i];
	else
		for (size_t p = 0; p < rows; p++, dx += c, x += c, du += cy)
			for (size_t i = 0; i < c; i++) dx[i] = beta * dx[i] + ((du[i] * k1[i] + k3[i]) + (x[i] - m[i]) * k2[i]);
}

/* dx = beta·dx + k1·du + k2·(x − m) + k3 */
VEC_CLONES void groupnorm_dx(float *restrict dx, const float *restrict du, size_t cy, const float *restrict x,
                             const float *restrict m, const float *restrict k1, const float *restrict k2,
                             const float *restrict k3, size_t hw, size_t c, float beta) {
	size_t r = cy == c ? together(hw, c) : 1, rows = hw / r;
	if (r > 1) {
		float wm[WIDE], w1[WIDE], w2[WIDE], w3[WIDE];
		repeat(wm, m, c, r);
		repeat(w1, k1, c, r);
		repeat(w2, k2, c, r);
		repeat(w3, k3, c, r);
		dx_rows(dx, du, r * c, x, wm, w1, w2, w3, rows, r * c, beta);
		size_t done = rows * r * c;
		dx += done;
		du += done;
		x += done;
		rows = hw - rows * r;
	}
	dx_rows(dx, du, cy, x, m, k1, k2, k3, rows, c, beta);
}

/* y[e] = x[e]·scale where word e of the stream is at least the threshold, else 0. y may be x. */
VEC_CLONES void groupnorm_dropout(float *y, const float *x, size_t n, uint32_t k0, uint32_t k1, uint32_t c1, uint32_t c2,
                                  uint32_t c3, uint32_t threshold, float scale) {
	uint32_t words[VEC_RUN];
	for (size_t e = 0; e < n; e += VEC_RUN) {
		size_t run = n - e < VEC_RUN ? n - e : VEC_RUN;
		vec_philox(words, (run + 3) / 4, k0, k1, (uint32_t)(e / 4), c1, c2, c3);
#pragma GCC ivdep
		for (size_t i = 0; i < run; i++) {
			uint32_t keep = -(uint32_t)(words[i] >= threshold);
			y[e + i] = vec_float(vec_bits(x[e + i] * scale) & keep);
		}
	}
}
