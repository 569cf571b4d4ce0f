// mma.cuh: products of a warp on tensor cores, out of tiles in shared memory: 16-bit types by m16n8k16, float by
// m16n8k8 with operands rounded to tf32. Tiles are rows of 16-byte chunks (8 elements of 16 bits, 4 of 32), laid out by a
// swizzle under which the eight rows of an ldmatrix, or the rows of a fragment's plain loads, lie in different banks.
//
//   rows along k      tile[m][k], tile[n][k]: both operands contiguous in the summed index; 4 chunks to a row
//   rows across k     tile[k][m], tile[k][n]: both operands transposed as they are read; float has no transposing load
//
// Fragments follow the PTX ISA: of lane l, with g = l/4 and t = l%4, acc[0..1] are (g, 2t..2t+1), acc[2..3] (g+8, ...).
#ifndef ICT_MMA_CUH
#define ICT_MMA_CUH

#include "intrin.cuh"

namespace ict {

template <typename T> constexpr int kChunk = 16 / sizeof(T);          // elements of a chunk
template <typename T> constexpr int kMmaDepth = sizeof(T) == 2 ? 16 : 8; // summed by one instruction: 2 chunks

template <typename T> __device__ __forceinline__ void mma(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
	if constexpr (sizeof(T) == 2) mma_m16n8k16<T>(d, a, b);
	else mma_m16n8k8_tf32(d, a, b);
}

// ---- rows along k

// along_at is where chunk (row, chunk) lies in a tile of 4 chunks to a row.
__device__ __forceinline__ int along_at(int row, int chunk) { return row * 4 + (chunk ^ (row >> 1 & 3)); }

template <typename T, int kRegisters> __device__ __forceinline__ void round_tf32(uint32_t (&r)[kRegisters]) {
	if constexpr (sizeof(T) == 4) {
#pragma unroll
		for (int i = 0; i < kRegisters; i++) r[i] = to_tf32(bits_float(r[i]));
	}
}

// multiply_along adds the product of kM*16 rows of a from row m and kN*8 rows of b from row n, over the tiles' 4 chunks.
template <typename T, int kM, int kN>
__device__ __forceinline__ void multiply_along(float (&acc)[kM][kN][4], const Bytes16 *a, int m, const Bytes16 *b, int n) {
	static_assert(kN % 2 == 0, "one load gives b for two instructions");
	int l = lane();
#pragma unroll
	for (int step = 0; step < 2; step++) {
		uint32_t fa[kM][4], fb[kN / 2][4];
#pragma unroll
		for (int i = 0; i < kM; i++) {
			load_matrix_x4(fa[i], a + along_at(m + i * 16 + (l & 15), 2 * step + (l >> 4)));
			round_tf32<T>(fa[i]);
		}
#pragma unroll
		for (int j = 0; j < kN / 2; j++) {
			load_matrix_x4(fb[j], b + along_at(n + j * 16 + (l & 7) + (l >> 4) * 8, 2 * step + (l >> 3 & 1)));
			round_tf32<T>(fb[j]);
		}
#pragma unroll
		for (int i = 0; i < kM; i++) {
#pragma unroll
			for (int j = 0; j < kN; j++) {
				uint32_t half_b[2] = {fb[j / 2][j % 2 * 2], fb[j / 2][j % 2 * 2 + 1]};
				mma<T>(acc[i][j], fa[i], half_b);
			}
		}
	}
}

// ---- rows across k

// across_at is where chunk (row, chunk) lies in a tile of kChunks chunks to a row.
template <typename T, int kChunks> __device__ __forceinline__ int across_at(int row, int chunk) {
	if constexpr (sizeof(T) == 4) {
		static_assert(kChunks >= 8, "the swizzle moves chunks by up to 6");
		return row * kChunks + (chunk ^ (row & 3) * 2);
	} else {
		return row * kChunks + (kChunks == 4 ? chunk ^ (row >> 1 & 3) : chunk ^ (row & 7));
	}
}

template <int kChunks> __device__ __forceinline__ uint32_t across_tf32(const Bytes16 *tile, int row, int column) {
	return to_tf32(bits_float(tile[across_at<float, kChunks>(row, column / 4)].u[column % 4]));
}

// multiply_across adds the product of kM*16 columns of a from column m and kN*8 columns of b from column n, over
// kRows rows.
template <typename T, int kRows, int kChunksA, int kChunksB, int kM, int kN>
__device__ __forceinline__ void multiply_across(float (&acc)[kM][kN][4], const Bytes16 *a, int m, const Bytes16 *b, int n) {
	static_assert(kN % 2 == 0 && kRows % kMmaDepth<T> == 0, "whole instructions");
	int l = lane();
#pragma unroll
	for (int k = 0; k < kRows; k += kMmaDepth<T>) {
		uint32_t fa[kM][4], fb[kN / 2][4];
		if constexpr (sizeof(T) == 2) {
#pragma unroll
			for (int i = 0; i < kM; i++)
				load_matrix_x4_trans(fa[i], a + across_at<T, kChunksA>(k + (l & 7) + (l >> 4) * 8, m / 8 + 2 * i + (l >> 3 & 1)));
#pragma unroll
			for (int j = 0; j < kN / 2; j++)
				load_matrix_x4_trans(fb[j], b + across_at<T, kChunksB>(k + (l & 15), n / 8 + 2 * j + (l >> 4)));
		} else {
			int g = l >> 2, t = k + (l & 3);
#pragma unroll
			for (int i = 0; i < kM; i++) {
#pragma unroll
				for (int r = 0; r < 4; r++) fa[i][r] = across_tf32<kChunksA>(a, t + r / 2 * 4, m + i * 16 + g + r % 2 * 8);
			}
#pragma unroll
			for (int j = 0; j < kN / 2; j++) {
#pragma unroll
				for (int r = 0; r < 4; r++) fb[j][r] = across_tf32<kChunksB>(b, t + r % 2 * 4, n + j * 16 + g + r / 2 * 8);
			}
		}
#pragma unroll
		for (int i = 0; i < kM; i++) {
#pragma unroll
			for (int j = 0; j < kN; j++) {
				uint32_t half_b[2] = {fb[j / 2][j % 2 * 2], fb[j / 2][j % 2 * 2 + 1]};
				mma<T>(acc[i][j], fa[i], half_b);
			}
		}
	}
}

// ---- results

// four_columns gives each lane 4 neighbouring columns of one row of a (16,8) result instead of 2 of two rows: lanes
// t = 0, 2 those of row g, t = 1, 3 those of row g+8; columns t/2*4 ... t/2*4+3.
__device__ __forceinline__ void four_columns(float (&v)[4], const float (&acc)[4]) {
	bool odd = lane() & 1;
	float x = shuffle_xor(full_mask, odd ? acc[0] : acc[2], 1);
	float y = shuffle_xor(full_mask, odd ? acc[1] : acc[3], 1);
	v[0] = odd ? x : acc[0];
	v[1] = odd ? y : acc[1];
	v[2] = odd ? acc[2] : x;
	v[3] = odd ? acc[3] : y;
}
__device__ __forceinline__ int four_row() { return (lane() >> 2) + (lane() & 1) * 8; }
__device__ __forceinline__ int four_column() { return (lane() >> 1 & 1) * 4; }

} // namespace ict
#endif
