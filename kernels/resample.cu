// resample.cu: resolution by a factor of two, up and down, and the smoothing before the pyramid's strided convolution.
//
// Every map is separable, and so is its adjoint, which is again one of five gathers times a power of two: the adjoint of
// UP2 is twice DOWN2, that of DOWN2 half UP2 per axis, that of SMOOTH is SMOOTH shifted by one. Weights are integers and
// the factors powers of two, so nothing but sums and products by 3 rounds. Each thread owns neighbouring channels of a
// pixel of the result, reads its at most 4x4 sources (from L1 and L2 but once) and writes it. Rows are combined first,
// then columns, each low to high. Defined in tensor/resample.go.
#include "reduce.cuh"
#include "vec.cuh"

namespace ict {

// The gathers along one axis, out of [0, n) zero: the weights and the first source of result i.
enum ResampleTaps {
	kTapsNearest,  // 1           i/2
	kTapsBox,      // 1 1         2i
	kTapsUp,       // 1 3 or 3 1  (i-1)/2, rounded down
	kTapsDown,     // 1 3 3 1     2i-1
	kTapsSmooth,   // 1 3 3 1     i-2, of the adjoint i-1
};

template <int kTaps> __device__ __forceinline__ constexpr int taps_count() {
	return kTaps == kTapsNearest ? 1 : kTaps == kTapsBox || kTaps == kTapsUp ? 2 : 4;
}
template <int kTaps> __device__ __forceinline__ int taps_first(int i, int shift) {
	switch (kTaps) {
	case kTapsNearest: return i >> 1;
	case kTapsBox: return 2 * i;
	case kTapsUp: return (i + 1) / 2 - 1;
	case kTapsDown: return 2 * i - 1;
	default: return i - shift;
	}
}
template <int kTaps> __device__ __forceinline__ float taps_weight(int i, int k) {
	switch (kTaps) {
	case kTapsNearest: case kTapsBox: return 1.0f;
	case kTapsUp: return (i + k) % 2 ? 3.0f : 1.0f;
	default: return k == 1 || k == 2 ? 3.0f : 1.0f;
	}
}

// resample_kernel: dst = beta*dst + gain * gather of src. Blocks of tiles of one image of dst.
template <typename T, int kTaps, int W>
__global__ void __launch_bounds__(kPointwiseThreads)
resample_kernel(T *dst,       // (N,P,Q,C)
                float beta,
                const T *src, // (N,H,W,C)
                int H, int Wd, int P, int Q, int C, int shift, float gain, unsigned tiles) {
	int64_t n = blockIdx.x / tiles;
	unsigned e = (blockIdx.x % tiles * kPointwiseThreads + threadIdx.x) * W;
	unsigned row = unsigned(Q) * unsigned(C); // an image of dst has less than 2^31 elements
	int p = int(e / row), q = int(e % row / unsigned(C)), c = int(e % unsigned(C));
	if (p >= P) return;
	constexpr int kCount = taps_count<kTaps>();
	int h0 = taps_first<kTaps>(p, shift), w0 = taps_first<kTaps>(q, shift);
	const T *image = src + n * H * Wd * C + c;
	float sum[W];
#pragma unroll
	for (int i = 0; i < W; i++) sum[i] = 0.0f;
#pragma unroll
	for (int b = 0; b < kCount; b++) {
		int w = w0 + b;
		if (w < 0 || w >= Wd) continue;
		float column[W], v[W];
#pragma unroll
		for (int i = 0; i < W; i++) column[i] = 0.0f;
#pragma unroll
		for (int a = 0; a < kCount; a++) {
			int h = h0 + a;
			if (h < 0 || h >= H) continue;
			load(image + (int64_t(h) * Wd + w) * C, v);
#pragma unroll
			for (int i = 0; i < W; i++) column[i] = fma(taps_weight<kTaps>(p, a), v[i], column[i]);
		}
#pragma unroll
		for (int i = 0; i < W; i++) sum[i] = fma(taps_weight<kTaps>(q, b), column[i], sum[i]);
	}
	dst += n * P * Q * C + e;
#pragma unroll
	for (int i = 0; i < W; i++) sum[i] = mul(gain, sum[i]);
	if (beta != 0.0f) {
		float v[W];
		load(dst, v);
#pragma unroll
		for (int i = 0; i < W; i++) sum[i] = fma(beta, v[i], sum[i]);
	}
	store(dst, sum);
}

// ---- launchers

namespace {

template <int kTaps>
int resample(void *dst, float beta, const void *src, int32_t N, int H, int W, int P, int Q, int C, int shift, float gain,
             ict_dtype dtype, const ict_exec *ex) {
	return with_storage(dtype, [&](auto zero) -> int {
		using T = decltype(zero);
		ICT_REQUIRE(aligned(dst, sizeof(T)) && aligned(src, sizeof(T)), ICT_ERR_ALIGN);
		int width = C % kPointwiseWidth == 0 ? pointwise_width(dst, src) : 1;
		ImageGrid g = image_grid(N, int64_t(P) * Q * C, kPointwiseThreads * width);
		ICT_REQUIRE(g.blocks > 0, ICT_ERR_SHAPE);
		auto kernel = width == 1 ? resample_kernel<T, kTaps, 1> : resample_kernel<T, kTaps, kPointwiseWidth>;
		return launch(kernel, g.blocks, kPointwiseThreads, 0, ex, static_cast<T *>(dst), beta, static_cast<const T *>(src), H, W,
		              P, Q, C, shift, gain, g.tiles);
	});
}

// resampled gives the size of an axis after rate; 0 where it cannot be.
int64_t resampled(int32_t n, int32_t rate) {
	switch (rate) {
	case ICT_UP2: return 2 * int64_t(n);
	case ICT_DOWN2: return n % 2 ? 0 : n / 2;
	default: return int64_t(n) + 1;
	}
}

int check_resample(int32_t N, int32_t H, int32_t W, int32_t C, int32_t rate, int32_t filter) {
	ICT_REQUIRE(N >= 1 && H >= 1 && W >= 1 && C >= 1, ICT_ERR_SHAPE);
	bool pair = rate == ICT_UP2     ? filter == ICT_NEAREST || filter == ICT_FIR1331
	            : rate == ICT_DOWN2 ? filter == ICT_BOX || filter == ICT_FIR1331
	                                : rate == ICT_SMOOTH && filter == ICT_FIR1331;
	ICT_REQUIRE(pair, ICT_ERR_SHAPE);
	int64_t P = resampled(H, rate), Q = resampled(W, rate), most = 0x7fffffff - kPointwiseThreads * kPointwiseWidth;
	ICT_REQUIRE(P > 0 && Q > 0, ICT_ERR_SHAPE);
	// one image of either side, a whole block more, is counted in 31 bits
	ICT_REQUIRE(P <= most / Q && P * Q <= most / C && H <= most / W && int64_t(H) * W <= most / C, ICT_ERR_SHAPE);
	return ICT_OK;
}

} // namespace

extern "C" int ict_resample_forward(void *y, const void *x, const float *gn_scale, const float *gn_shift, int32_t N, int32_t H,
                                    int32_t W, int32_t C, int32_t rate, int32_t filter, int32_t act, ict_dtype dtype,
                                    const ict_exec *ex) {
	ICT_REQUIRE(y && x, ICT_ERR_NULL);
	if (int e = check_device(ex)) return e;
	if (int e = check_resample(N, H, W, C, rate, filter)) return e;
	ICT_REQUIRE(!gn_scale && !gn_shift && act == ICT_ACT_NONE, ICT_ERR_SHAPE);
	int P = int(resampled(H, rate)), Q = int(resampled(W, rate));
	if (filter == ICT_NEAREST) return resample<kTapsNearest>(y, 0.0f, x, N, H, W, P, Q, C, 0, 1.0f, dtype, ex);
	if (filter == ICT_BOX) return resample<kTapsBox>(y, 0.0f, x, N, H, W, P, Q, C, 0, 0.25f, dtype, ex);
	if (rate == ICT_UP2) return resample<kTapsUp>(y, 0.0f, x, N, H, W, P, Q, C, 0, 0.0625f, dtype, ex);
	if (rate == ICT_DOWN2) return resample<kTapsDown>(y, 0.0f, x, N, H, W, P, Q, C, 0, 0.015625f, dtype, ex);
	return resample<kTapsSmooth>(y, 0.0f, x, N, H, W, P, Q, C, 2, 0.015625f, dtype, ex);
}

extern "C" int ict_resample_backward(void *dx, float beta_dx, const void *dy, int32_t N, int32_t H, int32_t W, int32_t C,
                                     int32_t rate, int32_t filter, ict_dtype dtype, const ict_exec *ex) {
	ICT_REQUIRE(dy, ICT_ERR_NULL);
	if (int e = check_device(ex)) return e;
	if (int e = check_resample(N, H, W, C, rate, filter)) return e;
	if (!dx) return ICT_OK;
	int P = int(resampled(H, rate)), Q = int(resampled(W, rate)); // of dy, the source
	if (filter == ICT_NEAREST) return resample<kTapsBox>(dx, beta_dx, dy, N, P, Q, H, W, C, 0, 1.0f, dtype, ex);
	if (filter == ICT_BOX) return resample<kTapsNearest>(dx, beta_dx, dy, N, P, Q, H, W, C, 0, 0.25f, dtype, ex);
	if (rate == ICT_UP2) return resample<kTapsDown>(dx, beta_dx, dy, N, P, Q, H, W, C, 0, 0.0625f, dtype, ex);
	if (rate == ICT_DOWN2) return resample<kTapsUp>(dx, beta_dx, dy, N, P, Q, H, W, C, 0, 0.015625f, dtype, ex);
	return resample<kTapsSmooth>(dx, beta_dx, dy, N, P, Q, H, W, C, 1, 0.015625f, dtype, ex);
}

} // namespace ict
