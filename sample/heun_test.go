package sample

import (
	"math"
	"testing"
)

// zeroF is the denoiser of a network that returns 0: the optimal one for Gaussian data.
func zeroF(dst, x []float64, sigma float64) error {
	for i, v := range x {
		dst[i] = levels.EDM(sigma, 1).Skip * v
	}
	return nil
}

func noNormals(t *testing.T) func([]float64, int) error {
	return func([]float64, int) error {
		t.Error("the deterministic sampler asks for noise")
		return nil
	}
}

// path is the state after every step of Heun from 80.
func path(t *testing.T, steps int) (states []float64, calls int) {
	x := []float64{80}
	h := newHeun(x, Churn{}, func(dst, x []float64, sigma float64) error {
		calls++
		return zeroF(dst, x, sigma)
	}, noNormals(t))
	states = append(states, x[0])
	ok(t, h.run(levels.Descending(steps), func(step int) error {
		if step != len(states)-1 {
			t.Errorf("got step %d, want %d", step, len(states)-1)
		}
		states = append(states, x[0])
		return nil
	}))
	return states, calls
}

// eulerPath is the same without the correction.
func eulerPath(t *testing.T, steps int) []float64 {
	x := []float64{80}
	h := newHeun(x, Churn{}, zeroF, noNormals(t))
	states := []float64{80}
	grid := append(levels.Descending(steps), 0)
	for i := range steps {
		sigma, err := h.raise(grid[i], 0, i)
		ok(t, err)
		ok(t, h.euler(sigma, grid[i+1]))
		states = append(states, x[0])
	}
	return states
}

// S-2.
func TestHeunValues(t *testing.T) {
	compare := func(what string, got, want []float64) {
		t.Helper()
		got = got[len(got)-len(want):]
		for i := range want {
			near(t, what, got[i], want[i], 5e-9)
		}
	}
	heun5 := []float64{80, 17.5501042, 2.77515401, 1.32644279, 1.25790643, 1.25788631}
	euler5 := []float64{80, 17.5302722, 2.52777722, .260208735, .23363267, .233628932}
	heun18 := []float64{80, 57.5870969, 40.7879962, 28.3787211, 19.3590319, 12.9203758, 8.41716995, 5.34134204, 3.30012895,
		1.99713746, 1.21556548, .796992935, .611094313, .547618821, .531400599, .528183446, .527688655, .527633079, .527624637}
	got, calls := path(t, 5)
	compare("heun 5", got, heun5)
	if len(got) != 6 || calls != 9 {
		t.Errorf("5 steps: got %d states, %d calls, want 6 and 9", len(got), calls)
	}
	got, calls = path(t, 18)
	compare("heun 18", got, heun18)
	if len(got) != 19 || calls != 35 {
		t.Errorf("18 steps: got %d states, %d calls, want 19 and 35", len(got), calls)
	}
	end18 := got[18]
	got, calls = path(t, 40)
	compare("heun 40", got, []float64{.504884943, .504876865})
	if calls != 79 {
		t.Errorf("40 steps: got %d calls, want 79", calls)
	}
	exact := .499990235
	near(t, "error at 18", end18-exact, 27.6e-3, 2e-3)
	near(t, "error at 40", got[40]-exact, 4.89e-3, 2e-3)

	compare("euler 5", eulerPath(t, 5), euler5)
	compare("euler 18", eulerPath(t, 18), []float64{.423038205, .423031436})
	compare("euler 40", eulerPath(t, 40), []float64{.464858212, .464850774})
}

// S-3.
func TestChurn(t *testing.T) {
	c := Churn{Amount: 40, Min: .05, Max: 50, Noise: 1.003}
	for _, row := range []struct {
		steps       int
		sigma, want float64
	}{
		{256, 1, .15625}, {18, 1, math.Sqrt2 - 1}, {256, .05, .15625}, {256, 50, .15625}, {256, .049, 0}, {256, 50.1, 0},
	} {
		if got := c.gamma(row.steps, row.sigma); got != row.want {
			t.Errorf("γ of %d steps at %v: got %v, want %v", row.steps, row.sigma, got, row.want)
		}
	}
	if got := (Churn{}).gamma(18, 1); got != 0 {
		t.Errorf("γ without churn: got %v, want 0", got)
	}

	x := []float64{.8}
	h := newHeun(x, c, zeroF, func(z []float64, level int) error {
		if level != 7 {
			t.Errorf("got normals of level %d, want 7", level)
		}
		z[0] = .5
		return nil
	})
	raised, err := h.raise(1, c.gamma(256, 1), 7)
	ok(t, err)
	near(t, "σ̂", raised, 1.15625, 1e-15)
	near(t, "x̂", h.xh[0], 1.09109216, 5e-9)
	ok(t, h.euler(raised, .5))
	near(t, "d", h.d[0], .794986533, 5e-9)
	near(t, "euler", x[0], .569382246, 5e-9)
	near(t, "d′", (x[0]-levels.EDM(.5, 1).Skip*x[0])/.5, .569382246, 5e-9)
	ok(t, h.correct(raised, .5))
	near(t, "result", x[0], .643408653, 5e-9)
}

// Noise of step i is that of level i+1, so that no draw of the start is used again.
func TestChurnLevels(t *testing.T) {
	var asked []int
	h := newHeun([]float64{80}, Churn{Amount: 40, Min: .05, Max: 50, Noise: 1}, zeroF, func(z []float64, level int) error {
		asked = append(asked, level)
		return nil
	})
	ok(t, h.run(levels.Descending(5), func(int) error { return nil }))
	if len(asked) != 3 || asked[0] != 2 || asked[2] != 4 { // 17.5, 2.5 and .17, not 80 and .002
		t.Errorf("got noise of levels %v, want 2, 3, 4", asked)
	}
}

// S-2 through a network that returns 0.
func TestHeunOfNetwork(t *testing.T) {
	dev := open(t)
	c := tiny(0)
	s := newSampler(t, dev, c, constant(t, dev, c, 0), 2)
	z := make([]float32, c.Pixels())
	for i := range z {
		z[i] = 1
	}
	source, err := NewGiven(dev, z, []int{1, 4, 4, 1})
	ok(t, err)
	x := make([]float32, c.Pixels())
	want := []float64{57.5870969, 40.7879962, 28.3787211, 19.3590319, 12.9203758, 8.41716995, 5.34134204, 3.30012895,
		1.99713746, 1.21556548, .796992935, .611094313, .547618821, .531400599, .528183446, .527688655, .527633079, .527624637}
	ok(t, s.Heun(x, 18, Churn{}, source, Batch{N: 1}, func(step int) error {
		if d := math.Abs(float64(x[step%len(x)]) - want[step]); !(d <= 2e-5) {
			t.Errorf("step %d: got %v, want %v", step, x[step%len(x)], want[step])
		}
		return nil
	}))
	if s.Calls() != 35 {
		t.Errorf("got %d calls, want 35", s.Calls())
	}
	y := make([]float32, c.Pixels())
	ok(t, s.Heun(y, 18, Churn{}, source, Batch{N: 1}, nil))
	same(t, "without after", y, x)

	// Nothing is clamped: an output of 3 everywhere leads beyond 1.
	const f = 3
	s = newSampler(t, dev, c, constant(t, dev, c, f), 2)
	ok(t, s.Heun(x, 6, Churn{}, source, Batch{N: 1}, nil))
	state := []float64{80}
	h := newHeun(state, Churn{}, func(dst, x []float64, sigma float64) error {
		k := levels.EDM(sigma, 1)
		dst[0] = k.Skip*x[0] + k.Out*f
		return nil
	}, noNormals(t))
	ok(t, h.run(levels.Descending(6), func(int) error { return nil }))
	near(t, "beyond 1", float64(x[0]), state[0], 2e-6)
	if state[0] < 1.1 {
		t.Errorf("got %v, want beyond 1.1", state[0])
	}
	refused(t, s.Heun(x, 18, Churn{Amount: 1, Max: 100, Noise: 1}, source, Batch{N: 1}, nil), "got 1 levels, want level 2 too")
}
