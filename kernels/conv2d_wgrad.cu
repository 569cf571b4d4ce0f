// conv2d_wgrad.cu: the gradient of a convolution's filter, a matrix product like those of conv2d.cu.
//
// dw (K,R*S*C) = dy (pixels,K)^T * patches, cut at slices of ICT_SLICE images and, within a slice, into parts by the shape of
// one image; partial sums go to the workspace and are added low to high, slices pairwise.
//
//   mma_*     tensor cores: cp.async stages, ldmatrix (f32: plain loads), mma.sync. Channels are multiples of 8
//   plain_*   fused multiply-adds in f32 on tiles of floats: everything else, as in conv2d.cu
//
// Defined in tensor/conv2d.go.
#include "conv2d.cuh"
#include "mma.cuh"
#include "reduce.cuh"
#include "tile.cuh"

#include <type_traits>

namespace ict {

constexpr int kPixelSlab = 32;     // pixels of a slab on tensor cores
constexpr int kPlainPixelSlab = 16;

// A ConvSplit cuts the pixels of wgrad's sum.
struct ConvSplit {
	int slices, parts, length;  // parts per slice, pixels per part
	int images;                 // N
	int dn, dp, dq;             // what a slab of pixels advances (n,p,q) by
};

// The pixels [begin, end) of a block's part; empty past the last image.
struct ConvPart {
	int begin, end;
};
__device__ __forceinline__ ConvPart conv_part(const ConvGeometry &g, const ConvSplit &split, int index) {
	int64_t image = int64_t(g.P) * g.Q;
	int slice = index / split.parts, last = (slice + 1) * ICT_SLICE;
	int64_t begin = slice * ICT_SLICE * image + int64_t(index % split.parts) * split.length;
	int64_t end = (last < split.images ? last : split.images) * image;
	if (end > begin + split.length) end = begin + split.length;
	return begin < end ? ConvPart{int(begin), int(end)} : ConvPart{0, 0};
}

// A ConvPixel is an output pixel that moves on by slabs.
struct ConvPixel {
	int n, p, q;
};
__device__ __forceinline__ ConvPixel conv_pixel(const ConvGeometry &g, int pixel) {
	int row = pixel / g.Q;
	return {row / g.P, row % g.P, pixel % g.Q};
}
__device__ __forceinline__ void advance(ConvPixel &x, const ConvGeometry &g, const ConvSplit &split) {
	x.q += split.dq;
	x.p += split.dp;
	x.n += split.dn;
	if (x.q >= g.Q) {
		x.q -= g.Q;
		x.p++;
	}
	if (x.p >= g.P) {
		x.p -= g.P;
		x.n++;
	}
}
__device__ __forceinline__ int conv_input(const ConvGeometry &g, const ConvPixel &x, const ConvTap &tap) {
	ConvRow row = {x.p * g.stride - g.pad_h, x.q * g.stride - g.pad_w, x.n * (g.H * g.W)};
	return conv_input(g, row, tap.r, tap.s);
}

template <typename T, int kBM, int kBN, int kStages> struct WgradMmaShared {
	Bytes16 a[kStages][kPixelSlab * kBM / kChunk<T>];
	Bytes16 b[kStages][kPixelSlab * kBN / kChunk<T>];
};

// conv2d_wgrad_mma_kernel: a block sums one part for kBM channels of dy by kBN places in (r,s,c).
template <typename T, int kBM, int kBN, int kWarpsM, int kWarpsN>
__global__ void __launch_bounds__(32 * kWarpsM *kWarpsN)
conv2d_wgrad_mma_kernel(float *sums,  // (slices,parts,K,R*S*C)
                        const T *x0,  // (N,H,W,C0)
                        const T *x1,  // (N,H,W,C1)
                        const T *dy,  // (pixels,K)
                        ConvGeometry g, ConvSplit split, unsigned tiles_m, unsigned tiles_n) {
	constexpr int kThreads = 32 * kWarpsM * kWarpsN, kStages = sizeof(T) == 2 ? 4 : 3;
	constexpr int kChunksA = kBM / kChunk<T>, kChunksB = kBN / kChunk<T>;
	constexpr int kStepA = kThreads / kChunksA, kStepB = kThreads / kChunksB;  // rows that are loaded at once
	constexpr int kRowsA = kPixelSlab / kStepA, kRowsB = kPixelSlab / kStepB;
	constexpr int kM = kBM / kWarpsM / 16, kN = kBN / kWarpsN / 8;
	static_assert(kPixelSlab % kStepA == 0 && kPixelSlab % kStepB == 0, "each thread loads whole rows");
	auto &s = shared<WgradMmaShared<T, kBM, kBN, kStages>>();
	int n0 = int(blockIdx.x % tiles_n) * kBN, m0 = int(blockIdx.x / tiles_n % tiles_m) * kBM;
	int index = int(blockIdx.x / tiles_n / tiles_m);
	ConvPart part = conv_part(g, split, index);

	int chunk_a = threadIdx.x % kChunksA, line_a = threadIdx.x / kChunksA, k = m0 + chunk_a * kChunk<T>;
	int chunk_b = threadIdx.x % kChunksB, line_b = threadIdx.x / kChunksB, column = n0 + chunk_b * kChunk<T>;
	ConvTap tap = conv_tap(g, column);
	ConvPixel pixels[kRowsB];
#pragma unroll
	for (int i = 0; i < kRowsB; i++) pixels[i] = conv_pixel(g, part.begin + line_b + i * kStepB);
	int base = part.begin;
	auto load_slab = [&](int slot) {
#pragma unroll
		for (int i = 0; i < kRowsA; i++) {
			int line = line_a + i * kStepA;
			bool valid = base + line < part.end && k < g.K;
			copy_async16(&s.a[slot][across_at<T, kChunksA>(line, chunk_a)], valid ? dy + int64_t(base + line) * g.K + k : dy, valid);
		}
#pragma unroll
		for (int i = 0; i < kRowsB; i++) {
			int line = line_b + i * kStepB;
			int pixel = base + line < part.end && column < g.depth ? conv_input(g, pixels[i], tap) : -1;
			const T *from = pixel < 0 ? x0 : conv_source(g, x0, x1, pixel, tap.c);
			copy_async16(&s.b[slot][across_at<T, kChunksB>(line, chunk_b)], from, pixel >= 0);
			advance(pixels[i], g, split);
		}
		base += kPixelSlab;
	};

	int slabs = (part.end - part.begin + kPixelSlab - 1) / kPixelSlab;
	for (int i = 0; i < kStages - 1; i++) {
		if (i < slabs) load_slab(i);
		copy_commit();
	}
	int m = warp() % kWarpsM * (kBM / kWarpsM), n = warp() / kWarpsM * (kBN / kWarpsN);
	float acc[kM][kN][4] = {};
	for (int i = 0; i < slabs; i++) {
		copy_wait<kStages - 2>();
		sync_block(); // for every thread's part of slab i, and for every warp to be done with slab i-1, whose slot is next
		if (i + kStages - 1 < slabs) load_slab((i + kStages - 1) % kStages);
		copy_commit();
		multiply_across<T, kPixelSlab, kChunksA, kChunksB>(acc, s.a[i % kStages], m, s.b[i % kStages], n);
	}
	sums += int64_t(index) * g.K * g.depth;
#pragma unroll
	for (int i = 0; i < kM; i++) {
#pragma unroll
		for (int j = 0; j < kN; j++) {
			int row = m0 + m + i * 16 + (lane() >> 2), at = n0 + n + j * 8 + (lane() & 3) * 2;
#pragma unroll
			for (int r = 0; r < 2; r++) {
				if (row + 8 * r < g.K && at < g.depth)
					store8(sums + int64_t(row + 8 * r) * g.depth + at, Bytes8{{float_bits(acc[i][j][2 * r]), float_bits(acc[i][j][2 * r + 1])}});
			}
		}
	}
}

// conv2d_wgrad_plain_kernel: the same for 64 by 64, a thread 4 by 4 of them.
template <typename X, typename D>
__global__ void __launch_bounds__(kPlainThreads, kPlainBlocks)
conv2d_wgrad_plain_kernel(float *sums, // (slices,parts,K,R*S*C)
                          const X *x0, // (N,H,W,C0)
                          const X *x1, // (N,H,W,C1)
                          const D *dy, // (pixels,K)
                          ConvGeometry g, ConvSplit split, unsigned tiles_m, unsigned tiles_n) {
	constexpr int kStep = kPlainThreads / 64, kRows = kPlainPixelSlab / kStep;
	auto &s = shared<ConvPlainShared<64, 64>>();
	int n0 = int(blockIdx.x % tiles_n) * 64, m0 = int(blockIdx.x / tiles_n % tiles_m) * 64;
	int index = int(blockIdx.x / tiles_n / tiles_m);
	ConvPart part = conv_part(g, split, index);
	int column = threadIdx.x % 64, line = threadIdx.x / 64;
	ConvTap tap = conv_tap(g, n0 + column);
	ConvPixel pixels[kRows];
#pragma unroll
	for (int i = 0; i < kRows; i++) pixels[i] = conv_pixel(g, part.begin + line + i * kStep);
	int m = threadIdx.x / 16, n = threadIdx.x % 16;
	float acc[4][4] = {};
	for (int base = part.begin; base < part.end; base += kPlainPixelSlab) {
#pragma unroll
		for (int i = 0; i < kRows; i++) {
			int row = line + i * kStep;
			bool inside = base + row < part.end;
			s.a[row][column] = inside && m0 + column < g.K ? to_float(dy[int64_t(base + row) * g.K + m0 + column]) : 0.0f;
			int pixel = inside && n0 + column < g.depth ? conv_input(g, pixels[i], tap) : -1;
			s.b[row][column] = pixel < 0 ? 0.0f : to_float(*conv_source(g, x0, x1, pixel, tap.c));
			advance(pixels[i], g, split);
		}
		sync_block(); // for the slab
		multiply_outer<kPlainPixelSlab, 16, 16>(acc, s.a, m, s.b, n);
		sync_block(); // for every thread to be done with it
	}
	sums += int64_t(index) * g.K * g.depth;
#pragma unroll
	for (int i = 0; i < 4; i++) {
#pragma unroll
		for (int j = 0; j < 4; j++) {
			int row = m0 + m + i * 16, at = n0 + n + j * 16;
			if (row < g.K && at < g.depth) sums[int64_t(row) * g.depth + at] = acc[i][j];
		}
	}
}

// conv2d_wgrad_reduce_kernel: a thread owns an element: parts low to high, times scale, then slices pairwise.
__global__ void __launch_bounds__(kPointwiseThreads)
conv2d_wgrad_reduce_kernel(float *dw,   // (size)
                           float beta,
                           float *sums, // (slices,parts,size)
                           int slices, int parts, int64_t size, float scale) {
	int64_t i = int64_t(blockIdx.x) * kPointwiseThreads + threadIdx.x;
	if (i >= size) return;
	for (int slice = 0; slice < slices; slice++) {
		float *v = sums + int64_t(slice) * parts * size + i;
		float sum = v[0];
		for (int part = 1; part < parts; part++) sum += v[part * size];
		v[0] = mul(scale, sum);
	}
	dw[i] = accumulate(dw + i, beta, add_pairwise(sums, slices, parts * size, i));
}

// ---- launchers

namespace {

// choose_wgrad looks at the filter alone.
ConvVariant choose_wgrad(const ConvGeometry &g, bool tensor) {
	if (!tensor || g.C0 % 8 != 0 || g.C1 % 8 != 0 || g.K % 8 != 0) return ConvVariant::plain_64x64;
	if (g.K <= 32) return ConvVariant::mma_32x128;
	return (g.K % 128 == 0 || g.K >= 320) && g.depth >= 1024 ? ConvVariant::mma_128x128 : ConvVariant::mma_64x64;
}

// wgrad_split is the table of the split: enough parts that a slice of 8 images fills about 32 blocks of 64 by 64, of 256
// pixels or more. It does not depend on N, dtype or kernel.
ConvSplit wgrad_split(const ConvGeometry &g, int N) {
	int64_t pixels = int64_t(ICT_SLICE) * g.P * g.Q, tiles = ceil_div(g.K, 64) * ceil_div(g.depth, 64);
	int64_t parts = 32 / tiles, most = ceil_div(pixels, 256);
	parts = parts < 1 ? 1 : parts > most ? most : parts;
	ConvSplit s = {};
	int64_t length = ceil_div(ceil_div(pixels, parts), kPixelSlab) * kPixelSlab;
	s.length = int(length < 1 << 30 ? length : 1 << 30);  // a slice of so many pixels has but one image
	s.slices = int(ceil_div(N, ICT_SLICE)), s.parts = int(ceil_div(pixels, s.length)), s.images = N;
	return s;
}

size_t wgrad_bytes(const ConvGeometry &g, const ConvSplit &s) {
	return align256(sizeof(float) * size_t(s.slices) * s.parts * g.K * g.depth);
}

template <int kBM, int kBN, int kSlab, typename X, typename D>
int launch_wgrad(void (*kernel)(float *, const X *, const X *, const D *, ConvGeometry, ConvSplit, unsigned, unsigned), int threads,
                 size_t smem, float *sums, const void *x0, const void *x1, const void *dy, const ConvGeometry &g, ConvSplit split,
                 const ict_exec *ex) {
	int64_t tiles_m = ceil_div(g.K, kBM), tiles_n = ceil_div(g.depth, kBN), blocks = tiles_m * tiles_n * split.slices * split.parts;
	ICT_REQUIRE(blocks <= 0x7fffffff, ICT_ERR_SHAPE);
	split.dq = kSlab % g.Q, split.dp = kSlab / g.Q % g.P, split.dn = kSlab / g.Q / g.P;
	return launch(kernel, unsigned(blocks), threads, smem, ex, sums, static_cast<const X *>(x0), static_cast<const X *>(x1),
	              static_cast<const D *>(dy), g, split, unsigned(tiles_m), unsigned(tiles_n));
}

template <typename T, int kBM, int kBN, int kWarpsM, int kWarpsN>
int launch_wgrad_mma(float *sums, const void *x0, const void *x1, const void *dy, const ConvGeometry &g, const ConvSplit &split,
                     const ict_exec *ex) {
	return launch_wgrad<kBM, kBN, kPixelSlab, T, T>(conv2d_wgrad_mma_kernel<T, kBM, kBN, kWarpsM, kWarpsN>, 32 * kWarpsM * kWarpsN,
	                                                sizeof(WgradMmaShared<T, kBM, kBN, sizeof(T) == 2 ? 4 : 3>), sums, x0, x1, dy, g, split, ex);
}

template <typename X, typename D>
int wgrad(ConvVariant v, float *sums, const void *x0, const void *x1, const void *dy, const ConvGeometry &g, const ConvSplit &split,
          const ict_exec *ex) {
	if constexpr (std::is_same_v<X, D>) {
		if (v == ConvVariant::mma_128x128) return launch_wgrad_mma<X, 128, 128, 2, 4>(sums, x0, x1, dy, g, split, ex);
		if (v == ConvVariant::mma_64x64) return launch_wgrad_mma<X, 64, 64, 2, 2>(sums, x0, x1, dy, g, split, ex);
		if (v == ConvVariant::mma_32x128) return launch_wgrad_mma<X, 32, 128, 1, 4>(sums, x0, x1, dy, g, split, ex);
	}
	return launch_wgrad<64, 64, kPlainPixelSlab, X, D>(conv2d_wgrad_plain_kernel<X, D>, kPlainThreads, sizeof(ConvPlainShared<64, 64>), sums,
	                                                   x0, x1, dy, g, split, ex);
}

} // namespace

extern "C" int ict_conv2d_wgrad(float *dw, float beta_dw, float *dbias, float beta_dbias, const void *x0, const void *x1, const void *dy,
                                ict_conv2d d, float scale, ict_dtype dy_dtype, void *ws, size_t ws_bytes, ict_dtype dtype, const ict_exec *ex) {
	(void)beta_dbias;
	ICT_REQUIRE(x0 && dy && (d.C1 == 0 || x1), ICT_ERR_NULL);
	if (int e = check_device(ex)) return e;
	ICT_REQUIRE(conv_valid(d) && !dbias, ICT_ERR_SHAPE);
	ICT_REQUIRE(aligned(dw, 4) && conv_aligned(x0, x1, dy), ICT_ERR_ALIGN);
	if (!dw) return ICT_OK;
	ConvGeometry g = forward_geometry(d);
	ConvSplit split = wgrad_split(g, d.N);
	ICT_REQUIRE(ws && ws_bytes >= wgrad_bytes(g, split), ICT_ERR_WORKSPACE);
	ICT_REQUIRE(aligned(ws, 256), ICT_ERR_ALIGN);
	ConvVariant v = choose_wgrad(g, on_tensor_cores(dtype, ex) && dy_dtype == dtype);
	float *sums = static_cast<float *>(ws);
	int e = with_pair(dtype, dy_dtype, [&](auto input, auto slope) -> int {
		return wgrad<decltype(input), decltype(slope)>(v, sums, x0, x1, dy, g, split, ex);
	});
	if (e) return e;
	int64_t size = int64_t(g.K) * g.depth;
	return launch(conv2d_wgrad_reduce_kernel, flat_blocks(size, 1), kPointwiseThreads, 0, ex, dw, beta_dw, sums, split.slices, split.parts,
	              size, scale);
}

extern "C" size_t ict_conv2d_wgrad_workspace(ict_conv2d d, ict_dtype dtype, const ict_exec *ex) {
	(void)dtype;
	(void)ex;
	if (!conv_valid(d)) return 0;
	ConvGeometry g = forward_geometry(d);
	return wgrad_bytes(g, wgrad_split(g, d.N));
}

extern "C" const char *ict_conv2d_wgrad_variant(ict_conv2d d, ict_dtype dtype, const ict_exec *ex) {
	if (!ex || !conv_valid(d)) return "";
	return name(choose_wgrad(forward_geometry(d), on_tensor_cores(dtype, ex)));
}

} // namespace ict
