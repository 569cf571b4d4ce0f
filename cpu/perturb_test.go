package cpu_test

import (
	"math"
	"testing"

	"ict/internal/optest"
	"ict/tensor"
)

func TestPerturb(t *testing.T) {
	optest.Perturb(t, fast)
	optest.Perturb(t, exact)
}

// Recipes Q-1.
func TestImageGolden(t *testing.T) {
	d := fast(t)
	in := []byte{0, 1, 127, 128, 254, 255}
	x := optest.New(t, d, 1, 1, 6, 1)
	d.ImageLoad(x, optest.PutBytes(t, d, in, tensor.U8, 1, 1, 6, 1), tensor.Tensor{})
	for i, want := range []float64{-1, -.992156863, -.00392156839, .003921628, .992156863, 1} {
		if got := float64(optest.Get(t, d, x).V[i]); math.Abs(got-want) > 1e-9*math.Abs(want) {
			t.Errorf("byte %d: got %.9g, want %.9g", in[i], got, want)
		}
	}
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	values := []float32{-1.2, -1, -.999, -.5, 0, .0039, .004, .5, .999, 1, 1.3, nan, inf, -inf, 1e30}
	for rule, want := range map[tensor.ByteRule][]byte{
		tensor.Floor: {0, 0, 0, 63, 127, 127, 128, 191, 254, 255, 255, 0, 255, 0, 255},
		tensor.Round: {0, 0, 0, 64, 128, 128, 128, 191, 255, 255, 255, 0, 255, 0, 255},
	} {
		n := len(values)
		back := optest.PutBytes(t, d, make([]byte, n), tensor.U8, 1, 1, n, 1)
		d.ImageStore(back, optest.Put(t, d, optest.Host{Shape: tensor.Shape{1, 1, n, 1}, V: values}), rule)
		for i, got := range optest.GetBytes(t, d, back) {
			if got != want[i] {
				t.Errorf("%v of %v: got %d, want %d", rule, values[i], got, want[i])
			}
		}
	}
}

func TestImagesRefuse(t *testing.T) {
	d := fast(t)
	u := optest.PutBytes(t, d, make([]byte, 12), tensor.U8, 1, 2, 2, 3)
	x, v := optest.New(t, d, 1, 2, 2, 3), optest.New(t, d, 1)
	step := optest.PutBytes(t, d, make([]byte, tensor.StepBytes), tensor.U8, tensor.StepBytes)
	panics(t, "image_load", func() { d.ImageLoad(tensor.Tensor{}, u, tensor.Tensor{}) })
	panics(t, "image_load", func() { d.ImageLoad(x, u, optest.PutBytes(t, d, []byte{1, 0}, tensor.U8, 2)) })
	panics(t, "image_store", func() { d.ImageStore(u, optest.New(t, d, 11), tensor.Floor) })
	panics(t, "image_store", func() { d.ImageStore(u, x, tensor.Round+1) })
	l := tensor.PerturbLevels{T: v, InT: v}
	panics(t, "perturb", func() { d.Perturb(tensor.Perturbed{Xt: x}, u, tensor.Tensor{}, l, step) })
	panics(t, "perturb", func() { d.Perturb(tensor.Perturbed{Xt: x, CXt: x, Xr: x, CXr: x}, u, tensor.Tensor{}, l, step) })
	panics(t, "perturb", func() { d.Perturb(tensor.Perturbed{Xt: x, CXt: x}, u, tensor.Tensor{}, l, v) })
}

func BenchmarkPerturb(b *testing.B) {
	d := fast(b)
	s := []int{64, 28, 28, 1}
	p := tensor.Perturbed{Xt: optest.New(b, d, s...), CXt: optest.New(b, d, s...), Xr: optest.New(b, d, s...), CXr: optest.New(b, d, s...)}
	l := tensor.PerturbLevels{T: optest.New(b, d, 64), R: optest.New(b, d, 64), InT: optest.New(b, d, 64), InR: optest.New(b, d, 64)}
	u := optest.PutBytes(b, d, make([]byte, 64*28*28), tensor.U8, s...)
	flip := optest.PutBytes(b, d, make([]byte, 64), tensor.U8, 64)
	step := optest.PutBytes(b, d, make([]byte, tensor.StepBytes), tensor.U8, tensor.StepBytes)
	for b.Loop() {
		d.Perturb(p, u, flip, l, step)
	}
}
