// library.cu: what the library says of itself.
#include "intrin.cuh"

#ifndef ICT_KERNELS_SHA
#error "compile with -DICT_KERNELS_SHA=\"...\": the hash of kernels/"
#endif
#ifndef ICT_KERNELS_ARCHS
#error "compile with -DICT_KERNELS_ARCHS=\"...\""
#endif

const char *ict_kernels_sha(void) { return ICT_KERNELS_SHA; }

const char *ict_kernels_archs(void) { return ICT_KERNELS_ARCHS; }

const char *ict_status_text(int status) {
	switch (status) {
	case ICT_OK: return "no error";
	case ICT_ERR_SHAPE: return "sizes break a need of the kernel";
	case ICT_ERR_DTYPE: return "no kernel for this storage type";
	case ICT_ERR_ALIGN: return "a pointer is not aligned";
	case ICT_ERR_WORKSPACE: return "workspace missing or too small";
	case ICT_ERR_ARCH: return "no code for this device";
	case ICT_ERR_NULL: return "a pointer that must be given is null";
	}
	if (status <= ICT_ERR_TENSORMAP) return "the driver refused a tensor map";
	return status > 0 ? ict::runtime_error_text(status) : "unknown status";
}
