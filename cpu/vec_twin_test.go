package cpu

import (
	"fmt"
	"math"
	"testing"
)

// e^−x over all of float32: within 2 ulp between the ends, exactly 0 and +Inf beyond them.
func TestExpMinus(t *testing.T) {
	worst, at := 0.0, float32(0)
	for bits := uint64(0); bits < 1<<32; bits += 9973 {
		x := math.Float32frombits(uint32(bits))
		got, want := float64(expMinus(x)), math.Exp(-float64(x))
		switch {
		case x != x:
		case want < 0x1p-127 && got != 0 || want > 0x1p128 && !math.IsInf(got, 1):
			t.Fatalf("e^-(%v): got %v", x, got)
		case want >= 0x1p-126 && want < 0x1p127:
			ulp := math.Ldexp(1, math.Ilogb(want)-23)
			if e := math.Abs(got-want) / ulp; e > worst {
				worst, at = e, x
			}
		}
	}
	if !(worst <= 2) {
		t.Errorf("e^-(%v) is %.2f ulp off, want at most 2", at, worst)
	}
	t.Logf("largest error %.3f ulp, at %v", worst, at)
	if expMinus(0) != 1 || !math.IsInf(float64(expMinus(-inf)), 1) || expMinus(inf) != 0 {
		t.Errorf("e^0, e^+Inf, e^-Inf: got %v, %v, %v", expMinus(0), expMinus(-inf), expMinus(inf))
	}
}

// M-5.
func TestSiLUGolden(t *testing.T) {
	x := []float32{-5, -1, 0, 0.5, 1, 5}
	y, dx, dy := make([]float32, len(x)), make([]float32, len(x)), []float32{1, 1, 1, 1, 1, 1}
	silu(y, x)
	siluBackward(dx, dy, x, 0)
	for i, want := range []float64{-.0334642546, -.268941421, 0, .311229666, .731058579, 4.96653575} {
		if !(math.Abs(float64(y[i])-want) <= 2e-6*math.Abs(want)) {
			t.Errorf("SiLU(%v): got %v, want %v", x[i], y[i], want)
		}
	}
	for i, want := range []float64{-.0265474324, .0723294881, .5, .739961187, .927670512, 1.02654743} {
		if !(math.Abs(float64(dx[i])-want) <= 2e-6*math.Abs(want)) {
			t.Errorf("derivative of SiLU at %v: got %v, want %v", x[i], dx[i], want)
		}
	}
}

func TestSiLUEnds(t *testing.T) {
	x := []float32{100, -100, 0, nan, 3e38, -3e38, -89}
	y, dx, dy := make([]float32, len(x)), make([]float32, len(x)), []float32{1, 1, 1, 1, 1, 1, 1}
	silu(y, x)
	siluBackward(dx, dy, x, 0)
	for i, want := range []float32{100, 0, 0, nan, 3e38, 0, 0} {
		if !(math.Abs(float64(y[i]-want)) < 1e-36) && want == want || (want != want) != (y[i] != y[i]) {
			t.Errorf("SiLU(%v): got %v, want %v", x[i], y[i], want)
		}
	}
	for i, want := range []float32{1, 0, 0.5, nan, 1, 0, 0} {
		if !(math.Abs(float64(dx[i]-want)) < 1e-36) && want == want || (want != want) != (dx[i] != dx[i]) {
			t.Errorf("derivative of SiLU at %v: got %v, want %v", x[i], dx[i], want)
		}
	}
}

func TestVecTwins(t *testing.T) {
	for _, n := range []int{0, 1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 33, 1000} {
		x := normals(1, n, inf, -inf, nan, 1e-44, 88.3, -88.5, 87.7, -104, 3e38)
		for i := 10; i < n; i += 3 {
			x[i] *= 30
		}
		dy := normals(2, n)
		got, want := normals(3, n), normals(3, n)
		add(got, x)
		addGo(want, x)
		sameBits(t, "add", got, want)
		silu(got, x)
		siluGo(want, x)
		sameBits(t, "silu", got, want)
		for _, beta := range []float32{0, 1, -0.3} {
			got, want := normals(4, n, nan), normals(4, n, nan)
			siluBackward(got, dy, x, beta)
			siluBackwardGo(want, dy, x, beta)
			sameBits(t, fmt.Sprintf("siluBackward beta=%v", beta), got, want)
		}
	}
}

func BenchmarkVec(b *testing.B) {
	const n = 28 * 28 * 32
	y, x, dy := make([]float32, n), normals(0, n), normals(1, n)
	for _, c := range []struct {
		name string
		f    func()
	}{
		{"add", func() { add(y, x) }}, {"silu", func() { silu(y, x) }}, {"siluBackward", func() { siluBackward(y, dy, x, 0) }},
	} {
		b.Run(c.name, func(b *testing.B) {
			for b.Loop() {
				c.f()
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/element")
		})
	}
}
