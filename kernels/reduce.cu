// reduce.cu: counts and hashes of whole tensors. Integer sums have no order, so blocks add theirs atomically to a result
// that a first kernel sets to zero. Defined in tensor/reduce.go.
#include "reduce.cuh"
#include "vec.cuh"

namespace ict {

constexpr int kReduceRun = 1 << 13;  // elements of a block: 32 per thread pay for its atomic

__global__ void __launch_bounds__(32) reduce_zero_kernel(uint64_t *result) {
	if (threadIdx.x == 0) *result = 0;
}

__device__ __forceinline__ bool nonfinite(float x) { return (float_bits(x) & 0x7f800000u) == 0x7f800000u; }
__device__ __forceinline__ bool nonfinite(half x) { return (x.bits & 0x7c00u) == 0x7c00u; }
__device__ __forceinline__ bool nonfinite(bfloat16 x) { return (x.bits & 0x7f80u) == 0x7f80u; }

// What one element adds to a result.
struct CountNonFinite {
	template <typename T> __device__ __forceinline__ uint64_t operator()(T x, int64_t) const { return nonfinite(x); }
};
struct HashBits {  // the finaliser of SplitMix64
	template <typename T> __device__ __forceinline__ uint64_t operator()(T x, int64_t i) const {
		uint64_t z = uint64_t(x) + uint64_t(i + 1) * 0x9e3779b97f4a7c15u;
		z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
		z = (z ^ z >> 27) * 0x94d049bb133111ebu;
		return z ^ z >> 31;
	}
};

template <typename T, typename F>
__global__ void __launch_bounds__(kPointwiseThreads)
reduce_kernel(uint64_t *result, const T *x, int64_t n, F f) {
	int64_t first = int64_t(blockIdx.x) * kReduceRun, end = first + kReduceRun < n ? first + kReduceRun : n;
	uint64_t sum = 0;
	for (int64_t i = first + threadIdx.x; i < end; i += kPointwiseThreads) sum += f(x[i], i);
	sum = warp_sum(sum);
	if (lane() == 0) atomic_add(result, sum);
}

// ---- launchers

namespace {

template <typename T, typename F> int launch_reduce(uint64_t *result, const void *x, int64_t n, F f, const ict_exec *ex) {
	ICT_REQUIRE(aligned(result, 8) && aligned(x, sizeof(T)), ICT_ERR_ALIGN);
	int64_t blocks = ceil_div(n, kReduceRun);
	ICT_REQUIRE(n >= 1 && blocks <= 0x7fffffff, ICT_ERR_SHAPE);
	if (int e = launch(reduce_zero_kernel, 1, 32, 0, ex, result)) return e;
	return launch(reduce_kernel<T, F>, unsigned(blocks), kPointwiseThreads, 0, ex, result, static_cast<const T *>(x), n, f);
}

} // namespace

extern "C" int ict_reduce_nonfinite(uint64_t *count, const void *x, int64_t n, ict_dtype dtype, const ict_exec *ex) {
	ICT_REQUIRE(count && x, ICT_ERR_NULL);
	if (int e = check_device(ex)) return e;
	return with_storage(dtype, [&](auto zero) -> int { return launch_reduce<decltype(zero)>(count, x, n, CountNonFinite{}, ex); });
}

extern "C" int ict_reduce_hash(uint64_t *hash, const void *x, int64_t n, ict_dtype dtype, const ict_exec *ex) {
	ICT_REQUIRE(hash && x, ICT_ERR_NULL);
	if (int e = check_device(ex)) return e;
	switch (dtype_size(dtype)) {
	case 4: return launch_reduce<uint32_t>(hash, x, n, HashBits{}, ex);
	case 2: return launch_reduce<uint16_t>(hash, x, n, HashBits{}, ex);
	case 1: return launch_reduce<uint8_t>(hash, x, n, HashBits{}, ex);
	default: return ICT_ERR_DTYPE;
	}
}

} // namespace ict
