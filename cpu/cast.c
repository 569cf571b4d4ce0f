/* The loops of cast.go: widenF16Go and its companions are the definitions. Both sides of a choice are computed, so that the
 * loops are vectorised. */
#include "vec.h"

VEC_CLONES void cast_widen_f16(float *restrict v, const uint16_t *restrict b, size_t n) {
	for (size_t i = 0; i < n; i++) {
		uint32_t h = b[i], magnitude = h & 0x7fff;
		uint32_t normal = (magnitude << 13) + (112u << 23), infinite = (magnitude << 13) | 0x7f800000u;
		uint32_t subnormal = vec_bits((float)(int32_t)magnitude * 0x1p-24f);
		uint32_t bits = magnitude < 0x400 ? subnormal : magnitude < 0x7c00 ? normal : infinite;
		v[i] = vec_float((h & 0x8000u) << 16 | bits);
	}
}

VEC_CLONES void cast_narrow_f16(uint16_t *restrict b, const float *restrict v, size_t n) {
	for (size_t i = 0; i < n; i++) {
		uint32_t bits = vec_bits(v[i]), magnitude = bits & 0x7fffffffu;
		uint32_t finite = magnitude < 0x47800000u ? magnitude : 0x47800000u;
		uint32_t normal = (finite + 0xfff + (magnitude >> 13 & 1) - (112u << 23)) >> 13;
		normal = normal < 0x7c00 ? normal : 0x7c00;
		uint32_t subnormal = vec_bits(vec_float(magnitude) + 0.5f) - 0x3f000000u;
		uint32_t nan = 0x7e00 | (magnitude >> 13 & 0x3ff);
		uint32_t h = magnitude < 0x38800000u ? subnormal : magnitude <= 0x7f800000u ? normal : nan;
		b[i] = (uint16_t)((bits >> 16 & 0x8000) | h);
	}
}

VEC_CLONES void cast_widen_bf16(float *restrict v, const uint16_t *restrict b, size_t n) {
	for (size_t i = 0; i < n; i++) v[i] = vec_float((uint32_t)b[i] << 16);
}

VEC_CLONES void cast_narrow_bf16(uint16_t *restrict b, const float *restrict v, size_t n) {
	for (size_t i = 0; i < n; i++) {
		uint32_t bits = vec_bits(v[i]), nan = bits >> 16 | 0x40, number = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
		b[i] = (uint16_t)((bits & 0x7fffffffu) > 0x7f800000u ? nan : number);
	}
}

VEC_CLONES void cast_round_tf32(float *r, const float *v, size_t n) {
	for (size_t i = 0; i < n; i++) {
		uint32_t bits = vec_bits(v[i]), number = (bits + 0x1000) & ~0x1fffu;
		r[i] = vec_float((bits & 0x7fffffffu) > 0x7f800000u ? bits : number);
	}
}
