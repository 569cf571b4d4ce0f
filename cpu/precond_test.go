package cpu_test

import (
	"math"
	"testing"

	"ict/internal/optest"
	"ict/tensor"
)

func TestPrecond(t *testing.T) {
	optest.Precond(t, fast)
	optest.Precond(t, exact)
}

// scalings of the consistency function (cm) or of the denoiser, recipes 4.2.
func scalings(sigma float64, cm bool) (skip, out, in, noise float64) {
	const data, lowest = 0.5, 0.002
	shift := 0.0
	if cm {
		shift = lowest
	}
	root := math.Sqrt(sigma*sigma + data*data)
	return data * data / ((sigma-shift)*(sigma-shift) + data*data), (sigma - shift) * data / root, 1 / root, math.Log(sigma) / 4
}

// precond gives f of one image.
func precond(t testing.TB, d tensor.Backend, raw, x optest.Host, skip, out float64, clamp bool) optest.Host {
	f := optest.New(t, d, x.Shape...)
	one := func(v float64) tensor.Tensor {
		return optest.Put(t, d, optest.Host{Shape: tensor.Shape{1}, V: []float32{float32(v)}})
	}
	d.PrecondForward(f, optest.Put(t, d, raw), optest.Put(t, d, x), one(skip), one(out), tensor.Precond{Clamp: clamp})
	return optest.Get(t, d, f)
}

// Recipes S-1: f and D of a network that says 0, and of the one that is right about Gaussian data.
func TestPrecondGolden(t *testing.T) {
	for _, open := range []optest.Open{fast, exact} {
		d := open(t)
		for _, c := range []struct {
			x, sigma, raw float64
			cm            bool
			want          float64
		}{
			{1, 0.5, 0, true, 0.502004},
			{2, 1, 0, true, 0.401282821},
			{80, 80, 0, true, 0.00312503418},
			{1, 0.5, 0, false, 0.5},
			{2, 1, 0, false, 0.4},
			{80, 80, 0, false, 0.00312487793},
			{0.3, 0.002, 12, true, 0.3},
			{0.5, 0.5, 0.291232063, true, 0.353556219},
			{1, 1, 0.552465097, true, 0.447217173},
			{-4, 5, -0.720628587, true, -0.39801806},
			{80, 80, 0.993782654, true, 0.499994235},
		} {
			skip, out, _, _ := scalings(c.sigma, c.cm)
			x := optest.Host{Shape: tensor.Shape{1, 1}, V: []float32{float32(c.x)}}
			raw := optest.Host{Shape: tensor.Shape{1, 1}, V: []float32{float32(c.raw)}}
			if got := float64(precond(t, d, raw, x, skip, out, false).V[0]); math.Abs(got-c.want) > 2e-6*math.Abs(c.want) {
				t.Errorf("f(%v, %v) with F = %v: got %v, want %v", c.x, c.sigma, c.raw, got, c.want)
			}
			if got, want := float64(precond(t, d, raw, x, 10*skip, out, true).V[0]), 1.0; c.want > 0.4 && c.cm && c.sigma <= 1 && got != want {
				t.Errorf("clamped: got %v, want %v", got, want)
			}
		}
	}
}
