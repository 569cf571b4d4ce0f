/* The loops of pointwise.go: axpbyGo and pixelSumsGo are the definitions. */
#include "vec.h"

VEC_CLONES void pointwise_axpby(float *restrict y, size_t n, float beta, float a, const float *restrict x0, float b,
                                const float *restrict x1) {
	if (x1 && beta != 0)
		for (size_t i = 0; i < n; i++) y[i] = (beta * y[i] + a * x0[i]) + b * x1[i];
	else if (x1)
		for (size_t i = 0; i < n; i++) y[i] = a * x0[i] + b * x1[i];
	else if (beta != 0)
		for (size_t i = 0; i < n; i++) y[i] = beta * y[i] + a * x0[i];
	else
		for (size_t i = 0; i < n; i++) y[i] = a * x0[i];
}

enum { TILE = 32, ROWS = 16 }; /* pixelTile, pixelRows */

typedef float floats __attribute__((vector_size(32), aligned(4), may_alias)); /* eight, anywhere */

/* Adds `count` rows of TILE floats, `stride` apart, to sum: float32 first, then float64. */
static inline void pointwise_block(double *restrict sum, const float *restrict x, size_t count, size_t stride) {
	floats a = {0}, b = {0}, c = {0}, d = {0};
	for (size_t r = 0; r < count; r++) {
		const floats *row = (const floats *)(x + r * stride);
		a += row[0];
		b += row[1];
		c += row[2];
		d += row[3];
	}
	for (int j = 0; j < 8; j++) {
		sum[j] += (double)a[j];
		sum[8 + j] += (double)b[j];
		sum[16 + j] += (double)c[j];
		sum[24 + j] += (double)d[j];
	}
}

/* The same for fewer than TILE channels. */
static inline void pointwise_narrow(double *restrict sum, const float *restrict x, size_t count, size_t stride, size_t width) {
	float block[TILE] = {0};
	for (size_t r = 0; r < count; r++)
		for (size_t j = 0; j < width; j++) block[j] += x[r * stride + j];
	for (size_t j = 0; j < width; j++) sum[j] += (double)block[j];
}

/* sum[k] = scale * sum over pixels of x[pixel,k]; group pixels make one row (pixelGroup). */
VEC_CLONES void pointwise_pixel_sums(float *restrict sum, const float *restrict x, size_t pixels, size_t k, size_t group,
                                     float scale) {
	size_t width = group * k, rows = pixels / group;
	for (size_t first = 0; first < width; first += TILE) {
		size_t wide = width - first < TILE ? width - first : TILE;
		double total[TILE] = {0};
		for (size_t r = 0; r < rows; r += ROWS) {
			size_t count = rows - r < ROWS ? rows - r : ROWS;
			const float *block = x + r * width + first;
			if (wide == TILE)
				pointwise_block(total, block, count, width);
			else
				pointwise_narrow(total, block, count, width, wide);
		}
		size_t channels = group > 1 ? k : wide; /* with group > 1 there is one tile */
		for (size_t c = 0; c < channels; c++) {
			double s = 0;
			for (size_t p = 0; p < group; p++) s += total[p * k + c];
			for (size_t p = rows * group; p < pixels; p++) s += (double)x[p * k + first + c];
			sum[first + c] = (float)((double)scale * s);
		}
	}
}
