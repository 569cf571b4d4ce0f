/* What a convolution by BLAS does beside the products: it moves pixels. No value depends on the order in which they are
 * moved; sums are those of the Go twins in conv2d_loops.go. */
#include "vec.h"

static inline float *conv2d_zeros(float *dst, size_t n) {
	for (size_t i = 0; i < n; i++)
		dst[i] = 0;
	return dst + n;
}

static inline float *conv2d_copy(float *restrict dst, const float *restrict src, size_t n) {
	for (size_t i = 0; i < n; i++)
		dst[i] = src[i];
	return dst + n;
}

VEC_CLONES void conv2d_im2col(float *col, const float *x0, size_t c0, const float *x1, size_t c1, ptrdiff_t h, ptrdiff_t w,
                              ptrdiff_t first, ptrdiff_t rows, ptrdiff_t q, ptrdiff_t step, ptrdiff_t r, ptrdiff_t s,
                              ptrdiff_t pad) {
	size_t c = c0 + c1;
	for (ptrdiff_t p = 0; p < rows; p++)
		for (ptrdiff_t o = 0; o < q; o++)
			for (ptrdiff_t t = 0; t < r; t++) {
				ptrdiff_t row = first + p * step + t, left = o * step - pad;
				ptrdiff_t from = left < 0 ? -left : 0, to = left + s > w ? w - left : s;
				if (row < 0 || row >= h || from >= to) {
					col = conv2d_zeros(col, (size_t)s * c);
					continue;
				}
				size_t pixel = (size_t)(row * w + left + from), n = (size_t)(to - from);
				col = conv2d_zeros(col, (size_t)from * c);
				if (c1 == 0)
					col = conv2d_copy(col, x0 + pixel * c0, n * c0);
				else
					for (size_t i = pixel; i < pixel + n; i++) {
						col = conv2d_copy(col, x0 + i * c0, c0);
						col = conv2d_copy(col, x1 + i * c1, c1);
					}
				col = conv2d_zeros(col, (size_t)(s - to) * c);
			}
}

VEC_CLONES void conv2d_begin(float *restrict y, size_t pixels, size_t k, const float *restrict v,
                             const float *restrict residual) {
	for (size_t i = 0; i < pixels; i++, y += k) {
		if (!residual) {
			conv2d_copy(y, v, k);
			continue;
		}
		for (size_t j = 0; j < k; j++)
			y[j] = v[j] + residual[j];
		residual += k;
	}
}

void conv2d_gather(float *y, const float *t, ptrdiff_t k, ptrdiff_t h, ptrdiff_t w, ptrdiff_t p, ptrdiff_t q, ptrdiff_t r,
                   ptrdiff_t s, ptrdiff_t pad_h, ptrdiff_t pad_w, ptrdiff_t up, float alpha, float beta) {
	for (ptrdiff_t oh = 0; oh < p; oh++)
		for (ptrdiff_t ow = 0; ow < q; ow++)
			for (ptrdiff_t j = 0; j < k; j++, y++) {
				float sum = 0;
				for (ptrdiff_t a = 0; a < r; a++) {
					ptrdiff_t ih = oh + a - pad_h;
					if (ih < 0 || ih % up || ih / up >= h)
						continue;
					for (ptrdiff_t b = 0; b < s; b++) {
						ptrdiff_t iw = ow + b - pad_w;
						if (iw < 0 || iw % up || iw / up >= w)
							continue;
						sum += t[((ih / up * w + iw / up) * k + j) * r * s + a * s + b];
					}
				}
				float v = alpha * sum;
				*y = beta == 0 ? v : beta * *y + v;
			}
}

void conv2d_spread(float *u, const float *dy, ptrdiff_t k, ptrdiff_t h, ptrdiff_t w, ptrdiff_t p, ptrdiff_t q, ptrdiff_t r,
                   ptrdiff_t s, ptrdiff_t pad_h, ptrdiff_t pad_w) {
	for (ptrdiff_t ih = 0; ih < h; ih++)
		for (ptrdiff_t iw = 0; iw < w; iw++)
			for (ptrdiff_t j = 0; j < k; j++)
				for (ptrdiff_t a = 0; a < r; a++)
					for (ptrdiff_t b = 0; b < s; b++) {
						ptrdiff_t oh = ih - a + pad_h, ow = iw - b + pad_w;
						*u++ = oh < 0 || oh >= p || ow < 0 || ow >= q ? 0 : dy[(oh * q + ow) * k + j];
					}
}
