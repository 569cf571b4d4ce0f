// precond.cu: the network's raw output and its noisy input become the consistency function, per image:
// f = skip*x + out*raw, draw = out*df. One element per thread: D need not be whole vectors, and the tensors are images.
// Defined in tensor/precond.go.
#include "vec.cuh"

namespace ict {

template <typename T>
__global__ void __launch_bounds__(kPointwiseThreads)
precond_forward_kernel(float *f,          // (N,D)
                       const T *raw,      // (N,D)
                       const float *x,    // (N,D)
                       const float *skip, // (N)
                       const float *out,  // (N)
                       int64_t D, bool clamp, unsigned tiles) {
	int64_t n = blockIdx.x / tiles, i = int64_t(blockIdx.x % tiles) * kPointwiseThreads + threadIdx.x;
	if (i >= D) return;
	i += n * D;
	float v = fma(out[n], to_float(raw[i]), mul(skip[n], x[i]));
	if (clamp) v = v > 1.0f ? 1.0f : v < -1.0f ? -1.0f : v; // NaN stays NaN
	f[i] = v;
}

template <typename T>
__global__ void __launch_bounds__(kPointwiseThreads)
precond_backward_kernel(T *draw,          // (N,D)
                        float beta,
                        const float *df,  // (N,D)
                        const float *out, // (N)
                        int64_t D, unsigned tiles) {
	int64_t n = blockIdx.x / tiles, i = int64_t(blockIdx.x % tiles) * kPointwiseThreads + threadIdx.x;
	if (i >= D) return;
	i += n * D;
	float v = mul(out[n], df[i]);
	if (beta != 0.0f) v = fma(beta, to_float(draw[i]), v);
	draw[i] = from_float<T>(v);
}

// ---- launchers

extern "C" int ict_precond_forward(float *f, const void *raw, const float *x, const float *skip, const float *out, int32_t N,
                                   int64_t D, int32_t clamp, ict_dtype dtype, const ict_exec *ex) {
	ICT_REQUIRE(f && raw && x && skip && out, ICT_ERR_NULL);
	if (int e = check_device(ex)) return e;
	ICT_REQUIRE(N >= 1 && D >= 1, ICT_ERR_SHAPE);
	ImageGrid g = image_grid(N, D, kPointwiseThreads);
	ICT_REQUIRE(g.blocks > 0, ICT_ERR_SHAPE);
	ICT_REQUIRE(aligned(f, 4) && aligned(x, 4) && aligned(skip, 4) && aligned(out, 4), ICT_ERR_ALIGN);
	return with_storage(dtype, [&](auto zero) -> int {
		using T = decltype(zero);
		ICT_REQUIRE(aligned(raw, sizeof(T)), ICT_ERR_ALIGN);
		return launch(precond_forward_kernel<T>, g.blocks, kPointwiseThreads, 0, ex, f, static_cast<const T *>(raw), x, skip, out, D,
		              clamp != 0, g.tiles);
	});
}

extern "C" int ict_precond_backward(void *draw, float beta_draw, const float *df, const float *out, int32_t N, int64_t D,
                                    ict_dtype dtype, const ict_exec *ex) {
	ICT_REQUIRE(draw && df && out, ICT_ERR_NULL);
	if (int e = check_device(ex)) return e;
	ICT_REQUIRE(N >= 1 && D >= 1, ICT_ERR_SHAPE);
	ImageGrid g = image_grid(N, D, kPointwiseThreads);
	ICT_REQUIRE(g.blocks > 0, ICT_ERR_SHAPE);
	ICT_REQUIRE(aligned(df, 4) && aligned(out, 4), ICT_ERR_ALIGN);
	return with_storage(dtype, [&](auto zero) -> int {
		using T = decltype(zero);
		ICT_REQUIRE(aligned(draw, sizeof(T)), ICT_ERR_ALIGN);
		return launch(precond_backward_kernel<T>, g.blocks, kPointwiseThreads, 0, ex, static_cast<T *>(draw), beta_draw, df, out, D, g.tiles);
	});
}

} // namespace ict
