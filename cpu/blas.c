/* OpenBLAS, opened at run time: nothing is linked, and a machine without it still runs. */
#define _POSIX_C_SOURCE 200809L
#include "blas.h"

#include <dlfcn.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>

/* symbol finds an OpenBLAS name, plain or as SciPy's builds spell it. */
static void *symbol(void *library, const char *name) {
	char prefixed[64];
	void *p = dlsym(library, name);
	if (p)
		return p;
	snprintf(prefixed, sizeof prefixed, "scipy_%s", name);
	return dlsym(library, prefixed);
}

const char *blas_open(struct blas_library *b, const char *path) {
	/* One thread, said before the library starts any: it would keep a pool of idle ones. */
	setenv("OPENBLAS_NUM_THREADS", "1", 1);
	void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	if (!library)
		return dlerror();
	*(void **)&b->sgemm = symbol(library, "cblas_sgemm");
	void (*set_threads)(int);
	*(void **)&set_threads = symbol(library, "openblas_set_num_threads");
	int (*parallel)(void);
	*(void **)&parallel = symbol(library, "openblas_get_parallel");
	char *(*core)(void), *(*config)(void);
	*(void **)&core = symbol(library, "openblas_get_corename");
	*(void **)&config = symbol(library, "openblas_get_config");
	if (!b->sgemm || !set_threads || !parallel || !core || !config) {
		dlclose(library);
		return "it is not OpenBLAS: cblas_sgemm, openblas_set_num_threads, openblas_get_parallel, openblas_get_corename or "
		       "openblas_get_config is missing";
	}
	set_threads(1);
	b->locks = parallel() != 0;
	b->core = core();
	b->config = config();
	return NULL;
}

enum { row_major = 101, plain = 111, transposed = 112 };

void blas_sgemm(blas_sgemm_function f, int ta, int tb, int m, int n, int k, float alpha, const float *a, int lda,
                const float *b, int ldb, float beta, float *c, int ldc) {
	f(row_major, ta ? transposed : plain, tb ? transposed : plain, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
}

void blas_warm(blas_sgemm_function f, int *arrived, int workers, const float *a, const float *b, float *c, int m, int n,
               int k) {
	__atomic_add_fetch(arrived, 1, __ATOMIC_SEQ_CST);
	while (__atomic_load_n(arrived, __ATOMIC_SEQ_CST) < workers)
		sched_yield();
	f(row_major, plain, transposed, m, n, k, 1, a, k, b, k, 0, c, n);
}

int blas_processor(void) {
#if defined(__x86_64__) && defined(__GNUC__)
	__builtin_cpu_init();
	if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
	    __builtin_cpu_supports("avx512vl"))
		return 3;
	if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
		return 2;
	if (__builtin_cpu_supports("avx"))
		return 1;
#endif
	return 0;
}
