/* What blas.c gives to blas_cgo.go. */
#ifndef ICT_CPU_BLAS_H
#define ICT_CPU_BLAS_H

typedef void (*blas_sgemm_function)(int order, int ta, int tb, int m, int n, int k, float alpha, const float *a, int lda,
                                    const float *b, int ldb, float beta, float *c, int ldc);

struct blas_library {
	blas_sgemm_function sgemm;
	int locks; /* several threads may call at once */
	const char *core, *config;
};

/* blas_open fills b. It returns NULL, or what is wrong. */
const char *blas_open(struct blas_library *b, const char *path);

/* blas_sgemm is f, row-major; ta, tb: 1 transposed. */
void blas_sgemm(blas_sgemm_function f, int ta, int tb, int m, int n, int k, float alpha, const float *a, int lda,
                const float *b, int ldb, float beta, float *c, int ldc);

/* blas_warm waits until so many workers have called it and multiplies a m×k by the transpose of b n×k into c m×n.
 *
 * OpenBLAS packs into buffers that it takes from a pool, one per call that is under way. Its kernels prefetch beyond what
 * they packed; while these pages have never been written, every such prefetch walks the page tables in vain, which made
 * small products up to three times slower for ever after. One large product per buffer, all at the same time, cures it. */
void blas_warm(blas_sgemm_function f, int *arrived, int workers, const float *a, const float *b, float *c, int m, int n,
               int k);

/* blas_processor is the generation of the processor's vector instructions: 0 SSE, 1 AVX, 2 AVX2, 3 AVX-512. */
int blas_processor(void);

#endif
