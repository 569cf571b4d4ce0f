package sample

import (
	"math"
	"testing"

	"ict/noise"
	"ict/tensor"
)

// analytic runs multistep on the exact consistency function of Gaussian data, without a clamp. before sees the input of
// every call.
func analytic(t *testing.T, dev tensor.Backend, x, z tensor.Tensor, schedule []float64, noise func(level int) error, before func(level int)) {
	t.Helper()
	y := newTensor(t, dev, x.Shape...)
	call := 0
	m := multistep{dev: dev, x: x, z: z, sigmaMin: levels.Min, noise: noise, f: func(sigma float64) error {
		before(call)
		call++
		factor := math.Sqrt((levels.Min*levels.Min + levels.Data*levels.Data) / (sigma*sigma + levels.Data*levels.Data))
		dev.Axpby(tensor.Write(y), float32(factor), x, 0, tensor.Tensor{})
		dev.Copy(x, y)
		return nil
	}}
	ok(t, m.run(schedule, func(level int) error {
		if level != call-1 {
			t.Errorf("got level %d after call %d", level, call)
		}
		return nil
	}))
	if call != len(schedule) {
		t.Errorf("got %d calls for %d levels", call, len(schedule))
	}
}

// S-4 and S-5, single values.
func TestMultistepValues(t *testing.T) {
	dev := open(t)
	x, z := newTensor(t, dev, 1, 3), newTensor(t, dev, 1, 3)
	normals := func(level int) error {
		fill(t, dev, z, []float32{1, -.5}[level])
		return nil
	}
	at := func() float64 { return float64(floats(t, dev, x)[2]) }
	analytic(t, dev, x, z, []float64{80}, normals, func(int) {})
	near(t, "one step", at(), .499994235, 2e-6)
	schedule, err := IndexLevels([]int{0, 22, 39}, 40, levels)
	ok(t, err)
	for _, c := range []struct{ tau, x, out, plainX, plainOut float64 }{
		{.821, .0894954526, .0465509798, .0894942346, .0465503463},
		{1.526, -.26300511, -.0818915849, -.263005765, -.0818917889},
		{schedule[1], -.19118902, -.0650301798, -.191189744, -.0650304259},
	} {
		analytic(t, dev, x, z, []float64{80, c.tau}, normals, func(call int) {
			if call == 1 {
				near(t, "x_τ", at(), c.x, 2e-6)
				if math.Abs(at()-c.plainX) < .5*math.Abs(c.x-c.plainX) {
					t.Errorf("τ %v: got %v, what noise without −σ_min² gives", c.tau, at())
				}
			}
		})
		near(t, "out", at(), c.out, 2e-6)
		if math.Abs(at()-c.plainOut) < .5*math.Abs(c.out-c.plainOut) {
			t.Errorf("τ %v: got %v, what noise without −σ_min² gives", c.tau, at())
		}
	}
}

// S-4 and S-5, over a million draws of a fixed seed.
func TestMultistepVariance(t *testing.T) {
	dev := open(t)
	x, z := newTensor(t, dev, 10, 100000), newTensor(t, dev, 10, 100000)
	source, err := NewPhilox(dev, 20)
	ok(t, err)
	normals := func(level int) error { return source.Noise(z, level, 0) }
	for _, c := range []struct {
		schedule []float64
		want     float64
	}{
		{[]float64{80}, .249994235}, {[]float64{80, .821}, .250001358}, {[]float64{80, 1.526}, .250003053},
	} {
		analytic(t, dev, x, z, c.schedule, normals, func(int) {})
		near(t, "variance", variance(floats(t, dev, x)), c.want, .005)
	}
}

// Through a network whose output is 3 everywhere: every result is clamped, every level has noise of its own.
func TestMultistepOfNetwork(t *testing.T) {
	dev := open(t)
	c := tiny(0)
	const f = 3
	s := newSampler(t, dev, c, constant(t, dev, c, f), 4)
	z := make([]float32, 3*c.Pixels())
	for i := range z {
		z[i] = []float32{7, -3, .5}[i/c.Pixels()]
	}
	source, err := NewGiven(dev, z, tensor.Shape{3, 1, 4, 4, 1})
	ok(t, err)
	schedule := []float64{80, .821, .1}
	x := make([]float32, c.Pixels())
	want := 0.0
	var seen []float64
	ok(t, s.Multistep(x, schedule, source, Batch{N: 1}, func(level int) error {
		sigma, std := schedule[level], schedule[level]
		if level > 0 {
			std = noise.MultistepStd(sigma, levels.Min)
		}
		k := levels.CM(sigma, 1)
		want = max(-1, min(k.Skip*(want+std*float64(z[level*c.Pixels()]))+k.Out*f, 1))
		near(t, "result", float64(x[5]), want, 2e-6)
		seen = append(seen, want)
		return nil
	}))
	if len(seen) != 3 || seen[0] != 1 || seen[1] == 1 || seen[2] != 1 {
		t.Errorf("got %v, want the first and last clamped", seen)
	}
}

// S-5, the schedule of [CM], and S-6.
func TestIndexLevels(t *testing.T) {
	got, err := IndexLevels([]int{0, 22, 39}, 40, levels)
	ok(t, err)
	if len(got) != 2 || got[0] != 80 {
		t.Fatalf("got %v, want two calls from 80", got)
	}
	near(t, "level 22", got[1], 1.38236796, 1e-8)
	if s := noise.MultistepStd(levels.Descending(40)[39], levels.Min); s != 0 {
		t.Errorf("noise after the last call: got %v, want exactly 0", s)
	}
	for _, c := range []struct {
		indices []int
		steps   int
		want    float64 // the last call's level
	}{
		{[]int{0, 106, 200}, 201, 1.91284362}, {[]int{0, 11, 17}, 18, .585348123}, {[]int{0, 67, 150}, 151, 3.99121861},
	} {
		got, err := IndexLevels(c.indices, c.steps, levels)
		ok(t, err)
		near(t, "last call", got[len(got)-1], c.want, 1e-8)
		ok(t, CheckLevels(got, levels))
	}
	// diffusers, by the number of calls
	for _, want := range [][]float64{{80}, {80, 2.24043976}, {80, 9.72320136, .469979058}, {80, 16.7798895, 2.24043976, .131197363}} {
		got, err := IndexLevels(append(noise.GridIndices(40, len(want)), 39), 40, levels)
		ok(t, err)
		ok(t, CheckLevels(got, levels))
		if len(got) != len(want) {
			t.Fatalf("got %v, want %v", got, want)
		}
		for i := range want {
			near(t, "level", got[i], want[i], 1e-8)
		}
	}
	for _, c := range []struct {
		indices []int
		steps   int
		want    string
	}{
		{[]int{0, 22}, 40, "got 22 as the last, which leaves a noisy image; want 39"},
		{[]int{0, 22, 38}, 40, "want 39"},
		{[]int{0, 22, 40}, 40, "ascending indices below 40"},
		{[]int{0, 22, 22, 39}, 40, "ascending"},
		{[]int{-1, 39}, 40, "ascending"},
		{[]int{39}, 40, "at least a call and the end"},
		{nil, 40, "at least a call"},
		{[]int{0, 0}, 1, "grid of 1 levels"},
	} {
		_, err := IndexLevels(c.indices, c.steps, levels)
		refused(t, err, c.want)
	}
}

func TestCheckLevels(t *testing.T) {
	for _, ls := range [][]float64{{80}, {80, .821}, {80, 1.526, .0021}, {5}} {
		ok(t, CheckLevels(ls, levels))
	}
	nan := math.NaN()
	for _, c := range []struct {
		levels []float64
		want   string
	}{
		{nil, "got none"},
		{[]float64{80.1}, "got 80.1, want at most σ_max 80"},
		{[]float64{math.Inf(1)}, "σ_max"},
		{[]float64{80, .002}, "got 0.002, want more than σ_min 0.002"},
		{[]float64{80, 0}, "σ_min"},
		{[]float64{80, -1}, "σ_min"},
		{[]float64{nan}, "got NaN"},
		{[]float64{80, nan}, "got NaN"},
		{[]float64{.821, 80}, "got 80 after 0.821, want descending"},
		{[]float64{80, 80}, "got 80 after 80"},
	} {
		refused(t, CheckLevels(c.levels, levels), c.want)
	}
}
