//go:build cgo

package cpu

import (
	"runtime"
	"strings"
	"testing"
)

// A library that is none is refused by name, and one that was opened is opened once.
func TestOpenBLAS(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("names a library of Linux")
	}
	if b, err := openBLAS(); err != nil {
		t.Error(err)
	} else if again, _ := openBLAS(); b.name != again.name || strings.HasPrefix(b.name, "OpenBLAS") && again != b {
		t.Errorf("opened twice: got %q and %q", b.name, again.name)
	}
	t.Setenv(blasVariable, "libm.so.6")
	if _, err := openBLAS(); err == nil || !strings.Contains(err.Error(), "ICT_BLAS=libm.so.6: it is not OpenBLAS") {
		t.Errorf("libm: got %v", err)
	}
}

// A build for one thread is called by one goroutine at a time.
func TestOneAtATime(t *testing.T) {
	inside := 0
	b := &blas{}
	b.sgemm = func(bool, bool, int, int, int, float32, []float32, int, []float32, int, float32, []float32, int) {
		inside++
		if inside != 1 {
			t.Error("two calls at once")
		}
		runtime.Gosched()
		inside--
	}
	b.oneAtATime()
	d := &Device{threads: 8}
	d.each(100, func(int, int) { b.gemm(false, false, 1, 1, 1, 1, []float32{1}, 1, []float32{1}, 1, 0, []float32{1}, 1) })
}
