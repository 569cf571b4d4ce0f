#include "vec.h"

/* What one output of an axis is made of: count (1 to 4, or 0) consecutive inputs from first on. As in resample.go. */
struct tap {
	int32_t first, count;
	float w[4];
};

/* y = Σ_k w[k]·x[k·stride + ·], from left to right */
VEC_INLINE void combine(float *restrict y, const float *restrict x, size_t stride, const struct tap *t, size_t n) {
	const float w0 = t->w[0], w1 = t->w[1], w2 = t->w[2], w3 = t->w[3];
	switch (t->count) {
	case 1:
		for (size_t i = 0; i < n; i++) y[i] = w0 * x[i];
		break;
	case 2:
		for (size_t i = 0; i < n; i++) y[i] = w0 * x[i] + w1 * x[stride + i];
		break;
	case 3:
		for (size_t i = 0; i < n; i++) y[i] = (w0 * x[i] + w1 * x[stride + i]) + w2 * x[2 * stride + i];
		break;
	case 4:
		for (size_t i = 0; i < n; i++) y[i] = ((w0 * x[i] + w1 * x[stride + i]) + w2 * x[2 * stride + i]) + w3 * x[3 * stride + i];
		break;
	default:
		for (size_t i = 0; i < n; i++) y[i] = 0;
	}
}

/* One image: y (h,w,c) = beta·y + rows ⊗ cols applied to x (·,wx,c); beta 0 never reads y. line holds wx·c floats, and c
 * more for beta. */
VEC_CLONES void resample_image(float *restrict y, const float *restrict x, const struct tap *restrict rows,
                               const struct tap *restrict cols, size_t h, size_t w, size_t wx, size_t c, float beta,
                               float *restrict line) {
	float *restrict pixel = line + wx * c;
	for (size_t i = 0; i < h; i++) {
		combine(line, x + (size_t)rows[i].first * wx * c, wx * c, &rows[i], wx * c);
		if (beta == 0)
			for (size_t j = 0; j < w; j++, y += c) combine(y, line + (size_t)cols[j].first * c, c, &cols[j], c);
		else
			for (size_t j = 0; j < w; j++, y += c) {
				combine(pixel, line + (size_t)cols[j].first * c, c, &cols[j], c);
				for (size_t k = 0; k < c; k++) y[k] = beta * y[k] + pixel[k];
			}
	}
}
