// reduce.cuh: sums and maxima over warps and blocks in an order that is fixed by the number of threads, and pairwise sums
// of vectors over slices.
#ifndef ICT_REDUCE_CUH
#define ICT_REDUCE_CUH

#include "intrin.cuh"

namespace ict {

// warp_sum gives every lane the sum over the warp: pairs 16 apart, then 8, 4, 2, 1.
template <typename T> __device__ __forceinline__ T warp_sum(T v) {
#pragma unroll
	for (int bits = 16; bits > 0; bits >>= 1) v += shuffle_xor(full_mask, v, bits);
	return v;
}

// warp_max gives every lane the maximum over the warp. NaN is lost.
__device__ __forceinline__ float warp_max(float v) {
#pragma unroll
	for (int bits = 16; bits > 0; bits >>= 1) {
		float o = shuffle_xor(full_mask, v, bits);
		v = o > v ? o : v;
	}
	return v;
}

// block_sum gives every thread the sum over the block of kThreads: within warps, then over warps, low to high. scratch
// holds kThreads/32 values and may be used again at once.
template <int kThreads, typename T> __device__ __forceinline__ T block_sum(T v, T *scratch) {
	static_assert(kThreads % 32 == 0 && kThreads <= 1024, "whole warps");
	v = warp_sum(v);
	if (lane() == 0) scratch[warp()] = v;
	sync_block(); // for every warp's sum
	v = scratch[0];
#pragma unroll
	for (int i = 1; i < kThreads / 32; i++) v += scratch[i];
	sync_block(); // for every thread to have read, before scratch is written again
	return v;
}

// slice_sum gives element i of the sum of a slice's vectors out of N of size floats, in image order.
__device__ __forceinline__ float slice_sum(const float *vectors, int slice, int N, int64_t size, int64_t i) {
	int64_t n = int64_t(slice) * ICT_SLICE, end = n + ICT_SLICE < N ? n + ICT_SLICE : N;
	float sum = vectors[n * size + i];
	while (++n < end) sum += vectors[n * size + i];
	return sum;
}

// add_pairwise adds count vectors of size floats that lie one after another, (0+1)+(2+3)..., and returns element i of
// the sum. One thread owns element i; the vectors are its scratch.
__device__ __forceinline__ float add_pairwise(float *vectors, int count, int64_t size, int64_t i) {
	for (int step = 1; step < count; step *= 2)
		for (int s = 0; s + step < count; s += 2 * step) vectors[s * size + i] += vectors[(s + step) * size + i];
	return vectors[i];
}

// accumulate gives beta*dst + v; beta 0 never reads dst.
__device__ __forceinline__ float accumulate(const float *dst, float beta, float v) { return beta == 0.0f ? v : fma(beta, *dst, v); }

} // namespace ict
#endif
