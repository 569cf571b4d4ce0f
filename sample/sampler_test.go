package sample

import (
	"errors"
	"math"
	"slices"
	"testing"

	"ict/model"
	"ict/noise"
	"ict/tensor"
)

// S-1.
func TestWrapper(t *testing.T) {
	dev := open(t)
	c := tiny(0)
	for _, row := range []struct{ x, sigma, f, want float64 }{
		{1, .5, 0, .502004}, {2, 1, 0, .401282821}, {80, 80, 0, .00312503418},
		{.5, .5, .291232063, .353556219}, {1, 1, .552465097, .447217173},
		{-4, 5, -.720628587, -.39801806}, {80, 80, .993782654, .499994235},
		{.3, .002, 17, .3}, // the identity, whatever the network says
	} {
		s := newSampler(t, dev, c, constant(t, dev, c, float32(row.f)), 2)
		fill(t, dev, s.x, float32(row.x))
		ok(t, s.Denoise(s.x, row.sigma))
		for _, v := range floats(t, dev, s.x) {
			near(t, "f", float64(v), row.want, 2e-6)
		}
		// The F that the analytic f needs, in float64.
		if row.f != 0 && row.sigma > levels.Min {
			k := levels.CM(row.sigma, 1)
			f := row.x * math.Sqrt((levels.Min*levels.Min+.25)/(row.sigma*row.sigma+.25))
			near(t, "analytic f", f, row.want, 2e-8)
			near(t, "analytic F", (f-k.Skip*row.x)/k.Out, row.f, 2e-8)
		}
	}
	zero := newSampler(t, dev, c, constant(t, dev, c, 0), 2)
	for _, row := range []struct{ x, sigma, want float64 }{{1, .5, .5}, {2, 1, .4}, {80, 80, .00312487793}, {2.5, 0, 2.5}} {
		fill(t, dev, zero.x, float32(row.x))
		ok(t, zero.denoise(zero.x, 2, row.sigma, levels.EDM(row.sigma, 1), tensor.Precond{}))
		near(t, "D", float64(floats(t, dev, zero.x)[0]), row.want, 2e-6)
	}
	// Pictures end at ±1.
	for x, want := range map[float32]float32{1.5: 1, -7: -1, .25: .25} {
		fill(t, dev, zero.x, x)
		ok(t, zero.Denoise(zero.x, levels.Min))
		if got := floats(t, dev, zero.x)[0]; got != want {
			t.Errorf("f(%v, σ_min): got %v, want %v", x, got, want)
		}
	}
}

// What the network is told: c_in·x and c_noise, with the network's own scale.
func TestNetworkInputs(t *testing.T) {
	dev := open(t)
	c := tiny(0)
	c.NoiseScale = 1000
	s := newSampler(t, dev, c, random(t, dev, c), 2)
	fill(t, dev, s.x, .5)
	ok(t, s.Denoise(s.x, .821))
	near(t, "c_in·x", float64(floats(t, dev, s.cx)[0]), .5*1.04028989, 2e-6)
	near(t, "c_noise", float64(floats(t, dev, s.scaling(3))[1]), -49.3080424, 2e-6)

	// No augmentation: a network that was told of it gives what it gives without.
	plain := slices.Clone(floats(t, dev, s.x))
	c.Augment = 9
	s = newSampler(t, dev, c, random(t, dev, c), 2)
	fill(t, dev, s.x, .5)
	ok(t, s.Denoise(s.x, .821))
	same(t, "with augmentation labels", floats(t, dev, s.x), plain)
}

// Image i of a seed is the same in any batch; a short batch leaves out, it does not change.
func TestBatchesAgree(t *testing.T) {
	const total, classes = 14, 3
	dev := open(t)
	c := tiny(classes)
	w := random(t, dev, c)
	labels := Labels(5, 100, total, classes)
	source, err := NewPhilox(dev, 77)
	ok(t, err)
	type run func(s *Sampler, dst []float32, b Batch) error
	for name, f := range map[string]run{
		"multistep": func(s *Sampler, dst []float32, b Batch) error {
			return s.Multistep(dst, []float64{80, .821}, source, b, nil)
		},
		"heun": func(s *Sampler, dst []float32, b Batch) error {
			return s.Heun(dst, 3, Churn{Amount: 1, Max: 100, Noise: 1}, source, b, nil)
		},
	} {
		made := func(n int) []float32 {
			s := newSampler(t, dev, c, w, n)
			x := make([]float32, total*c.Pixels())
			for i := 0; i < total; i += n {
				m := min(n, total-i)
				b := Batch{First: 100 + uint64(i), N: m, Labels: labels[i : i+m]}
				ok(t, f(s, x[i*c.Pixels():(i+m)*c.Pixels()], b))
			}
			return x
		}
		one := made(16)
		same(t, name, made(4), one)
		same(t, name, made(8), one)
		if !model.Finite(one) || variance(one) < 1e-3 {
			t.Errorf("%s: images have variance %v", name, variance(one))
		}
		for i := range total - 1 {
			a, b := one[i*c.Pixels():(i+1)*c.Pixels()], one[(i+1)*c.Pixels():(i+2)*c.Pixels()]
			if slices.Equal(a, b) {
				t.Errorf("%s: images %d and %d are the same", name, i, i+1)
			}
		}
	}
	// The class matters, and so does having none.
	s := newSampler(t, dev, c, w, 4)
	var before []float32
	for _, l := range []int32{NoClass, 0, 1, 2} {
		x := make([]float32, 4*c.Pixels())
		ok(t, s.Multistep(x, []float64{1}, source, Batch{N: 4, Labels: []int32{l, l, l, l}}, nil))
		if slices.Equal(x, before) {
			t.Errorf("class %d gives the images of the one before", l)
		}
		before = x
	}
}

func TestCalls(t *testing.T) {
	dev := open(t)
	c := tiny(0)
	s := newSampler(t, dev, c, random(t, dev, c), 4)
	source, err := NewPhilox(dev, 1)
	ok(t, err)
	x := make([]float32, 3*c.Pixels())
	b := Batch{N: 3}

	// after sees every level; the levels before the last are what shorter schedules end with.
	var seen [][]float32
	ok(t, s.Multistep(x, []float64{80, 2, .5}, source, b, func(level int) error {
		if level != len(seen) {
			t.Errorf("got level %d, want %d", level, len(seen))
		}
		seen = append(seen, slices.Clone(x))
		return nil
	}))
	if s.Calls() != 3 || len(seen) != 3 {
		t.Errorf("got %d calls, %d results, want 3", s.Calls(), len(seen))
	}
	same(t, "last result", x, seen[2])
	short := make([]float32, len(x))
	ok(t, s.Multistep(short, []float64{80, 2}, source, b, nil))
	same(t, "two levels", short, seen[1])
	if s.Calls() != 5 {
		t.Errorf("got %d calls, want 5", s.Calls())
	}

	// Its error ends the sampling.
	stop := errors.New("stop")
	before := s.Calls()
	err = s.Multistep(x, []float64{80, 2, .5}, source, b, func(int) error { return stop })
	if !errors.Is(err, stop) || s.Calls() != before+1 {
		t.Errorf("got %v after %d calls, want the error of after after 1", err, s.Calls()-before)
	}
	err = s.Heun(x, 5, Churn{}, source, b, func(int) error { return stop })
	if !errors.Is(err, stop) || s.Calls() != before+3 {
		t.Errorf("got %v after %d calls, want the error of after after 2", err, s.Calls()-before-1)
	}
}

func TestNotFinite(t *testing.T) {
	dev := open(t)
	c := tiny(0)
	w := constant(t, dev, c, 0)
	source, err := NewPhilox(dev, 1)
	ok(t, err)
	x := make([]float32, 3*c.Pixels())
	// f(x, σ) ends at ±1, so an infinity would pass for white.
	for _, bad := range []float32{float32(math.Inf(1)), float32(math.NaN())} {
		for _, e := range w.Layout.Entries {
			if e.Name == "dec.4x4_aux_conv.bias" {
				fill(t, dev, w.Tensor(e), bad)
			}
		}
		s := newSampler(t, dev, c, w, 4)
		err := s.Multistep(x, []float64{80, .821}, source, Batch{N: 3}, nil)
		refused(t, err, "48 of 48 values of the network's output at level 80")
		if !errors.Is(err, ErrNotFinite) {
			t.Errorf("got %v, want it to wrap ErrNotFinite", err)
		}
		refused(t, s.Heun(x, 3, Churn{}, source, Batch{N: 3}, nil), "at level 80")
		refused(t, s.Denoise(s.x, .5), "64 of 64 values of the network's output at level 0.5")
	}
	half := newSampler(t, dev, c, w, 4)
	half.act = tensor.F16
	refused(t, half.Denoise(half.x, .5), "values beyond f16")
	// An image that nobody wants does not count.
	s := newSampler(t, dev, c, constant(t, dev, c, 0), 4)
	fill(t, dev, s.x.Range(3*c.Pixels(), c.Pixels()), float32(math.NaN()))
	ok(t, s.denoise(s.x, 3, 1, levels.CM(1, 1), tensor.Precond{}))
}

func TestBatchRefused(t *testing.T) {
	dev := open(t)
	plain, classes := tiny(0), tiny(3)
	a := newSampler(t, dev, plain, constant(t, dev, plain, 0), 4)
	b := newSampler(t, dev, classes, constant(t, dev, classes, 0), 4)
	source, err := NewPhilox(dev, 1)
	ok(t, err)
	one := []float64{80}
	x, y := make([]float32, 2*plain.Pixels()), make([]float32, 2*classes.Pixels())
	refused(t, a.Multistep(x, one, source, Batch{N: 2, Labels: []int32{0, 0}}, nil), "has no classes")
	refused(t, b.Multistep(y, one, source, Batch{N: 2}, nil), "got 0, want one for each of 2 images: this network has 3 classes")
	refused(t, b.Multistep(y, one, source, Batch{N: 2, Labels: []int32{0, 3}}, nil), "class: got 3, want 0 … 2")
	refused(t, b.Heun(y, 3, Churn{}, source, Batch{N: 2, Labels: []int32{0, -2}}, nil), "class: got -2")
	refused(t, a.Heun(x, 1, Churn{}, source, Batch{N: 2}, nil), "heun: got 1 steps")
	refused(t, a.Multistep(x, []float64{81}, source, Batch{N: 2}, nil), "at most σ_max 80")
	refused(t, a.Multistep(x, one, source, Batch{First: 1<<32 - 1, N: 2}, nil), "want all below 2^32")
	ok(t, a.Multistep(x, one, source, Batch{First: 1<<32 - 2, N: 2}, nil))
	panics(t, "sample: batch:", func() { a.Multistep(x, one, source, Batch{N: 3}, nil) })
	panics(t, "sample: batch:", func() { a.Multistep(make([]float32, 5*plain.Pixels()), one, source, Batch{N: 5}, nil) })
	panics(t, "sample: batch:", func() { a.Multistep(nil, one, source, Batch{}, nil) })
	panics(t, "sample: denoise:", func() { a.Denoise(b.x, 1) })

	if _, err := New(dev, plain, noise.Levels{}, constant(t, dev, plain, 0), 4, Options{}); err == nil {
		t.Error("levels of zero are accepted")
	}
	wrong := plain
	wrong.Kind = "vae"
	_, err = New(dev, wrong, levels, constant(t, dev, plain, 0), 4, Options{})
	refused(t, err, "model.kind")
	panics(t, "sample: batch: got 0", func() { New(dev, plain, levels, nil, 0, Options{}) })
}

// counting is a backend that counts captures and replays.
type counting struct {
	tensor.Backend
	captures, replays int
}

func (c *counting) Capture(step func()) (func(), error) {
	c.captures++
	return func() { c.replays++; step() }, nil
}

func TestCapture(t *testing.T) {
	c := tiny(0)
	made := func(eager bool) (*counting, []float32) {
		dev := &counting{Backend: open(t)}
		s, err := New(dev, c, levels, random(t, dev, c), 4, Options{Eager: eager})
		ok(t, err)
		source, err := NewPhilox(dev, 1)
		ok(t, err)
		x := make([]float32, 4*c.Pixels())
		ok(t, s.Multistep(x, []float64{80, 2, .5}, source, Batch{N: 4}, nil))
		return dev, x
	}
	dev, x := made(false)
	if dev.captures != 1 || dev.replays != 2 {
		t.Errorf("got %d captures and %d replays in 3 calls, want 1 and 2", dev.captures, dev.replays)
	}
	plain, y := made(true)
	if plain.captures != 0 || plain.replays != 0 {
		t.Errorf("eager: got %d captures and %d replays, want none", plain.captures, plain.replays)
	}
	same(t, "captured and eager", x, y)
}
