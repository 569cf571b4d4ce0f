package sample

import (
	"math"
	"strings"
	"testing"

	"ict/cpu"
	"ict/internal/philox"
	"ict/model"
	"ict/nn"
	"ict/noise"
	"ict/tensor"
)

var levels = noise.Default()

// slice is small, so that the batches of these tests hold whole slices: only then are a batch's images computed the same
// in every bit as those of another.
const slice = 4

func open(t testing.TB) *cpu.Device {
	t.Helper()
	d, err := cpu.Open(cpu.Options{Slice: slice})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// tiny is a network of two levels with attention. Without classes its images are 1/4 of the size.
func tiny(classes int) model.Config {
	c := model.Config{Kind: model.Song, Resolution: 4, ImageChannels: 1, Channels: 8, Mult: []int{1, 2}, Blocks: 1, Embedding: model.Positional,
		NoiseScale: 1, Filter: []int{1, 1}, MinGroupChannels: 4, Classes: classes}
	if classes > 0 {
		c.Resolution = 8
	}
	return c
}

// load makes weights of what value says for each name; zeros where it says nothing.
func load(t testing.TB, dev tensor.Backend, c model.Config, value func(name string, v []float32)) *nn.Weights {
	t.Helper()
	net, err := c.Record(1, model.Options{Raw: true})
	if err != nil {
		t.Fatal(err)
	}
	layout := nn.NewLayout(net.Tape, nil)
	w, err := layout.NewWeights(dev, tensor.Tensor{}, false)
	if err != nil {
		t.Fatal(err)
	}
	shapes := map[string][]int{}
	for _, e := range layout.Entries {
		shapes[e.Name], _ = model.ToFile(e, make([]float32, e.Shape.Elems()))
	}
	err = model.LoadWeights(dev, w, func(name string) ([]int, []float32, bool) {
		v := make([]float32, tensor.Shape(shapes[name]).Elems())
		value(name, v)
		return shapes[name], v, true
	})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// constant makes weights of a network whose output is f everywhere.
func constant(t testing.TB, dev tensor.Backend, c model.Config, f float32) *nn.Weights {
	return load(t, dev, c, func(name string, v []float32) {
		if strings.HasSuffix(name, "aux_conv.bias") {
			for i := range v {
				v[i] = f
			}
		}
	})
}

// random makes weights of a network whose output depends on everything.
func random(t testing.TB, dev tensor.Backend, c model.Config) *nn.Weights {
	return load(t, dev, c, func(name string, v []float32) {
		philox.Stream{Seed: philox.NameStep(name), Purpose: philox.Init}.Normals(v, 0)
		for i := range v {
			v[i] *= 0.2
		}
	})
}

func newSampler(t testing.TB, dev tensor.Backend, c model.Config, w *nn.Weights, n int) *Sampler {
	t.Helper()
	s, err := New(dev, c, levels, w, n, Options{})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func refused(t testing.TB, err error, want string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got error %v, want one with %q", err, want)
	}
}

func panics(t testing.TB, want string, f func()) {
	t.Helper()
	defer func() {
		t.Helper()
		if got, _ := recover().(string); !strings.Contains(got, want) {
			t.Errorf("got panic %q, want one with %q", got, want)
		}
	}()
	f()
}

// near compares with a relative tolerance.
func near(t testing.TB, what string, got, want, tolerance float64) {
	t.Helper()
	if !(math.Abs(got-want) <= tolerance*math.Abs(want)) {
		t.Errorf("%s: got %.10g, want %.10g", what, got, want)
	}
}

func same(t testing.TB, what string, got, want []float32) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s: got %d values, want %d", what, len(got), len(want))
	}
	for i := range want {
		if math.Float32bits(got[i]) != math.Float32bits(want[i]) {
			t.Fatalf("%s: value %d: got %v, want %v, to the bit", what, i, got[i], want[i])
		}
	}
}

func variance(v []float32) float64 {
	var sum, sum2 float64
	for _, x := range v {
		sum += float64(x)
		sum2 += float64(x) * float64(x)
	}
	n := float64(len(v))
	return sum2/n - sum*sum/n/n
}

// fill uploads the same number everywhere.
func fill(t testing.TB, dev tensor.Backend, x tensor.Tensor, v float32) {
	t.Helper()
	s, err := newStaging(dev, x.Bytes())
	ok(t, err)
	ok(t, s.upload(x, func(b []byte) {
		f := tensor.Floats(b)
		for i := range f {
			f[i] = v
		}
	}))
}

func floats(t testing.TB, dev tensor.Backend, x tensor.Tensor) []float32 {
	t.Helper()
	s, err := newStaging(dev, x.Bytes())
	ok(t, err)
	b, err := s.download(x)
	ok(t, err)
	return tensor.Floats(b)
}

func newTensor(t testing.TB, dev tensor.Backend, shape ...int) tensor.Tensor {
	t.Helper()
	x, err := nn.NewTensor(dev, tensor.F32, shape...)
	ok(t, err)
	return x
}
