package cpu

import (
	"strings"
	"sync"
	"testing"
)

// multiply is a product by its definition.
func multiply(ta, tb bool, m, n, k int, alpha float32, a []float32, lda int, b []float32, ldb int, beta float32, c []float32, ldc int) {
	at := func(v []float32, i, j, stride int, trans bool) float64 {
		if trans {
			i, j = j, i
		}
		return float64(v[i*stride+j])
	}
	for i := range m {
		for j := range n {
			var s float64
			for l := range k {
				s += at(a, i, l, lda, ta) * at(b, l, j, ldb, tb)
			}
			c[i*ldc+j] = blend(c[i*ldc+j], beta, float64(alpha)*s)
		}
	}
}

// integers is n small ones.
func integers(n, seed int) []float32 {
	v := make([]float32, n)
	for i := range v {
		v[i] = float32((i*7+seed)%9 - 4)
	}
	return v
}

// Small integers have one right answer. Many goroutines at once: each product is its own.
func TestGemm(t *testing.T) {
	found, err := openBLAS()
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range []*blas{found, gonumBLAS("")} {
		var wg sync.WaitGroup
		for seed := range 4 {
			wg.Go(func() {
				for _, s := range [][3]int{{1, 1, 1}, {1, 5, 3}, {7, 1, 2}, {13, 17, 19}, {40, 33, 100}, {3, 130, 8}, {196, 64, 96}} {
					for trans := range 4 {
						for _, beta := range []float32{0, 1, 0.5} {
							m, n, k, ta, tb := s[0], s[1], s[2], trans&1 != 0, trans&2 != 0
							lda, ldb, ldc := k+3, n+5, n+2
							ra, rb := m, k
							if ta {
								lda, ra = m+3, k
							}
							if tb {
								ldb, rb = k+5, n
							}
							x, y := integers(ra*lda, seed), integers(rb*ldb, seed+1)
							got, want := integers(m*ldc, seed+2), integers(m*ldc, seed+2)
							if beta == 0 {
								for i := range m {
									fill(got[i*ldc:i*ldc+n], nan)
								}
							}
							b.gemm(ta, tb, m, n, k, 0.5, x, lda, y, ldb, beta, got, ldc)
							multiply(ta, tb, m, n, k, 0.5, x, lda, y, ldb, beta, want, ldc)
							sameBits(t, b.name, got, want)
						}
					}
				}
			})
		}
		wg.Wait()
	}
}

// What is read or written lies inside the slices.
func TestGemmRefusesShortMatrices(t *testing.T) {
	b := gonumBLAS("")
	for _, c := range []struct {
		a, b, c       int // floats
		lda, ldb, ldc int
		whoIsSmall    string
	}{
		{14, 20, 15, 5, 4, 4, "A"}, {15, 19, 12, 5, 4, 4, "B"}, {15, 20, 11, 5, 4, 4, "C"}, {15, 20, 12, 4, 4, 4, "A"}, {15, 20, 12, 5, 4, 3, "C"},
	} {
		func() {
			defer func() {
				if s, _ := recover().(string); !strings.Contains(s, "gemm: "+c.whoIsSmall+" has") {
					t.Errorf("%+v: got %q, want a refusal of %s", c, s, c.whoIsSmall)
				}
			}()
			b.gemm(false, false, 3, 4, 5, 1, make([]float32, c.a), c.lda, make([]float32, c.b), c.ldb, 0, make([]float32, c.c), c.ldc)
		}()
	}
}

// A library that was asked for is used, or Open fails and says why.
func TestBLASByName(t *testing.T) {
	t.Setenv(blasVariable, "/nowhere/libopenblas.so")
	if _, err := Open(Options{}); err == nil || !strings.Contains(err.Error(), "ICT_BLAS=/nowhere/libopenblas.so") {
		t.Errorf("a library that is not there: got %v", err)
	}
	if d, err := Open(Options{Exact: true}); err != nil || d.BLAS() != "none (exact)" || d.Warning() != "" {
		t.Errorf("exact needs no library: got %v, %v", d, err)
	}
	t.Setenv(blasVariable, pureBLAS)
	d, err := Open(Options{})
	if err != nil || d.BLAS() != "gonum (pure Go)" || d.Warning() != "" {
		t.Errorf("gonum by name: got %v, %v", d, err)
	}
}

func TestCoreWarning(t *testing.T) {
	for _, c := range []struct {
		core      string
		processor int
		warn      bool
	}{
		{"Prescott", avx2, true}, {"Nehalem", avx2, true}, {"Sandybridge", avx2, true}, {"Haswell", avx2, false}, {"Zen", avx2, false},
		{"Haswell", avx512, true}, {"SkylakeX", avx512, false}, {"Prescott", sse, false}, {"neoversen1", sse, false}, {"something new", avx512, false},
	} {
		if got := coreWarning(c.core, c.processor); (got != "") != c.warn || c.warn && !strings.Contains(got, c.core) {
			t.Errorf("%s on generation %d: got %q, want a warning: %v", c.core, c.processor, got, c.warn)
		}
	}
}
