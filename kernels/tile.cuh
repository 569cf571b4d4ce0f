// tile.cuh: products of a block by plain fused multiply-adds, out of tiles of floats in shared memory.
#ifndef ICT_TILE_CUH
#define ICT_TILE_CUH

#include "intrin.cuh"

namespace ict {

// multiply_outer adds the outer products of kDepth rows: acc[i][j] += a[k][m + i*kStepM] * b[k][n + j*kStepN], k low to
// high. Neighbouring threads have neighbouring n, so that what they read of b and write of the result is contiguous.
template <int kDepth, int kStepM, int kStepN, int kM, int kN, int kStrideA, int kStrideB>
__device__ __forceinline__ void multiply_outer(float (&acc)[kM][kN], const float (*a)[kStrideA], int m, const float (*b)[kStrideB], int n) {
#pragma unroll
	for (int k = 0; k < kDepth; k++) {
		float va[kM], vb[kN];
#pragma unroll
		for (int i = 0; i < kM; i++) va[i] = a[k][m + i * kStepM];
#pragma unroll
		for (int j = 0; j < kN; j++) vb[j] = b[k][n + j * kStepN];
#pragma unroll
		for (int i = 0; i < kM; i++) {
#pragma unroll
			for (int j = 0; j < kN; j++) acc[i][j] = fma(va[i], vb[j], acc[i][j]);
		}
	}
}

} // namespace ict
#endif
