package cpu

import (
	"fmt"
	"math"
	"testing"

	"ict/internal/philox"
)

// nearly compares sums: each got[i] within tol of the sum of magnitudes that want[i] is a sum of.
func nearly(t *testing.T, what string, got, want, magnitude []float64, tol float64) {
	t.Helper()
	for i := range want {
		if !(math.Abs(got[i]-want[i]) <= tol*magnitude[i]) {
			t.Errorf("%s: element %d got %v, want %v", what, i, got[i], want[i])
			return
		}
	}
}

func TestGroupNormTwins(t *testing.T) {
	for _, s := range []struct{ hw, c, cy int }{
		{1, 1, 1}, {1, 5, 9}, {7, 1, 1}, {35, 3, 3}, {64, 16, 16}, {49, 33, 33}, {33, 64, 96}, {784, 32, 32}, {17, 200, 200}, {9, 300, 300}, {5, 700, 801},
	} {
		what := fmt.Sprintf("hw=%d c=%d cy=%d", s.hw, s.c, s.cy)
		x, m, a, b, k3 := normals(0, s.hw*s.c), normals(1, s.c), normals(2, s.c), normals(3, s.c), normals(4, s.c)
		vectors := func() (s1, s2 []float64) { return make([]float64, s.c), make([]float64, s.c) }
		// sums of magnitudes, at most hw times the largest product
		size, _ := vectors()
		for i := range size {
			size[i] = float64(s.hw) * 30
		}
		const tol = 1e-7

		got, got2 := vectors()
		want, want2 := vectors()
		groupNormSum(got, x, s.hw)
		groupNormSumGo(want, x, s.hw)
		nearly(t, "sum "+what, got, want, size, tol)
		groupNormMoments(got, got2, x, m, s.hw)
		groupNormMomentsGo(want, want2, x, m, s.hw)
		nearly(t, "first moment "+what, got, want, size, tol)
		nearly(t, "second moment "+what, got2, want2, size, tol)

		for _, silu := range []bool{false, true} {
			y, twin := make([]float32, s.hw*s.cy), make([]float32, s.hw*s.cy)
			groupNormApply(y, s.cy, x, m, a, b, s.hw, silu)
			groupNormApplyGo(twin, s.cy, x, m, a, b, s.hw, silu)
			sameBits(t, "apply "+what, y, twin)

			dy := normals(5, s.hw*s.cy)
			groupNormSlopes(y, s.cy, got, got2, dy, x, m, a, b, s.hw, silu)
			groupNormSlopesGo(twin, s.cy, want, want2, dy, x, m, a, b, s.hw, silu)
			sameBits(t, "slopes "+what, y, twin)
			nearly(t, "sum of slopes "+what, got, want, size, tol)
			nearly(t, "sum of slopes and x "+what, got2, want2, size, tol)

			groupNormSlopes(dy, s.cy, got, got2, dy, x, m, a, b, s.hw, silu) // in place
			for p := range s.hw {
				sameBits(t, "slopes in place "+what, dy[p*s.cy:p*s.cy+s.c], twin[p*s.cy:p*s.cy+s.c])
			}

			for _, beta := range []float32{0, 1, 0.3} {
				dx, dxTwin := normals(6, s.hw*s.c, nan), normals(6, s.hw*s.c, nan)
				groupNormDx(dx, y, s.cy, x, m, a, b, k3, s.hw, beta)
				groupNormDxGo(dxTwin, y, s.cy, x, m, a, b, k3, s.hw, beta)
				sameBits(t, fmt.Sprintf("dx beta=%v %s", beta, what), dx, dxTwin)
			}
		}
	}
}

func TestDropoutTwins(t *testing.T) {
	s := philox.Stream{Seed: 0x123456789abcdef0, Step: 0xfedcba987654, Image: 0xffffffff, Purpose: philox.Dropout + 300}
	for _, n := range []int{1, 3, 4, 5, 63, 255, 256, 257, 1000, 4099} {
		x := normals(0, n, inf, nan)
		for _, p := range []float32{0x1p-32, 0.1, 0.5, 0.9999} {
			got, want := make([]float32, n), make([]float32, n)
			groupNormDropout(got, x, s, philox.Threshold(p), 1/(1-p))
			groupNormDropoutGo(want, x, s, philox.Threshold(p), 1/(1-p))
			sameBits(t, fmt.Sprintf("dropout n=%d p=%v", n, p), got, want)
			copy(got, x)
			groupNormDropout(got, got, s, philox.Threshold(p), 1/(1-p))
			sameBits(t, fmt.Sprintf("dropout in place n=%d p=%v", n, p), got, want)
		}
	}
}
