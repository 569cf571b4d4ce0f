// perturb.cu: bytes become images, images become noisy pairs, images become bytes.
//
// perturb: a thread owns four neighbouring elements of the output, one Philox block, reads each byte once and writes
// both members of the pair. Mirroring moves the image under the noise: element e of the output reads the byte at the
// mirrored column. Defined in tensor/perturb.go.
#include "philox.cuh"
#include "vec.cuh"

namespace ict {

// byte_value is u/127.5 - 1, rounded after each operation, as cpu computes it.
__device__ __forceinline__ float byte_value(uint8_t u) { return sub(float(u) / 127.5f, 1.0f); }

// source is where element e of a (H,W,C) image comes from. row = W*C.
__device__ __forceinline__ int64_t source(int64_t e, int row, int C, bool mirror) {
	if (!mirror) return e;
	int64_t start = e / row * row;
	int in_row = int(e - start), c = in_row % C;
	return start + (row - C - (in_row - c)) + c;
}

template <typename T>
__global__ void __launch_bounds__(kPointwiseThreads)
image_load_kernel(T *x,                 // (N,H,W,C)
                  const uint8_t *bytes, // (N,H,W,C)
                  const uint8_t *flip,  // (N) or null
                  int64_t D, int row, int C, unsigned tiles) {
	int64_t n = blockIdx.x / tiles, e = int64_t(blockIdx.x % tiles) * kPointwiseThreads + threadIdx.x;
	if (e >= D) return;
	x[n * D + e] = from_float<T>(byte_value(bytes[n * D + source(e, row, C, flip && flip[n] != 0)]));
}

__global__ void __launch_bounds__(kPointwiseThreads)
image_store_kernel(uint8_t *bytes, const float *x, int64_t n, bool round) {
	int64_t i = int64_t(blockIdx.x) * kPointwiseThreads + threadIdx.x;
	if (i >= n) return;
	float v = round ? add(mul(x[i], 127.5f), 128.0f) : mul(add(x[i], 1.0f), 127.5f);
	bytes[i] = v >= 255.0f ? 255 : v > 0.0f ? uint8_t(int(v)) : 0; // NaN gives 0
}

__global__ void __launch_bounds__(kPointwiseThreads)
perturb_kernel(float *xt, float *cxt, // (N,D)
               float *xr, float *cxr, // (N,D) or null
               const uint8_t *bytes,  // (N,H,W,C)
               const uint8_t *flip,   // (N) or null
               const float *t, const float *r, const float *in_t, const float *in_r, // (N)
               const ict_step *step, int64_t D, int row, int C, unsigned tiles) {
	int64_t n = blockIdx.x / tiles, block = int64_t(blockIdx.x % tiles) * kPointwiseThreads + threadIdx.x;
	if (4 * block >= D) return;
	float z[4];
	philox_normals(philox_stream(*step, kPurposeNoise, n), uint32_t(block), z);
	bool mirror = flip && flip[n] != 0;
#pragma unroll
	for (int j = 0; j < 4; j++) {
		int64_t e = 4 * block + j;
		if (e >= D) break;
		float x = byte_value(bytes[n * D + source(e, row, C, mirror)]);
		float v = fma(t[n], z[j], x);
		xt[n * D + e] = v;
		cxt[n * D + e] = mul(in_t[n], v);
		if (xr) {
			v = fma(r[n], z[j], x);
			xr[n * D + e] = v;
			cxr[n * D + e] = mul(in_r[n], v);
		}
	}
}

// ---- launchers

namespace {

// image_size is H*W*C of one image, 0 where a size is below 1 or a row too long.
int64_t image_size(int32_t N, int32_t H, int32_t W, int32_t C) {
	if (N < 1 || H < 1 || W < 1 || C < 1 || int64_t(W) * C > 0x7fffffff) return 0;
	return int64_t(H) * W * C;
}

} // namespace

extern "C" int ict_image_load(void *x, const uint8_t *bytes, const uint8_t *flip, int32_t N, int32_t H, int32_t W, int32_t C,
                              ict_dtype dtype, const ict_exec *ex) {
	ICT_REQUIRE(x && bytes, ICT_ERR_NULL);
	if (int e = check_device(ex)) return e;
	int64_t D = image_size(N, H, W, C);
	ICT_REQUIRE(D > 0, ICT_ERR_SHAPE);
	ImageGrid g = image_grid(N, D, kPointwiseThreads);
	ICT_REQUIRE(g.blocks > 0, ICT_ERR_SHAPE);
	return with_storage(dtype, [&](auto zero) -> int {
		using T = decltype(zero);
		ICT_REQUIRE(aligned(x, sizeof(T)), ICT_ERR_ALIGN);
		return launch(image_load_kernel<T>, g.blocks, kPointwiseThreads, 0, ex, static_cast<T *>(x), bytes, flip, D, W * C, C, g.tiles);
	});
}

extern "C" int ict_image_store(uint8_t *bytes, const float *x, int64_t n, int32_t rule, const ict_exec *ex) {
	ICT_REQUIRE(bytes && x, ICT_ERR_NULL);
	if (int e = check_device(ex)) return e;
	unsigned blocks = n >= 1 ? flat_blocks(n, 1) : 0;
	ICT_REQUIRE(blocks > 0 && (rule == ICT_FLOOR || rule == ICT_ROUND), ICT_ERR_SHAPE);
	ICT_REQUIRE(aligned(x, 4), ICT_ERR_ALIGN);
	return launch(image_store_kernel, blocks, kPointwiseThreads, 0, ex, bytes, x, n, rule == ICT_ROUND);
}

extern "C" int ict_perturb(float *xt, float *cxt, float *xr, float *cxr, const uint8_t *bytes, const uint8_t *flip, const float *t,
                           const float *r, const float *in_t, const float *in_r, const ict_step *step, int32_t N, int32_t H,
                           int32_t W, int32_t C, const ict_exec *ex) {
	ICT_REQUIRE(xt && cxt && bytes && t && in_t && step, ICT_ERR_NULL);
	ICT_REQUIRE(!xr == !cxr && (!xr || (r && in_r)), ICT_ERR_NULL);
	if (int e = check_device(ex)) return e;
	int64_t D = image_size(N, H, W, C);
	ICT_REQUIRE(D > 0 && D <= int64_t(1) << 34, ICT_ERR_SHAPE);
	ImageGrid g = image_grid(N, ceil_div(D, 4), kPointwiseThreads);
	ICT_REQUIRE(g.blocks > 0, ICT_ERR_SHAPE);
	ICT_REQUIRE(aligned(xt, 4) && aligned(cxt, 4) && aligned(xr, 4) && aligned(cxr, 4) && aligned(t, 4) && aligned(r, 4) &&
	            aligned(in_t, 4) && aligned(in_r, 4) && aligned(step, 8), ICT_ERR_ALIGN);
	return launch(perturb_kernel, g.blocks, kPointwiseThreads, 0, ex, xt, cxt, xr, cxr, bytes, flip, t, r, in_t, in_r, step, D,
	              W * C, C, g.tiles);
}

} // namespace ict
