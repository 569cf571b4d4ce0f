// attention.cu: softmax attention over the pixels of an image, and its gradient.
//
//   forward   o = softmax(scale*q.k) v, lse = ln sum exp(scale*q.k)
//   backward  p = exp(scale*q.k - lse), ds = p*(do.v - delta), delta = sum of do*o;
//             dq = scale*ds k, dk = scale*ds^T q, dv = p^T do
//
// Backward is two launches: one whose blocks own queries (dq), one whose blocks own keys (dk, dv); both make p again, so
// seven products instead of five and no atomics. The two are one kernel: with a1, a2 the owner's rows and b1, b2 those of
// the other side, (q, do; k, v) or (k, v; q, do), the logits are a1.b1, their gradients a2.b2, and ds b1 is dq or dk.
//
//   mma    16-bit storage, d <= 256: tiles in shared memory (cp.async, ldmatrix), products on mma.sync with f32 sums, d
//          filled up with zeros to 64 or 256. Forward: a warp owns 16 queries, online softmax over tiles of keys. Backward:
//          the block's warps share a tile of logits, pass p and ds through shared memory in the storage type.
//   plain  f32 storage (products in f32) and d > 256: a block owns 8 rows and keeps their logits against all of the
//          other side in shared memory; no online softmax.
//
// Source: [FlashAttention] without atomics. Defined in tensor/attention.go.
#include "reduce.cuh"
#include "vec.cuh"

namespace ict {

constexpr int kMaxTokens = 1024;
constexpr int kMaxHeadWidth = 512;
constexpr float kLog2e = 1.44269504088896340736f, kLn2 = 0.69314718055994530942f;

// A head of an image: rows of q, k, v lie 3*heads*d apart, rows of o heads*d.
template <typename T> struct Head {
	const T *q, *k, *v;
	int64_t row, token;  // first row of o and of lse
	int64_t stride, width; // 3*heads*d, heads*d
	int column;            // of the head in a row of o
};
template <typename T> __device__ __forceinline__ Head<T> attention_head(const T *qkv, int index, int tokens, int heads, int d) {
	int64_t n = index / heads, h = index % heads, width = int64_t(heads) * d;
	const T *q = qkv + n * tokens * 3 * width + h * d;
	return {q, q + width, q + 2 * width, n * tokens, int64_t(index) * tokens, 3 * width, width, int(h) * d};
}

// ---- plain

constexpr int kPlainThreads = 128;
constexpr int kPlainRows = 8;   // of a block: logits of 2*8 rows against 1,024 are 64 KB of shared memory
constexpr int kPlainTile = 64;  // columns at a time, of tokens and of a head's width
constexpr int kPlainDepth = 32; // of the width, at a time
constexpr int kPlainParts = kPlainThreads / kPlainRows;

struct PlainShared {
	alignas(16) float a[kPlainDepth][kPlainRows]; // a piece of the owner's rows, transposed
	float b[kPlainTile][kPlainDepth + 1];         // of the other side's; odd rows avoid bank conflicts
	float parts[kPlainParts][kPlainRows];
	float row[kPlainRows];                    // of the owner's rows: sum of p
	float delta[kMaxTokens], lse[kMaxTokens]; // of the other side's
	alignas(16) float logits[4];              // [tokens][kPlainRows], of backward twice
};
inline size_t plain_shared_bytes(int tokens, int arrays) { return sizeof(PlainShared) + sizeof(float) * arrays * tokens * kPlainRows; }

// A place in a tile of the plain kernels: one column, four rows.
struct PlainPlace {
	int column, row;
};
__device__ __forceinline__ PlainPlace plain_place() { return {int(threadIdx.x) % kPlainTile, int(threadIdx.x) / kPlainTile * 4}; }

// plain_products writes out[j][i] = factor * a[row0+i].b[j] for all tokens j.
template <typename T>
__device__ __forceinline__ void plain_products(PlainShared &s, float *out, const T *a, int64_t a_stride, const T *b, int64_t b_stride,
                                               int row0, int tokens, int d, float factor) {
	PlainPlace at = plain_place();
	for (int j0 = 0; j0 < tokens; j0 += kPlainTile) {
		float sum[4] = {0.0f, 0.0f, 0.0f, 0.0f};
		for (int c0 = 0; c0 < d; c0 += kPlainDepth) {
			sync_block(); // for the last piece to have been read
			for (int i = int(threadIdx.x); i < kPlainDepth * kPlainRows; i += kPlainThreads) {
				int c = i % kPlainDepth, r = i / kPlainDepth;
				s.a[c][r] = c0 + c < d && row0 + r < tokens ? to_float(a[(row0 + r) * a_stride + c0 + c]) : 0.0f;
			}
			for (int i = int(threadIdx.x); i < kPlainDepth * kPlainTile; i += kPlainThreads) {
				int c = i % kPlainDepth, r = i / kPlainDepth;
				s.b[r][c] = c0 + c < d && j0 + r < tokens ? to_float(b[(j0 + r) * b_stride + c0 + c]) : 0.0f;
			}
			sync_block(); // for the pieces
#pragma unroll 8
			for (int c = 0; c < kPlainDepth; c++) {
				float v[4], w = s.b[at.column][c];
				load(&s.a[c][at.row], v);
#pragma unroll
				for (int i = 0; i < 4; i++) sum[i] = fma(v[i], w, sum[i]);
			}
		}
		int j = j0 + at.column;
		if (j < tokens) {
#pragma unroll
			for (int i = 0; i < 4; i++) out[j * kPlainRows + at.row + i] = mul(factor, sum[i]);
		}
	}
}

// plain_combine gives the thread's four rows of sum over j of p[j]*b[j] in column c.
template <typename T>
__device__ __forceinline__ void plain_combine(const float *p, const T *b, int64_t b_stride, int tokens, int c, int row, float (&sum)[4]) {
#pragma unroll
	for (int i = 0; i < 4; i++) sum[i] = 0.0f;
	const T *at = b + c;
#pragma unroll 4
	for (int j = 0; j < tokens; j++, at += b_stride) {
		float v[4], w = to_float(*at);
		load(p + j * kPlainRows + row, v);
#pragma unroll
		for (int i = 0; i < 4; i++) sum[i] = fma(v[i], w, sum[i]);
	}
}

template <typename T>
__global__ void __launch_bounds__(kPlainThreads)
attention_forward_kernel(T *o,         // (N,T,heads,d)
                         float *lse,   // (N,heads,T)
                         const T *qkv, // (N,T,3,heads,d)
                         int tokens, int heads, int d, float scale, unsigned tiles) {
	PlainShared &s = shared<PlainShared>();
	float *logits = s.logits;
	Head<T> h = attention_head(qkv, int(blockIdx.x / tiles), tokens, heads, d);
	int row0 = int(blockIdx.x % tiles) * kPlainRows;
	plain_products(s, logits, h.q, h.stride, h.k, h.stride, row0, tokens, d, scale);
	sync_block(); // for all logits

	int row = int(threadIdx.x) % kPlainRows, part = int(threadIdx.x) / kPlainRows;
	float most = logits[row], sum = 0.0f;
	for (int j = part; j < tokens; j += kPlainParts) most = logits[j * kPlainRows + row] > most ? logits[j * kPlainRows + row] : most;
	s.parts[part][row] = most;
	sync_block(); // for the parts' maxima
#pragma unroll
	for (int i = 0; i < kPlainParts; i++) most = s.parts[i][row] > most ? s.parts[i][row] : most;
	sync_block(); // for all to have read them
	for (int j = part; j < tokens; j += kPlainParts) {
		float p = exp(logits[j * kPlainRows + row] - most);
		logits[j * kPlainRows + row] = p;
		sum += p;
	}
	s.parts[part][row] = sum;
	sync_block(); // for the parts' sums and all of p
	sum = s.parts[0][row];
#pragma unroll
	for (int i = 1; i < kPlainParts; i++) sum += s.parts[i][row];
	if (part == 0) {
		s.row[row] = sum;
		if (row0 + row < tokens) lse[h.token + row0 + row] = most + log(sum);
	}
	sync_block(); // for the rows' sums

	PlainPlace at = plain_place();
	for (int c = at.column; c < d; c += kPlainTile) {
		float v[4];
		plain_combine(logits, h.v, h.stride, tokens, c, at.row, v);
#pragma unroll
		for (int i = 0; i < 4; i++) {
			int t = row0 + at.row + i;
			if (t < tokens) o[(h.row + t) * h.width + h.column + c] = from_float<T>(v[i] / s.row[at.row + i]);
		}
	}
}

// plain_delta gives the sum of do*o over the head, for the token.
template <typename T>
__device__ __forceinline__ float plain_delta(const T *dout, const T *o, int64_t at, int d) {
	float sum = 0.0f;
	for (int c = 0; c < d; c++) sum = fma(to_float(dout[at + c]), to_float(o[at + c]), sum);
	return sum;
}

// kKeys: the block owns keys, and writes dk and dv; else queries, and dq.
template <typename T, bool kKeys>
__global__ void __launch_bounds__(kPlainThreads)
attention_backward_kernel(T *dqkv,          // (N,T,3,heads,d)
                          float beta,
                          const T *dout,    // (N,T,heads,d)
                          const T *o,       // (N,T,heads,d)
                          const T *qkv,     // (N,T,3,heads,d)
                          const float *lse, // (N,heads,T)
                          int tokens, int heads, int d, float scale, unsigned tiles) {
	PlainShared &s = shared<PlainShared>();
	float *p = s.logits, *ds = p + tokens * kPlainRows;
	Head<T> h = attention_head(qkv, int(blockIdx.x / tiles), tokens, heads, d);
	const T *g = dout + h.row * h.width + h.column;
	int row0 = int(blockIdx.x % tiles) * kPlainRows;
	if constexpr (kKeys) {
		plain_products(s, p, h.k, h.stride, h.q, h.stride, row0, tokens, d, scale);
		plain_products(s, ds, h.v, h.stride, g, h.width, row0, tokens, d, 1.0f);
	} else {
		plain_products(s, p, h.q, h.stride, h.k, h.stride, row0, tokens, d, scale);
		plain_products(s, ds, g, h.width, h.v, h.stride, row0, tokens, d, 1.0f);
	}
	int first = kKeys ? 0 : row0, last = kKeys || row0 + kPlainRows > tokens ? tokens : row0 + kPlainRows;
	for (int t = first + int(threadIdx.x); t < last; t += kPlainThreads) { // of queries: all, or those of the block
		s.lse[t - first] = lse[h.token + t];
		s.delta[t - first] = plain_delta(dout, o, (h.row + t) * h.width + h.column, d);
	}
	sync_block(); // for lse, delta and all products
	for (int i = int(threadIdx.x); i < tokens * kPlainRows; i += kPlainThreads) {
		int q = kKeys ? i / kPlainRows : i % kPlainRows;
		bool inside = row0 + i % kPlainRows < tokens;
		p[i] = inside ? exp(p[i] - s.lse[q]) : 0.0f;
		ds[i] = inside ? p[i] * (ds[i] - s.delta[q]) : 0.0f;
	}
	sync_block(); // for p and ds

	PlainPlace at = plain_place();
	T *to = dqkv + (h.q - qkv) + (kKeys ? h.width : 0);
	for (int c = at.column; c < d; c += kPlainTile) {
		float v[4], w[4] = {0.0f, 0.0f, 0.0f, 0.0f};
		plain_combine(ds, kKeys ? h.q : h.k, h.stride, tokens, c, at.row, v);
		if (kKeys) plain_combine(p, g, h.width, tokens, c, at.row, w);
#pragma unroll
		for (int i = 0; i < 4; i++) {
			int t = row0 + at.row + i;
			if (t >= tokens) continue;
			T *x = to + t * h.stride + c;
			float u = mul(scale, v[i]);
			*x = from_float<T>(beta == 0.0f ? u : fma(beta, to_float(*x), u));
			if (!kKeys) continue;
			x += h.width; // dv
			*x = from_float<T>(beta == 0.0f ? w[i] : fma(beta, to_float(*x), w[i]));
		}
	}
}

// ---- mma

// A tile of kRows tokens, kWidth 16-bit elements each, in 16-byte pieces whose place is mixed with the row: the 8 rows that
// one phase of ldmatrix reads lie in 8 different groups of banks.
template <typename T, int kRows, int kWidth> struct MmaTile {
	T e[kRows * kWidth];
	static_assert(kWidth % 64 == 0, "eight pieces or more to a row");
	__device__ __forceinline__ T *piece(int row, int i) { return e + row * kWidth + (i ^ (row & 7)) * 8; }
};

// load_tile starts to copy tokens first ... of a head, zeros where there are none.
template <int kThreads, typename T, int kRows, int kWidth>
__device__ __forceinline__ void load_tile(MmaTile<T, kRows, kWidth> &tile, const T *src, int64_t stride, int first, int tokens, int d) {
	constexpr int kPieces = kWidth / 8;
	static_assert(kRows * kPieces % kThreads == 0, "whole rounds");
#pragma unroll 4
	for (int i = int(threadIdx.x); i < kRows * kPieces; i += kThreads) {
		int r = i / kPieces, c = i % kPieces;
		bool valid = first + r < tokens && c * 8 < d;
		copy_async16(tile.piece(r, c), valid ? src + (first + r) * stride + c * 8 : src, valid);
	}
}

// Fragments of mma from tiles; i counts pieces of 8 elements.
template <typename Tile> __device__ __forceinline__ void fragment_a(uint32_t (&a)[4], Tile &tile, int row, int i) {
	load_matrix_x4(a, tile.piece(row + (lane() & 15), i + (lane() >> 4)));
}
// rows row ... row+15 of the tile are 16 columns of b: two fragments
template <typename Tile> __device__ __forceinline__ void fragment_b(uint32_t (&b)[4], Tile &tile, int row, int i) {
	load_matrix_x4(b, tile.piece(row + (lane() & 7) + (lane() >> 4 << 3), i + (lane() >> 3 & 1)));
}
template <typename Tile> __device__ __forceinline__ void fragment_b8(uint32_t (&b)[2], Tile &tile, int row, int i) {
	load_matrix_x2(b, tile.piece(row + (lane() & 7), i + (lane() >> 3 & 1)));
}
// rows row ... row+15 of the tile are 16 rows of b; its columns are pieces i and i+1: two fragments
template <typename Tile> __device__ __forceinline__ void fragment_b_rows(uint32_t (&b)[4], Tile &tile, int row, int i) {
	load_matrix_x4_trans(b, tile.piece(row + (lane() & 15), i + (lane() >> 4)));
}
template <typename T> __device__ __forceinline__ void mma_pair(float (&d0)[4], float (&d1)[4], const uint32_t (&a)[4], const uint32_t (&b)[4]) {
	const uint32_t b0[2] = {b[0], b[1]}, b1[2] = {b[2], b[3]};
	mma_m16n8k16<T>(d0, a, b0);
	mma_m16n8k16<T>(d1, a, b1);
}

// quad_max, quad_sum: over the four lanes that hold a row of an accumulator.
__device__ __forceinline__ float quad_max(float v) {
#pragma unroll
	for (int bits = 1; bits < 4; bits *= 2) {
		float o = shuffle_xor(full_mask, v, bits);
		v = o > v ? o : v;
	}
	return v;
}
__device__ __forceinline__ float quad_sum(float v) {
	v += shuffle_xor(full_mask, v, 1);
	return v + shuffle_xor(full_mask, v, 2);
}

// store_pair writes two neighbouring results, with beta.
template <typename T> __device__ __forceinline__ void store_pair(T *p, float beta, float lo, float hi) {
	uint32_t *to = reinterpret_cast<uint32_t *>(p);
	if (beta != 0.0f) {
		uint32_t old = *to;
		lo = fma(beta, to_float(from_bits16<T>(old)), lo);
		hi = fma(beta, to_float(from_bits16<T>(old >> 16)), hi);
	}
	*to = pack2<T>(lo, hi);
}

constexpr int kForwardWarps = 4;
constexpr int kForwardRows = 16 * kForwardWarps; // queries of a block

// Keys of a tile: with d = 256, q, k and v take 64 KB; with d = 64, 24 KB.
template <int kWidth> struct ForwardShape {
	static constexpr int kKeys = kWidth == 64 ? 64 : 32;
};

template <typename T, int kWidth> struct ForwardShared {
	MmaTile<T, kForwardRows, kWidth> q;
	MmaTile<T, ForwardShape<kWidth>::kKeys, kWidth> k, v;
};

template <typename T, int kWidth>
__global__ void __launch_bounds__(32 * kForwardWarps)
attention_forward_mma_kernel(T *o,         // (N,T,heads,d)
                             float *lse,   // (N,heads,T)
                             const T *qkv, // (N,T,3,heads,d)
                             int tokens, int heads, int d, float scale, unsigned tiles) {
	constexpr int kThreads = 32 * kForwardWarps, kKeys = ForwardShape<kWidth>::kKeys;
	ForwardShared<T, kWidth> &s = shared<ForwardShared<T, kWidth>>();
	Head<T> h = attention_head(qkv, int(blockIdx.x / tiles), tokens, heads, d);
	int row0 = int(blockIdx.x % tiles) * kForwardRows, row = 16 * warp();
	load_tile<kThreads>(s.q, h.q, h.stride, row0, tokens, d);
	load_tile<kThreads>(s.k, h.k, h.stride, 0, tokens, d);
	copy_commit();

	float acc[kWidth / 8][4], most[2], sum[2] = {0.0f, 0.0f}; // of rows lane/4 and lane/4+8 of the warp
	most[0] = most[1] = bits_float(0xff800000u);               // minus infinity
#pragma unroll
	for (int i = 0; i < kWidth / 8; i++)
#pragma unroll
		for (int j = 0; j < 4; j++) acc[i][j] = 0.0f;
	scale *= kLog2e;

	for (int key0 = 0; key0 < tokens; key0 += kKeys) {
		load_tile<kThreads>(s.v, h.v, h.stride, key0, tokens, d);
		copy_commit();
		copy_wait<1>(); // k, at first q too
		sync_block();   // for everybody's copies
		float p[kKeys / 8][4];
#pragma unroll
		for (int i = 0; i < kKeys / 8; i++)
#pragma unroll
			for (int j = 0; j < 4; j++) p[i][j] = 0.0f;
#pragma unroll 4
		for (int c = 0; c < kWidth / 8; c += 2) {
			uint32_t a[4], b[4];
			fragment_a(a, s.q, row, c);
#pragma unroll
			for (int i = 0; i < kKeys / 8; i += 2) {
				fragment_b(b, s.k, 8 * i, c);
				mma_pair<T>(p[i], p[i + 1], a, b);
			}
		}
		sync_block(); // for k to have been read
		if (key0 + kKeys < tokens) load_tile<kThreads>(s.k, h.k, h.stride, key0 + kKeys, tokens, d);
		copy_commit();

		float top[2] = {most[0], most[1]};
#pragma unroll
		for (int i = 0; i < kKeys / 8; i++)
#pragma unroll
			for (int j = 0; j < 4; j++) {
				bool inside = key0 + 8 * i + 2 * (lane() & 3) + (j & 1) < tokens;
				p[i][j] = inside ? p[i][j] * scale : bits_float(0xff800000u);
				top[j >> 1] = p[i][j] > top[j >> 1] ? p[i][j] : top[j >> 1];
			}
#pragma unroll
		for (int r = 0; r < 2; r++) {
			top[r] = quad_max(top[r]);
			float shrink = exp2_approx(most[r] - top[r]);
			most[r] = top[r];
			sum[r] *= shrink;
#pragma unroll
			for (int i = 0; i < kWidth / 8; i++) {
				acc[i][2 * r] *= shrink;
				acc[i][2 * r + 1] *= shrink;
			}
		}
#pragma unroll
		for (int i = 0; i < kKeys / 8; i++)
#pragma unroll
			for (int j = 0; j < 4; j++) {
				p[i][j] = exp2_approx(p[i][j] - most[j >> 1]);
				sum[j >> 1] += p[i][j];
			}
		copy_wait<1>(); // v
		sync_block();   // for everybody's copies
#pragma unroll
		for (int k = 0; k < kKeys; k += 16) { // the accumulators of the logits are the fragments of p
			float(&lo)[4] = p[k / 8], (&hi)[4] = p[k / 8 + 1];
			const uint32_t a[4] = {pack2<T>(lo[0], lo[1]), pack2<T>(lo[2], lo[3]), pack2<T>(hi[0], hi[1]), pack2<T>(hi[2], hi[3])};
#pragma unroll
			for (int i = 0; i < kWidth / 8; i += 2) {
				uint32_t b[4];
				fragment_b_rows(b, s.v, k, i);
				mma_pair<T>(acc[i], acc[i + 1], a, b);
			}
		}
		sync_block(); // for v to have been read
	}
#pragma unroll
	for (int r = 0; r < 2; r++) {
		int t = row0 + row + lane() / 4 + 8 * r;
		float total = quad_sum(sum[r]), share = 1.0f / total;
		if (t >= tokens) continue;
		if (lane() % 4 == 0) lse[h.token + t] = fma(most[r], kLn2, log(total));
		T *to = o + (h.row + t) * h.width + h.column;
#pragma unroll
		for (int i = 0; i < kWidth / 8; i++) {
			int c = 8 * i + 2 * (lane() & 3);
			if (c < d) store_pair(to + c, 0.0f, acc[i][2 * r] * share, acc[i][2 * r + 1] * share);
		}
	}
}

constexpr int kBackwardWarps = 8;

// A block owns kRows tokens and takes the other side in tiles of as many: with d = 256, four tiles are 64 KB. Warps stand
// in kRows/16 rows; a row's warps share the columns of the logits, then the columns of the results.
template <int kWidth> struct BackwardShape {
	static constexpr int kRows = kWidth == 64 ? 64 : 32;
	static constexpr int kAcross = kBackwardWarps / (kRows / 16);
	static constexpr int kColumns = kRows / kAcross;   // of a warp: logits
	static constexpr int kResults = kWidth / kAcross;  // of a warp: results
};

// p or ds of a tile: rows of 16-bit elements, 16 bytes apart from whole groups of banks.
template <typename T, int kRows> struct LogitTile {
	T e[kRows * (kRows + 8)];
	__device__ __forceinline__ T *piece(int row, int i) { return e + row * (kRows + 8) + 8 * i; }
};

template <typename T, int kWidth> struct BackwardShared {
	static constexpr int kRows = BackwardShape<kWidth>::kRows;
	MmaTile<T, kRows, kWidth> a1, a2, b1, b2;
	LogitTile<T, kRows> p, ds;
	float lse[kRows], delta[kRows]; // of the tile's queries; lse in units of ln 2
};

// head_statistics writes lse and delta of a tile of queries.
template <typename T, int kWidth>
__device__ __forceinline__ void head_statistics(BackwardShared<T, kWidth> &s, const T *dout, const T *o, const float *lse, int64_t stride,
                                                int first, int tokens, int d) {
	constexpr int kRows = BackwardShape<kWidth>::kRows, kLanes = 32 * kBackwardWarps / kRows; // 4 or 8 to a row
	int r = int(threadIdx.x) / kLanes, part = int(threadIdx.x) % kLanes, t = first + r;
	float sum = 0.0f;
	if (t < tokens) {
		for (int c = 8 * part; c < d; c += 8 * kLanes) {
			float x[8], y[8];
			load(dout + t * stride + c, x);
			load(o + t * stride + c, y);
#pragma unroll
			for (int i = 0; i < 8; i++) sum = fma(x[i], y[i], sum);
		}
	}
#pragma unroll
	for (int bits = 1; bits < kLanes; bits *= 2) sum += shuffle_xor(full_mask, sum, bits);
	if (part == 0) {
		s.delta[r] = sum;
		s.lse[r] = t < tokens ? lse[t] * kLog2e : 0.0f;
	}
}

// kKeys: the block owns keys, and writes dk and dv; else queries, and dq.
template <typename T, int kWidth, bool kKeys>
__global__ void __launch_bounds__(32 * kBackwardWarps)
attention_backward_mma_kernel(T *dqkv,          // (N,T,3,heads,d)
                              float beta,
                              const T *dout,    // (N,T,heads,d)
                              const T *o,       // (N,T,heads,d)
                              const T *qkv,     // (N,T,3,heads,d)
                              const float *lse, // (N,heads,T)
                              int tokens, int heads, int d, float scale, unsigned tiles) {
	using Shape = BackwardShape<kWidth>;
	constexpr int kThreads = 32 * kBackwardWarps, kRows = Shape::kRows, kTiles = Shape::kColumns / 8, kOut = Shape::kResults / 8;
	BackwardShared<T, kWidth> &s = shared<BackwardShared<T, kWidth>>();
	Head<T> h = attention_head(qkv, int(blockIdx.x / tiles), tokens, heads, d);
	int row0 = int(blockIdx.x % tiles) * kRows, row = warp() / Shape::kAcross * 16, across = warp() % Shape::kAcross;
	const T *g = dout + h.row * h.width + h.column, *out = o + h.row * h.width + h.column;
	const T *a1 = kKeys ? h.k : h.q, *a2 = kKeys ? h.v : g, *b1 = kKeys ? h.q : h.k, *b2 = kKeys ? g : h.v;
	int64_t a2_stride = kKeys ? h.stride : h.width, b2_stride = kKeys ? h.width : h.stride;
	load_tile<kThreads>(s.a1, a1, h.stride, row0, tokens, d);
	load_tile<kThreads>(s.a2, a2, a2_stride, row0, tokens, d);
	if (!kKeys) head_statistics<T, kWidth>(s, g, out, lse + h.token, h.width, row0, tokens, d);

	float acc1[kOut][4], acc2[kKeys ? kOut : 1][4];
#pragma unroll
	for (int i = 0; i < kOut; i++)
#pragma unroll
		for (int j = 0; j < 4; j++) {
			acc1[i][j] = 0.0f;
			if constexpr (kKeys) acc2[i][j] = 0.0f;
		}
	float log2_scale = scale * kLog2e;

	for (int column0 = 0; column0 < tokens; column0 += kRows) {
		load_tile<kThreads>(s.b1, b1, h.stride, column0, tokens, d);
		load_tile<kThreads>(s.b2, b2, b2_stride, column0, tokens, d);
		copy_commit();
		if (kKeys) head_statistics<T, kWidth>(s, g, out, lse + h.token, h.width, column0, tokens, d);
		copy_wait<0>();
		sync_block(); // for everybody's copies, lse and delta

		float p[kTiles][4], dp[kTiles][4];
		int column = across * Shape::kColumns;
#pragma unroll
		for (int i = 0; i < kTiles; i++)
#pragma unroll
			for (int j = 0; j < 4; j++) p[i][j] = dp[i][j] = 0.0f;
#pragma unroll 2
		for (int c = 0; c < kWidth / 8; c += 2) {
			uint32_t x[4], y[4];
			fragment_a(x, s.a1, row, c);
			fragment_a(y, s.a2, row, c);
			if constexpr (kTiles == 1) {
				uint32_t b[2];
				fragment_b8(b, s.b1, column, c);
				mma_m16n8k16<T>(p[0], x, b);
				fragment_b8(b, s.b2, column, c);
				mma_m16n8k16<T>(dp[0], y, b);
			} else {
#pragma unroll
				for (int i = 0; i < kTiles; i += 2) {
					uint32_t b[4];
					fragment_b(b, s.b1, column + 8 * i, c);
					mma_pair<T>(p[i], p[i + 1], x, b);
					fragment_b(b, s.b2, column + 8 * i, c);
					mma_pair<T>(dp[i], dp[i + 1], y, b);
				}
			}
		}
#pragma unroll
		for (int i = 0; i < kTiles; i++)
#pragma unroll
			for (int j = 0; j < 4; j++) {
				int r = row + lane() / 4 + 8 * (j >> 1), c = column + 8 * i + 2 * (lane() & 3) + (j & 1), q = kKeys ? c : r;
				bool inside = row0 + r < tokens && column0 + c < tokens;
				p[i][j] = inside ? exp2_approx(fma(p[i][j], log2_scale, -s.lse[q])) : 0.0f;
				dp[i][j] = inside ? p[i][j] * (dp[i][j] - s.delta[q]) : 0.0f; // scale comes last: here it would cost small values
			}
#pragma unroll
		for (int i = 0; i < kTiles; i++)
#pragma unroll
			for (int j = 0; j < 4; j += 2) {
				int r = row + lane() / 4 + 4 * j, piece = column / 8 + i, e = 2 * (lane() & 3);
				*reinterpret_cast<uint32_t *>(s.ds.piece(r, piece) + e) = pack2<T>(dp[i][j], dp[i][j + 1]);
				if (kKeys) *reinterpret_cast<uint32_t *>(s.p.piece(r, piece) + e) = pack2<T>(p[i][j], p[i][j + 1]);
			}
		sync_block(); // for the tile's p and ds
#pragma unroll
		for (int k = 0; k < kRows / 8; k += 2) {
			uint32_t x[4], y[4], b[4];
			fragment_a(x, s.ds, row, k);
			if (kKeys) fragment_a(y, s.p, row, k);
#pragma unroll
			for (int i = 0; i < kOut; i += 2) {
				fragment_b_rows(b, s.b1, 8 * k, across * kOut + i);
				mma_pair<T>(acc1[i], acc1[i + 1], x, b);
				if constexpr (kKeys) {
					fragment_b_rows(b, s.b2, 8 * k, across * kOut + i);
					mma_pair<T>(acc2[i], acc2[i + 1], y, b);
				}
			}
		}
		sync_block(); // for the tile to have been read
	}
	T *to = dqkv + (h.q - qkv) + (kKeys ? h.width : 0);
#pragma unroll
	for (int j = 0; j < 4; j += 2) {
		int t = row0 + row + lane() / 4 + 4 * j;
		if (t >= tokens) continue;
#pragma unroll
		for (int i = 0; i < kOut; i++) {
			int c = across * Shape::kResults + 8 * i + 2 * (lane() & 3);
			if (c >= d) continue;
			store_pair(to + t * h.stride + c, beta, mul(scale, acc1[i][j]), mul(scale, acc1[i][j + 1]));
			if constexpr (kKeys) store_pair(to + t * h.stride + h.width + c, beta, acc2[i][j], acc2[i][j + 1]); // dv
		}
	}
}

// ---- launchers

namespace {

// mma_width: the width of the tiles, 0 for the plain kernels.
int mma_width(int d, ict_dtype dtype) {
	if (dtype == ICT_F32 || d > 256) return 0;
	return d <= 64 ? 64 : 256;
}

const char *attention_variant(int d, ict_dtype dtype) {
	switch (mma_width(d, dtype)) {
	case 64: return "mma_d64";
	case 256: return "mma_d256";
	default: return "plain";
	}
}

int check_attention(int32_t N, int32_t T, int32_t heads, int32_t d, ict_dtype dtype) {
	ICT_REQUIRE(N >= 1 && T >= 1 && T <= kMaxTokens && heads >= 1 && d >= 1 && d <= kMaxHeadWidth, ICT_ERR_SHAPE);
	ICT_REQUIRE(d % 8 == 0 || dtype == ICT_F32, ICT_ERR_SHAPE);
	ICT_REQUIRE(int64_t(heads) * d <= 0x7fffffff / 3 && int64_t(N) * heads <= 0x7fffffff / ceil_div(T, kPlainRows), ICT_ERR_SHAPE);
	return ICT_OK;
}

template <typename T, bool kKeys>
int plain_backward(T *dqkv, float beta, const T *dout, const T *o, const T *qkv, const float *lse, int N, int tokens, int heads, int d,
                   float scale, const ict_exec *ex) {
	unsigned tiles = unsigned(ceil_div(tokens, kPlainRows));
	return launch(attention_backward_kernel<T, kKeys>, unsigned(N) * heads * tiles, kPlainThreads, plain_shared_bytes(tokens, 2), ex, dqkv,
	              beta, dout, o, qkv, lse, tokens, heads, d, scale, tiles);
}
template <typename T, int kWidth, bool kKeys>
int mma_backward(T *dqkv, float beta, const T *dout, const T *o, const T *qkv, const float *lse, int N, int tokens, int heads, int d,
                 float scale, const ict_exec *ex) {
	unsigned tiles = unsigned(ceil_div(tokens, BackwardShape<kWidth>::kRows));
	return launch(attention_backward_mma_kernel<T, kWidth, kKeys>, unsigned(N) * heads * tiles, 32 * kBackwardWarps,
	              sizeof(BackwardShared<T, kWidth>), ex, dqkv, beta, dout, o, qkv, lse, tokens, heads, d, scale, tiles);
}

} // namespace

extern "C" size_t ict_attention_forward_workspace(int32_t N, int32_t T, int32_t heads, int32_t d, const ict_exec *ex) {
	(void)N, (void)T, (void)heads, (void)d, (void)ex;
	return 0;
}
extern "C" size_t ict_attention_backward_workspace(int32_t N, int32_t T, int32_t heads, int32_t d, const ict_exec *ex) {
	(void)N, (void)T, (void)heads, (void)d, (void)ex;
	return 0;
}
extern "C" const char *ict_attention_forward_variant(int32_t T, int32_t d, ict_dtype dtype, const ict_exec *ex) {
	(void)T, (void)ex;
	return attention_variant(d, dtype);
}
extern "C" const char *ict_attention_backward_variant(int32_t T, int32_t d, ict_dtype dtype, const ict_exec *ex) {
	(void)T, (void)ex;
	return attention_variant(d, dtype);
}

extern "C" int ict_attention_forward(void *o, float *lse, const void *qkv, int32_t N, int32_t T, int32_t heads, int32_t d, float scale,
                                     void *ws, size_t ws_bytes, ict_dtype dtype, const ict_exec *ex) {
	(void)ws, (void)ws_bytes;
	ICT_REQUIRE(o && lse && qkv, ICT_ERR_NULL);
	if (int e = check_device(ex)) return e;
	if (int e = check_attention(N, T, heads, d, dtype)) return e;
	ICT_REQUIRE(aligned(o, 16) && aligned(lse, 4) && aligned(qkv, 16), ICT_ERR_ALIGN);
	return with_storage(dtype, [&](auto zero) -> int {
		using E = decltype(zero);
		E *to = static_cast<E *>(o);
		const E *x = static_cast<const E *>(qkv);
		if constexpr (sizeof(E) == 2) {
			unsigned tiles = unsigned(ceil_div(T, kForwardRows)), blocks = unsigned(N) * heads * tiles;
			switch (mma_width(d, dtype)) {
			case 64:
				return launch(attention_forward_mma_kernel<E, 64>, blocks, 32 * kForwardWarps, sizeof(ForwardShared<E, 64>), ex, to, lse, x,
				              T, heads, d, scale, tiles);
			case 256:
				return launch(attention_forward_mma_kernel<E, 256>, blocks, 32 * kForwardWarps, sizeof(ForwardShared<E, 256>), ex, to, lse,
				              x, T, heads, d, scale, tiles);
			}
		}
		unsigned tiles = unsigned(ceil_div(T, kPlainRows));
		return launch(attention_forward_kernel<E>, unsigned(N) * heads * tiles, kPlainThreads, plain_shared_bytes(T, 1), ex, to, lse, x, T,
		              heads, d, scale, tiles);
	});
}

extern "C" int ict_attention_backward(void *dqkv, float beta_dqkv, const void *do_, const void *o, const void *qkv, const float *lse,
                                      int32_t N, int32_t T, int32_t heads, int32_t d, float scale, void *ws, size_t ws_bytes,
                                      ict_dtype dtype, const ict_exec *ex) {
	(void)ws, (void)ws_bytes;
	ICT_REQUIRE(do_ && o && qkv && lse, ICT_ERR_NULL);
	if (int e = check_device(ex)) return e;
	if (int e = check_attention(N, T, heads, d, dtype)) return e;
	ICT_REQUIRE(aligned(dqkv, 16) && aligned(do_, 16) && aligned(o, 16) && aligned(qkv, 16) && aligned(lse, 4), ICT_ERR_ALIGN);
	if (!dqkv) return ICT_OK;
	return with_storage(dtype, [&](auto zero) -> int {
		using E = decltype(zero);
		auto run = [&](auto queries, auto keys) -> int {
			auto one = [&](auto f) { return f(static_cast<E *>(dqkv), beta_dqkv, static_cast<const E *>(do_), static_cast<const E *>(o),
			                                  static_cast<const E *>(qkv), lse, N, T, heads, d, scale, ex); };
			if (int e = one(queries)) return e;
			return one(keys);
		};
		if constexpr (sizeof(E) == 2) {
			switch (mma_width(d, dtype)) {
			case 64: return run(mma_backward<E, 64, false>, mma_backward<E, 64, true>);
			case 256: return run(mma_backward<E, 256, false>, mma_backward<E, 256, true>);
			}
		}
		return run(plain_backward<E, false>, plain_backward<E, true>);
	});
}

} // namespace ict
