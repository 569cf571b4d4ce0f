// kernels.h: every kernel of ict, as C. This file is the manual; Go sees nothing else of kernels/.
//
// Every launcher checks its arguments in the order of its doc, launches on ex->stream and returns a status. It never
// allocates, synchronises, prints, exits, throws, keeps state or uses the default stream. Pointers are device pointers.
// Outputs and inputs do not overlap unless the doc says so. Layout is NHWC, row-major.
//
// In the docs: dtype stands for the storage type given by the argument dtype (f32, f16 or bf16). "x0|x1" are two sources
// side by side in C; where C1 = 0, x1 is null. "beta" beside an output: dst = beta*dst + contribution; beta 0 never
// reads dst; a null output with beta is skipped. "Rows apart": an (N,K) argument whose rows lie a stride >= K apart.
// Sums over images run in image order within slices of ICT_SLICE images and pairwise over slices, as tensor defines
// them, where the Order line says "by slices": then ranks and micro-batches that hold whole slices give equal bits.
// A launcher returns, besides what its doc names, ICT_ERR_NULL for a missing pointer, ICT_ERR_ALIGN for one that is
// not aligned (16 bytes unless the doc says "element": then to its element), ICT_ERR_SHAPE for a size below 1, a grid of
// 2^31 blocks or more, or a broken need, ICT_ERR_DTYPE, ICT_ERR_WORKSPACE, ICT_ERR_ARCH, or a cudaError_t; then nothing was launched.
// Workspaces are bytes of scratch at 256-byte alignment; a query tells them, the same for every dtype; 0: may be null.
#ifndef ICT_KERNELS_H
#define ICT_KERNELS_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum {
	ICT_OK            = 0,
	ICT_ERR_SHAPE     = -1,    // sizes break a stated need
	ICT_ERR_DTYPE     = -2,    // no instance for this dtype or math mode
	ICT_ERR_ALIGN     = -3,    // a pointer is not aligned
	ICT_ERR_WORKSPACE = -4,    // workspace null or too small
	ICT_ERR_ARCH      = -5,    // no code for this device
	ICT_ERR_NULL      = -6,    // a pointer that must be given is null
	ICT_ERR_TENSORMAP = -1000  // minus the CUresult of the encoder
};

enum { ICT_SLICE = 8 };  // images whose sum is taken in image order, as cpu.DefaultSlice

typedef enum { ICT_F32 = 0, ICT_F16 = 1, ICT_BF16 = 2, ICT_I32 = 3, ICT_U8 = 4 } ict_dtype;  // as tensor.DType
typedef enum { ICT_MATH_TENSOR = 0, ICT_MATH_F32 = 1 } ict_math;  // f32 storage: tf32 tensor cores, or plain FMA
typedef enum { ICT_ACT_NONE = 0, ICT_ACT_SILU = 1, ICT_ACT_RELU = 2 } ict_act;
typedef enum { ICT_NEAREST = 0, ICT_BOX = 1, ICT_FIR1331 = 2 } ict_filter;
typedef enum { ICT_UP2 = 0, ICT_DOWN2 = 1, ICT_SMOOTH = 2 } ict_rate;  // SMOOTH: FIR, stride 1, padding 2: H+1 by W+1
typedef enum { ICT_FLOOR = 0, ICT_ROUND = 1 } ict_byte_rule;           // as tensor.ByteRule

typedef struct ict_stream_st *ict_stream;  // a CUstream

// What a launcher must know of the device. One per Device, in C memory, filled by gpu.Open.
typedef struct {
	ict_stream stream;
	int32_t    sm;             // compute capability x 10: 80, 86, 89, 90, ...
	int32_t    sms;            // multiprocessors a persistent grid may fill; changes speed, never bits
	int32_t    math;           // ict_math
	int32_t    reserved;
	void      *encode_tiled;   // cuTensorMapEncodeTiled, or null: then no TMA kernel is chosen
	void      *encode_im2col;  // cuTensorMapEncodeIm2col, or null
} ict_exec;

// The loss scale. Outlives the step: in device memory, saved with every state. Losses read it, ict_optim_judge alone writes it.
typedef struct {
	float    scale;    // S, a power of two; 1 and constant unless storage is f16
	int32_t  good;     // good steps since S last changed
	int32_t  bad;      // steps in a row skipped with S at its floor
	int32_t  reserved;
	uint64_t skipped;  // steps skipped in all
	uint64_t since;    // first step of the present row of skips; after a good step, the step to come
} ict_scale;

// Its rule. every = 0: S is constant.
typedef struct {
	float   floor, ceiling;  // of S
	int32_t every;           // good steps until S doubles
	int32_t limit;           // bad steps in a row that are a divergence; from then on every step is skipped
} ict_scale_rule;

// What became of a gradient. In device memory; read by ict_optim_update and at ticks.
typedef struct {
	uint64_t nonfinite;  // ict_optim_norm: values of g that are not finite
	float    sum2;       // ict_optim_norm: sum of g^2, with S^2 in it
	float    norm;       // ict_optim_judge: |g| without S
	float    factor;     // ict_optim_judge: multiplies g as it is read: 1/S, times the clip
	int32_t  skip;       // ict_optim_judge: 1: the update writes nothing
} ict_verdict;

// What changes from step to step. Lives in device memory; one small copy before each step or graph replay.
typedef struct {
	uint64_t         seed;
	uint64_t         step;       // steps done, skipped ones included; below 2^48
	uint64_t         image0;     // global index, within the step, of image 0 of this pass (rank, micro-batch)
	const ict_scale *scale;      // device pointer; null: S = 1 (sampling)
	float            step_size;  // Adam and RAdam: see ict_optim_update
	float            v_scale;
	int32_t          adaptive;   // 0: RAdam before rectification, plain momentum
	float            max_norm;   // 0: no clipping
	float            ema[4];     // rates, 1 - decay; 0: this average is not kept
} ict_step;

// Dropout and its place in the random stream. p = 0: none (step may then be null).
typedef struct {
	float           p;       // 0 <= p < 1
	uint32_t        op;      // number of this dropout among the dropouts of the tape; the purpose of its draws is 16 + op
	uint32_t        images;  // image n of the tensor is image (n mod images) of the pass: student and teacher share masks
	uint32_t        reserved;
	const ict_step *step;
} ict_dropout;

// A convolution. Its input is x0, or x0 and x1 side by side in C. Output rows P = (H + 2*pad_h - R)/stride + 1, columns Q likewise.
typedef struct {
	int32_t N, H, W;       // images, rows, columns of the input
	int32_t C0, C1;        // channels of x0 and x1; C1 = 0: no x1
	int32_t K;             // output channels
	int32_t R, S;          // filter rows, columns
	int32_t stride;        // 1 or 2
	int32_t pad_h, pad_w;  // zeros on each side
	int32_t reserved;
} ict_conv2d;

// y = act( scale * (conv + bias + temb[n] + skip(s) + residual) ), rounded once, on the way out.
typedef struct {
	const float *bias;         // (K) or null
	const float *temb;         // (N,K) or null: one vector per image, rows temb_stride apart
	const void  *residual;     // (N,P,Q,K) y_dtype or null
	const void  *s0, *s1;      // (N,P,Q,CS0), (N,P,Q,CS1) dtype or null: sources of the 1x1 skip convolution; refused for now
	const void  *wskip;        // (K,1,1,CS0+CS1) dtype
	const float *bias_skip;    // (K) or null
	int32_t      temb_stride;  // floats from image to image: K, or the sum of all blocks' K where projections are stacked
	int32_t      CS0, CS1;
	float        scale;        // 1, or sqrt(1/2) in NCSN++
	int32_t      act;          // ict_act: none; ReLU in frozen networks
	int32_t      y_dtype;      // ict_dtype of y
	float       *stats;        // (N,parts,K,2) or null: mean and sum of squared deviations of the rounded y, per channel; refused for now
} ict_epilogue;

// A group norm. HW pixels, G groups that divide C0+C1.
typedef struct {
	int32_t     N, HW;
	int32_t     C0, C1;              // C1 = 0: no x1
	int32_t     G;
	float       eps;                 // added to the variance
	int32_t     act;                 // ict_act: none or SiLU
	int32_t     scale_shift_stride;  // floats from image to image of scale_shift: 2*(C0+C1) or more
	int32_t     dscale_shift_stride; // the same of dscale_shift
	int32_t     temb_stride;         // the same of temb and dtemb
	int32_t     parts0, parts1;      // partial statistics per image in stats0, stats1
	ict_dropout dropout;
} ict_groupnorm;

// The group norm whose output a convolution read, for dgrad: dx is then the gradient at the norm's output, before mask
// and activation. x0 null: none. Refused for now.
typedef struct {
	const void  *x0, *x1;      // what the norm read
	const float *mean, *rstd;  // (N,G)
	const float *gamma, *beta; // (C0+C1)
	const float *scale_shift;  // (N,2C) or null
	float       *sums;         // (N,parts,C,2) or null: sums of dyhat and dyhat*xhat, for groupnorm_backward
	ict_groupnorm d;
} ict_norm_epilogue;

// ---------------------------------------------------------------------------------------------------- conv2d

// conv2d_fprop: y[n,p,q,k] = epilogue( sum over r,s,c of x[n, p*stride+r-pad_h, q*stride+s-pad_w, c] * w[k,r,s,c] ),
// x = x0|x1, zero outside.
//
//   y      (N,P,Q,K)               ep.y_dtype  out
//   x0 x1  (N,H,W,C0), (N,H,W,C1)  dtype       in
//   w      (K,R,S,C0+C1)           dtype       in
//
// dtype, y_dtype: the same; or 16 bits, f32 (a network's last convolution); or f32, 16 bits (its first). On tensor cores,
// unless in f32 with ICT_MATH_F32, where C0 and C1 % 8 == 0, K % 4 == 0, K > 4 and the pair is not f32, 16 bits; else in f32.
//
// Needs   C0+C1 <= 2048; R, S <= 7; stride 1 or 2; 0 <= pad_h < R, 0 <= pad_w < S; a filter that fits into the padded
//         image; H, W <= 2^20; N*H*W, N*P*Q, K*R*S < 2^31 - 1024; act none or ReLU; temb_stride >= K with temb; bias and
//         temb element aligned.
// Returns ICT_ERR_NULL, _ARCH, _SHAPE, _ALIGN, _DTYPE, or a cudaError_t.
// Cost    2*N*P*Q*K*R*S*(C0+C1) FLOP; reads x, w, residual once from memory, writes y; one kernel.
// Order   per output, r, s, then c; fixed by d, the pair of types and ex->math.
// Source  implicit GEMM [CUTLASS conv letters]. Defined in tensor/conv2d.go.
int         ict_conv2d_fprop(void *y, const void *x0, const void *x1, const void *w, ict_epilogue ep, ict_conv2d d,
                             void *ws, size_t ws_bytes, ict_dtype dtype, const ict_exec *ex);
size_t      ict_conv2d_fprop_workspace(ict_conv2d d, ict_dtype dtype, const ict_exec *ex);  // 0: no variant needs any
int         ict_conv2d_fprop_parts(ict_conv2d d, ict_dtype dtype, const ict_exec *ex);      // of ep.stats; 0: not available
const char *ict_conv2d_fprop_variant(ict_conv2d d, ict_dtype dtype, const ict_exec *ex);    // name of the kernel that would run for one type

// conv2d_dgrad: dx[n,h,w,c] = scale * sum over p,q,k with p*stride+r-pad_h = h, q*stride+s-pad_w = w of dy[n,p,q,k] * w[k,r,s,c];
// channels 0 ... C0-1 go to dx0, the others to dx1.
//
//   dx0 dx1  (N,H,W,C0), (N,H,W,C1)  dtype, each with beta   out; either may be null
//   dy       (N,P,Q,K)               dy_dtype                in
//   wt       (C0+C1,R,S,K)           dtype                   in; written by conv2d_pack
//   ne                                                       the norm whose output the convolution read; ne.x0 null: none
//
// dtype, dy_dtype: the same; or 16 bits, f32 (a network's last convolution); or f32, 16 bits (its first: the gradient at
// the images). On tensor cores, unless in f32 with ICT_MATH_F32, where the two are the same, K % 8 == 0, C0 and C1 % 4 == 0
// and C0+C1 > 4; else in f32.
//
// Needs   as conv2d_fprop; K <= 2^20.
// Returns as conv2d_fprop.
// Cost    2*N*P*Q*K*R*S*(C0+C1) FLOP; reads dy and wt, writes dx (reads it if beta != 0); one kernel.
// Order   per element, r, s, then k; fixed by d, the pair of types and ex->math.
// Source  the adjoint of conv2d_fprop in x. Defined in tensor/conv2d.go.
int         ict_conv2d_dgrad(void *dx0, float beta_dx0, void *dx1, float beta_dx1, const void *dy, const void *wt,
                             ict_norm_epilogue ne, ict_conv2d d, float scale, ict_dtype dy_dtype,
                             void *ws, size_t ws_bytes, ict_dtype dtype, const ict_exec *ex);
size_t      ict_conv2d_dgrad_workspace(ict_conv2d d, ict_dtype dtype, const ict_exec *ex);  // 0: no variant needs any
int         ict_conv2d_dgrad_parts(ict_conv2d d, ict_dtype dtype, const ict_exec *ex);
const char *ict_conv2d_dgrad_variant(ict_conv2d d, ict_dtype dtype, const ict_exec *ex);

// conv2d_wgrad: dw[k,r,s,c] = scale * sum over n,p,q of dy[n,p,q,k] * x[n, p*stride+r-pad_h, q*stride+s-pad_w, c].
//
//   dw     (K,R,S,C0+C1)  f32 with beta              out
//   dbias  (K)            f32 with beta              out; refused for now (bias_backward)
//   x0 x1  (N,H,W,C0), (N,H,W,C1)  dtype             in
//   dy     (N,P,Q,K)      dy_dtype                   in
//   ws                                               scratch of ict_conv2d_wgrad_workspace(...) bytes
//
// dtype, dy_dtype: as conv2d_dgrad. On tensor cores, unless in f32 with ICT_MATH_F32, where the two are the same and C0, C1
// and K % 8 == 0; else in f32.
//
// Needs   as conv2d_fprop; dw element aligned. The workspace depends on N, P, Q, K, R, S and C0+C1 alone.
// Returns as conv2d_fprop, and ICT_ERR_WORKSPACE.
// Cost    2*N*P*Q*K*R*S*(C0+C1) FLOP; two kernels: partial sums of the split, ordered reduction.
// Order   within a slice, in parts that P, Q, K, R, S and C0+C1 fix, each in pixel order, added low to high; over images by
//         slices. Fixed by these, the pair of types and ex->math.
// Source  split-K with a second reduction kernel. Defined in tensor/conv2d.go.
int         ict_conv2d_wgrad(float *dw, float beta_dw, float *dbias, float beta_dbias, const void *x0, const void *x1,
                             const void *dy, ict_conv2d d, float scale, ict_dtype dy_dtype,
                             void *ws, size_t ws_bytes, ict_dtype dtype, const ict_exec *ex);
size_t      ict_conv2d_wgrad_workspace(ict_conv2d d, ict_dtype dtype, const ict_exec *ex);
const char *ict_conv2d_wgrad_variant(ict_conv2d d, ict_dtype dtype, const ict_exec *ex);

// conv2d_pack: wt[c,R-1-r,S-1-s,k] = w[k,r,s,c], rounded to dtype.
//
//   wt  (C,R,S,K)  dtype    out; read by conv2d_dgrad
//   w   (K,R,S,C)  w_dtype  in
//
// Needs   w_dtype f32 or dtype; R, S <= 7; element aligned.
// Cost    reads w, writes wt; one kernel.
// Source  Defined in tensor/conv2d.go.
int ict_conv2d_pack(void *wt, const void *w, int32_t K, int32_t R, int32_t S, int32_t C, ict_dtype w_dtype,
                    ict_dtype dtype, const ict_exec *ex);

// ---------------------------------------------------------------------------------------------------- linear

// linear_fprop: y[m,o] = sum over i of act(x[m,i]) * w[o,i] + b[o].
//
//   y    (M,O)  f32         out
//   x    (M,I)  f32         in
//   w    (O,I)  f32         in
//   b    (O)    f32         in; may be null
//   act  ict_act            none or SiLU
//
// Needs   dtype f32; M, I, O <= 2^30; element aligned.
// Cost    2*M*I*O FLOP; one kernel.
// Order   fixed by I.
// Source  Defined in tensor/linear.go.
int    ict_linear_fprop(float *y, const float *x, const float *w, const float *b, int32_t M, int32_t I, int32_t O,
                        int32_t act, void *ws, size_t ws_bytes, ict_dtype dtype, const ict_exec *ex);
size_t ict_linear_fprop_workspace(int32_t M, int32_t I, int32_t O, const ict_exec *ex);  // 0: no variant needs any

// linear_dgrad: dx[m,i] = act'(x[m,i]) * sum over o of dy[m,o] * w[o,i].
//
//   dx   (M,I)  f32 with beta  out
//   dy   (M,O)  f32            in
//   x    (M,I)  f32            in; may be null with act none
//   w    (O,I)  f32            in
//
// Needs   as linear_fprop.
// Cost    2*M*I*O FLOP; one kernel.
// Order   fixed by O.
// Source  Defined in tensor/linear.go.
int    ict_linear_dgrad(float *dx, float beta_dx, const float *dy, const float *x, const float *w, int32_t M, int32_t I,
                        int32_t O, int32_t act, void *ws, size_t ws_bytes, ict_dtype dtype, const ict_exec *ex);
size_t ict_linear_dgrad_workspace(int32_t M, int32_t I, int32_t O, const ict_exec *ex);  // 0: no variant needs any

// linear_wgrad: dw[o,i] = sum over m of dy[m,o] * act(x[m,i]); db[o] = sum over m of dy[m,o].
//
//   dw   (O,I)  f32 with beta  out; may be null
//   db   (O)    f32 with beta  out; may be null
//   x    (M,I)  f32            in; may be null without dw
//   dy   (M,O)  f32            in
//   ws                         scratch of ict_linear_wgrad_workspace(...) bytes
//
// Needs   as linear_fprop.
// Cost    2*M*I*O FLOP.
// Order   by slices over m.
// Source  Defined in tensor/linear.go.
int    ict_linear_wgrad(float *dw, float beta_dw, float *db, float beta_db, const float *x, const float *dy, int32_t M,
                        int32_t I, int32_t O, int32_t act, void *ws, size_t ws_bytes, ict_dtype dtype, const ict_exec *ex);
size_t ict_linear_wgrad_workspace(int32_t M, int32_t I, int32_t O, const ict_exec *ex);

// ---------------------------------------------------------------------------------------------------- groupnorm

// groupnorm_forward: xhat = (x - mean)*rstd over (HW, C/G); y = dropout(act((xhat*gamma + beta)*(1 + s) + b)), x = x0|x1,
// rstd = 1/sqrt(var + eps), biased variance; s, b = 0 without scale_shift.
//
//   y            (N,HW,C0+C1)   dtype  out
//   mean rstd    (N,G)          f32    out; read by groupnorm_backward
//   x0 x1        (N,HW,C0), (N,HW,C1)  dtype  in
//   gamma beta   (C0+C1)        f32    in
//   scale_shift  (N,2C)         f32    in, scale|shift, rows d.scale_shift_stride apart; may be null
//   temb         (N,C)          f32    in, added to x before the norm; refused for now
//   stats0 stats1 (N,parts,C,2) f32    in, of each source from conv2d_fprop; refused for now: measures itself
//
// Needs   G divides C0+C1 < 2^30; d.act none or SiLU; scale_shift_stride >= 2C with scale_shift; 0 <= dropout.p < 1, with p > 0
//         a step, images >= 1 and HW*(C0+C1) <= 2^34; y, x0, x1 16-byte aligned, the others element aligned.
// Cost    reads x twice (once from L2 where an image fits), writes y.
// Order   fixed by (HW, C0+C1, G) and dtype. Statistics are shifted or two-pass, never E[x^2] - E[x]^2.
// Source  [GroupNorm]; scale-shift [ADM]. Defined in tensor/groupnorm.go.
int    ict_groupnorm_forward(void *y, float *mean, float *rstd, const void *x0, const void *x1, const float *gamma,
                             const float *beta, const float *scale_shift, const float *temb, const float *stats0,
                             const float *stats1, ict_groupnorm d, void *ws, size_t ws_bytes, ict_dtype dtype,
                             const ict_exec *ex);
size_t ict_groupnorm_forward_workspace(ict_groupnorm d, const ict_exec *ex);  // 0: no variant needs any

// groupnorm_backward: all gradients of groupnorm_forward; activation and mask are computed again.
//
//   dx0 dx1       (N,HW,C0), (N,HW,C1)  dtype, each with beta  out; either may be null
//   dgamma dbeta  (C0+C1)        f32 with beta  out; may be null
//   dscale_shift  (N,2C)         f32 with beta  out, rows d.dscale_shift_stride apart; may be null
//   dtemb         (N,C)          f32 with beta  out; refused for now
//   dy            (N,HW,C0+C1)   dtype  in
//   x0 x1 gamma beta scale_shift        as groupnorm_forward
//   mean rstd     (N,G)          f32    in; written by groupnorm_forward
//   sums          (N,parts,C,2)  f32    in, of conv2d_dgrad; refused for now
//   residual      (N,HW,C0+C1)   dtype  in, a gradient added to dx; refused for now
//   ws                                  scratch of ict_groupnorm_backward_workspace(...) bytes
//
// Needs   as groupnorm_forward; dscale_shift only with scale_shift, dscale_shift_stride >= 2C; dx0, dx1, dy 16-byte aligned.
//         The workspace depends on N, C0 and C1 alone; only with dgamma or dbeta.
// Cost    reads dy and x twice, writes dx; one kernel, with dgamma or dbeta three.
// Order   within an image fixed by (HW, C0+C1, G); dgamma, dbeta by slices.
// Source  Defined in tensor/groupnorm.go.
int    ict_groupnorm_backward(void *dx0, float beta_dx0, void *dx1, float beta_dx1, float *dgamma, float beta_dgamma,
                              float *dbeta, float beta_dbeta, float *dscale_shift, float beta_dscale_shift, float *dtemb,
                              float beta_dtemb, const void *dy, const void *x0, const void *x1, const float *mean,
                              const float *rstd, const float *gamma, const float *beta, const float *scale_shift,
                              const float *sums, const void *residual, ict_groupnorm d, void *ws, size_t ws_bytes,
                              ict_dtype dtype, const ict_exec *ex);
size_t ict_groupnorm_backward_workspace(ict_groupnorm d, const ict_exec *ex);

// ---------------------------------------------------------------------------------------------------- attention

// attention_forward: o = softmax_k(scale * q.k) v per head; lse[n,h,t] = ln sum over k of exp(scale * q_t.k).
//
//   o    (N,T,heads*d)    dtype  out
//   lse  (N,heads,T)      f32    out; read by attention_backward
//   qkv  (N,T,3,heads,d)  dtype  in
//
// Needs   1 <= T <= 1024; d <= 512, in f16 and bf16 d % 8 == 0; 3*heads*d < 2^31; lse element aligned. On tensor cores
//         in 16 bits with d <= 256, in tiles of 64 or 256.
// Returns ICT_ERR_NULL, _ARCH, _SHAPE, _ALIGN, _DTYPE, or a cudaError_t.
// Cost    4*N*heads*T*T*d FLOP; reads qkv, writes o and lse; one kernel.
// Order   fixed by (T, d, dtype): keys in tiles, low to high.
// Source  online softmax [FlashAttention]. Defined in tensor/attention.go.
int         ict_attention_forward(void *o, float *lse, const void *qkv, int32_t N, int32_t T, int32_t heads, int32_t d,
                                  float scale, void *ws, size_t ws_bytes, ict_dtype dtype, const ict_exec *ex);
size_t      ict_attention_forward_workspace(int32_t N, int32_t T, int32_t heads, int32_t d, const ict_exec *ex);   // 0: no variant needs any
const char *ict_attention_forward_variant(int32_t T, int32_t d, ict_dtype dtype, const ict_exec *ex);

// attention_backward: the gradient at qkv.
//
//   dqkv       (N,T,3,heads,d)  dtype with beta  out; may be null
//   do o       (N,T,heads*d)    dtype            in (do_ in the prototype)
//   qkv        (N,T,3,heads,d)  dtype            in
//   lse        (N,heads,T)      f32              in; written by attention_forward
//
// Needs   as attention_forward.
// Cost    10*N*heads*T*T*d FLOP.
// Order   each of dQ, dK, dV has one owner, fixed by (T, d, dtype).
// Source  [FlashAttention] without atomics. Defined in tensor/attention.go.
int         ict_attention_backward(void *dqkv, float beta_dqkv, const void *do_, const void *o, const void *qkv,
                                   const float *lse, int32_t N, int32_t T, int32_t heads, int32_t d, float scale,
                                   void *ws, size_t ws_bytes, ict_dtype dtype, const ict_exec *ex);
size_t      ict_attention_backward_workspace(int32_t N, int32_t T, int32_t heads, int32_t d, const ict_exec *ex);  // 0: no variant needs any
const char *ict_attention_backward_variant(int32_t T, int32_t d, ict_dtype dtype, const ict_exec *ex);

// ---------------------------------------------------------------------------------------------------- resample

// resample_forward: y = x at another resolution, per axis, zero outside:
//   NEAREST UP2     y[2i] = y[2i+1] = x[i]
//   BOX     DOWN2   y[i] = (x[2i] + x[2i+1])/2
//   FIR1331 DOWN2   y[i] = (x[2i-1] + 3x[2i] + 3x[2i+1] + x[2i+2])/8
//   FIR1331 UP2     y[2i] = (x[i-1] + 3x[i])/4; y[2i+1] = (3x[i] + x[i+1])/4
//   FIR1331 SMOOTH  y[i] = (x[i-2] + 3x[i-1] + 3x[i] + x[i+1])/8, i = 0 ... H
//
//   y          (N,2H,2W,C), (N,H/2,W/2,C) or (N,H+1,W+1,C)  dtype  out
//   x          (N,H,W,C)  dtype  in
//   gn_scale gn_shift  (N,C)  f32  in: a folded group norm, then act, applied on load; refused for now, as act but none
//
// Needs   the pairs of filter and rate above; H, W even with DOWN2; any C; an image of x and one of y < 2^31 - 2048 elements;
//         element aligned.
// Cost    reads x, writes y; one kernel.
// Source  [EDM]. Defined in tensor/resample.go (Box there is NEAREST for Up2, BOX for Down2).
int ict_resample_forward(void *y, const void *x, const float *gn_scale, const float *gn_shift, int32_t N, int32_t H,
                         int32_t W, int32_t C, int32_t rate, int32_t filter, int32_t act, ict_dtype dtype,
                         const ict_exec *ex);

// resample_backward: dx = the adjoint of resample_forward, of dy. N, H, W, C are those of dx.
//
//   dx  (N,H,W,C)         dtype with beta  out
//   dy  as resample_forward's y  dtype     in
//
// Needs   as resample_forward.
// Cost    reads dy, writes dx; one kernel.
// Order   each element of dx gathers its own terms, low to high.
// Source  Defined in tensor/resample.go.
int ict_resample_backward(void *dx, float beta_dx, const void *dy, int32_t N, int32_t H, int32_t W, int32_t C,
                          int32_t rate, int32_t filter, ict_dtype dtype, const ict_exec *ex);

// ---------------------------------------------------------------------------------------------------- pointwise

// cast: dst = src, rounded to nearest, ties to even; F16 keeps subnormals and overflows to infinity.
//
//   dst    (n)   to     out
//   src    (n)   from   in
//
// Needs   n >= 1; to, from: f32, f16, bf16; element-aligned.
// Returns ICT_ERR_NULL, _ARCH, _SHAPE, _DTYPE, _ALIGN, or a cudaError_t.
// Cost    reads src, writes dst; one kernel.
// Source  IEEE 754 binary16; bfloat16. Defined in tensor/cast.go.
int ict_cast(void *dst, const void *src, int64_t n, ict_dtype to, ict_dtype from, const ict_exec *ex);

// axpby: y = beta*y + a*x0 + b*x1, rounded once.
//
//   y      (n)  dtype with beta  out
//   x0 x1  (n)  dtype            in; x1 may be null; y may be x0 or x1 itself
//
// Needs   n >= 1; element aligned (16 bytes are faster).
// Cost    reads x0, x1 and, with beta, y; writes y; one kernel.
// Source  Defined in tensor/pointwise.go.
int ict_axpby(void *y, float beta_y, float a, const void *x0, float b, const void *x1, int64_t n, ict_dtype dtype,
              const ict_exec *ex);

// scale_images: y[n,i] = s[n] * x[n,i].
//
//   y  (N,D)  y_dtype  out
//   x  (N,D)  dtype    in
//   s  (N)    f32      in
//
// Needs   y_dtype f32 or dtype; element aligned.
// Cost    reads x, writes y; one kernel.
// Source  Defined in tensor/pointwise.go.
int ict_scale_images(void *y, const void *x, const float *s, int32_t N, int64_t D, ict_dtype y_dtype, ict_dtype dtype,
                     const ict_exec *ex);

// bias_backward: demb[n,k] = scale * sum over pixels of dy[n,p,k]; dbias[k] = sum over n of scale * sum over pixels.
//
//   dbias  (K)       f32 with beta  out; may be null
//   demb   (N,K)     f32 with beta  out, rows demb_stride apart; may be null
//   dy     (N,HW,K)  dtype          in
//   ws                              scratch of ict_bias_backward_workspace(...) bytes; only with dbias
//
// Needs   demb_stride >= K with demb; element aligned.
// Cost    reads dy; one kernel, with dbias three.
// Order   within an image: eight sums of every eighth pixel, in f32 over 16 and in f64 over these, then low to high; over
//         images by slices.
// Source  Defined in tensor/pointwise.go.
int    ict_bias_backward(float *dbias, float beta_dbias, float *demb, float beta_demb, const void *dy, int32_t N,
                         int32_t HW, int32_t K, int32_t demb_stride, float scale, void *ws, size_t ws_bytes,
                         ict_dtype dtype, const ict_exec *ex);
size_t ict_bias_backward_workspace(int32_t N, int32_t HW, int32_t K, const ict_exec *ex);

// ---------------------------------------------------------------------------------------------------- precond

// precond_forward: f[n,i] = skip[n]*x[n,i] + out[n]*raw[n,i]; with clamp, limited to [-1,1] (NaN stays NaN).
//
//   f         (N,D)  f32    out
//   raw       (N,D)  dtype  in
//   x         (N,D)  f32    in
//   skip out  (N)    f32    in
//
// Needs   element aligned.
// Cost    reads raw and x, writes f; one kernel.
// Source  [EDM] [CM]. Defined in tensor/precond.go.
int ict_precond_forward(float *f, const void *raw, const float *x, const float *skip, const float *out, int32_t N,
                        int64_t D, int32_t clamp, ict_dtype dtype, const ict_exec *ex);

// precond_backward: draw[n,i] = out[n]*df[n,i].
//
//   draw  (N,D)  dtype with beta  out
//   df    (N,D)  f32              in
//   out   (N)    f32              in
//
// Needs   element aligned.
// Cost    reads df, writes draw; one kernel.
// Source  Defined in tensor/precond.go.
int ict_precond_backward(void *draw, float beta_draw, const float *df, const float *out, int32_t N, int64_t D,
                         ict_dtype dtype, const ict_exec *ex);

// ---------------------------------------------------------------------------------------------------- random

// random_normal: dst[n,e] = unit normal of (step->seed, step->step, purpose, step->image0 + n, e).
//
//   dst      (N,D)  f32  out
//   step                 in
//   purpose  0 ... 65535
//
// Needs   D <= 2^34; element aligned.
// Cost    writes dst; one kernel.
// Source  [Philox] [BoxMuller]. Defined in tensor/random.go and internal/philox.
int ict_random_normal(float *dst, const ict_step *step, int32_t N, int64_t D, int32_t purpose, const ict_exec *ex);

// ---------------------------------------------------------------------------------------------------- embed

// embed_fourier: y[n,f] = sin(2 pi freqs[f] c[n]); y[n,F+f] = cos of the same.
//
//   y      (N,2F)  f32  out
//   c      (N)     f32  in
//   freqs  (F)     f32  in
//
// Needs   element aligned.
// Cost    one kernel.
// Source  [EDM]. Defined in tensor/embed.go.
int ict_embed_fourier(float *y, const float *c, const float *freqs, int32_t N, int32_t F, const ict_exec *ex);

// embed_positional: angles c[n]*w_q with w_q = max_period^(-q/(F-1)) with endpoint, max_period^(-q/F) without;
// y = sin|cos, or cos|sin with cos_first.
//
//   y  (N,2F)  f32  out
//   c  (N)     f32  in
//
// Needs   max_period > 0; element aligned.
// Cost    one kernel.
// Source  [EDM] [ADM]. Defined in tensor/embed.go.
int ict_embed_positional(float *y, const float *c, int32_t N, int32_t F, double max_period, int32_t endpoint,
                         int32_t cos_first, const ict_exec *ex);

// embed_label_forward: y[n] = beta*y[n] + scale*table[labels[n]] + bias; label -1 adds nothing but the bias, a label
// outside the table gives NaN.
//
//   y       (N,E)        f32 with beta  out
//   table   (classes,E)  f32            in
//   labels  (N)          i32            in
//   bias    (E)          f32            in; may be null
//
// Needs   element aligned.
// Cost    one kernel.
// Source  Defined in tensor/embed.go.
int ict_embed_label_forward(float *y, float beta_y, const float *table, const int32_t *labels, const float *bias,
                            int32_t N, int32_t classes, int32_t E, float scale, const ict_exec *ex);

// embed_label_backward: dtable[l] = sum over images with label l of scale*dy[n]; dbias = sum over n of dy[n].
//
//   dtable  (classes,E)  f32 with beta  out; may be null
//   dbias   (E)          f32 with beta  out; may be null
//   dy      (N,E)        f32            in
//   labels  (N)          i32            in; may be null without dtable
//
// Needs   N <= 2^20; element aligned.
// Cost    one kernel for each output.
// Order   one owner per row of the table; by slices, where a slice without the label counts as zero.
// Source  Defined in tensor/embed.go.
int ict_embed_label_backward(float *dtable, float beta_dtable, float *dbias, float beta_dbias, const float *dy,
                             const int32_t *labels, int32_t N, int32_t classes, int32_t E, float scale,
                             const ict_exec *ex);

// ---------------------------------------------------------------------------------------------------- perturb

// image_load: x = bytes/127.5 - 1, mirrored in W where flip[n] != 0.
//
//   x      (N,H,W,C)  dtype  out
//   bytes  (N,H,W,C)  u8     in
//   flip   (N)        u8     in; may be null
//
// Needs   element aligned.
// Cost    one kernel.
// Source  Defined in tensor/perturb.go.
int ict_image_load(void *x, const uint8_t *bytes, const uint8_t *flip, int32_t N, int32_t H, int32_t W, int32_t C,
                   ict_dtype dtype, const ict_exec *ex);

// image_store: bytes = trunc(clip((x+1)*127.5, 0, 255)) by ICT_FLOOR, trunc(clip(x*127.5 + 128, 0, 255)) by ICT_ROUND;
// NaN gives 0.
//
//   bytes  (n)  u8   out
//   x      (n)  f32  in
//
// Needs   element aligned.
// Cost    one kernel.
// Source  [CM], [EDM]. Defined in tensor/perturb.go.
int ict_image_store(uint8_t *bytes, const float *x, int64_t n, int32_t rule, const ict_exec *ex);

// perturb: x = bytes/127.5 - 1, mirrored where flip; z = unit normal as random_normal with purpose 4;
// xt = x + t[n]*z; cxt = in_t[n]*xt; xr = x + r[n]*z; cxr = in_r[n]*xr. Noise belongs to the place in the output.
//
//   xt cxt xr cxr  (N,H,W,C)  f32  out; xr and cxr both null: the first two alone
//   bytes          (N,H,W,C)  u8   in
//   flip           (N)        u8   in; may be null
//   t r in_t in_r  (N)        f32  in; r, in_r null with xr
//   step                           in
//
// Needs   H*W*C <= 2^34; element aligned.
// Cost    reads bytes, writes the outputs; one kernel.
// Source  [iCT]. Defined in tensor/perturb.go.
int ict_perturb(float *xt, float *cxt, float *xr, float *cxr, const uint8_t *bytes, const uint8_t *flip, const float *t,
                const float *r, const float *in_t, const float *in_r, const ict_step *step, int32_t N, int32_t H,
                int32_t W, int32_t C, const ict_exec *ex);

// ---------------------------------------------------------------------------------------------------- loss

// pseudo_huber: s = |y[n] - target[n]|^2; loss[n] = weight[n]*s/(sqrt(s + c^2) + c);
// dy = S*inv_batch*weight[n]*(y - target)/sqrt(s + c^2). S is in dy alone, never in loss.
//
//   loss      (N)    f32  out
//   dy        (N,D)  f32  out
//   y target  (N,D)  f32  in
//   weight    (N)    f32  in
//   step                  in; may be null: S = 1, as with step->scale null
//
// Needs   c > 0; element aligned.
// Cost    reads y and target twice (once from L2), writes dy; one kernel, one block per image.
// Order   fixed by D: 256 sums of every 256th element, then a tree.
// Source  [iCT] 3.3. Defined in tensor/loss.go.
int ict_pseudo_huber(float *loss, float *dy, const float *y, const float *target, const float *weight,
                     const ict_step *step, int32_t N, int64_t D, float c, float inv_batch, const ict_exec *ex);

// l2: loss[n] = weight[n]*sum of (y - target)^2; dy = 2*S*inv_batch*weight[n]*(y - target); with mean both divided by D.
//
//   as pseudo_huber
//
// Needs   element aligned.
// Cost    as pseudo_huber.
// Order   as pseudo_huber.
// Source  [EDM], [CM]. Defined in tensor/loss.go.
int ict_l2(float *loss, float *dy, const float *y, const float *target, const float *weight, const ict_step *step,
           int32_t N, int64_t D, float inv_batch, int32_t mean, const ict_exec *ex);

// ---------------------------------------------------------------------------------------------------- optim

// optim_norm: verdict->sum2 = sum of g^2, verdict->nonfinite = number of g that are not finite; norm, factor, skip = 0.
//
//   verdict        out
//   g    (n)  f32  in
//   ws             scratch of ict_optim_norm_workspace(n, ex) bytes
//
// Needs   element aligned.
// Cost    reads g; two kernels.
// Order   fixed by n, in f64: runs of 2^14 elements, in each 256 sums and a tree; then runs likewise.
// Source  Defined in tensor/optim.go.
int    ict_optim_norm(ict_verdict *verdict, const float *g, int64_t n, void *ws, size_t ws_bytes, const ict_exec *ex);
size_t ict_optim_norm_workspace(int64_t n, const ict_exec *ex);

// optim_judge: takes the step or skips it, and sets the scale of the next one.
//
//   finite:      factor = min(1, max_norm/norm)/S; good+1, bad = 0; at good = every S doubles (<= ceiling) and good = 0
//   not finite:  skip; good = 0, skipped+1; S > floor: S halves; at the floor (or every = 0): bad+1
//   bad = limit: always skip
//
//   verdict   in, out: norm, factor, skip
//   scale     in, out
//   step      in
//
// Cost    one thread.
// Source  [CM] with powers of two. Defined by ScaleRule.Judge of tensor/optim.go.
int ict_optim_judge(ict_verdict *verdict, ict_scale *scale, const ict_step *step, ict_scale_rule rule, const ict_exec *ex);

// optim_update: unless verdict->skip, when nothing is written:
//   g' = factor*g + weight_decay*w; m = beta1*m + (1-beta1)*g'; v = beta2*v + (1-beta2)*g'^2
//   w -= step_size*m/(v_scale*sqrt(v) + eps) while adaptive, step_size*m while not; ema_i += rate_i*(w - ema_i); w16 = w rounded
//
//   w m v        (n)  f32    in, out
//   w16          (n)  dtype  out; may be null
//   ema0 ... ema3  (n)  f32    in, out; may be null
//   g            (n)  f32    in
//   verdict, step            in
//
// Needs   element aligned (16 bytes are faster).
// Cost    16 bytes read, 12 written per element, 8 per average, 2 or 4 for w16; one kernel.
// Source  [RAdam] [Adam]. Defined in tensor/optim.go.
int ict_optim_update(float *w, float *m, float *v, void *w16, float *ema0, float *ema1, float *ema2, float *ema3,
                     const float *g, const ict_verdict *verdict, const ict_step *step, int64_t n, float beta1,
                     float beta2, float eps, float weight_decay, ict_dtype dtype, const ict_exec *ex);

// ---------------------------------------------------------------------------------------------------- reduce

// reduce_nonfinite: count = number of values of x that are infinite or NaN.
//
//   count  (1)  u64    out, 8-byte aligned
//   x      (n)  dtype  in
//
// Needs   element aligned.
// Cost    reads x; two kernels.
// Order   none: integers.
// Source  Defined in tensor/reduce.go.
int ict_reduce_nonfinite(uint64_t *count, const void *x, int64_t n, ict_dtype dtype, const ict_exec *ex);

// reduce_hash: hash = sum over i of mix(bits(x_i) + (i+1)*0x9E3779B97F4A7C15) mod 2^64, mix the finaliser of SplitMix64.
//
//   hash  (1)  u64  out, 8-byte aligned
//   x     (n)       in; dtype may be any
//
// Needs   element aligned.
// Cost    reads x; two kernels.
// Order   none: integers.
// Source  [SplitMix]. Defined in tensor/reduce.go.
int ict_reduce_hash(uint64_t *hash, const void *x, int64_t n, ict_dtype dtype, const ict_exec *ex);

// ---------------------------------------------------------------------------------------------------- library

// Hash of the sources this library was made from; gpu.Open compares it.
const char *ict_kernels_sha(void);

// Architectures with code in this library: "80 90a ptx80"; "sim" in the simulator.
const char *ict_kernels_archs(void);

// A sentence for a status of any launcher: ours, an encoder's or a cudaError_t.
const char *ict_status_text(int status);

#ifdef __cplusplus
}
#endif
#endif
