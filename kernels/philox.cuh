// philox.cuh: Philox4x32-10 [Philox], the twin of internal/philox: words, uniforms and masks to the bit; normals by the
// same polynomials with the same roundings.
//
//   key      seed[31:0], seed[63:32]
//   counter  c0 = element / 4, c1 = image, c2 = step[31:0], c3 = purpose << 16 | step[47:32]
//   word     element mod 4 of the block
#ifndef ICT_PHILOX_CUH
#define ICT_PHILOX_CUH

#include "intrin.cuh"

namespace ict {

constexpr int kPurposeNoise = 4;     // as philox.Noise
constexpr int kPurposeDropout = 16;  // the n-th dropout of the tape: 16 + n

// The draws of one image for one purpose at one step.
struct Stream {
	uint32_t k0, k1, c1, c2, c3;
};

__device__ __forceinline__ Stream philox_stream(const ict_step &step, uint32_t purpose, uint64_t image) {
	ICT_CHECK_DEVICE(step.step >> 48 == 0 && (step.image0 + image) >> 32 == 0);
	return {uint32_t(step.seed), uint32_t(step.seed >> 32), uint32_t(step.image0 + image), uint32_t(step.step),
	        purpose << 16 | uint32_t(step.step >> 32)};
}

// philox_words gives the words of elements 4*block ... 4*block+3.
__device__ __forceinline__ void philox_words(const Stream &s, uint32_t block, uint32_t (&w)[4]) {
	uint32_t c0 = block, c1 = s.c1, c2 = s.c2, c3 = s.c3, k0 = s.k0, k1 = s.k1;
#pragma unroll
	for (int round = 0; round < 10; round++) {
		const uint32_t m0 = 0xd2511f53u, m1 = 0xcd9e8d57u;
		uint32_t hi0 = mul_high(m0, c0), lo0 = m0 * c0, hi1 = mul_high(m1, c2), lo1 = m1 * c2;
		c0 = hi1 ^ c1 ^ k0;
		c1 = lo1;
		c2 = hi0 ^ c3 ^ k1;
		c3 = lo0;
		k0 += 0x9e3779b9u;
		k1 += 0xbb67ae85u;
	}
	w[0] = c0;
	w[1] = c1;
	w[2] = c2;
	w[3] = c3;
}

// philox_uniform is (w >> 8)*2^-24, of [0, 1).
__device__ __forceinline__ float philox_uniform(uint32_t w) { return float(w >> 8) * 0x1p-24f; }

// dropout_threshold is floor(p*2^32): an element is kept where its word is at least that. For 0 <= p < 1.
inline uint32_t dropout_threshold(float p) { return uint32_t(double(p) * 0x1p32); }

// sincos_quarters gives sine and cosine of (q + x) quarter turns, x in [-1/2, 1/2], each within an ulp.
__device__ __forceinline__ void sincos_quarters(uint32_t q, float x, float &sine, float &cosine) {
	float xx = mul(x, x);
	float p = -0x1.2da156p-8f; // sin(pi x/2) = x*pi/2 + x*S(x^2)
	p = fma(p, xx, 0x1.465eeap-4f);
	p = fma(p, xx, -0x1.4abbbap-1f);
	p = fma(p, xx, -0x1.a32cf2p-25f);
	uint32_t s = float_bits(fma(x, 0x1.921fb6p+0f, mul(x, p)));
	p = 0x1.d4f632p-11f; // cos(pi x/2) = 1 + x^2*C(x^2)
	p = fma(p, xx, -0x1.55b2b4p-6f);
	p = fma(p, xx, 0x1.03c1b0p-2f);
	p = fma(p, xx, -0x1.3bd3ccp+0f);
	p = fma(p, xx, 1.0f);
	uint32_t c = float_bits(p);
	uint32_t swap = (s ^ c) & (0u - (q & 1));
	sine = bits_float(s ^ swap ^ (q >> 1) << 31);
	cosine = bits_float(c ^ swap ^ ((q + 1) >> 1) << 31);
}

// log_unit is ln(((w >> 8) + 1)*2^-24), by 2^e*(1+f) with 1+f in [sqrt(1/2), sqrt(2)).
__device__ __forceinline__ float log_unit(uint32_t w) {
	const uint32_t sqrt_half = 0x3f3504f3u;
	uint32_t b = float_bits(float((w >> 8) + 1) * 0x1p-24f) + (0x3f800000u - sqrt_half);
	float e = float(int32_t(b >> 23) - 127);
	float f = sub(bits_float((b & 0x7fffffu) + sqrt_half), 1.0f);
	float ff = mul(f, f);
	float p = -0x1.4813dcp-4f;
	p = fma(p, f, 0x1.0be530p-3f);
	p = fma(p, f, -0x1.0d3364p-3f);
	p = fma(p, f, 0x1.219cd8p-3f);
	p = fma(p, f, -0x1.545ddcp-3f);
	p = fma(p, f, 0x1.99b412p-3f);
	p = fma(p, f, -0x1.0002b4p-2f);
	p = fma(p, f, 0x1.55551ep-2f);
	p = fma(p, f, -0.5f);
	return fma(e, 0x1.62e430p-1f, fma(ff, p, f));
}

// box_muller makes the normals of a word pair [BoxMuller]: r cos, r sin with r = sqrt(-2 ln u), u = ((w0>>8)+1)*2^-24,
// angle (w1>>8)*2^-24 turns.
__device__ __forceinline__ void box_muller(uint32_t w0, uint32_t w1, float &even, float &odd) {
	float rho = sqrt(mul(-2.0f, log_unit(w0)));
	uint32_t turn = w1 >> 8, q = (turn + (1u << 21)) >> 22;
	float x = float(int32_t(turn) - int32_t(q << 22)) * 0x1p-22f, sine, cosine;
	sincos_quarters(q, x, sine, cosine);
	even = mul(rho, cosine);
	odd = mul(rho, sine);
}

// philox_normals gives the normals of elements 4*block ... 4*block+3.
__device__ __forceinline__ void philox_normals(const Stream &s, uint32_t block, float (&z)[4]) {
	uint32_t w[4];
	philox_words(s, block, w);
	box_muller(w[0], w[1], z[0], z[1]);
	box_muller(w[2], w[3], z[2], z[3]);
}

} // namespace ict
#endif
