// intrin_sim.h: the CPU twin of intrin.cuh; the names and their meaning stand there. A GPU thread is a fiber, a block
// runs on one OS thread, and whatever the hardware leaves open is decided against the kernel (simt.cpp).
#ifndef ICT_INTRIN_SIM_H
#define ICT_INTRIN_SIM_H

#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>
#include <tuple>
#include <utility>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __restrict__ __restrict

struct dim3 {
	unsigned x, y, z;
	constexpr dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};

namespace ict {

struct half { uint16_t bits; };
struct bfloat16 { uint16_t bits; };
struct alignas(16) Bytes16 { uint32_t u[4]; };
struct alignas(8) Bytes8 { uint32_t u[2]; };

constexpr unsigned full_mask = 0xffffffffu;

namespace sim {

struct Builtins { dim3 thread, block, block_dim, grid_dim; };
extern __thread const Builtins *builtins;  // of the fiber that runs on this OS thread

struct Place { const char *file; int line; };

int launch(dim3 grid, dim3 block, size_t smem, const ict_exec *ex, std::function<void()> body);
[[noreturn]] void fail(const char *what, Place at);
void barrier(int id, int threads, bool wait, Place at);  // id 0: the whole block
unsigned char *shared_bytes(size_t need, Place at);
void check_shared(const void *p, size_t bytes, size_t align, const char *what, Place at);
void copy_async16(void *smem, const void *gmem, bool valid, Place at);
void copy_commit();
void copy_wait(int pending, Place at);
float noise(float x);  // an approximation's error: none, or up to 2 ulp with ICT_SIM_NOISE=1

// A warp collective: the lanes of mask meet; the last one calls complete with every lane's argument.
using Complete = void (*)(void *const *args, unsigned mask, Place at);
void warp_collective(unsigned mask, const char *what, void *arg, Complete complete, Place at);

} // namespace sim
} // namespace ict

#define threadIdx (::ict::sim::builtins->thread)
#define blockIdx (::ict::sim::builtins->block)
#define blockDim (::ict::sim::builtins->block_dim)
#define gridDim (::ict::sim::builtins->grid_dim)

#define ICT_HERE ::ict::sim::Place{__FILE__, __LINE__}
#define ICT_CALLER ::ict::sim::Place at = {__builtin_FILE(), __builtin_LINE()}
#define ICT_CHECK_DEVICE(cond) do { if (!(cond)) ::ict::sim::fail("check failed: " #cond, ICT_HERE); } while (0)

namespace ict {

// ---- numbers

inline uint32_t float_bits(float x) { uint32_t b; std::memcpy(&b, &x, 4); return b; }
inline float bits_float(uint32_t b) { float x; std::memcpy(&x, &b, 4); return x; }

inline float to_float(float x) { return x; }
inline float to_float(half x) {
	uint32_t sign = uint32_t(x.bits & 0x8000) << 16, rest = x.bits & 0x7fff;
	if (rest >= 0x7c00) return bits_float(sign | 0x7f800000 | (rest & 0x3ff) << 13);
	if (rest < 0x400) return bits_float(sign | float_bits(float(rest) * 0x1p-24f));
	return bits_float(sign | ((rest << 13) + 0x38000000));
}
inline float to_float(bfloat16 x) { return bits_float(uint32_t(x.bits) << 16); }

template <typename T> T from_float(float x);
template <> inline float from_float<float>(float x) { return x; }
template <> inline half from_float<half>(float x) {
	uint32_t b = float_bits(x), sign = b >> 16 & 0x8000;
	b &= 0x7fffffff;
	if (b > 0x7f800000) return half{0x7fff};
	if (b >= 0x477ff000) return half{uint16_t(sign | 0x7c00)};  // 65,520 and more round to infinity
	if (b < 0x38800000) {                                       // below 2^-14: the sum's unit is the subnormals' 2^-24
		return half{uint16_t(sign | (float_bits(bits_float(b) + 0.5f) - float_bits(0.5f)))};
	}
	return half{uint16_t(sign | (b - 0x38000000 + 0xfff + (b >> 13 & 1)) >> 13)};
}
template <> inline bfloat16 from_float<bfloat16>(float x) {
	uint32_t b = float_bits(x);
	if ((b & 0x7fffffff) > 0x7f800000) return bfloat16{0x7fff};
	return bfloat16{uint16_t((b + 0x7fff + (b >> 16 & 1)) >> 16)};
}
template <typename T> inline uint32_t pack2(float lo, float hi) {
	return from_float<T>(lo).bits | uint32_t(from_float<T>(hi).bits) << 16;
}
inline uint32_t to_tf32(float x) {
	uint32_t b = float_bits(x);
	return (b & 0x7f800000) == 0x7f800000 ? b : (b + 0x1000) & 0xffffe000;  // ties away from zero
}

inline float fma(float a, float b, float c) { return ::fmaf(a, b, c); }
inline float mul(float a, float b) { return a * b; }
inline float add(float a, float b) { return a + b; }
inline float sub(float a, float b) { return a - b; }
inline double fma(double a, double b, double c) { return ::fma(a, b, c); }
inline double mul(double a, double b) { return a * b; }
inline double sub(double a, double b) { return a - b; }
inline float sqrt(float x) { return ::sqrtf(x); }
inline double sqrt(double x) { return ::sqrt(x); }
inline float exp(float x) { return ::expf(x); }
inline double exp(double x) { return ::exp(x); }
inline float log(float x) { return ::logf(x); }
inline double rint(double x) { return ::rint(x); }
inline float exp2_approx(float x) { return sim::noise(::exp2f(x)); }
inline float rsqrt_approx(float x) { return sim::noise(float(1 / ::sqrt(double(x)))); }
inline float rcp_approx(float x) { return sim::noise(1 / x); }
inline float tanh_approx(float x) { return sim::noise(::tanhf(x)); }
inline uint32_t mul_high(uint32_t a, uint32_t b) { return uint32_t(uint64_t(a) * b >> 32); }

// ---- collectives

inline int linear_thread() {
	const sim::Builtins &b = *sim::builtins;
	return int(b.thread.x + b.block_dim.x * (b.thread.y + b.block_dim.y * b.thread.z));
}
inline int lane() { return linear_thread() & 31; }
inline int warp() { return linear_thread() >> 5; }

inline void sync_block(ICT_CALLER) { sim::barrier(0, 0, true, at); }
inline void sync_named(int id, int threads, ICT_CALLER) { sim::barrier(id, threads, true, at); }
inline void arrive_named(int id, int threads, ICT_CALLER) { sim::barrier(id, threads, false, at); }
inline void sync_warp(unsigned mask = full_mask, ICT_CALLER) {
	sim::warp_collective(mask, "sync_warp", nullptr, [](void *const *, unsigned, sim::Place) {}, at);
}

namespace sim {
struct Ballot { bool p; unsigned result; };
struct Shuffle { uint64_t value, result; int source; };
inline void complete_ballot(void *const *args, unsigned mask, Place) {
	unsigned votes = 0;
	for (int i = 0; i < 32; i++)
		if (mask >> i & 1) votes |= unsigned(static_cast<Ballot *>(args[i])->p) << i;
	for (int i = 0; i < 32; i++)
		if (mask >> i & 1) static_cast<Ballot *>(args[i])->result = votes;
}
inline void complete_shuffle(void *const *args, unsigned mask, Place at) {
	for (int i = 0; i < 32; i++) {
		if (!(mask >> i & 1)) continue;
		Shuffle &s = *static_cast<Shuffle *>(args[i]);
		if (!(mask >> s.source & 1)) fail("shuffle reads a lane outside the mask", at);
		s.result = static_cast<Shuffle *>(args[s.source])->value;
	}
}
template <typename T> T shuffle(unsigned mask, T v, int source, Place at) {
	static_assert(sizeof(T) == 4 || sizeof(T) == 8, "shuffles move 4 or 8 bytes");
	Shuffle s = {0, 0, source};
	std::memcpy(&s.value, &v, sizeof(T));
	warp_collective(mask, "shuffle", &s, complete_shuffle, at);
	std::memcpy(&v, &s.result, sizeof(T));
	return v;
}
} // namespace sim

inline unsigned ballot(unsigned mask, bool p, ICT_CALLER) {
	sim::Ballot b = {p, 0};
	sim::warp_collective(mask, "ballot", &b, sim::complete_ballot, at);
	return b.result;
}
template <typename T> inline T shuffle(unsigned mask, T v, int source, ICT_CALLER) { return sim::shuffle(mask, v, source & 31, at); }
template <typename T> inline T shuffle_xor(unsigned mask, T v, int bits, ICT_CALLER) { return sim::shuffle(mask, v, (lane() ^ bits) & 31, at); }
template <typename T> inline T shuffle_up(unsigned mask, T v, int by, ICT_CALLER) { return sim::shuffle(mask, v, lane() < by ? lane() : lane() - by, at); }
template <typename T> inline T shuffle_down(unsigned mask, T v, int by, ICT_CALLER) { return sim::shuffle(mask, v, lane() + by > 31 ? lane() : lane() + by, at); }

// ---- memory

template <typename S> inline S &shared(ICT_CALLER) {
	static_assert(alignof(S) <= 1024, "shared memory is aligned to 1024 bytes");
	return *reinterpret_cast<S *>(sim::shared_bytes(sizeof(S), at));
}

namespace sim {
inline void check_aligned(const void *p, size_t size, Place at) {
	if (reinterpret_cast<uintptr_t>(p) % size != 0) fail("misaligned vector access", at);
}
} // namespace sim

inline Bytes16 load16(const void *p, ICT_CALLER) { sim::check_aligned(p, 16, at); return *static_cast<const Bytes16 *>(p); }
inline void store16(void *p, Bytes16 v, ICT_CALLER) { sim::check_aligned(p, 16, at); *static_cast<Bytes16 *>(p) = v; }
inline Bytes8 load8(const void *p, ICT_CALLER) { sim::check_aligned(p, 8, at); return *static_cast<const Bytes8 *>(p); }
inline void store8(void *p, Bytes8 v, ICT_CALLER) { sim::check_aligned(p, 8, at); *static_cast<Bytes8 *>(p) = v; }

inline void copy_async16(void *smem, const void *gmem, bool valid = true, ICT_CALLER) { sim::copy_async16(smem, gmem, valid, at); }
inline void copy_commit() { sim::copy_commit(); }
template <int kPending> inline void copy_wait(ICT_CALLER) { sim::copy_wait(kPending, at); }

inline uint32_t atomic_add(uint32_t *p, uint32_t v) { return __atomic_fetch_add(p, v, __ATOMIC_RELAXED); }
inline uint64_t atomic_add(uint64_t *p, uint64_t v) { return __atomic_fetch_add(p, v, __ATOMIC_RELAXED); }

// ---- matrices

namespace sim {
struct LoadMatrix { uint32_t *r; const void *row; };

// Register j of lane i: elements 2*(i%4), 2*(i%4)+1 of row i/4 of matrix j; transposed: of column i/4.
template <int kMatrices, bool kTrans> void complete_load_matrix(void *const *args, unsigned mask, Place at) {
	if (mask != full_mask) fail("ldmatrix needs the whole warp", at);
	for (int j = 0; j < kMatrices; j++) {
		uint16_t m[8][8];
		for (int row = 0; row < 8; row++) {
			const void *p = static_cast<LoadMatrix *>(args[8 * j + row])->row;
			check_shared(p, 16, 16, "ldmatrix", at);
			std::memcpy(m[row], p, 16);
		}
		for (int i = 0; i < 32; i++) {
			int g = i >> 2, t = 2 * (i & 3);
			uint16_t lo = kTrans ? m[t][g] : m[g][t], hi = kTrans ? m[t + 1][g] : m[g][t + 1];
			static_cast<LoadMatrix *>(args[i])->r[j] = lo | uint32_t(hi) << 16;
		}
	}
}
template <int kMatrices, bool kTrans> void load_matrix(uint32_t *r, const void *row, Place at) {
	LoadMatrix arg = {r, row};
	warp_collective(full_mask, "ldmatrix", &arg, complete_load_matrix<kMatrices, kTrans>, at);
}

struct Mma { float *d; const uint32_t *a, *b; };

// d (16,8) += a (16,K) * b (K,8): products are exact, sums rounded in order of k. g = lane/4, t = lane%4.
template <int K> void multiply(void *const *args, const float (&a)[16][K], const float (&b)[K][8]) {
	for (int m = 0; m < 16; m++) {
		float acc[8];
		for (int n = 0; n < 8; n++) acc[n] = static_cast<Mma *>(args[(m & 7) * 4 + n / 2])->d[(m >> 3) * 2 + (n & 1)];
		for (int k = 0; k < K; k++)
			for (int n = 0; n < 8; n++) acc[n] += a[m][k] * b[k][n];
		for (int n = 0; n < 8; n++) static_cast<Mma *>(args[(m & 7) * 4 + n / 2])->d[(m >> 3) * 2 + (n & 1)] = acc[n];
	}
}
template <typename T> void complete_mma_k16(void *const *args, unsigned mask, Place at) {
	if (mask != full_mask) fail("mma needs the whole warp", at);
	float a[16][16], b[16][8];
	for (int i = 0; i < 32; i++) {
		const Mma &f = *static_cast<Mma *>(args[i]);
		int g = i >> 2, t = i & 3;
		for (int j = 0; j < 4; j++)
			for (int e = 0; e < 2; e++) a[g + 8 * (j & 1)][2 * t + 8 * (j >> 1) + e] = to_float(T{uint16_t(f.a[j] >> 16 * e)});
		for (int j = 0; j < 2; j++)
			for (int e = 0; e < 2; e++) b[2 * t + 8 * j + e][g] = to_float(T{uint16_t(f.b[j] >> 16 * e)});
	}
	multiply<16>(args, a, b);
}
inline void complete_mma_k8_tf32(void *const *args, unsigned mask, Place at) {
	if (mask != full_mask) fail("mma needs the whole warp", at);
	const uint32_t kept = 0xffffe000;  // the unit ignores the low bits
	float a[16][8], b[8][8];
	for (int i = 0; i < 32; i++) {
		const Mma &f = *static_cast<Mma *>(args[i]);
		int g = i >> 2, t = i & 3;
		for (int j = 0; j < 4; j++) a[g + 8 * (j & 1)][t + 4 * (j >> 1)] = bits_float(f.a[j] & kept);
		for (int j = 0; j < 2; j++) b[t + 4 * j][g] = bits_float(f.b[j] & kept);
	}
	multiply<8>(args, a, b);
}
} // namespace sim

inline void load_matrix_x4(uint32_t (&r)[4], const void *smem, ICT_CALLER) { sim::load_matrix<4, false>(r, smem, at); }
inline void load_matrix_x4_trans(uint32_t (&r)[4], const void *smem, ICT_CALLER) { sim::load_matrix<4, true>(r, smem, at); }
inline void load_matrix_x2(uint32_t (&r)[2], const void *smem, ICT_CALLER) { sim::load_matrix<2, false>(r, smem, at); }
inline void load_matrix_x2_trans(uint32_t (&r)[2], const void *smem, ICT_CALLER) { sim::load_matrix<2, true>(r, smem, at); }

template <typename T> inline void mma_m16n8k16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], ICT_CALLER) {
	sim::Mma arg = {d, a, b};
	sim::warp_collective(full_mask, "mma m16n8k16", &arg, sim::complete_mma_k16<T>, at);
}
inline void mma_m16n8k8_tf32(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], ICT_CALLER) {
	sim::Mma arg = {d, a, b};
	sim::warp_collective(full_mask, "mma m16n8k8 tf32", &arg, sim::complete_mma_k8_tf32, at);
}

// ---- launches

template <typename... P, typename... A>
int launch(void (*kernel)(P...), dim3 grid, dim3 block, size_t smem, const ict_exec *ex, A... args) {
	return sim::launch(grid, block, smem, ex, [kernel, held = std::tuple<P...>(static_cast<P>(args)...)] { std::apply(kernel, held); });
}

const char *runtime_error_text(int status);

} // namespace ict
#endif
