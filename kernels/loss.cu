// loss.cu: the distance of student and target, value and gradient in one kernel.
//
// One block per image: a pass over y and target for the squared distance, a second, out of L2, for the gradient. The sum
// is 256 strided sums and a tree, so its order depends on the size of an image alone. Defined in tensor/loss.go.
#include "reduce.cuh"
#include "vec.cuh"

namespace ict {

constexpr int kLossThreads = 256;

struct LossShared {
	float sums[kLossThreads / 32];
};

// What becomes of a squared distance s: loss = weight*value(s), dy = S*weight*slope(s)*(y - target).
struct PseudoHuber {
	float c, inv_batch;
	__device__ __forceinline__ float value(float s) const { return s / (sqrt(fma(c, c, s)) + c); }
	__device__ __forceinline__ float slope(float s) const { return inv_batch / sqrt(fma(c, c, s)); }
};
struct SquaredDistance {
	float factor, inv_batch;  // factor: 1, or 1/D for the mean
	__device__ __forceinline__ float value(float s) const { return factor * s; }
	__device__ __forceinline__ float slope(float) const { return 2.0f * factor * inv_batch; }
};

template <typename Metric>
__global__ void __launch_bounds__(kLossThreads)
loss_kernel(float *loss,         // (N)
            float *dy,           // (N,D)
            const float *y,      // (N,D)
            const float *target, // (N,D)
            const float *weight, // (N)
            const ict_step *step, int64_t D, Metric metric) {
	LossShared &shared = ict::shared<LossShared>();
	int64_t n = blockIdx.x;
	y += n * D;
	target += n * D;
	dy += n * D;
	float s = 0.0f;
	for (int64_t i = threadIdx.x; i < D; i += kLossThreads) {
		float e = y[i] - target[i];
		s = fma(e, e, s);
	}
	s = block_sum<kLossThreads>(s, shared.sums);
	if (threadIdx.x == 0) loss[n] = weight[n] * metric.value(s);
	float S = step && step->scale ? step->scale->scale : 1.0f;
	float slope = S * (weight[n] * metric.slope(s));
	for (int64_t i = threadIdx.x; i < D; i += kLossThreads) dy[i] = slope * (y[i] - target[i]);
}

// ---- launchers

namespace {

template <typename Metric>
int launch_loss(float *loss, float *dy, const float *y, const float *target, const float *weight, const ict_step *step,
                int32_t N, int64_t D, Metric metric, const ict_exec *ex) {
	ICT_REQUIRE(loss && dy && y && target && weight, ICT_ERR_NULL);
	if (int e = check_device(ex)) return e;
	ICT_REQUIRE(N >= 1 && D >= 1, ICT_ERR_SHAPE);
	ICT_REQUIRE(aligned(loss, 4) && aligned(dy, 4) && aligned(y, 4) && aligned(target, 4) && aligned(weight, 4) && aligned(step, 8), ICT_ERR_ALIGN);
	return launch(loss_kernel<Metric>, N, kLossThreads, sizeof(LossShared), ex, loss, dy, y, target, weight, step, D, metric);
}

} // namespace

extern "C" int ict_pseudo_huber(float *loss, float *dy, const float *y, const float *target, const float *weight,
                                const ict_step *step, int32_t N, int64_t D, float c, float inv_batch, const ict_exec *ex) {
	ICT_REQUIRE(c > 0, ICT_ERR_SHAPE);
	return launch_loss(loss, dy, y, target, weight, step, N, D, PseudoHuber{c, inv_batch}, ex);
}

extern "C" int ict_l2(float *loss, float *dy, const float *y, const float *target, const float *weight, const ict_step *step,
                      int32_t N, int64_t D, float inv_batch, int32_t mean, const ict_exec *ex) {
	float factor = mean && D >= 1 ? float(1.0 / double(D)) : 1.0f;
	return launch_loss(loss, dy, y, target, weight, step, N, D, SquaredDistance{factor, inv_batch}, ex);
}

} // namespace ict
