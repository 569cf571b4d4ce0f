package cpu_test

import (
	"testing"

	"ict/internal/optest"
	"ict/internal/philox"
	"ict/tensor"
)

func TestRandom(t *testing.T) {
	optest.Random(t, fast)
	optest.Random(t, exact)
}

// Here the bits are those of package philox; other backends may differ by some units in the last place.
func TestRandomBits(t *testing.T) {
	d := fast(t)
	b := make([]byte, tensor.StepBytes)
	tensor.Step{Seed: 5, Step: 6, Image0: 7}.Put(b)
	x := optest.New(t, d, 2, 20001)
	d.RandomNormal(x, optest.PutBytes(t, d, b, tensor.U8, len(b)), uint16(philox.SampleNoise))
	want := optest.Zeros(2, 20001)
	for n := range 2 {
		philox.Stream{Seed: 5, Step: 6, Image: uint32(7 + n), Purpose: philox.SampleNoise}.Normals(want.V[n*20001:(n+1)*20001], 0)
	}
	optest.Same(t, "random_normal", optest.Get(t, d, x), want)
}

func TestRandomRefusesImagesThatRepeat(t *testing.T) {
	d := fast(t)
	b := make([]byte, tensor.StepBytes)
	tensor.Step{Image0: 1<<32 - 1}.Put(b)
	step := optest.PutBytes(t, d, b, tensor.U8, len(b))
	d.RandomNormal(optest.New(t, d, 1, 3), step, 4) // the last image that has draws of its own
	panics(t, "random_normal", func() { d.RandomNormal(optest.New(t, d, 2, 3), step, 4) })
	for _, st := range []tensor.Step{{Image0: 1<<64 - 1}, {Image0: 1 << 40}, {Step: 1 << 48}} {
		st.Put(b)
		step := optest.PutBytes(t, d, b, tensor.U8, len(b))
		panics(t, "random_normal", func() { d.RandomNormal(optest.New(t, d, 2, 3), step, 4) })
	}
}

func BenchmarkRandomNormal(b *testing.B) {
	d := fast(b)
	x := optest.New(b, d, 64, 28, 28, 1)
	step := optest.PutBytes(b, d, make([]byte, tensor.StepBytes), tensor.U8, tensor.StepBytes)
	for b.Loop() {
		d.RandomNormal(x, step, 4)
	}
}
