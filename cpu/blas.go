package cpu

import (
	"fmt"
	"strings"
	"sync"

	gonum "gonum.org/v1/gonum/blas"
	pure "gonum.org/v1/gonum/blas/gonum"
)

// blasVariable names the library that must be used, or is pureBLAS.
const (
	blasVariable = "ICT_BLAS"
	pureBLAS     = "gonum"
)

// blas multiplies matrices of float32, row-major, on the calling thread; any number of goroutines may call it.
type blas struct {
	sgemm func(ta, tb bool, m, n, k int, alpha float32, a []float32, lda int, b []float32, ldb int, beta float32, c []float32, ldc int)
	name  string // library, version, core
	warn  string
}

// blasMu guards openedBLAS, the libraries opened so far by name.
var (
	blasMu     sync.Mutex
	openedBLAS = map[string]*blas{}
)

// gonumBLAS needs nothing.
func gonumBLAS(warn string) *blas {
	return &blas{
		sgemm: func(ta, tb bool, m, n, k int, alpha float32, a []float32, lda int, b []float32, ldb int, beta float32, c []float32, ldc int) {
			pure.Implementation{}.Sgemm(gonumTrans(ta), gonumTrans(tb), m, n, k, alpha, a, lda, b, ldb, beta, c, ldc)
		},
		name: "gonum (pure Go)",
		warn: warn,
	}
}

func gonumTrans(t bool) gonum.Transpose {
	if t {
		return gonum.Trans
	}
	return gonum.NoTrans
}

// noOpenBLAS is the warning where only the slow one is left.
const noOpenBLAS = "no OpenBLAS: convolutions run in pure Go, about ten times slower; `make` fetches one into lib/, " +
	"or name one in " + blasVariable

// BLAS says in one line which library multiplies matrices, with its version and the processor its kernels were written
// for. Equal bits depend on it.
func (d *Device) BLAS() string {
	if d.blas == nil {
		return "none (exact)"
	}
	return d.blas.name
}

// Warning is a line for the user where the BLAS is much slower than this processor, else empty.
func (d *Device) Warning() string {
	if d.blas == nil {
		return ""
	}
	return d.blas.warn
}

// gemm writes C = alpha·A·B + beta·C, with A m×k and B k×n after the transposition of those marked ta and tb; lda, ldb, ldc
// are the floats from row to row as stored. beta 0 never reads C.
func (b *blas) gemm(ta, tb bool, m, n, k int, alpha float32, x []float32, lda int, y []float32, ldb int, beta float32, c []float32, ldc int) {
	if m == 0 || n == 0 {
		return
	}
	holds("A", x, m, k, lda, ta)
	holds("B", y, k, n, ldb, tb)
	holds("C", c, m, n, ldc, false)
	b.sgemm(ta, tb, m, n, k, alpha, x, lda, y, ldb, beta, c, ldc)
}

// holds panics unless v is a matrix of this size.
func holds(name string, v []float32, rows, cols, stride int, trans bool) {
	if trans {
		rows, cols = cols, rows
	}
	if stride < cols || len(v) < (rows-1)*stride+cols {
		panic(fmt.Sprintf("cpu: gemm: %s has %d floats, want %d rows of %d, %d apart", name, len(v), rows, cols, stride))
	}
}

// Generations of vector instructions, for the comparison of a library's core with the processor.
const (
	sse = iota
	avx
	avx2
	avx512
)

// cores are OpenBLAS's names of x86 cores, in lower case, with what their kernels use.
var cores = map[string]int{
	"prescott": sse, "katmai": sse, "coppermine": sse, "northwood": sse, "banias": sse, "core2": sse, "penryn": sse,
	"dunnington": sse, "nehalem": sse, "atom": sse, "nano": sse, "athlon": sse, "opteron": sse, "opteron_sse3": sse,
	"barcelona": sse, "bobcat": sse, "generic": sse,
	"sandybridge": avx, "bulldozer": avx, "piledriver": avx, "steamroller": avx,
	"haswell": avx2, "zen": avx2, "excavator": avx2,
	"skylakex": avx512, "cooperlake": avx512, "sapphirerapids": avx512,
}

// coreWarning is a sentence where a library's core is older than the processor, whose generation is given.
func coreWarning(core string, processor int) string {
	used, known := cores[strings.ToLower(core)]
	if !known || used >= processor {
		return ""
	}
	return fmt.Sprintf("OpenBLAS uses its %s kernels, which are older than this processor and slower than it could be; "+
		"`make` fetches a current OpenBLAS into lib/ (is OPENBLAS_CORETYPE set?)", core)
}
