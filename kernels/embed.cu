// embed.cu: features of the noise level and of the label. Small tensors: one element per thread, angles in f64, since an
// angle of 10^4 rounded to f32 is off by 10^-3. Defined in tensor/embed.go.
#include "philox.cuh"
#include "reduce.cuh"
#include "vec.cuh"

namespace ict {

// sincos_turns gives sine and cosine of an angle in turns. The turns are split exactly into quarters and a rest.
__device__ __forceinline__ void sincos_turns(double turns, float &sine, float &cosine) {
	double quarters = 4.0 * (turns - rint(turns)), q = rint(quarters); // q: -2 ... 2
	ICT_CHECK_DEVICE(!(q > 2.0 || q < -2.0));
	sincos_quarters(uint32_t(int(q) + 4) & 3, float(quarters - q), sine, cosine);
}

__global__ void __launch_bounds__(kPointwiseThreads)
embed_fourier_kernel(float *y,           // (N,2F): sin | cos
                     const float *c,     // (N)
                     const float *freqs, // (F)
                     int N, int F) {
	int64_t i = int64_t(blockIdx.x) * kPointwiseThreads + threadIdx.x, n = i / F;
	if (n >= N) return;
	int f = int(i - n * F);
	float sine, cosine;
	sincos_turns(double(freqs[f]) * double(c[n]), sine, cosine); // the product of two floats is exact
	y[2 * n * F + f] = sine;
	y[2 * n * F + F + f] = cosine;
}

// embed_positional_kernel: log_period = ln(max_period)/span, so that the frequency is e^(-q*log_period).
__global__ void __launch_bounds__(kPointwiseThreads)
embed_positional_kernel(float *y,       // (N,2F): sin | cos or cos | sin
                        const float *c, // (N)
                        int N, int F, double log_period, bool cos_first) {
	const double per_radian = 0.15915494309189533577; // 1/(2 pi)
	int64_t i = int64_t(blockIdx.x) * kPointwiseThreads + threadIdx.x, n = i / F;
	if (n >= N) return;
	int q = int(i - n * F);
	float sine, cosine;
	sincos_turns(double(c[n]) * exp(-log_period * q) * per_radian, sine, cosine);
	y[2 * n * F + q] = cos_first ? cosine : sine;
	y[2 * n * F + F + q] = cos_first ? sine : cosine;
}

__global__ void __launch_bounds__(kPointwiseThreads)
embed_label_forward_kernel(float *y,              // (N,E)
                           float beta,
                           const float *table,    // (classes,E)
                           const int32_t *labels, // (N)
                           const float *bias,     // (E) or null
                           int N, int classes, int E, float scale) {
	int64_t i = int64_t(blockIdx.x) * kPointwiseThreads + threadIdx.x, n = i / E;
	if (n >= N) return;
	int e = int(i - n * E), label = labels[n];
	float v = bias ? bias[e] : 0.0f;
	if (label < -1 || label >= classes) v = bits_float(0x7fffffffu); // NaN reaches the verdict, memory stays whole
	else if (label >= 0) v = fma(scale, table[int64_t(label) * E + e], v);
	y[i] = accumulate(y + i, beta, v);
}

constexpr int kMaxLevels = 18;  // of the tree over slices: 2^20 images are 2^17 slices

// embed_label_backward_kernel: one block owns a piece of one row of the table, one thread an element of it. Slices are
// added pairwise like a binary counter: level l of the stack holds a finished sum of 2^l slices where bit l of the
// number of slices is set. Without labels it sums all images: dbias.
__global__ void __launch_bounds__(kPointwiseThreads)
embed_label_backward_kernel(float *dst,            // (classes,E), or (E) without labels
                            float beta,
                            const float *dy,       // (N,E)
                            const int32_t *labels, // (N) or null
                            int N, int E, float scale, unsigned tiles) {
	int row = int(blockIdx.x / tiles), e = int(blockIdx.x % tiles) * kPointwiseThreads + int(threadIdx.x);
	if (e >= E) return;
	float level[kMaxLevels];
#pragma unroll
	for (int l = 0; l < kMaxLevels; l++) level[l] = 0.0f;
	int slices = 0;
	for (int n = 0; n < N; slices++) {
		float sum = 0.0f;
		for (int end = N - n < ICT_SLICE ? N : n + ICT_SLICE; n < end; n++)
			if (!labels || labels[n] == row) sum = fma(scale, dy[int64_t(n) * E + e], sum);
		bool carried = true; // sum moves up to the first free level
#pragma unroll
		for (int l = 0; l < kMaxLevels; l++) {
			bool full = slices >> l & 1;
			if (carried && full) sum = level[l] + sum;
			if (carried && !full) {
				level[l] = sum;
				carried = false;
			}
		}
	}
	float sum = 0.0f;
	bool any = false;
#pragma unroll
	for (int l = 0; l < kMaxLevels; l++) { // what is left over joins from the lowest level up, as the tree does
		if (slices >> l & 1) {
			sum = any ? level[l] + sum : level[l];
			any = true;
		}
	}
	dst += int64_t(row) * E + e;
	*dst = accumulate(dst, beta, sum);
}

// ---- launchers

namespace {

unsigned rows_blocks(int32_t N, int32_t columns) { return flat_blocks(int64_t(N) * columns, 1); }

} // namespace

extern "C" int ict_embed_fourier(float *y, const float *c, const float *freqs, int32_t N, int32_t F, const ict_exec *ex) {
	ICT_REQUIRE(y && c && freqs, ICT_ERR_NULL);
	if (int e = check_device(ex)) return e;
	ICT_REQUIRE(N >= 1 && F >= 1 && rows_blocks(N, F) > 0, ICT_ERR_SHAPE);
	ICT_REQUIRE(aligned(y, 4) && aligned(c, 4) && aligned(freqs, 4), ICT_ERR_ALIGN);
	return launch(embed_fourier_kernel, rows_blocks(N, F), kPointwiseThreads, 0, ex, y, c, freqs, N, F);
}

extern "C" int ict_embed_positional(float *y, const float *c, int32_t N, int32_t F, double max_period, int32_t endpoint,
                                    int32_t cos_first, const ict_exec *ex) {
	ICT_REQUIRE(y && c, ICT_ERR_NULL);
	if (int e = check_device(ex)) return e;
	ICT_REQUIRE(N >= 1 && F >= 1 && rows_blocks(N, F) > 0 && max_period > 0, ICT_ERR_SHAPE);
	ICT_REQUIRE(aligned(y, 4) && aligned(c, 4), ICT_ERR_ALIGN);
	int span = endpoint ? (F > 1 ? F - 1 : 1) : F; // one frequency is 1
	return launch(embed_positional_kernel, rows_blocks(N, F), kPointwiseThreads, 0, ex, y, c, N, F, std::log(max_period) / span, cos_first != 0);
}

extern "C" int ict_embed_label_forward(float *y, float beta_y, const float *table, const int32_t *labels, const float *bias,
                                       int32_t N, int32_t classes, int32_t E, float scale, const ict_exec *ex) {
	ICT_REQUIRE(y && table && labels, ICT_ERR_NULL);
	if (int e = check_device(ex)) return e;
	ICT_REQUIRE(N >= 1 && classes >= 1 && E >= 1 && rows_blocks(N, E) > 0, ICT_ERR_SHAPE);
	ICT_REQUIRE(aligned(y, 4) && aligned(table, 4) && aligned(labels, 4) && aligned(bias, 4), ICT_ERR_ALIGN);
	return launch(embed_label_forward_kernel, rows_blocks(N, E), kPointwiseThreads, 0, ex, y, beta_y, table, labels, bias, N, classes, E, scale);
}

extern "C" int ict_embed_label_backward(float *dtable, float beta_dtable, float *dbias, float beta_dbias, const float *dy,
                                        const int32_t *labels, int32_t N, int32_t classes, int32_t E, float scale,
                                        const ict_exec *ex) {
	ICT_REQUIRE(dy && (labels || !dtable), ICT_ERR_NULL);
	if (int e = check_device(ex)) return e;
	ICT_REQUIRE(N >= 1 && N <= 1 << 20 && classes >= 1 && E >= 1, ICT_ERR_SHAPE);
	ImageGrid g = image_grid(classes, E, kPointwiseThreads);
	ICT_REQUIRE(g.blocks > 0, ICT_ERR_SHAPE);
	ICT_REQUIRE(aligned(dtable, 4) && aligned(dbias, 4) && aligned(dy, 4) && aligned(labels, 4), ICT_ERR_ALIGN);
	if (dtable)
		if (int e = launch(embed_label_backward_kernel, g.blocks, kPointwiseThreads, 0, ex, dtable, beta_dtable, dy, labels, N, E, scale, g.tiles)) return e;
	if (dbias) return launch(embed_label_backward_kernel, g.tiles, kPointwiseThreads, 0, ex, dbias, beta_dbias, dy, nullptr, N, E, 1.0f, g.tiles);
	return ICT_OK;
}

} // namespace ict
