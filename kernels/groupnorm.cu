// groupnorm.cu: group norm over one or two sources, with scale-shift, activation and dropout, and all its gradients.
//
// One block owns a tile: some whole groups of one image, and all their pixels. It reads the tile twice, the second time
// from the caches, so nothing but the results goes through memory. Threads stand in rows: a row's threads own 8
// neighbouring channels each (16 bytes of a 16-bit type), rows share the pixels out. Who adds what depends on HW, C and G
// alone, not on how the elements are loaded.
//
//   forward   mean and squared deviations of each channel: shifted by a value of the run itself over 32 pixels, such runs
//             and rows merged by Chan's formula, channels of a group likewise; then y = act((x-m)a + b), masked
//   backward  s1 = sum of du, s2 = sum of du*xhat of each channel, du = dy*mask*act'; dgamma, dbeta, dscale, dshift and
//             the group's means from them; then dx = rstd*(k*du - mean(k*du) - xhat*mean(k*du*xhat)), k = gamma(1+s)
//
// Source: [GroupNorm]; merging [Chan]. Defined in tensor/groupnorm.go.
#include "philox.cuh"
#include "reduce.cuh"
#include "vec.cuh"

namespace ict {

constexpr int kNormThreads = 256;
constexpr int kNormWidth = 8;    // channels of a thread
constexpr int kNormRun = 32;     // pixels of a shifted sum: it loses at most a factor of this
constexpr int kNormChain = 16;   // pixels of a chain of f32 sums
constexpr int kNormColumns = 8;  // most threads in a row

// How a launch is laid out; a function of C and G alone.
struct NormTiles {
	int group;    // channels of a group
	int tile;     // channels of a tile: whole groups
	int tiles;    // per image
	int columns;  // threads of a row; a power of two. A row covers a chunk of columns*kNormWidth channels
	int rows;
};

// A call, the same of both directions. T is the storage type.
template <typename T> struct NormCall {
	const T *x0, *x1;          // (N,HW,C0), (N,HW,C1)
	const float *gamma, *beta; // (C)
	const float *scale_shift;  // (N,2C) rows apart, or null
	int HW, C0, C1, G;
	int scale_shift_stride;
	float eps;
	bool silu;
	NormTiles t;
	const ict_step *step; // of the dropout; null: none
	uint32_t threshold, op, images;
	float keep; // 1/(1-p)
};

// Mean and sum of squared deviations of n values.
struct Moments {
	float n, mean, m2;
};

// merge adds the values of b to those of a [Chan]. a may be empty only where its mean is 0.
__device__ __forceinline__ Moments merge(const Moments &a, const Moments &b) {
	if (b.n == 0.0f) return a;
	float n = a.n + b.n, share = b.n / n, d = b.mean - a.mean;
	return {n, fma(d, share, a.mean), a.m2 + b.m2 + d * (d * a.n) * share};
}

struct GroupNormShared {
	float a[kNormThreads * kNormWidth], b[kNormThreads * kNormWidth]; // [row][channel]: mean, m2 or s1, s2
	float count[kNormThreads];                                        // [row]
	float group_n[kNormColumns * kNormWidth];                         // running values of the tile's groups
	float group_a[kNormColumns * kNormWidth], group_b[kNormColumns * kNormWidth];
};

// Where a thread works: channels c ... c+count-1 of the concatenation, in a tile of an image. count 0: none.
struct NormPlace {
	int64_t n;
	int c, count;
};

// load_channels reads 8 channels from c on of a tensor like x0|x1; kVector: all 8 exist, in one source, aligned.
template <bool kVector, typename T>
__device__ __forceinline__ void load_channels(const T *x0, const T *x1, int C0, int C1, int64_t pixel, int c, int count,
                                              float (&v)[kNormWidth]) {
	if constexpr (kVector) {
		load(c < C0 ? x0 + pixel * C0 + c : x1 + pixel * C1 + (c - C0), v);
	} else {
#pragma unroll
		for (int j = 0; j < kNormWidth; j++) {
			int k = c + j;
			v[j] = j >= count ? 0.0f : to_float(k < C0 ? x0[pixel * C0 + k] : x1[pixel * C1 + (k - C0)]);
		}
	}
}

// store_channels is the other way round, with beta; a null source is left out.
template <bool kVector, typename T>
__device__ __forceinline__ void store_channels(T *x0, T *x1, float beta0, float beta1, int C0, int C1, int64_t pixel, int c,
                                               int count, float (&v)[kNormWidth]) {
	if constexpr (kVector) {
		bool first = c < C0;
		T *p = first ? x0 : x1;
		if (!p) return;
		p += first ? pixel * C0 + c : pixel * C1 + (c - C0);
		float beta = first ? beta0 : beta1;
		if (beta != 0.0f) {
			float old[kNormWidth];
			load(p, old);
#pragma unroll
			for (int j = 0; j < kNormWidth; j++) v[j] = fma(beta, old[j], v[j]);
		}
		store(p, v);
	} else {
#pragma unroll
		for (int j = 0; j < kNormWidth; j++) {
			int k = c + j;
			bool first = k < C0;
			T *p = first ? x0 : x1;
			if (j >= count || !p) continue;
			p += first ? pixel * C0 + k : pixel * C1 + (k - C0);
			float beta = first ? beta0 : beta1;
			*p = from_float<T>(beta == 0.0f ? v[j] : fma(beta, to_float(*p), v[j]));
		}
	}
}

// drop_channels multiplies v, the elements of the image from e on, by the mask: 0 or keep.
template <bool kVector>
__device__ __forceinline__ void drop_channels(const Stream &s, uint32_t threshold, float keep, int64_t e, float (&v)[kNormWidth]) {
	uint32_t w[4];
	if constexpr (kVector) {
#pragma unroll
		for (int j = 0; j < kNormWidth; j += 4) {
			philox_words(s, uint32_t((e + j) / 4), w);
#pragma unroll
			for (int i = 0; i < 4; i++) v[j + i] = w[i] >= threshold ? v[j + i] * keep : 0.0f;
		}
	} else {
		philox_words(s, uint32_t(e / 4), w);
#pragma unroll
		for (int j = 0; j < kNormWidth; j++) {
			int i = int((e + j) % 4);
			if (j > 0 && i == 0) philox_words(s, uint32_t((e + j) / 4), w);
			uint32_t word = i == 0 ? w[0] : i == 1 ? w[1] : i == 2 ? w[2] : w[3];
			v[j] = word >= threshold ? v[j] * keep : 0.0f;
		}
	}
}

// chunk_place is the thread's place in the chunk of its block's tile that begins at channel offset.
__device__ __forceinline__ NormPlace chunk_place(const NormTiles &t, int C, int offset) {
	int tile = int(blockIdx.x % unsigned(t.tiles)), begin = tile * t.tile, end = begin + t.tile < C ? begin + t.tile : C;
	int c = begin + offset + int(threadIdx.x) % t.columns * kNormWidth, count = end - c;
	return {int64_t(blockIdx.x / unsigned(t.tiles)), c, count < 0 ? 0 : count > kNormWidth ? kNormWidth : count};
}

// affine gives what a thread's channels do to x: u = (x - m)*a + b.
template <typename T>
__device__ __forceinline__ void affine(const NormCall<T> &f, const NormPlace &at, const float *mean, const float *rstd,
                                       float (&m)[kNormWidth], float (&a)[kNormWidth], float (&b)[kNormWidth]) {
	int C = f.C0 + f.C1;
#pragma unroll
	for (int j = 0; j < kNormWidth; j++) {
		m[j] = a[j] = b[j] = 0.0f;
		if (j >= at.count) continue;
		int c = at.c + j;
		int64_t g = at.n * f.G + c / f.t.group;
		float scale = 1.0f, shift = 0.0f;
		if (f.scale_shift) {
			const float *row = f.scale_shift + at.n * f.scale_shift_stride;
			scale += row[c];
			shift = row[C + c];
		}
		m[j] = mean[g];
		a[j] = rstd[g] * (f.gamma[c] * scale);
		b[j] = fma(f.beta[c], scale, shift);
	}
}

// pixel_moments gives the moments of the thread's channels over pixels row, row+rows, ...
template <typename T, bool kVector>
__device__ __forceinline__ float pixel_moments(const NormCall<T> &f, const NormPlace &at, int row, float (&mean)[kNormWidth],
                                               float (&m2)[kNormWidth]) {
	float n = 0.0f;
#pragma unroll
	for (int j = 0; j < kNormWidth; j++) mean[j] = m2[j] = 0.0f;
	for (int p = row; p < f.HW;) {
		float shift[kNormWidth], s1[kNormWidth], s2[kNormWidth], v[kNormWidth];
		load_channels<kVector>(f.x0, f.x1, f.C0, f.C1, at.n * f.HW + p, at.c, at.count, shift);
#pragma unroll
		for (int j = 0; j < kNormWidth; j++) s1[j] = s2[j] = 0.0f;
		int count = 1;
		for (p += f.t.rows; count < kNormRun && p < f.HW; p += f.t.rows, count++) {
			load_channels<kVector>(f.x0, f.x1, f.C0, f.C1, at.n * f.HW + p, at.c, at.count, v);
#pragma unroll
			for (int j = 0; j < kNormWidth; j++) {
				float d = v[j] - shift[j];
				s1[j] += d;
				s2[j] = fma(d, d, s2[j]);
			}
		}
		float run = float(count), share = 1.0f / run;
#pragma unroll
		for (int j = 0; j < kNormWidth; j++) {
			float d = s1[j] * share, rest = fma(-s1[j], d, s2[j]);
			Moments m = merge({n, mean[j], m2[j]}, {run, shift[j] + d, rest < 0.0f ? 0.0f : rest});
			mean[j] = m.mean;
			m2[j] = m.m2;
		}
		n += run;
	}
	return n;
}

// warp_merge merges the lanes' moments: 16 apart, then 8, 4, 2, 1; the result is lane 0's.
__device__ __forceinline__ Moments warp_merge(Moments m) {
#pragma unroll
	for (int by = 16; by > 0; by >>= 1) {
		Moments o = {shuffle_down(full_mask, m.n, by), shuffle_down(full_mask, m.mean, by), shuffle_down(full_mask, m.m2, by)};
		if (lane() < by) m = m.n == 0.0f ? o : merge(m, o);
	}
	return m;
}

template <typename T, bool kVector>
__global__ void __launch_bounds__(kNormThreads, kVector ? 2 : 1) // as groupnorm_backward_kernel
groupnorm_forward_kernel(T *y,        // (N,HW,C)
                         float *mean, // (N,G)
                         float *rstd, // (N,G)
                         NormCall<T> f) {
	GroupNormShared &s = shared<GroupNormShared>();
	const NormTiles &t = f.t;
	int row = int(threadIdx.x) / t.columns, column = int(threadIdx.x) % t.columns * kNormWidth, chunk = t.columns * kNormWidth;
	int C = f.C0 + f.C1, tile_begin = int(blockIdx.x % unsigned(t.tiles)) * t.tile;
	int width = C - tile_begin < t.tile ? C - tile_begin : t.tile, groups = width / t.group;
	int64_t n = blockIdx.x / unsigned(t.tiles);
	if (int(threadIdx.x) < groups) s.group_n[threadIdx.x] = s.group_a[threadIdx.x] = s.group_b[threadIdx.x] = 0.0f;

	for (int offset = 0; offset < width; offset += chunk) { // more than one only where a group is wider than a chunk
		NormPlace at = chunk_place(t, C, offset);
		float a[kNormWidth], b[kNormWidth], count = 0.0f;
		if (at.count > 0) count = pixel_moments<T, kVector>(f, at, row, a, b);
		for (int half = t.rows / 2;; half /= 2) { // rows, as a tree
			if (at.count > 0 && row < (half ? 2 * half : 1)) {
#pragma unroll
				for (int j = 0; j < kNormWidth; j++) {
					s.a[row * chunk + column + j] = a[j];
					s.b[row * chunk + column + j] = b[j];
				}
				if (column == 0) s.count[row] = count;
			}
			sync_block(); // for the rows' moments
			if (half == 0) break;
			if (at.count > 0 && row < half) {
				float other = s.count[row + half];
#pragma unroll
				for (int j = 0; j < kNormWidth; j++) {
					int i = (row + half) * chunk + column + j;
					Moments m = merge({count, a[j], b[j]}, {other, s.a[i], s.b[i]});
					a[j] = m.mean;
					b[j] = m.m2;
				}
				count += other;
			}
			sync_block(); // for the upper rows to have been read
		}
		for (int g = warp(); g < groups; g += kNormThreads / 32) { // a warp merges the channels of its groups in this chunk
			int from = g * t.group - offset, to = from + t.group;
			from = from < 0 ? 0 : from;
			to = to > chunk ? chunk : to;
			Moments m = {0.0f, 0.0f, 0.0f};
			for (int c = from + lane(); c < to; c += 32) m = merge(m, {float(f.HW), s.a[c], s.b[c]});
			m = warp_merge(m);
			if (lane() == 0) {
				m = merge({s.group_n[g], s.group_a[g], s.group_b[g]}, m);
				s.group_n[g] = m.n;
				s.group_a[g] = m.mean;
				s.group_b[g] = m.m2;
			}
		}
		sync_block(); // for the groups; the next chunk writes s.a
	}
	if (int(threadIdx.x) < groups) {
		int64_t g = n * f.G + tile_begin / t.group + int(threadIdx.x);
		mean[g] = s.group_a[threadIdx.x];
		rstd[g] = 1.0f / sqrt(s.group_b[threadIdx.x] / s.group_n[threadIdx.x] + f.eps);
	}
	sync_block(); // for mean and rstd, which affine reads

	Stream stream = {};
	if (f.step) stream = philox_stream(*f.step, kPurposeDropout + f.op, uint64_t(n) % f.images);
	for (int offset = 0; offset < width; offset += chunk) {
		NormPlace at = chunk_place(t, C, offset);
		if (at.count == 0) continue;
		float m[kNormWidth], a[kNormWidth], b[kNormWidth], v[kNormWidth];
		affine(f, at, mean, rstd, m, a, b);
		for (int p = row; p < f.HW; p += t.rows) {
			int64_t pixel = n * f.HW + p;
			load_channels<kVector>(f.x0, f.x1, f.C0, f.C1, pixel, at.c, at.count, v);
#pragma unroll
			for (int j = 0; j < kNormWidth; j++) {
				v[j] = fma(v[j] - m[j], a[j], b[j]);
				if (f.silu) v[j] = silu(v[j]);
			}
			if (f.step) drop_channels<kVector>(stream, f.threshold, f.keep, int64_t(p) * C + at.c, v);
			store_channels<kVector, T>(y, nullptr, 0.0f, 0.0f, C, 0, pixel, at.c, at.count, v);
		}
	}
}

// What groupnorm_backward reads and writes beside the call.
template <typename T> struct NormGradients {
	T *dx0, *dx1;          // (N,HW,C0), (N,HW,C1) or null
	float beta_dx0, beta_dx1;
	float *sums;           // (N,2C): dgamma|dbeta of each image, or null
	float *dscale_shift;   // (N,2C) rows apart, or null
	float beta_dscale_shift;
	int dscale_shift_stride;
	const T *dy;           // (N,HW,C)
	const float *mean, *rstd; // (N,G)
};

// slopes turns v, the gradient at the output, into du, that at u; d = x - m.
template <typename T, bool kVector>
__device__ __forceinline__ void slopes(const NormCall<T> &f, const Stream &stream, const T *dy, int64_t n, int p, const NormPlace &at,
                                       const float (&m)[kNormWidth], const float (&a)[kNormWidth], const float (&b)[kNormWidth],
                                       float (&v)[kNormWidth], float (&d)[kNormWidth]) {
	int C = f.C0 + f.C1;
	int64_t pixel = n * f.HW + p;
	load_channels<kVector, T>(dy, nullptr, C, 0, pixel, at.c, at.count, v);
	load_channels<kVector>(f.x0, f.x1, f.C0, f.C1, pixel, at.c, at.count, d);
	if (f.step) drop_channels<kVector>(stream, f.threshold, f.keep, int64_t(p) * C + at.c, v);
#pragma unroll
	for (int j = 0; j < kNormWidth; j++) {
		d[j] -= m[j];
		if (f.silu) v[j] *= silu_derivative(fma(d[j], a[j], b[j]));
	}
}

template <typename T, bool kVector>
__global__ void __launch_bounds__(kNormThreads, kVector ? 2 : 1) // 128 registers are too few for single elements
groupnorm_backward_kernel(NormGradients<T> g, NormCall<T> f) {
	GroupNormShared &s = shared<GroupNormShared>();
	const NormTiles &t = f.t;
	int row = int(threadIdx.x) / t.columns, column = int(threadIdx.x) % t.columns * kNormWidth, chunk = t.columns * kNormWidth;
	int C = f.C0 + f.C1, tile_begin = int(blockIdx.x % unsigned(t.tiles)) * t.tile;
	int width = C - tile_begin < t.tile ? C - tile_begin : t.tile, groups = width / t.group;
	int64_t n = blockIdx.x / unsigned(t.tiles);
	Stream stream = {};
	if (f.step) stream = philox_stream(*f.step, kPurposeDropout + f.op, uint64_t(n) % f.images);
	if (int(threadIdx.x) < groups) s.group_a[threadIdx.x] = s.group_b[threadIdx.x] = 0.0f;

	float m[kNormWidth], a[kNormWidth], b[kNormWidth], v[kNormWidth], d[kNormWidth];
	for (int offset = 0; offset < width; offset += chunk) {
		NormPlace at = chunk_place(t, C, offset);
		float s1[kNormWidth], s2[kNormWidth];
#pragma unroll
		for (int j = 0; j < kNormWidth; j++) s1[j] = s2[j] = 0.0f;
		if (at.count > 0) {
			affine(f, at, g.mean, g.rstd, m, a, b);
			for (int p = row; p < f.HW;) {
				float c1[kNormWidth], c2[kNormWidth];
#pragma unroll
				for (int j = 0; j < kNormWidth; j++) c1[j] = c2[j] = 0.0f;
				for (int i = 0; i < kNormChain && p < f.HW; i++, p += t.rows) {
					slopes<T, kVector>(f, stream, g.dy, n, p, at, m, a, b, v, d);
#pragma unroll
					for (int j = 0; j < kNormWidth; j++) {
						c1[j] += v[j];
						c2[j] = fma(v[j], d[j], c2[j]);
					}
				}
#pragma unroll
				for (int j = 0; j < kNormWidth; j++) {
					s1[j] += c1[j];
					s2[j] += c2[j];
				}
			}
#pragma unroll
			for (int j = 0; j < kNormWidth; j++) {
				s.a[row * chunk + column + j] = s1[j];
				s.b[row * chunk + column + j] = s2[j];
			}
		}
		for (int half = t.rows / 2; half > 0; half /= 2) { // rows, as a tree
			sync_block();                                    // for the rows' sums
			for (int i = int(threadIdx.x); i < half * chunk; i += kNormThreads) {
				if (offset + i % chunk >= width) continue;
				s.a[i] += s.a[i + half * chunk];
				s.b[i] += s.b[i + half * chunk];
			}
		}
		sync_block(); // for the channels' sums
		for (int c = int(threadIdx.x); c < chunk && offset + c < width; c += kNormThreads) {
			int channel = tile_begin + offset + c;
			float scale = f.scale_shift ? 1.0f + f.scale_shift[n * f.scale_shift_stride + channel] : 1.0f;
			float sum = s.a[c], moment = s.b[c] * g.rstd[n * f.G + channel / t.group], gamma = f.gamma[channel];
			if (g.sums) {
				g.sums[n * 2 * C + channel] = scale * moment;
				g.sums[n * 2 * C + C + channel] = scale * sum;
			}
			if (g.dscale_shift) {
				float *to = g.dscale_shift + n * g.dscale_shift_stride + channel;
				*to = accumulate(to, g.beta_dscale_shift, fma(gamma, moment, f.beta[channel] * sum));
				to += C;
				*to = accumulate(to, g.beta_dscale_shift, sum);
			}
			s.a[c] = gamma * scale * sum;
			s.b[c] = gamma * scale * moment;
		}
		sync_block(); // for the channels' parts of the groups
		for (int i = warp(); i < groups; i += kNormThreads / 32) {
			int from = i * t.group - offset, to = from + t.group;
			from = from < 0 ? 0 : from;
			to = to > chunk ? chunk : to;
			float sum = 0.0f, moment = 0.0f;
			for (int c = from + lane(); c < to; c += 32) {
				sum += s.a[c];
				moment += s.b[c];
			}
			sum = warp_sum(sum);
			moment = warp_sum(moment);
			if (lane() == 0) {
				s.group_a[i] += sum;
				s.group_b[i] += moment;
			}
		}
		sync_block(); // for the groups; the next chunk writes s.a
	}
	if (!g.dx0 && !g.dx1) return;

	float share = 1.0f / (float(f.HW) * float(t.group));
	for (int offset = 0; offset < width; offset += chunk) {
		NormPlace at = chunk_place(t, C, offset);
		if (at.count == 0) continue;
		affine(f, at, g.mean, g.rstd, m, a, b);
		float constant[kNormWidth], slope[kNormWidth]; // dx = a*du - constant - slope*(x-m)
#pragma unroll
		for (int j = 0; j < kNormWidth; j++) {
			constant[j] = slope[j] = 0.0f;
			if (j >= at.count) continue;
			int i = (at.c + j - tile_begin) / t.group;
			float rs = g.rstd[n * f.G + tile_begin / t.group + i];
			constant[j] = rs * (s.group_a[i] * share);
			slope[j] = rs * rs * (s.group_b[i] * share);
		}
		for (int p = row; p < f.HW; p += t.rows) {
			slopes<T, kVector>(f, stream, g.dy, n, p, at, m, a, b, v, d);
#pragma unroll
			for (int j = 0; j < kNormWidth; j++) v[j] = fma(v[j], a[j], -constant[j]) - slope[j] * d[j];
			store_channels<kVector>(g.dx0, g.dx1, g.beta_dx0, g.beta_dx1, f.C0, f.C1, n * f.HW + p, at.c, at.count, v);
		}
	}
}

// groupnorm_slice_kernel: parts[slice,i] = sum over the images of a slice, in image order.
__global__ void __launch_bounds__(kPointwiseThreads)
groupnorm_slice_kernel(float *parts,      // (slices,size)
                       const float *sums, // (N,size)
                       int N, int size, unsigned tiles) {
	int slice = int(blockIdx.x / tiles), i = int(blockIdx.x % tiles) * kPointwiseThreads + int(threadIdx.x);
	if (i < size) parts[int64_t(slice) * size + i] = slice_sum(sums, slice, N, size, i);
}

__global__ void __launch_bounds__(kPointwiseThreads)
groupnorm_add_slices_kernel(float *dgamma, float beta_dgamma, // (C) or null
                            float *dbeta, float beta_dbeta,   // (C) or null
                            float *parts,                     // (slices,2C)
                            int slices, int C) {
	int i = int(blockIdx.x) * kPointwiseThreads + int(threadIdx.x);
	if (i >= 2 * C) return;
	float sum = add_pairwise(parts, slices, 2 * C, i);
	float *to = i < C ? dgamma : dbeta;
	if (!to) return;
	to += i < C ? i : i - C;
	*to = accumulate(to, i < C ? beta_dgamma : beta_dbeta, sum);
}

// ---- launchers

namespace {

int power_of_two(int n) {
	int p = 1;
	while (p < n) p *= 2;
	return p;
}

// norm_tiles: tiles of about 32 channels, so that what a row reads of a pixel is whole 32-byte sectors, and of whole
// vectors where groups allow it; a group wider than 64 channels is a tile alone and taken in chunks.
NormTiles norm_tiles(int C, int G) {
	NormTiles t = {};
	t.group = C / G;
	int unit = t.group; // the fewest channels of whole groups that are whole vectors
	while (unit % kNormWidth != 0 && unit <= kNormColumns * kNormWidth) unit += t.group;
	const int wanted = 32;
	if (unit > kNormColumns * kNormWidth) unit = t.group; // there are none: single elements
	t.tile = unit >= wanted ? unit : wanted / unit * unit;
	if (t.tile > C) t.tile = C;
	t.tiles = int(ceil_div(C, t.tile));
	int columns = power_of_two(int(ceil_div(t.tile, kNormWidth)));
	t.columns = columns > kNormColumns ? kNormColumns : columns;
	t.rows = kNormThreads / t.columns;
	return t;
}

// check_norm looks at what both directions share.
int check_norm(const ict_groupnorm &d, const void *x1, const float *scale_shift) {
	ICT_REQUIRE(d.N >= 1 && d.HW >= 1 && d.C0 >= 1 && d.C1 >= 0 && d.C0 <= 0x3fffffff - d.C1, ICT_ERR_SHAPE);
	int C = d.C0 + d.C1;
	ICT_REQUIRE((d.C1 > 0) == (x1 != nullptr), d.C1 > 0 ? ICT_ERR_NULL : ICT_ERR_SHAPE);
	ICT_REQUIRE(d.G >= 1 && C % d.G == 0 && (d.act == ICT_ACT_NONE || d.act == ICT_ACT_SILU), ICT_ERR_SHAPE);
	ICT_REQUIRE(!scale_shift || d.scale_shift_stride >= 2 * C, ICT_ERR_SHAPE);
	ICT_REQUIRE(d.dropout.p >= 0.0f && d.dropout.p < 1.0f, ICT_ERR_SHAPE);
	if (d.dropout.p > 0.0f) {
		ICT_REQUIRE(d.dropout.step, ICT_ERR_NULL);
		ICT_REQUIRE(d.dropout.images >= 1 && int64_t(d.HW) * C <= int64_t(1) << 34, ICT_ERR_SHAPE);
	}
	ICT_REQUIRE(int64_t(d.N) * norm_tiles(C, d.G).tiles <= 0x7fffffff, ICT_ERR_SHAPE);
	return ICT_OK;
}

template <typename T>
NormCall<T> norm_call(const void *x0, const void *x1, const float *gamma, const float *beta, const float *scale_shift, const ict_groupnorm &d) {
	NormCall<T> f = {};
	f.x0 = static_cast<const T *>(x0);
	f.x1 = static_cast<const T *>(x1);
	f.gamma = gamma;
	f.beta = beta;
	f.scale_shift = scale_shift;
	f.HW = d.HW;
	f.C0 = d.C0;
	f.C1 = d.C1;
	f.G = d.G;
	f.scale_shift_stride = d.scale_shift_stride;
	f.eps = d.eps;
	f.silu = d.act == ICT_ACT_SILU;
	f.t = norm_tiles(d.C0 + d.C1, d.G);
	if (d.dropout.p > 0.0f) {
		f.step = d.dropout.step;
		f.threshold = dropout_threshold(d.dropout.p);
		f.op = d.dropout.op;
		f.images = d.dropout.images;
		f.keep = 1.0f / (1.0f - d.dropout.p);
	}
	return f;
}

// norm_vectors: every thread's 8 channels exist and lie in one source. The pointers are aligned.
bool norm_vectors(const ict_groupnorm &d) {
	NormTiles t = norm_tiles(d.C0 + d.C1, d.G);
	return d.C0 % kNormWidth == 0 && d.C1 % kNormWidth == 0 && (t.tiles == 1 || t.tile % kNormWidth == 0);
}

} // namespace

extern "C" size_t ict_groupnorm_forward_workspace(ict_groupnorm d, const ict_exec *ex) {
	(void)d;
	(void)ex;
	return 0;
}

extern "C" int ict_groupnorm_forward(void *y, float *mean, float *rstd, const void *x0, const void *x1, const float *gamma,
                                     const float *beta, const float *scale_shift, const float *temb, const float *stats0,
                                     const float *stats1, ict_groupnorm d, void *ws, size_t ws_bytes, ict_dtype dtype,
                                     const ict_exec *ex) {
	(void)ws;
	(void)ws_bytes;
	ICT_REQUIRE(y && mean && rstd && x0 && gamma && beta, ICT_ERR_NULL);
	if (int e = check_device(ex)) return e;
	if (int e = check_norm(d, x1, scale_shift)) return e;
	ICT_REQUIRE(!temb && !stats0 && !stats1, ICT_ERR_SHAPE);
	ICT_REQUIRE(aligned(y, 16) && aligned(x0, 16) && aligned(x1, 16), ICT_ERR_ALIGN);
	ICT_REQUIRE(aligned(mean, 4) && aligned(rstd, 4) && aligned(gamma, 4) && aligned(beta, 4) && aligned(scale_shift, 4), ICT_ERR_ALIGN);
	return with_storage(dtype, [&](auto zero) -> int {
		using T = decltype(zero);
		NormCall<T> f = norm_call<T>(x0, x1, gamma, beta, scale_shift, d);
		auto kernel = norm_vectors(d) ? groupnorm_forward_kernel<T, true> : groupnorm_forward_kernel<T, false>;
		return launch(kernel, unsigned(d.N) * unsigned(f.t.tiles), kNormThreads, sizeof(GroupNormShared), ex, static_cast<T *>(y), mean, rstd, f);
	});
}

extern "C" size_t ict_groupnorm_backward_workspace(ict_groupnorm d, const ict_exec *ex) {
	(void)ex;
	size_t row = sizeof(float) * 2 * (size_t(d.C0) + d.C1);
	return align256(row * d.N) + align256(row * ceil_div(d.N, ICT_SLICE));
}

extern "C" int ict_groupnorm_backward(void *dx0, float beta_dx0, void *dx1, float beta_dx1, float *dgamma, float beta_dgamma,
                                      float *dbeta, float beta_dbeta, float *dscale_shift, float beta_dscale_shift, float *dtemb,
                                      float beta_dtemb, const void *dy, const void *x0, const void *x1, const float *mean,
                                      const float *rstd, const float *gamma, const float *beta, const float *scale_shift,
                                      const float *sums, const void *residual, ict_groupnorm d, void *ws, size_t ws_bytes,
                                      ict_dtype dtype, const ict_exec *ex) {
	(void)beta_dtemb;
	ICT_REQUIRE(dy && x0 && mean && rstd && gamma && beta, ICT_ERR_NULL);
	if (int e = check_device(ex)) return e;
	if (int e = check_norm(d, x1, scale_shift)) return e;
	int C = d.C0 + d.C1;
	ICT_REQUIRE(!dtemb && !sums && !residual && !(dx1 && d.C1 == 0), ICT_ERR_SHAPE);
	ICT_REQUIRE(!dscale_shift || (scale_shift && d.dscale_shift_stride >= 2 * C), ICT_ERR_SHAPE);
	ICT_REQUIRE(aligned(dx0, 16) && aligned(dx1, 16) && aligned(dy, 16) && aligned(x0, 16) && aligned(x1, 16), ICT_ERR_ALIGN);
	ICT_REQUIRE(aligned(mean, 4) && aligned(rstd, 4) && aligned(gamma, 4) && aligned(beta, 4) && aligned(scale_shift, 4), ICT_ERR_ALIGN);
	ICT_REQUIRE(aligned(dgamma, 4) && aligned(dbeta, 4) && aligned(dscale_shift, 4) && aligned(ws, 256), ICT_ERR_ALIGN);
	bool summed = dgamma || dbeta;
	ICT_REQUIRE(!summed || (ws && ws_bytes >= ict_groupnorm_backward_workspace(d, ex)), ICT_ERR_WORKSPACE);
	int slices = int(ceil_div(d.N, ICT_SLICE));
	ImageGrid grid = image_grid(slices, 2 * int64_t(C), kPointwiseThreads);
	ICT_REQUIRE(grid.blocks > 0, ICT_ERR_SHAPE);
	if (!dx0 && !dx1 && !summed && !dscale_shift) return ICT_OK;
	float *images = summed ? static_cast<float *>(ws) : nullptr;
	int e = with_storage(dtype, [&](auto zero) -> int {
		using T = decltype(zero);
		NormCall<T> f = norm_call<T>(x0, x1, gamma, beta, scale_shift, d);
		NormGradients<T> g = {static_cast<T *>(dx0), static_cast<T *>(dx1), beta_dx0, beta_dx1, images, dscale_shift,
		                      beta_dscale_shift, d.dscale_shift_stride, static_cast<const T *>(dy), mean, rstd};
		auto kernel = norm_vectors(d) ? groupnorm_backward_kernel<T, true> : groupnorm_backward_kernel<T, false>;
		return launch(kernel, unsigned(d.N) * unsigned(f.t.tiles), kNormThreads, sizeof(GroupNormShared), ex, g, f);
	});
	if (e || !summed) return e;
	float *parts = reinterpret_cast<float *>(static_cast<char *>(ws) + align256(sizeof(float) * 2 * size_t(C) * d.N));
	if ((e = launch(groupnorm_slice_kernel, grid.blocks, kPointwiseThreads, 0, ex, parts, images, d.N, 2 * C, grid.tiles))) return e;
	return launch(groupnorm_add_slices_kernel, grid.tiles, kPointwiseThreads, 0, ex, dgamma, beta_dgamma, dbeta, beta_dbeta, parts, slices, C);
}

} // namespace ict
