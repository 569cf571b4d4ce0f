// linear.cu: matrix products of embeddings, in f32 on fused multiply-adds: what they feed reaches every block.
//
// fprop, dgrad: a block computes 32 by 32 outputs; its four groups of 64 threads share the summed index, 8 of every 32
// places each, and are added low to high: the sum is long where the outputs are few. wgrad: a block computes 64 by 32
// gradients, slice by slice, and folds the slices pairwise on a stack in shared memory. Defined in tensor/linear.go.
#include "reduce.cuh"
#include "tile.cuh"
#include "vec.cuh"

namespace ict {

constexpr int kLinearTile = 32;
constexpr int kLinearSlab = 32;
constexpr int kLinearGroups = 4;
constexpr int kLinearThreads = 64 * kLinearGroups;

struct LinearShared {
	union {
		struct {
			float a[kLinearSlab][kLinearTile + 1];
			float b[kLinearSlab][kLinearTile + 1];
		};
		float sums[kLinearGroups][kLinearTile * kLinearTile];
	};
};

// linear_kernel: y[m,n] = sum over k of a[m,k]*b[n,k] (fprop: a = act(x), b = w, plus bias), or of a[m,k]*b[k,n] (dgrad:
// a = dy, b = w, times act'(x)).
template <bool kBackward, bool kSilu>
__global__ void __launch_bounds__(kLinearThreads)
linear_kernel(float *y,          // (M,N)
              float beta,
              const float *a,    // (M,K)
              const float *b,    // (N,K), backward (K,N)
              const float *bias, // (N) or null
              const float *x,    // (M,N), backward with SiLU
              int M, int N, int K, unsigned tiles) {
	LinearShared &s = shared<LinearShared>();
	int m0 = int(blockIdx.x / tiles) * kLinearTile, n0 = int(blockIdx.x % tiles) * kLinearTile;
	int column = threadIdx.x % 32, line = threadIdx.x / 32;
	int group = threadIdx.x / 64, m = threadIdx.x % 64 / 8, n = threadIdx.x % 8;
	float acc[4][4] = {};
	for (int k0 = 0; k0 < K; k0 += kLinearSlab) {
#pragma unroll
		for (int i = 0; i < kLinearTile; i += kLinearThreads / 32) {
			int row = line + i;
			float v = m0 + row < M && k0 + column < K ? a[int64_t(m0 + row) * K + k0 + column] : 0.0f;
			s.a[column][row] = !kBackward && kSilu ? silu(v) : v;
			if constexpr (kBackward) s.b[row][column] = k0 + row < K && n0 + column < N ? b[int64_t(k0 + row) * N + n0 + column] : 0.0f;
			else s.b[column][row] = n0 + row < N && k0 + column < K ? b[int64_t(n0 + row) * K + k0 + column] : 0.0f;
		}
		sync_block(); // for the slab
		constexpr int kDepth = kLinearSlab / kLinearGroups;
		multiply_outer<kDepth, 8, 8>(acc, s.a + group * kDepth, m, s.b + group * kDepth, n);
		sync_block(); // for every thread to be done with it
	}
#pragma unroll
	for (int i = 0; i < 4; i++) {
#pragma unroll
		for (int j = 0; j < 4; j++) s.sums[group][(m + 8 * i) * kLinearTile + n + 8 * j] = acc[i][j];
	}
	sync_block(); // for all groups' sums
	for (int i = line; i < kLinearTile; i += kLinearThreads / 32) {
		if (m0 + i >= M || n0 + column >= N) continue;
		float v = s.sums[0][i * kLinearTile + column];
#pragma unroll
		for (int g = 1; g < kLinearGroups; g++) v += s.sums[g][i * kLinearTile + column];
		int64_t at = int64_t(m0 + i) * N + n0 + column;
		if (bias) v += bias[n0 + column];
		if (kBackward && kSilu) v = mul(v, silu_derivative(x[at]));
		y[at] = accumulate(y + at, beta, v);
	}
}

constexpr int kWgradTileO = 64, kWgradTileI = 32;
constexpr int kWgradThreads = kWgradTileO * kWgradTileI / 16;  // 4 by 4 gradients each

struct LinearWgradShared {
	float a[ICT_SLICE][kWgradTileO];
	float b[ICT_SLICE][kWgradTileI];
};

// linear_wgrad_kernel. The stack: after slice s, level l holds the sum of 2^l slices for each bit l of s+1, behind
// LinearWgradShared, a level being kWgradTileO*kWgradTileI floats. Each thread reads only what it wrote.
template <bool kSilu>
__global__ void __launch_bounds__(kWgradThreads)
linear_wgrad_kernel(float *dw,       // (O,I)
                    float beta,
                    const float *x,  // (M,I)
                    const float *dy, // (M,O)
                    int M, int I, int O, int levels, unsigned tiles) {
	LinearWgradShared &s = shared<LinearWgradShared>();
	float *stack = reinterpret_cast<float *>(&s + 1) + threadIdx.x;
	auto slot = [&](int level, int e) -> float & { return stack[(level * 16 + e) * kWgradThreads]; };
	int o0 = int(blockIdx.x / tiles) * kWgradTileO, i0 = int(blockIdx.x % tiles) * kWgradTileI;
	int o = threadIdx.x / 8, i = threadIdx.x % 8;
	int slices = (M + ICT_SLICE - 1) / ICT_SLICE;
	float acc[4][4];
	for (int slice = 0; slice < slices; slice++) {
		for (int at = threadIdx.x; at < ICT_SLICE * kWgradTileO; at += kWgradThreads) {
			int row = at / kWgradTileO, column = at % kWgradTileO, image = slice * ICT_SLICE + row;
			s.a[row][column] = image < M && o0 + column < O ? dy[int64_t(image) * O + o0 + column] : 0.0f;
		}
		for (int at = threadIdx.x; at < ICT_SLICE * kWgradTileI; at += kWgradThreads) {
			int row = at / kWgradTileI, column = at % kWgradTileI, image = slice * ICT_SLICE + row;
			float v = image < M && i0 + column < I ? x[int64_t(image) * I + i0 + column] : 0.0f;
			s.b[row][column] = kSilu ? silu(v) : v;
		}
		sync_block(); // for the slice
#pragma unroll
		for (int e = 0; e < 16; e++) acc[e / 4][e % 4] = 0.0f;
		multiply_outer<ICT_SLICE, kWgradTileO / 4, kWgradTileI / 4>(acc, s.a, o, s.b, i);
		sync_block(); // for every thread to be done with it
		int level = 0;
		for (; slice >> level & 1; level++) {
#pragma unroll
			for (int e = 0; e < 16; e++) acc[e / 4][e % 4] = slot(level, e) + acc[e / 4][e % 4];
		}
		if (slice + 1 == slices) { // what is still on the stack, from the youngest
			for (level++; level < levels; level++) {
				if (!(slice >> level & 1)) continue;
#pragma unroll
				for (int e = 0; e < 16; e++) acc[e / 4][e % 4] = slot(level, e) + acc[e / 4][e % 4];
			}
		} else {
#pragma unroll
			for (int e = 0; e < 16; e++) slot(level, e) = acc[e / 4][e % 4];
		}
	}
#pragma unroll
	for (int e = 0; e < 16; e++) {
		int row = o0 + o + e / 4 * (kWgradTileO / 4), column = i0 + i + e % 4 * (kWgradTileI / 4);
		if (row >= O || column >= I) continue;
		float *at = dw + int64_t(row) * I + column;
		*at = accumulate(at, beta, acc[e / 4][e % 4]);
	}
}

// linear_bias_kernel: a thread owns an output: images of a slice in order, then slices pairwise.
__global__ void __launch_bounds__(kPointwiseThreads)
linear_bias_kernel(float *db,       // (O)
                   float beta,
                   const float *dy, // (M,O)
                   float *sums,     // (slices,O)
                   int M, int O) {
	int o = int(blockIdx.x) * kPointwiseThreads + int(threadIdx.x);
	if (o >= O) return;
	int slices = 0;
	for (int m = 0; m < M; slices++) {
		float sum = dy[int64_t(m) * O + o];
		for (int end = M - m < ICT_SLICE ? M : m + ICT_SLICE; ++m < end;) sum += dy[int64_t(m) * O + o];
		sums[int64_t(slices) * O + o] = sum;
	}
	db[o] = accumulate(db + o, beta, add_pairwise(sums, slices, O, o));
}

// ---- launchers

namespace {

int check_linear(int32_t M, int32_t I, int32_t O, int32_t act, ict_dtype dtype, const ict_exec *ex) {
	if (int e = check_device(ex)) return e;
	ICT_REQUIRE(M >= 1 && I >= 1 && O >= 1 && M <= 1 << 30 && I <= 1 << 30 && O <= 1 << 30, ICT_ERR_SHAPE);
	ICT_REQUIRE(act == ICT_ACT_NONE || act == ICT_ACT_SILU, ICT_ERR_SHAPE);
	ICT_REQUIRE(dtype == ICT_F32, ICT_ERR_DTYPE);
	return ICT_OK;
}

template <bool kBackward>
int launch_linear(float *y, float beta, const float *a, const float *b, const float *bias, const float *x, int M, int N, int K, int32_t act,
                  const ict_exec *ex) {
	int64_t tiles = ceil_div(N, kLinearTile), blocks = ceil_div(M, kLinearTile) * tiles;
	ICT_REQUIRE(blocks <= 0x7fffffff, ICT_ERR_SHAPE);
	auto kernel = act == ICT_ACT_SILU ? linear_kernel<kBackward, true> : linear_kernel<kBackward, false>;
	return launch(kernel, unsigned(blocks), kLinearThreads, sizeof(LinearShared), ex, y, beta, a, b, bias, x, M, N, K, unsigned(tiles));
}

} // namespace

extern "C" int ict_linear_fprop(float *y, const float *x, const float *w, const float *b, int32_t M, int32_t I, int32_t O, int32_t act,
                                void *ws, size_t ws_bytes, ict_dtype dtype, const ict_exec *ex) {
	(void)ws;
	(void)ws_bytes;
	ICT_REQUIRE(y && x && w, ICT_ERR_NULL);
	if (int e = check_linear(M, I, O, act, dtype, ex)) return e;
	ICT_REQUIRE(aligned(y, 4) && aligned(x, 4) && aligned(w, 4) && aligned(b, 4), ICT_ERR_ALIGN);
	return launch_linear<false>(y, 0.0f, x, w, b, nullptr, M, O, I, act, ex);
}

extern "C" size_t ict_linear_fprop_workspace(int32_t M, int32_t I, int32_t O, const ict_exec *ex) {
	(void)M;
	(void)I;
	(void)O;
	(void)ex;
	return 0;
}

extern "C" int ict_linear_dgrad(float *dx, float beta_dx, const float *dy, const float *x, const float *w, int32_t M, int32_t I, int32_t O,
                                int32_t act, void *ws, size_t ws_bytes, ict_dtype dtype, const ict_exec *ex) {
	(void)ws;
	(void)ws_bytes;
	ICT_REQUIRE(dy && w && (act == ICT_ACT_NONE || x), ICT_ERR_NULL);
	if (int e = check_linear(M, I, O, act, dtype, ex)) return e;
	ICT_REQUIRE(aligned(dx, 4) && aligned(dy, 4) && aligned(x, 4) && aligned(w, 4), ICT_ERR_ALIGN);
	if (!dx) return ICT_OK;
	return launch_linear<true>(dx, beta_dx, dy, w, nullptr, x, M, I, O, act, ex);
}

extern "C" size_t ict_linear_dgrad_workspace(int32_t M, int32_t I, int32_t O, const ict_exec *ex) {
	(void)M;
	(void)I;
	(void)O;
	(void)ex;
	return 0;
}

extern "C" size_t ict_linear_wgrad_workspace(int32_t M, int32_t I, int32_t O, const ict_exec *ex) {
	(void)I;
	(void)ex;
	return M < 1 || O < 1 ? 0 : align256(sizeof(float) * size_t(ceil_div(M, ICT_SLICE)) * size_t(O));
}

extern "C" int ict_linear_wgrad(float *dw, float beta_dw, float *db, float beta_db, const float *x, const float *dy, int32_t M, int32_t I,
                                int32_t O, int32_t act, void *ws, size_t ws_bytes, ict_dtype dtype, const ict_exec *ex) {
	ICT_REQUIRE(dy && (!dw || x), ICT_ERR_NULL);
	if (int e = check_linear(M, I, O, act, dtype, ex)) return e;
	ICT_REQUIRE(aligned(dw, 4) && aligned(db, 4) && aligned(x, 4) && aligned(dy, 4), ICT_ERR_ALIGN);
	ICT_REQUIRE(!db || (ws && ws_bytes >= ict_linear_wgrad_workspace(M, I, O, ex)), ICT_ERR_WORKSPACE);
	ICT_REQUIRE(aligned(ws, 256), ICT_ERR_ALIGN);
	if (dw) {
		int64_t tiles = ceil_div(I, kWgradTileI), blocks = ceil_div(O, kWgradTileO) * tiles;
		int64_t slices = ceil_div(M, ICT_SLICE);
		ICT_REQUIRE(blocks <= 0x7fffffff, ICT_ERR_SHAPE);
		int levels = 0; // of the stack: the bits of the last slice's number
		while ((slices - 1) >> levels) levels++;
		size_t smem = sizeof(LinearWgradShared) + sizeof(float) * levels * kWgradTileO * kWgradTileI;
		auto kernel = act == ICT_ACT_SILU ? linear_wgrad_kernel<true> : linear_wgrad_kernel<false>;
		if (int e = launch(kernel, unsigned(blocks), kWgradThreads, smem, ex, dw, beta_dw, x, dy, M, I, O, levels, unsigned(tiles))) return e;
	}
	if (!db) return ICT_OK;
	return launch(linear_bias_kernel, flat_blocks(O, 1), kPointwiseThreads, 0, ex, db, beta_db, dy, static_cast<float *>(ws), M, O);
}

} // namespace ict
