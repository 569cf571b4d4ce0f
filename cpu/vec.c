#include "vec.h"

VEC_CLONES void vec_add(float *restrict y, const float *restrict x, size_t n) {
	for (size_t i = 0; i < n; i++) y[i] += x[i];
}

VEC_CLONES void vec_silu_forward(float *restrict y, const float *restrict x, size_t n) {
	for (size_t i = 0; i < n; i++) y[i] = vec_silu(x[i]);
}

VEC_CLONES void vec_silu_backward(float *restrict dx, const float *restrict dy, const float *restrict x, float beta, size_t n) {
	float s[VEC_RUN];
	for (size_t at = 0; at < n; at += VEC_RUN, dx += VEC_RUN, dy += VEC_RUN, x += VEC_RUN) {
		size_t run = n - at < VEC_RUN ? n - at : VEC_RUN;
		for (size_t i = 0; i < run; i++) s[i] = vec_sigmoid(x[i]);
		if (beta == 0)
			for (size_t i = 0; i < run; i++) dx[i] = dy[i] * vec_silu_slope(x[i], s[i]);
		else
			for (size_t i = 0; i < run; i++) dx[i] = beta * dx[i] + dy[i] * vec_silu_slope(x[i], s[i]);
	}
}

static void philox_scalar(uint32_t *restrict dst, size_t n, uint32_t k0, uint32_t k1, uint32_t first, uint32_t c1, uint32_t c2,
                          uint32_t c3) {
	for (size_t i = 0; i < n; i++, dst += 4) {
		uint32_t a = first + (uint32_t)i, b = c1, c = c2, d = c3, u = k0, v = k1;
		for (int round = 0; round < 10; round++) {
			uint64_t p = (uint64_t)0xd2511f53u * a, q = (uint64_t)0xcd9e8d57u * c;
			a = (uint32_t)(q >> 32) ^ b ^ u;
			b = (uint32_t)q;
			c = (uint32_t)(p >> 32) ^ d ^ v;
			d = (uint32_t)p;
			u += 0x9e3779b9u;
			v += 0xbb67ae85u;
		}
		dst[0] = a;
		dst[1] = b;
		dst[2] = c;
		dst[3] = d;
	}
}

#ifdef __x86_64__
#include <immintrin.h>

/* Four counters side by side in the low halves of 64-bit lanes, where the multiplier wants them; two such vectors at a
 * time. The compiler does not find this by itself: it moves every product back into 32-bit lanes. */
__attribute__((target("avx2"))) static void philox_avx2(uint32_t *restrict dst, size_t n, uint32_t k0, uint32_t k1,
                                                        uint32_t first, uint32_t c1, uint32_t c2, uint32_t c3) {
	const __m256i m0 = _mm256_set1_epi64x(0xd2511f53), m1 = _mm256_set1_epi64x(0xcd9e8d57);
	for (size_t i = 0; i < n; i += PHILOX_GROUP, first += PHILOX_GROUP, dst += 4 * PHILOX_GROUP) {
		__m256i a[2], b[2], c[2], d[2];
		for (uint32_t j = 0; j < 2; j++) {
			uint32_t f = first + 4 * j;
			a[j] = _mm256_set_epi64x(f + 3, f + 2, f + 1, f);
			b[j] = _mm256_set1_epi64x(c1);
			c[j] = _mm256_set1_epi64x(c2);
			d[j] = _mm256_set1_epi64x(c3);
		}
		uint32_t u = k0, v = k1;
		for (int round = 0; round < 10; round++, u += 0x9e3779b9u, v += 0xbb67ae85u) {
			__m256i uu = _mm256_set1_epi64x(u), vv = _mm256_set1_epi64x(v);
			for (int j = 0; j < 2; j++) {
				__m256i p = _mm256_mul_epu32(a[j], m0), q = _mm256_mul_epu32(c[j], m1);
				a[j] = _mm256_xor_si256(_mm256_xor_si256(_mm256_srli_epi64(q, 32), b[j]), uu);
				b[j] = q;
				c[j] = _mm256_xor_si256(_mm256_xor_si256(_mm256_srli_epi64(p, 32), d[j]), vv);
				d[j] = p;
			}
		}
		for (int j = 0; j < 2; j++) {
			__m256i even = _mm256_unpacklo_epi64(_mm256_unpacklo_epi32(a[j], b[j]), _mm256_unpacklo_epi32(c[j], d[j]));
			__m256i odd = _mm256_unpacklo_epi64(_mm256_unpackhi_epi32(a[j], b[j]), _mm256_unpackhi_epi32(c[j], d[j]));
			_mm256_storeu_si256((__m256i *)(dst + 16 * j), _mm256_permute2x128_si256(even, odd, 0x20));
			_mm256_storeu_si256((__m256i *)(dst + 16 * j + 8), _mm256_permute2x128_si256(even, odd, 0x31));
		}
	}
}

void vec_philox(uint32_t *dst, size_t n, uint32_t k0, uint32_t k1, uint32_t first, uint32_t c1, uint32_t c2, uint32_t c3) {
	if (__builtin_cpu_supports("avx2"))
		philox_avx2(dst, n, k0, k1, first, c1, c2, c3);
	else
		philox_scalar(dst, n, k0, k1, first, c1, c2, c3);
}
#else
void vec_philox(uint32_t *dst, size_t n, uint32_t k0, uint32_t k1, uint32_t first, uint32_t c1, uint32_t c2, uint32_t c3) {
	philox_scalar(dst, n, k0, k1, first, c1, c2, c3);
}
#endif
