// vec.cuh: vectors of storage elements as floats, activations, and what every launcher does on the host: checks, choice
// of the instance by dtype, geometry of elementwise grids.
#ifndef ICT_VEC_CUH
#define ICT_VEC_CUH

#include "intrin.cuh"

namespace ict {

// ---- device: W neighbouring elements, in accesses of 16 bytes (8 where that is all), or one by one with W = 1

template <typename T> __device__ __forceinline__ T from_bits16(uint32_t bits) { return T{uint16_t(bits)}; }

// load reads p[0 ... W-1]. With W > 1, p is aligned to min(16, W*sizeof(T)).
template <int W> __device__ __forceinline__ void load(const float *p, float (&v)[W]) {
	static_assert(W == 1 || W % 4 == 0, "one element or whole vectors");
	if constexpr (W == 1) {
		v[0] = p[0];
	} else {
#pragma unroll
		for (int i = 0; i < W; i += 4) {
			Bytes16 b = load16(p + i);
#pragma unroll
			for (int j = 0; j < 4; j++) v[i + j] = bits_float(b.u[j]);
		}
	}
}
template <int W, typename T> __device__ __forceinline__ void load(const T *p, float (&v)[W]) {
	static_assert(sizeof(T) == 2 && (W == 1 || W == 4 || W % 8 == 0), "one element or whole vectors");
	if constexpr (W == 1) {
		v[0] = to_float(p[0]);
	} else if constexpr (W == 4) {
		Bytes8 b = load8(p);
#pragma unroll
		for (int j = 0; j < 4; j++) v[j] = to_float(from_bits16<T>(b.u[j / 2] >> 16 * (j % 2)));
	} else {
#pragma unroll
		for (int i = 0; i < W; i += 8) {
			Bytes16 b = load16(p + i);
#pragma unroll
			for (int j = 0; j < 8; j++) v[i + j] = to_float(from_bits16<T>(b.u[j / 2] >> 16 * (j % 2)));
		}
	}
}

// store writes p[0 ... W-1], rounded to nearest even.
template <int W> __device__ __forceinline__ void store(float *p, const float (&v)[W]) {
	static_assert(W == 1 || W % 4 == 0, "one element or whole vectors");
	if constexpr (W == 1) {
		p[0] = v[0];
	} else {
#pragma unroll
		for (int i = 0; i < W; i += 4) store16(p + i, Bytes16{{float_bits(v[i]), float_bits(v[i + 1]), float_bits(v[i + 2]), float_bits(v[i + 3])}});
	}
}
template <int W, typename T> __device__ __forceinline__ void store(T *p, const float (&v)[W]) {
	static_assert(sizeof(T) == 2 && (W == 1 || W == 4 || W % 8 == 0), "one element or whole vectors");
	if constexpr (W == 1) {
		p[0] = from_float<T>(v[0]);
	} else if constexpr (W == 4) {
		store8(p, Bytes8{{pack2<T>(v[0], v[1]), pack2<T>(v[2], v[3])}});
	} else {
#pragma unroll
		for (int i = 0; i < W; i += 8)
			store16(p + i, Bytes16{{pack2<T>(v[i], v[i + 1]), pack2<T>(v[i + 2], v[i + 3]), pack2<T>(v[i + 4], v[i + 5]), pack2<T>(v[i + 6], v[i + 7])}});
	}
}

// silu(x) = x/(1 + e^-x); its derivative s(1 + x(1 - s)), s the sigmoid; 0 where e^-x overflows.
__device__ __forceinline__ float silu(float x) { return x / (1.0f + exp(-x)); }
__device__ __forceinline__ float silu_derivative(float x) {
	float e = exp(-x), s = 1.0f / (1.0f + e);
	return e > 3e38f ? 0.0f : s * (1.0f + x * (1.0f - s));
}

// ---- host

// ICT_REQUIRE ends a launcher with a status unless cond holds.
#define ICT_REQUIRE(cond, status) do { if (!(cond)) return (status); } while (0)

inline bool aligned(const void *p, size_t bytes) { return reinterpret_cast<uintptr_t>(p) % bytes == 0; }
inline int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
inline size_t align256(size_t n) { return (n + 255) / 256 * 256; }  // of a part of a workspace

// check_device refuses what no code of this library runs on.
inline int check_device(const ict_exec *ex) {
	if (!ex) return ICT_ERR_NULL;
	return ex->sm >= 80 ? ICT_OK : ICT_ERR_ARCH;
}

inline size_t dtype_size(ict_dtype t) {
	switch (t) {
	case ICT_F32: case ICT_I32: return 4;
	case ICT_F16: case ICT_BF16: return 2;
	case ICT_U8: return 1;
	}
	return 0;
}

// with_storage calls f with a value of the storage type: f(float{}), f(half{}) or f(bfloat16{}).
template <typename F> int with_storage(ict_dtype dtype, F f) {
	switch (dtype) {
	case ICT_F32: return f(float{});
	case ICT_F16: return f(half{});
	case ICT_BF16: return f(bfloat16{});
	default: return ICT_ERR_DTYPE;
	}
}

constexpr int kPointwiseThreads = 256;
constexpr int kPointwiseWidth = 8;  // elements per thread: 16 bytes of a 16-bit type, 32 of float

// pointwise_width is the vector width that all of a launch's pointers allow.
template <typename... P> int pointwise_width(P... pointers) {
	return (aligned(pointers, 16) && ...) ? kPointwiseWidth : 1;
}

// flat_blocks is the grid of n elements, width to a thread; 0 if it would be too large.
inline unsigned flat_blocks(int64_t n, int width) {
	int64_t blocks = ceil_div(n, int64_t(kPointwiseThreads) * width);
	return blocks <= 0x7fffffff ? unsigned(blocks) : 0;
}

// A grid over N images of D elements: blocks of one image lie side by side, so that no thread divides 64-bit numbers.
struct ImageGrid {
	unsigned tiles;   // blocks per image
	unsigned blocks;  // 0: too large
};
inline ImageGrid image_grid(int32_t N, int64_t D, int per_block) {
	int64_t tiles = ceil_div(D, per_block);
	bool fits = tiles <= 0x7fffffff && tiles * N <= 0x7fffffff;
	return {fits ? unsigned(tiles) : 0, fits ? unsigned(tiles * N) : 0};
}

} // namespace ict
#endif
