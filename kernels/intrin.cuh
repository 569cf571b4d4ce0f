// intrin.cuh: every CUDA-only thing: PTX, warp and block collectives, conversions, approximations, launches. All other
// device code is written on these names, so that one source builds for the GPU (nvcc) and for the simulator (g++ with
// ICT_SIM: sim/intrin_sim.h gives the same names the same meaning).
//
// types        half bfloat16                      2 bytes, bits alone
//              Bytes16 Bytes8                     vectors of one memory access
// numbers      to_float from_float<T>             RNE, subnormals kept, overflow to infinity, NaN stays NaN
//              pack2<T>(lo, hi)                   two rounded values in one register, lo in the low half
//              to_tf32                            float as rounded tf32 bits
//              float_bits bits_float
//              fma mul add sub                    one rounding each, never contracted (plain a*b+c may be)
//              sqrt exp log                       IEEE root; exp, log as the platform's expf, logf
//              exp2_approx rsqrt_approx tanh_approx rcp_approx     the units' approximations, 1-2 ulp (tanh 2^-11)
//              mul_high                           high word of a 32-bit product
// collectives  sync_block                         all threads of the block; none may have returned
//              sync_named(id, n), arrive_named    barrier id 1 ... 15 of n threads, n % 32 == 0
//              sync_warp(mask) ballot(mask, p)
//              shuffle(mask, v, lane) shuffle_xor shuffle_up shuffle_down     v of 4 or 8 bytes
//              lane warp full_mask
// memory       shared<S>()                        the block's dynamic shared memory as S, 1024-byte aligned
//              load16 store16 load8 store8        one vector access, aligned to its size
//              copy_async16(smem, gmem[, valid])  16 bytes to shared memory; not valid: zeros, gmem unread (may be any address)
//              copy_commit copy_wait<n>           close a group; wait until at most n of the newest groups are pending;
//                                                 other threads' copies are seen after a barrier on top
//              atomic_add                         of integers alone
// matrices     load_matrix_x4/_x2(r, smem), ..._trans   ldmatrix: 8x8 of 16-bit elements per register; lane i gives row i's address
//              mma_m16n8k16<T>(d, a, b)           d += a*b, T half or bfloat16: mma.sync row.col, f32 accumulators
//              mma_m16n8k8_tf32(d, a, b)          the same on tf32 bits
// launches     launch(kernel, grid, block, smem, ex, args...)   status; args are converted to the kernel's parameters
// checks       ICT_CHECK_DEVICE(cond)             traps in the simulator and with ICT_SANITIZE, else nothing
//
// A column's file is one namespace ict from its first kernel to its last launcher, the launchers defined extern "C" inside
// it: a `using namespace ict` at file scope makes sqrt, exp and fma ambiguous in NVIDIA's own headers. Kernels carry the
// name of their op, since all files share the namespace.
#ifndef ICT_INTRIN_CUH
#define ICT_INTRIN_CUH

#include "kernels.h"

#ifdef ICT_SIM
#include "sim/intrin_sim.h"
#else

#include <cuda_runtime.h>

#ifdef ICT_SANITIZE
#define ICT_CHECK_DEVICE(cond) do { if (!(cond)) __trap(); } while (0)
#else
#define ICT_CHECK_DEVICE(cond) do { } while (0)
#endif

namespace ict {

struct half { uint16_t bits; };
struct bfloat16 { uint16_t bits; };
struct alignas(16) Bytes16 { uint32_t u[4]; };
struct alignas(8) Bytes8 { uint32_t u[2]; };

constexpr unsigned full_mask = 0xffffffffu;

// ---- numbers

__device__ __forceinline__ uint32_t float_bits(float x) { return __float_as_uint(x); }
__device__ __forceinline__ float bits_float(uint32_t x) { return __uint_as_float(x); }

__device__ __forceinline__ float to_float(float x) { return x; }
__device__ __forceinline__ float to_float(half x) {
	float y;
	asm("cvt.f32.f16 %0, %1;" : "=f"(y) : "h"(x.bits));
	return y;
}
__device__ __forceinline__ float to_float(bfloat16 x) { return __uint_as_float(uint32_t(x.bits) << 16); }

template <typename T> __device__ __forceinline__ T from_float(float x);
template <> __device__ __forceinline__ float from_float<float>(float x) { return x; }
template <> __device__ __forceinline__ half from_float<half>(float x) {
	half y;
	asm("cvt.rn.f16.f32 %0, %1;" : "=h"(y.bits) : "f"(x));
	return y;
}
template <> __device__ __forceinline__ bfloat16 from_float<bfloat16>(float x) {
	uint32_t y;
	asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(y) : "f"(0.0f), "f"(x));
	return bfloat16{uint16_t(y)};
}

template <typename T> __device__ __forceinline__ uint32_t pack2(float lo, float hi);
template <> __device__ __forceinline__ uint32_t pack2<half>(float lo, float hi) {
	uint32_t y;
	asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(y) : "f"(hi), "f"(lo));
	return y;
}
template <> __device__ __forceinline__ uint32_t pack2<bfloat16>(float lo, float hi) {
	uint32_t y;
	asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(y) : "f"(hi), "f"(lo));
	return y;
}

__device__ __forceinline__ uint32_t to_tf32(float x) {
	uint32_t y;
	asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(y) : "f"(x));
	return y;
}

__device__ __forceinline__ float fma(float a, float b, float c) { return __fmaf_rn(a, b, c); }
__device__ __forceinline__ float mul(float a, float b) { return __fmul_rn(a, b); }
__device__ __forceinline__ float add(float a, float b) { return __fadd_rn(a, b); }
__device__ __forceinline__ float sub(float a, float b) { return __fsub_rn(a, b); }
__device__ __forceinline__ double fma(double a, double b, double c) { return __fma_rn(a, b, c); }
__device__ __forceinline__ double mul(double a, double b) { return __dmul_rn(a, b); }
__device__ __forceinline__ double sub(double a, double b) { return __dsub_rn(a, b); }
__device__ __forceinline__ float sqrt(float x) { return __fsqrt_rn(x); }
__device__ __forceinline__ double sqrt(double x) { return __dsqrt_rn(x); }
__device__ __forceinline__ float exp(float x) { return ::expf(x); }
__device__ __forceinline__ double exp(double x) { return ::exp(x); }
__device__ __forceinline__ float log(float x) { return ::logf(x); }
__device__ __forceinline__ double rint(double x) { return ::rint(x); }

__device__ __forceinline__ float exp2_approx(float x) {
	float y;
	asm("ex2.approx.f32 %0, %1;" : "=f"(y) : "f"(x));
	return y;
}
__device__ __forceinline__ float rsqrt_approx(float x) {
	float y;
	asm("rsqrt.approx.f32 %0, %1;" : "=f"(y) : "f"(x));
	return y;
}
__device__ __forceinline__ float rcp_approx(float x) {
	float y;
	asm("rcp.approx.f32 %0, %1;" : "=f"(y) : "f"(x));
	return y;
}
__device__ __forceinline__ float tanh_approx(float x) {
	float y;
	asm("tanh.approx.f32 %0, %1;" : "=f"(y) : "f"(x));
	return y;
}
__device__ __forceinline__ uint32_t mul_high(uint32_t a, uint32_t b) { return __umulhi(a, b); }

// ---- collectives

__device__ __forceinline__ int lane() { return int(threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z)) & 31; }
__device__ __forceinline__ int warp() { return int(threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z)) >> 5; }
__device__ __forceinline__ void sync_block() { __syncthreads(); }
__device__ __forceinline__ void sync_named(int id, int threads) { asm volatile("bar.sync %0, %1;" ::"r"(id), "r"(threads) : "memory"); }
__device__ __forceinline__ void arrive_named(int id, int threads) { asm volatile("bar.arrive %0, %1;" ::"r"(id), "r"(threads) : "memory"); }
__device__ __forceinline__ void sync_warp(unsigned mask = full_mask) { __syncwarp(mask); }
__device__ __forceinline__ unsigned ballot(unsigned mask, bool p) { return __ballot_sync(mask, p); }
template <typename T> __device__ __forceinline__ T shuffle(unsigned mask, T v, int source) { return __shfl_sync(mask, v, source); }
template <typename T> __device__ __forceinline__ T shuffle_xor(unsigned mask, T v, int bits) { return __shfl_xor_sync(mask, v, bits); }
template <typename T> __device__ __forceinline__ T shuffle_up(unsigned mask, T v, int by) { return __shfl_up_sync(mask, v, by); }
template <typename T> __device__ __forceinline__ T shuffle_down(unsigned mask, T v, int by) { return __shfl_down_sync(mask, v, by); }

// ---- memory

extern __shared__ __align__(1024) unsigned char ict_shared_bytes[];
template <typename S> __device__ __forceinline__ S &shared() {
	static_assert(alignof(S) <= 1024, "shared memory is aligned to 1024 bytes");
#ifdef ICT_SHARED_NAMES // for dev/resources.py, which reads the PTX; an asm statement of no instruction still moves others
	asm("{ .reg .b32 shared_bytes_%0; }" ::"n"(sizeof(S)));
#endif
	return *reinterpret_cast<S *>(ict_shared_bytes);
}

__device__ __forceinline__ Bytes16 load16(const void *p) {
	uint4 v = *static_cast<const uint4 *>(p);
	return Bytes16{{v.x, v.y, v.z, v.w}};
}
__device__ __forceinline__ void store16(void *p, Bytes16 v) { *static_cast<uint4 *>(p) = make_uint4(v.u[0], v.u[1], v.u[2], v.u[3]); }
__device__ __forceinline__ Bytes8 load8(const void *p) {
	uint2 v = *static_cast<const uint2 *>(p);
	return Bytes8{{v.x, v.y}};
}
__device__ __forceinline__ void store8(void *p, Bytes8 v) { *static_cast<uint2 *>(p) = make_uint2(v.u[0], v.u[1]); }

__device__ __forceinline__ uint32_t shared_address(const void *smem) { return uint32_t(__cvta_generic_to_shared(smem)); }

__device__ __forceinline__ void copy_async16(void *smem, const void *gmem, bool valid = true) {
	int bytes = valid ? 16 : 0;
	asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(smem)), "l"(gmem), "r"(bytes) : "memory");
}
__device__ __forceinline__ void copy_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int kPending> __device__ __forceinline__ void copy_wait() { asm volatile("cp.async.wait_group %0;" ::"n"(kPending) : "memory"); }

__device__ __forceinline__ uint32_t atomic_add(uint32_t *p, uint32_t v) { return atomicAdd(p, v); }
__device__ __forceinline__ uint64_t atomic_add(uint64_t *p, uint64_t v) {
	return atomicAdd(reinterpret_cast<unsigned long long *>(p), static_cast<unsigned long long>(v));
}

// ---- matrices

__device__ __forceinline__ void load_matrix_x4(uint32_t (&r)[4], const void *smem) {
	asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
	             : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(shared_address(smem)) : "memory");
}
__device__ __forceinline__ void load_matrix_x4_trans(uint32_t (&r)[4], const void *smem) {
	asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
	             : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(shared_address(smem)) : "memory");
}
__device__ __forceinline__ void load_matrix_x2(uint32_t (&r)[2], const void *smem) {
	asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0,%1}, [%2];"
	             : "=r"(r[0]), "=r"(r[1]) : "r"(shared_address(smem)) : "memory");
}
__device__ __forceinline__ void load_matrix_x2_trans(uint32_t (&r)[2], const void *smem) {
	asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0,%1}, [%2];"
	             : "=r"(r[0]), "=r"(r[1]) : "r"(shared_address(smem)) : "memory");
}

template <typename T> __device__ __forceinline__ void mma_m16n8k16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]);
template <> __device__ __forceinline__ void mma_m16n8k16<half>(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
	asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
	             : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
	             : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
template <> __device__ __forceinline__ void mma_m16n8k16<bfloat16>(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
	asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
	             : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
	             : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
__device__ __forceinline__ void mma_m16n8k8_tf32(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
	asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
	             : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
	             : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

// ---- launches

// launch runs kernel(args...) on ex->stream with smem bytes of dynamic shared memory, opting in above 48 KB.
template <typename... P, typename... A>
int launch(void (*kernel)(P...), dim3 grid, dim3 block, size_t smem, const ict_exec *ex, A... args) {
	if (smem > 48 * 1024) {
		cudaError_t e = cudaFuncSetAttribute(reinterpret_cast<const void *>(kernel), cudaFuncAttributeMaxDynamicSharedMemorySize, int(smem));
		if (e != cudaSuccess) {
			(void)cudaGetLastError();
			return int(e);
		}
	}
	cudaLaunchConfig_t config = {};
	config.gridDim = grid;
	config.blockDim = block;
	config.dynamicSmemBytes = smem;
	config.stream = reinterpret_cast<cudaStream_t>(ex->stream);
	cudaError_t e = cudaLaunchKernelEx(&config, kernel, static_cast<P>(args)...);
	if (e != cudaSuccess) (void)cudaGetLastError(); // it is per thread, and ours now
	return int(e);
}

inline const char *runtime_error_text(int status) { return cudaGetErrorString(static_cast<cudaError_t>(status)); }

} // namespace ict

#endif // ICT_SIM
#endif
