// optim.cu: from a gradient to new weights without asking the host: norm, verdict, update.
//
// norm: f64 sums of squares (exact products; 2^14 elements to a block), then one block over the blocks' sums. judge: one
// thread, the arithmetic of ScaleRule.Judge to the bit. update: four elements per thread; every array is read and written
// once, and each operation is rounded by itself, so that the simulator, cpu and the GPU agree. Defined in tensor/optim.go.
#include "reduce.cuh"
#include "vec.cuh"

namespace ict {

constexpr int kNormThreads = 256;
constexpr int kNormRun = 1 << 14;  // elements of a block, as cpu's

__device__ __forceinline__ bool finite(float x) { return (float_bits(x) & 0x7f800000u) != 0x7f800000u; }

struct NormShared {
	double sums[kNormThreads / 32];
	uint64_t counts[kNormThreads / 32];
};

__global__ void __launch_bounds__(kNormThreads)
norm_runs_kernel(double *sums, uint64_t *counts, // (runs)
                 const float *g, int64_t n) {
	NormShared &s = shared<NormShared>();
	int64_t first = int64_t(blockIdx.x) * kNormRun, end = first + kNormRun < n ? first + kNormRun : n;
	double sum = 0.0;
	uint64_t count = 0;
	for (int64_t i = first + threadIdx.x; i < end; i += kNormThreads) {
		double v = g[i];
		sum = fma(v, v, sum);
		count += !finite(g[i]);
	}
	sum = block_sum<kNormThreads>(sum, s.sums);
	count = block_sum<kNormThreads>(count, s.counts);
	if (threadIdx.x == 0) {
		sums[blockIdx.x] = sum;
		counts[blockIdx.x] = count;
	}
}

__global__ void __launch_bounds__(kNormThreads)
norm_total_kernel(ict_verdict *verdict, const double *sums, const uint64_t *counts, int runs) {
	NormShared &s = shared<NormShared>();
	double sum = 0.0;
	uint64_t count = 0;
	for (int i = threadIdx.x; i < runs; i += kNormThreads) {
		sum += sums[i];
		count += counts[i];
	}
	sum = block_sum<kNormThreads>(sum, s.sums);
	count = block_sum<kNormThreads>(count, s.counts);
	if (threadIdx.x == 0) *verdict = ict_verdict{count, float(sum), 0.0f, 0.0f, 0};
}

__global__ void __launch_bounds__(32)
judge_kernel(ict_verdict *verdict, ict_scale *scale, const ict_step *step, ict_scale_rule rule) {
	if (threadIdx.x != 0) return;
	ict_verdict v = *verdict;
	ict_scale s = *scale;
	double norm = sqrt(double(v.sum2)) / double(s.scale);
	v.norm = float(norm);
	v.skip = 1;
	v.factor = 0.0f;
	if (rule.limit > 0 && s.bad >= rule.limit) {
		s.skipped++;
	} else if (v.nonfinite == 0 && finite(v.sum2)) {
		double factor = 1.0 / double(s.scale);
		if (step->max_norm > 0.0f && norm > double(step->max_norm)) factor = mul(factor, double(step->max_norm) / norm);
		v.skip = 0;
		v.factor = float(factor);
		s.good++;
		s.bad = 0;
		s.since = step->step + 1;
		if (rule.every > 0 && s.good >= rule.every) {
			s.scale = 2.0f * s.scale < rule.ceiling ? 2.0f * s.scale : rule.ceiling;
			s.good = 0;
		}
	} else {
		s.good = 0;
		s.skipped++;
		if (rule.every > 0 && s.scale > rule.floor) s.scale *= 0.5f;
		else s.bad++;
	}
	*verdict = v;
	*scale = s;
}

constexpr int kUpdateWidth = 4;  // 16 bytes of each f32 array

struct UpdateArrays {
	float *w, *m, *v, *ema[4];  // (n)
	const float *g;             // (n)
};
struct UpdateRule {
	float beta1, beta2, eps, weight_decay;
};

template <typename T, int W>
__device__ __forceinline__ void update(const UpdateArrays &a, T *w16, int64_t i, float factor, const ict_step &step, const UpdateRule &r) {
	float w[W], m[W], v[W], g[W];
	load(a.w + i, w);
	load(a.m + i, m);
	load(a.v + i, v);
	load(a.g + i, g);
#pragma unroll
	for (int j = 0; j < W; j++) {
		float grad = mul(factor, g[j]);
		if (r.weight_decay != 0.0f) grad = add(grad, mul(r.weight_decay, w[j]));
		m[j] = add(mul(r.beta1, m[j]), mul(sub(1.0f, r.beta1), grad));
		v[j] = add(mul(r.beta2, v[j]), mul(mul(sub(1.0f, r.beta2), grad), grad));
		float move = mul(step.step_size, m[j]);
		if (step.adaptive) move = move / add(mul(step.v_scale, sqrt(v[j])), r.eps);
		w[j] = sub(w[j], move);
	}
	store(a.w + i, w);
	store(a.m + i, m);
	store(a.v + i, v);
	if (w16) store(w16 + i, w);
#pragma unroll
	for (int k = 0; k < 4; k++) {
		float rate = step.ema[k], e[W];
		if (!a.ema[k] || rate == 0.0f) continue;
		load(a.ema[k] + i, e);
#pragma unroll
		for (int j = 0; j < W; j++) e[j] = add(e[j], mul(rate, sub(w[j], e[j])));
		store(a.ema[k] + i, e);
	}
}

template <typename T, int W>
__global__ void __launch_bounds__(kPointwiseThreads)
update_kernel(UpdateArrays a, T *w16, const ict_verdict *verdict, const ict_step *step, int64_t n, UpdateRule rule) {
	if (verdict->skip) return;
	int64_t i = (int64_t(blockIdx.x) * kPointwiseThreads + threadIdx.x) * W;
	if (i + W <= n) {
		update<T, W>(a, w16, i, verdict->factor, *step, rule);
		return;
	}
	if constexpr (W > 1)
		for (; i < n; i++) update<T, 1>(a, w16, i, verdict->factor, *step, rule);
}

// ---- launchers

extern "C" size_t ict_optim_norm_workspace(int64_t n, const ict_exec *ex) {
	(void)ex;
	return n < 1 ? 0 : align256(16 * size_t(ceil_div(n, kNormRun)));
}

extern "C" int ict_optim_norm(ict_verdict *verdict, const float *g, int64_t n, void *ws, size_t ws_bytes, const ict_exec *ex) {
	ICT_REQUIRE(verdict && g, ICT_ERR_NULL);
	if (int e = check_device(ex)) return e;
	int64_t runs = ceil_div(n, kNormRun);
	ICT_REQUIRE(n >= 1 && runs <= 0x7fffffff, ICT_ERR_SHAPE);
	ICT_REQUIRE(aligned(verdict, 8) && aligned(g, 4), ICT_ERR_ALIGN);
	ICT_REQUIRE(ws && ws_bytes >= ict_optim_norm_workspace(n, ex), ICT_ERR_WORKSPACE);
	ICT_REQUIRE(aligned(ws, 256), ICT_ERR_ALIGN);
	double *sums = static_cast<double *>(ws);
	uint64_t *counts = reinterpret_cast<uint64_t *>(sums + runs);
	if (int e = launch(norm_runs_kernel, unsigned(runs), kNormThreads, sizeof(NormShared), ex, sums, counts, g, n)) return e;
	return launch(norm_total_kernel, 1, kNormThreads, sizeof(NormShared), ex, verdict, sums, counts, int(runs));
}

extern "C" int ict_optim_judge(ict_verdict *verdict, ict_scale *scale, const ict_step *step, ict_scale_rule rule, const ict_exec *ex) {
	ICT_REQUIRE(verdict && scale && step, ICT_ERR_NULL);
	if (int e = check_device(ex)) return e;
	ICT_REQUIRE(aligned(verdict, 8) && aligned(scale, 8) && aligned(step, 8), ICT_ERR_ALIGN);
	return launch(judge_kernel, 1, 32, 0, ex, verdict, scale, step, rule);
}

extern "C" int ict_optim_update(float *w, float *m, float *v, void *w16, float *ema0, float *ema1, float *ema2, float *ema3,
                                const float *g, const ict_verdict *verdict, const ict_step *step, int64_t n, float beta1,
                                float beta2, float eps, float weight_decay, ict_dtype dtype, const ict_exec *ex) {
	ICT_REQUIRE(w && m && v && g && verdict && step, ICT_ERR_NULL);
	if (int e = check_device(ex)) return e;
	ICT_REQUIRE(n >= 1, ICT_ERR_SHAPE);
	UpdateArrays a = {w, m, v, {ema0, ema1, ema2, ema3}, g};
	ICT_REQUIRE(aligned(w, 4) && aligned(m, 4) && aligned(v, 4) && aligned(g, 4) && aligned(verdict, 8) && aligned(step, 8), ICT_ERR_ALIGN);
	for (float *e : a.ema) ICT_REQUIRE(aligned(e, 4), ICT_ERR_ALIGN);
	return with_storage(dtype, [&](auto zero) -> int {
		using T = decltype(zero);
		ICT_REQUIRE(aligned(w16, sizeof(T)), ICT_ERR_ALIGN);
		bool vector = pointwise_width(w, m, v, g, ema0, ema1, ema2, ema3) > 1 && aligned(w16, kUpdateWidth * sizeof(T));
		unsigned blocks = flat_blocks(n, vector ? kUpdateWidth : 1);
		ICT_REQUIRE(blocks > 0, ICT_ERR_SHAPE);
		auto kernel = vector ? update_kernel<T, kUpdateWidth> : update_kernel<T, 1>;
		return launch(kernel, blocks, kPointwiseThreads, 0, ex, a, static_cast<T *>(w16), verdict, step, n, UpdateRule{beta1, beta2, eps, weight_decay});
	});
}

} // namespace ict
