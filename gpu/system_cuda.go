//go:build cuda

package gpu

/*
#include <cuda.h>
#include <dlfcn.h>

const char *ict_driver_problem(int *code); // of the forwarding archive: why there is no driver, or null

static int builtCUDA(void) { return CUDA_VERSION; }

// ncclVersion opens NCCL for a moment. It returns 22703 for 2.27.3, 0 where it does not say, -1 where there is none.
static int ncclVersion(const char **why) {
	void *lib = dlopen("libnccl.so.2", RTLD_NOW | RTLD_LOCAL);
	if (!lib) {
		*why = dlerror();
		return -1;
	}
	int (*get)(int *) = (int (*)(int *))dlsym(lib, "ncclGetVersion");
	int version = 0;
	if (!get || get(&version))
		version = 0;
	dlclose(lib);
	return version;
}
*/
import "C"

import (
	"errors"
	"fmt"

	"gorgonia.org/cu"
)

// ReadSystem looks around. It opens the driver, NVML and NCCL where they are, and no device.
func ReadSystem() System {
	s := System{BuiltCUDA: int(C.builtCUDA()), Stale: staleKernels(), NVML: readNVML(), NCCL: Library{Name: "libnccl.so.2"}}
	var code C.int
	if reason := C.ict_driver_problem(&code); reason != nil {
		s.NoDriver = fmt.Errorf("%w: %s", ErrNoDriver, C.GoString(reason))
	} else {
		s.DriverCUDA = max(0, cu.Version())
		s.DriverText = driverRelease()
	}
	var why *C.char
	switch v := int(C.ncclVersion(&why)); {
	case v < 0:
		s.NCCL.Err = errors.New(C.GoString(why))
	case v > 0:
		s.NCCL.Version = fmt.Sprintf("%d.%d.%d", v/10000, v/100%100, v%100)
	}
	return s
}

// staleKernels compares the library that is linked in with the one that this program was built for.
func staleKernels() error {
	if sha := KernelsSHA(); kernelsSHA == "" || sha != kernelsSHA {
		return fmt.Errorf("%w (library %.12s, program %.12s)", ErrStaleKernels, sha, kernelsSHA)
	}
	return nil
}
