package cpu

import (
	"math"
	"testing"

	"ict/internal/philox"
)

// normals is n unit normals, the first few of them replaced by numbers that end arithmetic.
func normals(image uint32, n int, special ...float32) []float32 {
	x := make([]float32, n)
	philox.Stream{Image: image}.Normals(x, 0)
	copy(x, special)
	return x
}

func sameBits(t *testing.T, what string, got, want []float32) {
	t.Helper()
	for i := range want {
		if math.Float32bits(got[i]) != math.Float32bits(want[i]) && !(got[i] != got[i] && want[i] != want[i]) {
			t.Errorf("%s: element %d of %d got %v, want %v", what, i, len(want), got[i], want[i])
			return
		}
	}
}

var inf, nan = float32(math.Inf(1)), float32(math.NaN())

func TestPointwiseTwins(t *testing.T) {
	for _, n := range []int{1, 2, 7, 8, 9, 31, 33, 1000} {
		x0, x1 := normals(0, n, inf, nan, 1e-44), normals(1, n, 1, 2, 3, inf)
		for _, beta := range []float32{0, 1, 0.3} {
			for _, second := range [][]float32{nil, x1} {
				got, want := normals(2, n), normals(2, n)
				axpby(got, beta, 0.7, x0, -1.3, second)
				axpbyGo(want, beta, 0.7, x0, -1.3, second)
				sameBits(t, "axpby", got, want)
			}
		}
	}
	for _, k := range []int{1, 2, 3, 5, 8, 16, 17, 31, 32, 33, 64, 72, 200} {
		for _, pixels := range []int{1, 2, 15, 16, 17, 49, 63, 400} {
			got, want := make([]float32, k), make([]float32, k)
			x := normals(3, pixels*k)
			pixelSums(got, x, 0.3)
			pixelSumsGo(want, x, 0.3)
			sameBits(t, "pixelSums", got, want)
		}
	}
}
