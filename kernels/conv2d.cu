// conv2d.cu: convolutions as matrix products, without the matrix of patches in memory (implicit GEMM).
//
// fprop: y (pixels,K) = patches (pixels,R*S*C) * w (K,R*S*C)^T; a tile of patches is gathered from x as it is loaded, zero
// outside the image. dgrad is the same product of dy with the packed filter; at stride 2 with zeros between the pixels of
// dy. wgrad: dw (K,R*S*C) = dy (pixels,K)^T * patches, cut at slices of ICT_SLICE images and, within a slice, into parts
// by the shape of one image; partial sums go to the workspace and are added low to high, slices pairwise.
//
//   mma_*     tensor cores: cp.async stages, ldmatrix, mma.sync. Channels are multiples of 8, so that 16 bytes of the
//             summed index (r,s,c) are one pixel's of one source; any R, S, stride, padding. The tile changes no bit:
//             each output adds slabs of the same 4 chunks in the same order.
//   plain_*   fused multiply-adds in f32 on tiles of floats: everything else, and f32 with ICT_MATH_F32
//
// Defined in tensor/conv2d.go.
#include "mma.cuh"
#include "reduce.cuh"
#include "tile.cuh"
#include "vec.cuh"

#include <type_traits>

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

constexpr int kPlainSlab = 16;
constexpr int kPlainThreads = 256;
constexpr int kPlainBlocks = 2;  // to a multiprocessor, or more: up to 128 registers; left alone, ptxas takes 64 and spills

template <int kBM, int kBN> struct ConvPlainShared {
	float a[kPlainSlab][kBM + 4];  // 4 more: the column that a half-warp writes lies in different banks
	float b[kPlainSlab][kBN + 4];
};

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

// ---- wgrad

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

// ---- host: checks, geometry, choice of the kernel

namespace {

int conv_p(const ict_conv2d &d) { return (d.H + 2 * d.pad_h - d.R) / d.stride + 1; }
int conv_q(const ict_conv2d &d) { return (d.W + 2 * d.pad_w - d.S) / d.stride + 1; }

bool conv_valid(const ict_conv2d &d) {
	if (d.N < 1 || d.H < 1 || d.W < 1 || d.C0 < 1 || d.C1 < 0 || d.K < 1 || d.C0 > 2048 || d.C1 > 2048 - d.C0) return false;
	if (d.R < 1 || d.S < 1 || d.R > 7 || d.S > 7 || (d.stride != 1 && d.stride != 2)) return false;
	if (d.pad_h < 0 || d.pad_w < 0 || d.pad_h >= d.R || d.pad_w >= d.S) return false;
	if (d.H > 1 << 20 || d.W > 1 << 20 || d.H + 2 * d.pad_h < d.R || d.W + 2 * d.pad_w < d.S) return false;
	int64_t most = 0x7fffffff - 1024;  // pixels are counted in 32 bits, a tile past the last one included
	int64_t in = int64_t(d.H) * d.W, out = int64_t(conv_p(d)) * conv_q(d);
	return in <= most / d.N && out <= most / d.N && d.K <= most / (d.R * d.S);
}

ConvGeometry forward_geometry(const ict_conv2d &d) {
	ConvGeometry g = {};
	g.H = d.H, g.W = d.W, g.C0 = d.C0, g.C1 = d.C1, g.C = d.C0 + d.C1, g.K = d.K, g.R = d.R, g.S = d.S;
	g.P = conv_p(d), g.Q = conv_q(d), g.stride = d.stride, g.pad_h = d.pad_h, g.pad_w = d.pad_w, g.up = 1;
	g.pixels = d.N * g.P * g.Q, g.depth = d.R * d.S * g.C;
	return g;
}

// backward_geometry: dy goes in, dx comes out.
ConvGeometry backward_geometry(const ict_conv2d &d) {
	ConvGeometry g = {};
	g.H = conv_p(d), g.W = conv_q(d), g.C0 = d.K, g.C = d.K, g.K = d.C0 + d.C1, g.R = d.R, g.S = d.S;
	g.P = d.H, g.Q = d.W, g.stride = 1, g.pad_h = d.R - 1 - d.pad_h, g.pad_w = d.S - 1 - d.pad_w, g.up = d.stride;
	g.pixels = d.N * d.H * d.W, g.depth = d.R * d.S * d.K;
	return g;
}

void set_slab(ConvGeometry &g, int slab) {
	g.dc = slab % g.C;
	g.ds = slab / g.C % g.S;
	g.dr = slab / g.C / g.S;
}

bool on_tensor_cores(ict_dtype dtype, const ict_exec *ex) { return dtype != ICT_F32 || ex->math == ICT_MATH_TENSOR; }

// The first convolution's source and filter are F32 whatever dtype is: so few channels are an image.
ict_dtype conv_input_type(const ict_conv2d &d, ict_dtype dtype) { return d.C0 <= 4 && d.C1 == 0 ? ICT_F32 : dtype; }

enum class ConvVariant { mma_128x128, mma_64x64, mma_128x32, plain_64x64, plain_256x4 };

const char *name(ConvVariant v) {
	switch (v) {
	case ConvVariant::mma_128x128: return "mma_128x128";
	case ConvVariant::mma_64x64: return "mma_64x64";
	case ConvVariant::mma_128x32: return "mma_128x32";
	case ConvVariant::plain_64x64: return "plain_64x64";
	case ConvVariant::plain_256x4: return "plain_256x4";
	}
	return "";
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

// choose_wgrad looks at the filter alone.
ConvVariant choose_wgrad(const ConvGeometry &g, bool tensor) {
	if (!tensor || g.C0 % 8 != 0 || g.C1 % 8 != 0 || g.K % 8 != 0) return ConvVariant::plain_64x64;
	if (g.K <= 32) return ConvVariant::mma_128x32;
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
		if (v == ConvVariant::mma_128x32) return launch_wgrad_mma<X, 32, 128, 1, 4>(sums, x0, x1, dy, g, split, ex);
	}
	return launch_wgrad<64, 64, kPlainPixelSlab, X, D>(conv2d_wgrad_plain_kernel<X, D>, kPlainThreads, sizeof(ConvPlainShared<64, 64>), sums,
	                                                   x0, x1, dy, g, split, ex);
}

bool conv_aligned(const void *a, const void *b, const void *c, const void *d) {
	return aligned(a, 16) && aligned(b, 16) && aligned(c, 16) && aligned(d, 16);
}

} // namespace

// ---- launchers

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
	bool wide = ep.y_f32 && dtype != ICT_F32, image = conv_input_type(d, dtype) != dtype;
	ConvVariant v = choose(g, g.K, on_tensor_cores(dtype, ex), wide);
	return with_storage(dtype, [&](auto zero) -> int {
		using T = decltype(zero);
		auto run = [&](auto result) -> int {
			using Y = decltype(result);
			ConvOutput<Y> out = {};
			out.y0 = static_cast<Y *>(y);
			out.end = out.split = out.K = d.K;
			out.bias = ep.bias, out.temb = ep.temb, out.residual = static_cast<const Y *>(ep.residual);
			out.temb_stride = ep.temb_stride, out.image = g.P * g.Q, out.scale = ep.scale, out.relu = ep.act == ICT_ACT_RELU;
			return image ? correlate<float, float, Y>(v, out, x0, x1, w, g, ex) : correlate<T, T, Y>(v, out, x0, x1, w, g, ex);
		};
		return wide ? run(float{}) : run(T{});
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
                                ict_conv2d d, float scale, int32_t dy_f32, void *ws, size_t ws_bytes, ict_dtype dtype, const ict_exec *ex) {
	(void)ws;
	(void)ws_bytes;
	ICT_REQUIRE(dy && wt, ICT_ERR_NULL);
	if (int e = check_device(ex)) return e;
	ICT_REQUIRE(conv_valid(d) && d.K <= 1 << 20 && !ne.x0 && !ne.sums && (d.C1 > 0 || !dx1), ICT_ERR_SHAPE);
	ICT_REQUIRE(conv_aligned(dx0, dx1, dy, wt), ICT_ERR_ALIGN);
	if (!dx0 && !dx1) return ICT_OK;
	ConvGeometry g = backward_geometry(d);
	bool wide = dy_f32 && dtype != ICT_F32;
	ConvVariant v = choose(g, d.C0, on_tensor_cores(dtype, ex) && !wide, false);
	return with_storage(dtype, [&](auto zero) -> int {
		using T = decltype(zero);
		ConvOutput<T> out = {};
		out.y0 = static_cast<T *>(dx0), out.y1 = static_cast<T *>(dx1), out.beta0 = beta_dx0, out.beta1 = beta_dx1;
		out.first = dx0 ? 0 : d.C0, out.end = dx1 ? g.K : d.C0, out.split = d.C0, out.K = g.K;
		out.image = g.P * g.Q, out.scale = scale;
		return wide ? correlate<float, T, T>(v, out, dy, nullptr, wt, g, ex) : correlate<T, T, T>(v, out, dy, nullptr, wt, g, ex);
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

extern "C" int ict_conv2d_wgrad(float *dw, float beta_dw, float *dbias, float beta_dbias, const void *x0, const void *x1, const void *dy,
                                ict_conv2d d, float scale, int32_t dy_f32, void *ws, size_t ws_bytes, ict_dtype dtype, const ict_exec *ex) {
	(void)beta_dbias;
	ICT_REQUIRE(x0 && dy && (d.C1 == 0 || x1), ICT_ERR_NULL);
	if (int e = check_device(ex)) return e;
	ICT_REQUIRE(conv_valid(d) && !dbias, ICT_ERR_SHAPE);
	ICT_REQUIRE(conv_aligned(dw, x0, x1, dy), ICT_ERR_ALIGN);
	if (!dw) return ICT_OK;
	ConvGeometry g = forward_geometry(d);
	ConvSplit split = wgrad_split(g, d.N);
	ICT_REQUIRE(ws && ws_bytes >= wgrad_bytes(g, split), ICT_ERR_WORKSPACE);
	ICT_REQUIRE(aligned(ws, 256), ICT_ERR_ALIGN);
	bool wide = dy_f32 && dtype != ICT_F32, image = conv_input_type(d, dtype) != dtype;
	ConvVariant v = choose_wgrad(g, on_tensor_cores(dtype, ex));
	float *sums = static_cast<float *>(ws);
	int e = with_storage(dtype, [&](auto zero) -> int {
		using T = decltype(zero);
		if (image) return wide ? wgrad<float, float>(v, sums, x0, x1, dy, g, split, ex) : wgrad<float, T>(v, sums, x0, x1, dy, g, split, ex);
		return wide ? wgrad<T, float>(v, sums, x0, x1, dy, g, split, ex) : wgrad<T, T>(v, sums, x0, x1, dy, g, split, ex);
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
	ConvVariant v = choose_wgrad(forward_geometry(d), on_tensor_cores(dtype, ex));
	return v == ConvVariant::mma_128x32 ? "mma_32x128" : name(v);
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
