package sample

import (
	"math"
	"slices"
	"testing"

	"ict/tensor"
)

// A network in 16 bits gives the pictures of float32 but for rounding, and reads its weights afresh.
func TestHalf(t *testing.T) {
	dev := open(t)
	c := tiny(0)
	run := func(s *Sampler) []float32 {
		fill(t, dev, s.x, .5)
		ok(t, s.Denoise(s.x, 1))
		return slices.Clone(floats(t, dev, s.x))
	}
	for d, tol := range map[tensor.DType]float64{tensor.F16: 5e-3, tensor.BF16: 4e-2} {
		w := random(t, dev, c)
		s, err := New(dev, c, levels, w, 2, Options{Act: d})
		ok(t, err)
		full, half := run(newSampler(t, dev, c, w, 2)), run(s)
		var diff, ref float64
		for i, v := range full {
			diff += float64(v-half[i]) * float64(v-half[i])
			ref += float64(v) * float64(v)
		}
		if e := math.Sqrt(diff / ref); !(e < tol && e > tol/1e3) {
			t.Errorf("%v: %.2g from f32", d, e)
		}
		dev.Copy(w.W, constant(t, dev, c, .25).W)
		other, err := New(dev, c, levels, w, 2, Options{Act: d})
		ok(t, err)
		if got, want := run(s), run(other); !slices.Equal(got, want) || slices.Equal(got, half) {
			t.Errorf("%v: after a change of the weights got %v, want %v", d, got, want)
		}
	}
}
