// pointwise.cu: elementwise combinations, and the sums of a gradient over pixels.
//
// axpby, scale_images: each thread owns neighbouring elements, read and written in 16-byte accesses where all pointers
// allow it. bias_backward: a block sums 32 channels of one image, eight rows of threads side by side over its pixels;
// images are summed by slices. Defined in tensor/pointwise.go.
#include "reduce.cuh"
#include "vec.cuh"

namespace ict {

// combine writes v = beta*y + a*x0 + b*x1 for the elements [i, i+W) of n, one by one at the end.
template <typename T, int W>
__device__ __forceinline__ void combine(T *y, float beta, float a, const T *x0, float b, const T *x1, int64_t i, int64_t n) {
	if (i + W <= n) {
		float v[W], u[W];
		load(x0 + i, v);
#pragma unroll
		for (int j = 0; j < W; j++) v[j] = mul(a, v[j]);
		if (x1) {
			load(x1 + i, u);
#pragma unroll
			for (int j = 0; j < W; j++) v[j] = fma(b, u[j], v[j]);
		}
		if (beta != 0.0f) {
			load(y + i, u);
#pragma unroll
			for (int j = 0; j < W; j++) v[j] = fma(beta, u[j], v[j]);
		}
		store(y + i, v);
		return;
	}
	if constexpr (W > 1)
		for (; i < n; i++) combine<T, 1>(y, beta, a, x0, b, x1, i, n);
}

template <typename T, int W>
__global__ void __launch_bounds__(kPointwiseThreads)
axpby_kernel(T *y, float beta, float a, const T *x0, float b, const T *x1, int64_t n) {
	combine<T, W>(y, beta, a, x0, b, x1, (int64_t(blockIdx.x) * kPointwiseThreads + threadIdx.x) * W, n);
}

// scale_images_kernel: blocks of tiles of one image; W = 1 where images are not whole vectors.
template <typename Y, typename T, int W>
__global__ void __launch_bounds__(kPointwiseThreads)
scale_images_kernel(Y *y,           // (N,D)
                    const T *x,     // (N,D)
                    const float *s, // (N)
                    int64_t D, unsigned tiles) {
	unsigned n = blockIdx.x / tiles;
	int64_t i = (int64_t(blockIdx.x % tiles) * kPointwiseThreads + threadIdx.x) * W;
	if (i >= D) return;
	float v[W];
	load(x + n * D + i, v);
#pragma unroll
	for (int j = 0; j < W; j++) v[j] = mul(s[n], v[j]);
	store(y + n * D + i, v);
}

constexpr int kBiasRows = 8;   // rows of 32 threads: 256 threads keep enough loads in flight
constexpr int kBiasChain = 16; // pixels that are summed in f32 before they join the f64 sum, as cpu's

struct BiasShared {
	double sums[kBiasRows][32];
};

// pixel_sums_kernel: sums[n,k] = scale * sum over pixels of dy[n,p,k], and demb.
template <typename T>
__global__ void __launch_bounds__(32 * kBiasRows)
pixel_sums_kernel(float *sums,       // (N,K) or null
                  float *demb,       // (N,K) rows demb_stride apart, or null
                  float beta_demb, int demb_stride,
                  const T *dy,       // (N,HW,K)
                  int HW, int K, float scale, unsigned tiles) {
	BiasShared &s = shared<BiasShared>();
	int column = threadIdx.x % 32, row = threadIdx.x / 32;
	int64_t n = blockIdx.x / tiles;
	int k = int(blockIdx.x % tiles) * 32 + column;
	double sum = 0.0;
	if (k < K) {
		const T *image = dy + n * HW * K + k;
		for (int p = row; p < HW;) {
			float chain = 0.0f;
			for (int i = 0; i < kBiasChain && p < HW; i++, p += kBiasRows) chain += to_float(image[int64_t(p) * K]);
			sum += chain;
		}
	}
	s.sums[row][column] = sum;
	sync_block(); // for all rows' sums
	if (row != 0 || k >= K) return;
#pragma unroll
	for (int r = 1; r < kBiasRows; r++) sum += s.sums[r][column];
	float total = float(scale * sum);
	if (sums) sums[n * K + k] = total;
	if (demb) {
		float *d = demb + n * demb_stride + k;
		*d = accumulate(d, beta_demb, total);
	}
}

// slice_sums_kernel: parts[slice,k] = sum over the images of a slice, in image order.
__global__ void __launch_bounds__(kPointwiseThreads)
slice_sums_kernel(float *parts,      // (slices,K)
                  const float *sums, // (N,K)
                  int N, int K, unsigned tiles) {
	int slice = int(blockIdx.x / tiles), k = int(blockIdx.x % tiles) * kPointwiseThreads + int(threadIdx.x);
	if (k < K) parts[int64_t(slice) * K + k] = slice_sum(sums, slice, N, K, k);
}

__global__ void __launch_bounds__(kPointwiseThreads)
add_slices_kernel(float *dbias, float beta, float *parts, int slices, int K) {
	int k = int(blockIdx.x) * kPointwiseThreads + int(threadIdx.x);
	if (k < K) dbias[k] = accumulate(dbias + k, beta, add_pairwise(parts, slices, K, k));
}

// ---- launchers

extern "C" int ict_axpby(void *y, float beta_y, float a, const void *x0, float b, const void *x1, int64_t n, ict_dtype dtype,
                         const ict_exec *ex) {
	ICT_REQUIRE(y && x0, ICT_ERR_NULL);
	if (int e = check_device(ex)) return e;
	ICT_REQUIRE(n >= 1, ICT_ERR_SHAPE);
	return with_storage(dtype, [&](auto zero) -> int {
		using T = decltype(zero);
		ICT_REQUIRE(aligned(y, sizeof(T)) && aligned(x0, sizeof(T)) && aligned(x1, sizeof(T)), ICT_ERR_ALIGN);
		int width = pointwise_width(y, x0, x1);
		unsigned blocks = flat_blocks(n, width);
		ICT_REQUIRE(blocks > 0, ICT_ERR_SHAPE);
		auto kernel = width == 1 ? axpby_kernel<T, 1> : axpby_kernel<T, kPointwiseWidth>;
		return launch(kernel, blocks, kPointwiseThreads, 0, ex, static_cast<T *>(y), beta_y, a, static_cast<const T *>(x0), b,
		              static_cast<const T *>(x1), n);
	});
}

namespace {

template <typename Y, typename T>
int scale_images(void *y, const void *x, const float *s, int32_t N, int64_t D, const ict_exec *ex) {
	ICT_REQUIRE(aligned(y, sizeof(Y)) && aligned(x, sizeof(T)) && aligned(s, 4), ICT_ERR_ALIGN);
	int width = D % kPointwiseWidth == 0 ? pointwise_width(y, x) : 1;
	ImageGrid g = image_grid(N, D, kPointwiseThreads * width);
	ICT_REQUIRE(g.blocks > 0, ICT_ERR_SHAPE);
	auto kernel = width == 1 ? scale_images_kernel<Y, T, 1> : scale_images_kernel<Y, T, kPointwiseWidth>;
	return launch(kernel, g.blocks, kPointwiseThreads, 0, ex, static_cast<Y *>(y), static_cast<const T *>(x), s, D, g.tiles);
}

} // namespace

extern "C" int ict_scale_images(void *y, const void *x, const float *s, int32_t N, int64_t D, ict_dtype y_dtype, ict_dtype dtype,
                                const ict_exec *ex) {
	ICT_REQUIRE(y && x && s, ICT_ERR_NULL);
	if (int e = check_device(ex)) return e;
	ICT_REQUIRE(N >= 1 && D >= 1, ICT_ERR_SHAPE);
	ICT_REQUIRE(y_dtype == dtype || y_dtype == ICT_F32, ICT_ERR_DTYPE);
	return with_storage(dtype, [&](auto zero) -> int {
		using T = decltype(zero);
		return y_dtype == dtype ? scale_images<T, T>(y, x, s, N, D, ex) : scale_images<float, T>(y, x, s, N, D, ex);
	});
}

extern "C" size_t ict_bias_backward_workspace(int32_t N, int32_t HW, int32_t K, const ict_exec *ex) {
	(void)HW;
	(void)ex;
	return align256(sizeof(float) * size_t(N) * K) + align256(sizeof(float) * ceil_div(N, ICT_SLICE) * K);
}

extern "C" int ict_bias_backward(float *dbias, float beta_dbias, float *demb, float beta_demb, const void *dy, int32_t N, int32_t HW,
                                 int32_t K, int32_t demb_stride, float scale, void *ws, size_t ws_bytes, ict_dtype dtype,
                                 const ict_exec *ex) {
	ICT_REQUIRE(dy, ICT_ERR_NULL);
	if (int e = check_device(ex)) return e;
	ICT_REQUIRE(N >= 1 && HW >= 1 && K >= 1 && (!demb || demb_stride >= K), ICT_ERR_SHAPE);
	ICT_REQUIRE(aligned(dbias, 4) && aligned(demb, 4), ICT_ERR_ALIGN);
	ICT_REQUIRE(!dbias || (ws && ws_bytes >= ict_bias_backward_workspace(N, HW, K, ex)), ICT_ERR_WORKSPACE);
	ICT_REQUIRE(aligned(ws, 256), ICT_ERR_ALIGN);
	ImageGrid g = image_grid(N, K, 32);
	ICT_REQUIRE(g.blocks > 0, ICT_ERR_SHAPE);
	if (!dbias && !demb) return ICT_OK;
	float *sums = dbias ? static_cast<float *>(ws) : nullptr;
	int e = with_storage(dtype, [&](auto zero) -> int {
		using T = decltype(zero);
		ICT_REQUIRE(aligned(dy, sizeof(T)), ICT_ERR_ALIGN);
		return launch(pixel_sums_kernel<T>, g.blocks, 32 * kBiasRows, sizeof(BiasShared), ex, sums, demb, beta_demb, demb_stride,
		              static_cast<const T *>(dy), HW, K, scale, g.tiles);
	});
	if (e || !dbias) return e;
	float *parts = reinterpret_cast<float *>(static_cast<char *>(ws) + align256(sizeof(float) * size_t(N) * K));
	int slices = int(ceil_div(N, ICT_SLICE));
	ImageGrid p = image_grid(slices, K, kPointwiseThreads);
	if ((e = launch(slice_sums_kernel, p.blocks, kPointwiseThreads, 0, ex, parts, sums, N, K, p.tiles))) return e;
	return launch(add_slices_kernel, p.tiles, kPointwiseThreads, 0, ex, dbias, beta_dbias, parts, slices, K);
}

} // namespace ict
