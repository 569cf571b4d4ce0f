/* Arithmetic of the inner loops of package cpu.
 *
 * Helpers are written for one element and without branches, so that the compiler vectorises the loops around them;
 * every processor then computes the same bits as the Go twins in *.go:
 *
 *   - compiled as ISO C (-std=c11), no product is fused with a sum;
 *   - a sum is written in the order in which it is taken: nothing is left to the width of a vector.
 *
 * Clamps are integer minima: on comparisons of floats the compiler would split the loop.
 */
#ifndef ICT_CPU_VEC_H
#define ICT_CPU_VEC_H

#include <stddef.h>
#include <stdint.h>

#if defined(__x86_64__) && defined(__linux__) && defined(__GNUC__) && !defined(__clang__)
#define VEC_CLONES __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define VEC_CLONES
#endif

/* A helper that is not inlined would run compiled for the plainest processor. */
#define VEC_INLINE static inline __attribute__((always_inline))

#ifdef __clang__
#pragma STDC FP_CONTRACT OFF
#endif

/* Elements to a run where a loop is cut in two: a loop with a shorter chain of operations keeps more elements in flight. */
enum { VEC_RUN = 256 };

VEC_INLINE float vec_float(uint32_t bits) {
	float f;
	__builtin_memcpy(&f, &bits, sizeof f);
	return f;
}

VEC_INLINE uint32_t vec_bits(float f) {
	uint32_t bits;
	__builtin_memcpy(&bits, &f, sizeof bits);
	return bits;
}

/* e^−x within 2 units in the last place; +Inf where the result is above 2^127.5, 0 where it is below 2^-126.5. NaN gives
 * one of the two: the numbers that e^−x is combined with must carry the NaN on.
 *
 *   e^−x = 2^n · e^−r,  n = round(−x/ln 2),  r = x + n ln 2,  e^−r = 1 − r + r² P(r) on |r| <= ln(2)/2
 *
 * P is a minimax polynomial, fitted for this file: relative error below 3.2e-9. */
VEC_INLINE float vec_exp_minus(float x) {
	const float magic = 0x1.8p23f + 127; /* puts n + 127 into the lowest bits of the sum */
	int32_t above = (int32_t)vec_bits(x);
	above = above < 0x42b00000 ? above : 0x42b00000; /* 88: n = -127 */
	uint32_t below = (uint32_t)above;
	below = below < 0xc2b20000u ? below : 0xc2b20000u; /* -89: n = 128 */
	x = vec_float(below);
	float t = magic - x * 0x1.715476p+0f;
	float n = t - magic;
	float scale = vec_float(vec_bits(t) << 23);
	float r = (x + n * 0x1.62e4p-1f) + n * 0x1.7f7d1cp-20f;
	float rr = r * r;
	float p = (0x1.fffffcp-2f + r * -0x1.555492p-3f) + rr * ((0x1.5558a8p-5f + r * -0x1.12397cp-7f) + rr * 0x1.6a5618p-10f);
	return ((1.0f - r) + rr * p) * scale;
}

VEC_INLINE float vec_sigmoid(float x) { return 1.0f / (1.0f + vec_exp_minus(x)); }

/* SiLU x·σ(x), and its derivative σ + xσ(1−σ) from x and σ(x). NaN passes through both. */
VEC_INLINE float vec_silu(float x) { return x / (1.0f + vec_exp_minus(x)); }

VEC_INLINE float vec_silu_slope(float x, float s) { return s + (x * s) * (1.0f - s); }

/* Words of Philox4x32-10 for the counters (first + i, c1, c2, c3), four for each i in [0, n): those of internal/philox.
 * dst has room for a multiple of PHILOX_GROUP counters, and all of it may be written. */
enum { PHILOX_GROUP = 8 };
void vec_philox(uint32_t *dst, size_t n, uint32_t k0, uint32_t k1, uint32_t first, uint32_t c1, uint32_t c2, uint32_t c3);

#endif
