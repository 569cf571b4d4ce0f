// random.cu: unit normals, each a function of (seed, step, purpose, image, element). A thread makes the four of one
// Philox block. Defined in tensor/random.go.
#include "philox.cuh"
#include "vec.cuh"

namespace ict {

__global__ void __launch_bounds__(kPointwiseThreads)
random_normal_kernel(float *dst, // (N,D)
                     const ict_step *step, int64_t D, uint32_t purpose, unsigned tiles) {
	int64_t n = blockIdx.x / tiles, block = int64_t(blockIdx.x % tiles) * kPointwiseThreads + threadIdx.x;
	if (4 * block >= D) return;
	float z[4];
	philox_normals(philox_stream(*step, purpose, n), uint32_t(block), z);
	dst += n * D;
#pragma unroll
	for (int j = 0; j < 4; j++)
		if (4 * block + j < D) dst[4 * block + j] = z[j];
}

// ---- launchers

extern "C" int ict_random_normal(float *dst, const ict_step *step, int32_t N, int64_t D, int32_t purpose, const ict_exec *ex) {
	ICT_REQUIRE(dst && step, ICT_ERR_NULL);
	if (int e = check_device(ex)) return e;
	ICT_REQUIRE(N >= 1 && D >= 1 && D <= int64_t(1) << 34 && purpose >= 0 && purpose <= 0xffff, ICT_ERR_SHAPE);
	ImageGrid g = image_grid(N, ceil_div(D, 4), kPointwiseThreads);
	ICT_REQUIRE(g.blocks > 0, ICT_ERR_SHAPE);
	ICT_REQUIRE(aligned(dst, 4) && aligned(step, 8), ICT_ERR_ALIGN);
	return launch(random_normal_kernel, g.blocks, kPointwiseThreads, 0, ex, dst, step, D, purpose, g.tiles);
}

} // namespace ict
