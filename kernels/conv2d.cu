// conv2d.cu: convolutions as matrix products, without the matrix of patches in memory (implicit GEMM).
//
// fprop: y (pixels,K) = patches (pixels,R*S*C) * w (K,R*S*C)^T; a tile of patches is gathered from x as it is loaded, zero
// outside the image. dgrad is the same product of dy with the packed filter; at stride 2 with zeros between the pixels of
// dy. The gradient of the filter is in conv2d_wgrad.cu.
//
//   mma_*     tensor cores: cp.async stages, ldmatrix, mma.sync. Channels are multiples of 8, so that 16 bytes of the
//             summed index (r,s,c) are one pixel's of one source; any R, S, stride, padding. The tile changes no bit:
//             each output adds slabs of the same 4 chunks in the same order.
//   plain_*   fused multiply-adds in f32 on tiles of floats: everything else, and f32 with ICT_MATH_F32 or with 16 bits
//             on the other side
//
// Defined in tensor/conv2d.go.
#include "conv2d.cuh"
#include "mma.cuh"
#include "tile.cuh"

#include <type_traits>

namespace ict {

// ---- epilogue

// A ConvOutput is where a result goes: channels below split to y0, the others to y1; a null one is not written.
template <typename Y> struct ConvOutput {
	Y *y0, *y1;
	float beta0, beta1;
	int first, end, split, K;  // channels first ... end-1 of K are wanted
	const float *bias, *temb;  // (K), (N,K) rows temb_stride apart
	const Y *residual;         // (pixels,K)
	int temb_stride, image;    // pixels of an image
	float scale;
	int relu;

	// write ends the sums of channels k ... k+W-1 of a pixel, all on one side of split.
	template <int W> __device__ __forceinline__ void write(int pixel, int k, float (&v)[W]) const {
		float u[W];
		if (bias) {
#pragma unroll
			for (int i = 0; i < W; i++) v[i] += bias[k + i];
		}
		if (temb) {
			const float *row = temb + int64_t(pixel / image) * temb_stride + k;
#pragma unroll
			for (int i = 0; i < W; i++) v[i] += row[i];
		}
		if (residual) {
			load(residual + int64_t(pixel) * K + k, u);
#pragma unroll
			for (int i = 0; i < W; i++) v[i] += u[i];
		}
#pragma unroll
		for (int i = 0; i < W; i++) {
			v[i] = mul(scale, v[i]);
			if (relu && v[i] < 0.0f) v[i] = 0.0f;
		}
		bool low = k < split;
		Y *y = low ? y0 + int64_t(pixel) * split + k : y1 + int64_t(pixel) * (K - split) + (k - split);
		float beta = low ? beta0 : beta1;
		if (beta != 0.0f) {
			load(y, u);
#pragma unroll
			for (int i = 0; i < W; i++) v[i] = fma(beta, u[i], v[i]);
		}
		store(y, v);
	}
};

// ---- fprop and dgrad

constexpr int kMmaStages = 4;  // slabs under way: three loads hide the latency of one

template <int kBM, int kBN> struct ConvMmaShared {
	Bytes16 a[kMmaStages][kBM * 4];
	Bytes16 b[kMmaStages][kBN * 4];
};

// conv2d_mma_kernel: a block computes kBM pixels by kBN channels; blocks of neighbouring channels lie side by side and
// share the patches in L2.
template <typename T, typename Y, int kBM, int kBN, int kWarpsM, int kWarpsN>
__global__ void __launch_bounds__(32 * kWarpsM *kWarpsN)
conv2d_mma_kernel(ConvOutput<Y> out,
                  const T *x0, // (N,H,W,C0)
                  const T *x1, // (N,H,W,C1)
                  const T *w,  // (K,R,S,C)
                  ConvGeometry g, unsigned tiles) {
	constexpr int kThreads = 32 * kWarpsM * kWarpsN, kStep = kThreads / 4, kRowsA = kBM / kStep, kRowsB = kBN / kStep;
	constexpr int kM = kBM / kWarpsM / 16, kN = kBN / kWarpsN / 8;
	static_assert(kBM % kStep == 0 && kBN % kStep == 0, "each thread loads whole rows");
	auto &s = shared<ConvMmaShared<kBM, kBN>>();
	int m0 = int(blockIdx.x / tiles) * kBM, n0 = out.first + int(blockIdx.x % tiles) * kBN;

	// Each thread loads one of the four chunks of some rows of either tile.
	int chunk = threadIdx.x % 4, line = threadIdx.x / 4;
	int k = chunk * kChunk<T>;
	ConvTap tap = conv_tap(g, k);
	ConvRow rows[kRowsA];
#pragma unroll
	for (int i = 0; i < kRowsA; i++) rows[i] = conv_row(g, m0 + line + i * kStep);
	auto load_slab = [&](int slot) {
		bool inside = k < g.depth;
#pragma unroll
		for (int i = 0; i < kRowsA; i++) {
			int pixel = inside ? conv_input(g, rows[i], tap.r, tap.s) : -1;
			const T *from = pixel < 0 ? x0 : conv_source(g, x0, x1, pixel, tap.c);
			copy_async16(&s.a[slot][along_at(line + i * kStep, chunk)], from, pixel >= 0);
		}
#pragma unroll
		for (int i = 0; i < kRowsB; i++) {
			int n = n0 + line + i * kStep;
			bool valid = inside && n < out.end;
			copy_async16(&s.b[slot][along_at(line + i * kStep, chunk)], valid ? w + int64_t(n) * g.depth + k : w, valid);
		}
		k += 4 * kChunk<T>;
		advance(tap, g);
	};

	int slabs = (g.depth + 4 * kChunk<T> - 1) / (4 * kChunk<T>);
	for (int i = 0; i < kMmaStages - 1; i++) {
		if (i < slabs) load_slab(i);
		copy_commit();
	}
	int m = warp() % kWarpsM * (kBM / kWarpsM), n = warp() / kWarpsM * (kBN / kWarpsN);
	float acc[kM][kN][4] = {};
	for (int i = 0; i < slabs; i++) {
		copy_wait<kMmaStages - 2>();
		sync_block(); // for every thread's part of slab i, and for every warp to be done with slab i-1, whose slot is next
		if (i + kMmaStages - 1 < slabs) load_slab((i + kMmaStages - 1) % kMmaStages);
		copy_commit();
		multiply_along<T>(acc, s.a[i % kMmaStages], m, s.b[i % kMmaStages], n);
	}
#pragma unroll
	for (int i = 0; i < kM; i++) {
#pragma unroll
		for (int j = 0; j < kN; j++) {
			float v[4];
			four_columns(v, acc[i][j]);
			int pixel = m0 + m + i * 16 + four_row(), channel = n0 + n + j * 8 + four_column();
			if (pixel < g.pixels && channel < out.end) out.write(pixel, channel, v);
		}
	}
}

// conv2d_plain_kernel: a block computes kBM pixels by kBN channels, a thread kM by kN of them.
template <typename X, typename F, typename Y, int kBM, int kBN, int kM, int kN>
__global__ void __launch_bounds__(kPlainThreads, kPlainBlocks)
conv2d_plain_kernel(ConvOutput<Y> out,
                    const X *x0, // (N,H,W,C0)
                    const X *x1, // (N,H,W,C1)
                    const F *w,  // (K,R,S,C)
                    ConvGeometry g, unsigned tiles) {
	constexpr int kThreadsN = kBN / kN, kThreadsM = kBM / kM, kStep = kPlainThreads / kPlainSlab, kRows = kBM / kStep;
	static_assert(kThreadsM * kThreadsN == kPlainThreads, "one thread for each kM by kN outputs");
	auto &s = shared<ConvPlainShared<kBM, kBN>>();
	int m0 = int(blockIdx.x / tiles) * kBM, n0 = out.first + int(blockIdx.x % tiles) * kBN;
	int column = threadIdx.x % kPlainSlab, line = threadIdx.x / kPlainSlab;
	ConvTap tap = conv_tap(g, column);
	ConvRow rows[kRows];
#pragma unroll
	for (int i = 0; i < kRows; i++) rows[i] = conv_row(g, m0 + line + i * kStep);
	int m = threadIdx.x / kThreadsN, n = threadIdx.x % kThreadsN;
	float acc[kM][kN] = {};
	for (int k = column; k - column < g.depth; k += kPlainSlab) {
		bool inside = k < g.depth;
#pragma unroll
		for (int i = 0; i < kRows; i++) {
			int pixel = inside ? conv_input(g, rows[i], tap.r, tap.s) : -1;
			s.a[column][line + i * kStep] = pixel < 0 ? 0.0f : to_float(*conv_source(g, x0, x1, pixel, tap.c));
		}
		for (int i = line; i < kBN; i += kStep)
			s.b[column][i] = inside && n0 + i < out.end ? to_float(w[int64_t(n0 + i) * g.depth + k]) : 0.0f;
		advance(tap, g);
		sync_block(); // for the slab
		multiply_outer<kPlainSlab, kThreadsM, kThreadsN>(acc, s.a, m, s.b, n);
		sync_block(); // for every thread to be done with it
	}
#pragma unroll
	for (int i = 0; i < kM; i++) {
#pragma unroll
		for (int j = 0; j < kN; j++) {
			int pixel = m0 + m + i * kThreadsM, channel = n0 + n + j * kThreadsN;
			float v[1] = {acc[i][j]};
			if (pixel < g.pixels && channel < out.end) out.write(pixel, channel, v);
		}
	}
}

// ---- pack

// conv2d_pack_kernel: a block transposes 32 output by 32 input channels of one tap.
template <typename F, typename T>
__global__ void __launch_bounds__(256)
conv2d_pack_kernel(T *wt,      // (C,taps,K)
                   const F *w, // (K,taps,C)
                   int K, int taps, int C, unsigned tiles_k, unsigned tiles_c) {
	struct Tile {
		float v[32][33];
	};
	Tile &s = shared<Tile>();
	int c0 = int(blockIdx.x % tiles_c) * 32, k0 = int(blockIdx.x / tiles_c % tiles_k) * 32, tap = int(blockIdx.x / tiles_c / tiles_k);
	int column = threadIdx.x % 32, line = threadIdx.x / 32;
	for (int i = line; i < 32; i += 8)
		if (k0 + i < K && c0 + column < C) s.v[i][column] = to_float(w[(int64_t(k0 + i) * taps + tap) * C + c0 + column]);
	sync_block(); // for the tile
	for (int i = line; i < 32; i += 8)
		if (c0 + i < C && k0 + column < K)
			wt[(int64_t(c0 + i) * taps + taps - 1 - tap) * K + k0 + column] = from_float<T>(s.v[column][i]);
}

// ---- launchers

namespace {

void set_slab(ConvGeometry &g, int slab) {
	g.dc = slab % g.C;
	g.ds = slab / g.C % g.S;
	g.dr = slab / g.C / g.S;
}

// choose takes the kernel of fprop or dgrad. tensor: tensor cores may be used; mixed: the output has another type.
ConvVariant choose(const ConvGeometry &g, int split, bool tensor, bool mixed) {
	if (g.K <= 4) return ConvVariant::plain_256x4;
	if (!tensor || g.C0 % 8 != 0 || g.C1 % 8 != 0 || g.K % 4 != 0 || split % 4 != 0) return ConvVariant::plain_64x64;
	if (mixed) return ConvVariant::mma_64x64;
	if (g.K <= 32) return ConvVariant::mma_128x32;
	bool fits = g.K % 128 == 0 || g.K >= 320;                                       // little of the last tile is empty
	bool many = ceil_div(g.pixels, 128) * ceil_div(g.K, 128) >= 128;                // enough blocks for a large GPU
	return fits && many ? ConvVariant::mma_128x128 : ConvVariant::mma_64x64;
}

template <int kBM, int kBN, int kSlab, typename X, typename F, typename Y, typename... Args>
int launch_correlate(void (*kernel)(ConvOutput<Y>, const X *, const X *, const F *, ConvGeometry, unsigned), int threads, size_t smem,
                     const ConvOutput<Y> &out, const void *x0, const void *x1, const void *w, ConvGeometry g, const ict_exec *ex) {
	int64_t tiles = ceil_div(out.end - out.first, kBN), blocks = ceil_div(g.pixels, kBM) * tiles;
	ICT_REQUIRE(blocks <= 0x7fffffff, ICT_ERR_SHAPE);
	set_slab(g, kSlab);
	return launch(kernel, unsigned(blocks), threads, smem, ex, out, static_cast<const X *>(x0), static_cast<const X *>(x1),
	              static_cast<const F *>(w), g, unsigned(tiles));
}

template <typename T, typename Y, int kBM, int kBN, int kWarpsM, int kWarpsN>
int launch_mma(const ConvOutput<Y> &out, const void *x0, const void *x1, const void *w, const ConvGeometry &g, const ict_exec *ex) {
	return launch_correlate<kBM, kBN, 4 * kChunk<T>>(conv2d_mma_kernel<T, Y, kBM, kBN, kWarpsM, kWarpsN>, 32 * kWarpsM * kWarpsN,
	                                                 sizeof(ConvMmaShared<kBM, kBN>), out, x0, x1, w, g, ex);
}

// correlate launches a variant.
template <typename X, typename F, typename Y>
int correlate(ConvVariant v, const ConvOutput<Y> &out, const void *x0, const void *x1, const void *w, const ConvGeometry &g, const ict_exec *ex) {
	if constexpr (std::is_same_v<X, F> && (std::is_same_v<X, Y> || std::is_same_v<Y, float>)) {
		if (v == ConvVariant::mma_64x64) return launch_mma<X, Y, 64, 64, 2, 2>(out, x0, x1, w, g, ex);
	}
	if constexpr (std::is_same_v<X, F> && std::is_same_v<X, Y>) {
		if (v == ConvVariant::mma_128x128) return launch_mma<X, Y, 128, 128, 2, 4>(out, x0, x1, w, g, ex);
		if (v == ConvVariant::mma_128x32) return launch_mma<X, Y, 128, 32, 4, 1>(out, x0, x1, w, g, ex);
	}
	if (v == ConvVariant::plain_256x4)
		return launch_correlate<256, 4, kPlainSlab>(conv2d_plain_kernel<X, F, Y, 256, 4, 1, 4>, kPlainThreads, sizeof(ConvPlainShared<256, 4>),
		                                            out, x0, x1, w, g, ex);
	return launch_correlate<64, 64, kPlainSlab>(conv2d_plain_kernel<X, F, Y, 64, 64, 4, 4>, kPlainThreads, sizeof(ConvPlainShared<64, 64>),
	                                            out, x0, x1, w, g, ex);
}

} // namespace

extern "C" int ict_conv2d_fprop(void *y, const void *x0, const void *x1, const void *w, ict_epilogue ep, ict_conv2d d, void *ws,
                                size_t ws_bytes, ict_dtype dtype, const ict_exec *ex) {
	(void)ws;
	(void)ws_bytes;
	ICT_REQUIRE(y && x0 && w && (d.C1 == 0 || x1), ICT_ERR_NULL);
	if (int e = check_device(ex)) return e;
	ICT_REQUIRE(conv_valid(d), ICT_ERR_SHAPE);
	ICT_REQUIRE(!ep.stats && !ep.s0 && !ep.s1 && !ep.wskip && !ep.bias_skip && ep.CS0 == 0 && ep.CS1 == 0, ICT_ERR_SHAPE);
	ICT_REQUIRE(ep.act == ICT_ACT_NONE || ep.act == ICT_ACT_RELU, ICT_ERR_SHAPE);
	ICT_REQUIRE(!ep.temb || ep.temb_stride >= d.K, ICT_ERR_SHAPE);
	ICT_REQUIRE(conv_aligned(y, x0, x1, w) && aligned(ep.residual, 16) && aligned(ep.bias, 4) && aligned(ep.temb, 4), ICT_ERR_ALIGN);
	ConvGeometry g = forward_geometry(d);
	bool mixed = ep.y_dtype != dtype;
	ConvVariant v = choose(g, g.K, on_tensor_cores(dtype, ex) && !(mixed && dtype == ICT_F32), mixed);
	return with_pair(dtype, ict_dtype(ep.y_dtype), [&](auto input, auto output) -> int {
		using T = decltype(input);
		using Y = decltype(output);
		ConvOutput<Y> out = {};
		out.y0 = static_cast<Y *>(y);
		out.end = out.split = out.K = d.K;
		out.bias = ep.bias, out.temb = ep.temb, out.residual = static_cast<const Y *>(ep.residual);
		out.temb_stride = ep.temb_stride, out.image = g.P * g.Q, out.scale = ep.scale, out.relu = ep.act == ICT_ACT_RELU;
		return correlate<T, T, Y>(v, out, x0, x1, w, g, ex);
	});
}

extern "C" size_t ict_conv2d_fprop_workspace(ict_conv2d d, ict_dtype dtype, const ict_exec *ex) {
	(void)d;
	(void)dtype;
	(void)ex;
	return 0;
}

extern "C" int ict_conv2d_fprop_parts(ict_conv2d d, ict_dtype dtype, const ict_exec *ex) {
	(void)d;
	(void)dtype;
	(void)ex;
	return 0;
}

extern "C" const char *ict_conv2d_fprop_variant(ict_conv2d d, ict_dtype dtype, const ict_exec *ex) {
	if (!ex || !conv_valid(d)) return "";
	return name(choose(forward_geometry(d), d.K, on_tensor_cores(dtype, ex), false));
}

extern "C" int ict_conv2d_dgrad(void *dx0, float beta_dx0, void *dx1, float beta_dx1, const void *dy, const void *wt, ict_norm_epilogue ne,
                                ict_conv2d d, float scale, ict_dtype dy_dtype, void *ws, size_t ws_bytes, ict_dtype dtype, const ict_exec *ex) {
	(void)ws;
	(void)ws_bytes;
	ICT_REQUIRE(dy && wt, ICT_ERR_NULL);
	if (int e = check_device(ex)) return e;
	ICT_REQUIRE(conv_valid(d) && d.K <= 1 << 20 && !ne.x0 && !ne.sums && (d.C1 > 0 || !dx1), ICT_ERR_SHAPE);
	ICT_REQUIRE(conv_aligned(dx0, dx1, dy, wt), ICT_ERR_ALIGN);
	if (!dx0 && !dx1) return ICT_OK;
	ConvGeometry g = backward_geometry(d);
	ConvVariant v = choose(g, d.C0, on_tensor_cores(dtype, ex) && dy_dtype == dtype, false);
	return with_pair(dtype, dy_dtype, [&](auto result, auto slope) -> int {
		using T = decltype(result);
		ConvOutput<T> out = {};
		out.y0 = static_cast<T *>(dx0), out.y1 = static_cast<T *>(dx1), out.beta0 = beta_dx0, out.beta1 = beta_dx1;
		out.first = dx0 ? 0 : d.C0, out.end = dx1 ? g.K : d.C0, out.split = d.C0, out.K = g.K;
		out.image = g.P * g.Q, out.scale = scale;
		return correlate<decltype(slope), T, T>(v, out, dy, nullptr, wt, g, ex);
	});
}

extern "C" size_t ict_conv2d_dgrad_workspace(ict_conv2d d, ict_dtype dtype, const ict_exec *ex) {
	(void)d;
	(void)dtype;
	(void)ex;
	return 0;
}

extern "C" int ict_conv2d_dgrad_parts(ict_conv2d d, ict_dtype dtype, const ict_exec *ex) {
	(void)d;
	(void)dtype;
	(void)ex;
	return 0;
}

extern "C" const char *ict_conv2d_dgrad_variant(ict_conv2d d, ict_dtype dtype, const ict_exec *ex) {
	if (!ex || !conv_valid(d)) return "";
	return name(choose(backward_geometry(d), d.C0, on_tensor_cores(dtype, ex), false));
}

extern "C" int ict_conv2d_pack(void *wt, const void *w, int32_t K, int32_t R, int32_t S, int32_t C, ict_dtype w_dtype, ict_dtype dtype,
                               const ict_exec *ex) {
	ICT_REQUIRE(wt && w, ICT_ERR_NULL);
	if (int e = check_device(ex)) return e;
	ICT_REQUIRE(K >= 1 && C >= 1 && R >= 1 && S >= 1 && R <= 7 && S <= 7, ICT_ERR_SHAPE);
	ICT_REQUIRE(w_dtype == dtype || w_dtype == ICT_F32, ICT_ERR_DTYPE);
	int64_t tiles_k = ceil_div(K, 32), tiles_c = ceil_div(C, 32), blocks = tiles_k * tiles_c * R * S;
	ICT_REQUIRE(blocks <= 0x7fffffff, ICT_ERR_SHAPE);
	return with_storage(dtype, [&](auto zero) -> int {
		using T = decltype(zero);
		ICT_REQUIRE(aligned(wt, sizeof(T)) && aligned(w, dtype_size(w_dtype)), ICT_ERR_ALIGN);
		auto run = [&](auto kernel, auto from) -> int {
			return launch(kernel, unsigned(blocks), 256, 32 * 33 * sizeof(float), ex, static_cast<T *>(wt),
			              static_cast<const decltype(from) *>(w), K, R * S, C, unsigned(tiles_k), unsigned(tiles_c));
		};
		return w_dtype == dtype ? run(conv2d_pack_kernel<T, T>, T{}) : run(conv2d_pack_kernel<float, T>, float{});
	});
}

} // namespace ict
