// conv2d.cuh: what the kernels of convolutions share: geometry for device and host, checks, names, pairs of types. Two
// files include it: conv2d.cu (fprop, dgrad, pack) and conv2d_wgrad.cu.
#ifndef ICT_CONV2D_CUH
#define ICT_CONV2D_CUH

#include "vec.cuh"

namespace ict {

// ---- geometry

// A ConvGeometry is one cross-correlation as its kernels see it. In dgrad, the input is dy and the output dx.
struct ConvGeometry {
	int H, W;           // of the input
	int C0, C1, C;      // channels of its sources, and both
	int K, R, S;        // output channels, filter
	int P, Q;           // of the output
	int stride, pad_h, pad_w;
	int up;             // 1; 2: there are zeros between the pixels of the input
	int pixels, depth;  // N*P*Q, R*S*C
	int dr, ds, dc;     // what a slab of the summed index advances (r,s,c) by
};

// A ConvTap is a place k in the summed index.
struct ConvTap {
	int r, s, c;
};

__device__ __forceinline__ ConvTap conv_tap(const ConvGeometry &g, int k) {
	int t = k / g.C;
	return {t / g.S, t % g.S, k % g.C};
}

// advance goes one slab on, without a division.
__device__ __forceinline__ void advance(ConvTap &t, const ConvGeometry &g) {
	t.c += g.dc;
	t.s += g.ds;
	t.r += g.dr;
	if (t.c >= g.C) {
		t.c -= g.C;
		t.s++;
	}
	if (t.s >= g.S) {
		t.s -= g.S;
		t.r++;
	}
}

// A ConvRow is an output pixel: where its window begins in the input, and the first input pixel of its image.
struct ConvRow {
	int h, w, first;
};

// conv_row is that of a pixel; past the last one, a window that lies outside.
__device__ __forceinline__ ConvRow conv_row(const ConvGeometry &g, int pixel) {
	if (pixel >= g.pixels) return {-(1 << 30), 0, 0};
	int q = pixel % g.Q, row = pixel / g.Q;
	return {row % g.P * g.stride - g.pad_h, q * g.stride - g.pad_w, row / g.P * (g.H * g.W)};
}

// conv_input is the input pixel under tap (r,s), or -1 for a zero.
__device__ __forceinline__ int conv_input(const ConvGeometry &g, const ConvRow &row, int r, int s) {
	int h = row.h + r, w = row.w + s;
	if (g.up == 2) {
		if ((h | w) & 1) return -1;
		h >>= 1;
		w >>= 1;
	}
	return unsigned(h) < unsigned(g.H) && unsigned(w) < unsigned(g.W) ? row.first + h * g.W + w : -1;
}

// conv_source is channel c of a pixel of x0|x1.
template <typename X>
__device__ __forceinline__ const X *conv_source(const ConvGeometry &g, const X *x0, const X *x1, int pixel, int c) {
	return c < g.C0 ? x0 + int64_t(pixel) * g.C0 + c : x1 + int64_t(pixel) * g.C1 + (c - g.C0);
}

// ---- plain kernels

constexpr int kPlainSlab = 16;
constexpr int kPlainThreads = 256;
constexpr int kPlainBlocks = 2;  // to a multiprocessor, or more: up to 128 registers; left alone, ptxas takes 64 and spills

template <int kBM, int kBN> struct ConvPlainShared {
	float a[kPlainSlab][kBM + 4];  // 4 more: the column that a half-warp writes lies in different banks
	float b[kPlainSlab][kBN + 4];
};

// ---- host

inline int conv_p(const ict_conv2d &d) { return (d.H + 2 * d.pad_h - d.R) / d.stride + 1; }
inline int conv_q(const ict_conv2d &d) { return (d.W + 2 * d.pad_w - d.S) / d.stride + 1; }

inline bool conv_valid(const ict_conv2d &d) {
	if (d.N < 1 || d.H < 1 || d.W < 1 || d.C0 < 1 || d.C1 < 0 || d.K < 1 || d.C0 > 2048 || d.C1 > 2048 - d.C0) return false;
	if (d.R < 1 || d.S < 1 || d.R > 7 || d.S > 7 || (d.stride != 1 && d.stride != 2)) return false;
	if (d.pad_h < 0 || d.pad_w < 0 || d.pad_h >= d.R || d.pad_w >= d.S) return false;
	if (d.H > 1 << 20 || d.W > 1 << 20 || d.H + 2 * d.pad_h < d.R || d.W + 2 * d.pad_w < d.S) return false;
	int64_t most = 0x7fffffff - 1024;  // pixels are counted in 32 bits, a tile past the last one included
	int64_t in = int64_t(d.H) * d.W, out = int64_t(conv_p(d)) * conv_q(d);
	return in <= most / d.N && out <= most / d.N && d.K <= most / (d.R * d.S);
}

inline ConvGeometry forward_geometry(const ict_conv2d &d) {
	ConvGeometry g = {};
	g.H = d.H, g.W = d.W, g.C0 = d.C0, g.C1 = d.C1, g.C = d.C0 + d.C1, g.K = d.K, g.R = d.R, g.S = d.S;
	g.P = conv_p(d), g.Q = conv_q(d), g.stride = d.stride, g.pad_h = d.pad_h, g.pad_w = d.pad_w, g.up = 1;
	g.pixels = d.N * g.P * g.Q, g.depth = d.R * d.S * g.C;
	return g;
}

// backward_geometry: dy goes in, dx comes out.
inline ConvGeometry backward_geometry(const ict_conv2d &d) {
	ConvGeometry g = {};
	g.H = conv_p(d), g.W = conv_q(d), g.C0 = d.K, g.C = d.K, g.K = d.C0 + d.C1, g.R = d.R, g.S = d.S;
	g.P = d.H, g.Q = d.W, g.stride = 1, g.pad_h = d.R - 1 - d.pad_h, g.pad_w = d.S - 1 - d.pad_w, g.up = d.stride;
	g.pixels = d.N * d.H * d.W, g.depth = d.R * d.S * d.K;
	return g;
}

inline bool on_tensor_cores(ict_dtype dtype, const ict_exec *ex) { return dtype != ICT_F32 || ex->math == ICT_MATH_TENSOR; }

enum class ConvVariant { mma_128x128, mma_64x64, mma_128x32, mma_32x128, plain_64x64, plain_256x4 };

inline const char *name(ConvVariant v) {
	switch (v) {
	case ConvVariant::mma_128x128: return "mma_128x128";
	case ConvVariant::mma_64x64: return "mma_64x64";
	case ConvVariant::mma_128x32: return "mma_128x32";
	case ConvVariant::mma_32x128: return "mma_32x128";
	case ConvVariant::plain_64x64: return "plain_64x64";
	case ConvVariant::plain_256x4: return "plain_256x4";
	}
	return "";
}

// with_pair calls f with a value of each of two storage types: the same, or one of them f32.
template <typename F> int with_pair(ict_dtype a, ict_dtype b, F f) {
	if (a == b) return with_storage(a, [&](auto zero) -> int { return f(zero, zero); });
	if (b == ICT_F32) return with_storage(a, [&](auto zero) -> int { return f(zero, float{}); });
	if (a == ICT_F32) return with_storage(b, [&](auto zero) -> int { return f(float{}, zero); });
	return ICT_ERR_DTYPE;
}

template <typename... P> bool conv_aligned(P... p) {
	return (aligned(p, 16) && ...);
}

} // namespace ict
#endif
