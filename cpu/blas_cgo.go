//go:build cgo

package cpu

/*
#cgo LDFLAGS: -ldl
#cgo noescape blas_sgemm
#cgo nocallback blas_sgemm
#cgo nocallback blas_warm
#include <stdlib.h>
#include "blas.h"
*/
import "C"

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"unsafe"
)

// openBLAS finds a BLAS: the one named by ICT_BLAS, which must work; one in lib/ beside the program; the system's;
// gonum's.
func openBLAS() (*blas, error) {
	blasMu.Lock()
	defer blasMu.Unlock()
	switch name := os.Getenv(blasVariable); name {
	case pureBLAS:
		return gonumBLAS(""), nil
	case "":
	default:
		b, err := loadBLAS(name)
		if err != nil {
			return nil, fmt.Errorf("cpu: blas: %s=%s: %w", blasVariable, name, err)
		}
		return b, nil
	}
	for _, name := range libraries() {
		if b, err := loadBLAS(name); err == nil {
			return b, nil
		}
	}
	return gonumBLAS(noOpenBLAS), nil
}

// libraries are the names to try.
func libraries() []string {
	var names []string
	if program, err := os.Executable(); err == nil {
		for _, pattern := range []string{"libscipy_openblas.so", "libopenblas.so*"} {
			found, _ := filepath.Glob(filepath.Join(filepath.Dir(program), "lib", pattern)) // fails on a bad pattern only
			names = append(names, found...)
		}
	}
	return append(names, "libopenblas.so.0")
}

// loadBLAS opens one library, once in the life of the process.
func loadBLAS(name string) (*blas, error) {
	if b := openedBLAS[name]; b != nil {
		return b, nil
	}
	path := C.CString(name)
	defer C.free(unsafe.Pointer(path))
	var lib C.struct_blas_library
	if wrong := C.blas_open(&lib, path); wrong != nil {
		return nil, fmt.Errorf("%s", C.GoString(wrong))
	}
	f := lib.sgemm
	b := &blas{
		sgemm: func(ta, tb bool, m, n, k int, alpha float32, a []float32, lda int, b []float32, ldb int, beta float32, c []float32, ldc int) {
			C.blas_sgemm(f, cbool(ta), cbool(tb), C.int(m), C.int(n), C.int(k), C.float(alpha), cfloat(a), C.int(lda),
				cfloat(b), C.int(ldb), C.float(beta), cfloat(c), C.int(ldc))
		},
	}
	if lib.locks == 0 {
		b.oneAtATime()
	} else {
		warmBLAS(f, runtime.GOMAXPROCS(0))
	}
	core := C.GoString(lib.core)
	version := "OpenBLAS"
	if words := strings.Fields(C.GoString(lib.config)); len(words) > 1 && words[0] == version { // old ones do not say
		version += " " + words[1]
	}
	b.name = fmt.Sprintf("%s, %s kernels (%s)", version, core, name)
	b.warn = coreWarning(core, int(C.blas_processor()))
	openedBLAS[name] = b
	return b, nil
}

// oneAtATime keeps calls of a build for one thread from overlapping.
func (b *blas) oneAtATime() {
	var mu sync.Mutex
	overlapping := b.sgemm
	b.sgemm = func(ta, tb bool, m, n, k int, alpha float32, x []float32, lda int, y []float32, ldb int, beta float32, c []float32, ldc int) {
		mu.Lock()
		defer mu.Unlock()
		overlapping(ta, tb, m, n, k, alpha, x, lda, y, ldb, beta, c, ldc)
	}
}

// warmBLAS writes the library's buffers once, see blas_warm.
func warmBLAS(f C.blas_sgemm_function, workers int) {
	const m, n, k = 256, 1024, 768
	a, b := make([]float32, m*k), make([]float32, n*k)
	arrived := new(C.int)
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			C.blas_warm(f, arrived, C.int(workers), cfloat(a), cfloat(b), cfloat(make([]float32, m*n)), m, n, k)
		})
	}
	wg.Wait()
}

func cbool(b bool) C.int {
	if b {
		return 1
	}
	return 0
}
