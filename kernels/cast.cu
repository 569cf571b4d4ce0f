// cast: dst = src, F32 to a 16-bit type or back, one element a thread: it runs over the weights after a change of theirs and
// never in a step. Defined in tensor/cast.go.
#include "vec.cuh"

namespace ict {

template <typename D, typename S>
__global__ void __launch_bounds__(kPointwiseThreads) cast_kernel(D *dst, const S *src, int64_t n) {
	int64_t i = int64_t(blockIdx.x) * kPointwiseThreads + threadIdx.x;
	if (i < n) dst[i] = from_float<D>(to_float(src[i]));
}

extern "C" int ict_cast(void *dst, const void *src, int64_t n, ict_dtype to, ict_dtype from, const ict_exec *ex) {
	ICT_REQUIRE(dst && src, ICT_ERR_NULL);
	if (int e = check_device(ex)) return e;
	ICT_REQUIRE(n >= 1, ICT_ERR_SHAPE);
	unsigned blocks = flat_blocks(n, 1);
	ICT_REQUIRE(blocks > 0, ICT_ERR_SHAPE);
	return with_storage(to, [&](auto d) -> int {
		using D = decltype(d);
		return with_storage(from, [&](auto s) -> int {
			using S = decltype(s);
			ICT_REQUIRE(aligned(dst, sizeof(D)) && aligned(src, sizeof(S)), ICT_ERR_ALIGN);
			return launch(cast_kernel<D, S>, blocks, kPointwiseThreads, 0, ex, static_cast<D *>(dst), static_cast<const S *>(src), n);
		});
	});
}

}  // namespace ict
