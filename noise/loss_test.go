package noise

import (
	"math"
	"testing"

	"pgregory.net/rapid"
)

// T-1.
func TestPseudoHuber(t *testing.T) {
	for dim, want := range map[int]float64{3072: .0299298380, 12288: .0598596759, 784: .01512, 12: .00187061487} {
		golden(t, "c", HuberC(dim), want, 9)
		not(t, "c without the root", HuberC(dim), .00054*float64(dim), 3)
	}
	c := HuberC(3072)
	golden(t, "1e-4", PseudoHuber(1e-4, c), .00162638489, 9)
	golden(t, "1", PseudoHuber(1, c), .970517959, 9)
	golden(t, "100", PseudoHuber(100, c), 9.97011495, 9)
	golden(t, "tiny", PseudoHuber(1e-10, c)*2*c/1e-10, 1, 7)
	golden(t, "tinier", PseudoHuber(1e-30, c)*2*c/1e-30, 1, 12) // the other form gives 0
	golden(t, "c = 0, the norm", PseudoHuber(4, 0), 2, 15)
	for _, c := range []float64{0, c} {
		if d := PseudoHuber(0, c); d != 0 {
			t.Errorf("0 with c %v: got %v, want 0", c, d)
		}
	}
}

// Both forms agree where neither cancels; the distance grows and stays below the norm.
func TestPseudoHuberProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := math.Exp(rapid.Float64Range(-20, 10).Draw(t, "ln s"))
		c := rapid.Float64Range(1e-3, 1).Draw(t, "c")
		d := PseudoHuber(s, c)
		if naive := math.Sqrt(s+c*c) - c; math.Abs(d-naive) > 1e-14*(1+math.Sqrt(s)) {
			t.Fatalf("got %v, want %v", d, naive)
		}
		if d > math.Sqrt(s) || PseudoHuber(2*s, c) <= d {
			t.Fatalf("d(%v) = %v, d(%v) = %v", s, d, 2*s, PseudoHuber(2*s, c))
		}
	})
}

// T-9, weights.
func TestEDMWeight(t *testing.T) {
	l := Default()
	for sigma, want := range map[float64]float64{.002: 250004, .5: 8, 1: 5, 80: 4.00015625} {
		golden(t, "weight", l.EDMWeight(sigma), want, 12)
		golden(t, "weight against c_out", l.EDMWeight(sigma)*l.EDM(sigma, 1).Out*l.EDM(sigma, 1).Out, 1, 12)
	}
}

// T-6, the schedule.
func TestEMA(t *testing.T) {
	for _, c := range []struct {
		decay, steps float64
		digits       int
		batch, mimg  float64
		digitsImages int
	}{
		{.9999, 6931.125, 7, 512, 3.54874, 6},
		{.99993, 9901.756, 7, 1024, 10.1394, 6},
		{.99997, 23104.56, 7, 4096, 94.6363, 6},
		{.9999432189950708, 12207.03, 7, 4096, 50, 9},
		{.9999432189950708, 12207.03, 7, 2048, 25, 9},
	} {
		golden(t, "half-life", HalfLife(c.decay), c.steps, c.digits)
		golden(t, "half-life in Mimg", HalfLife(c.decay)*c.batch/1e6, c.mimg, c.digitsImages)
		golden(t, "and back", HalfLifeDecay(HalfLife(c.decay)*c.batch, c.batch), c.decay, 14)
	}
	golden(t, "decay .5M", HalfLifeDecay(.5e6, 512), .999290469, 9)
	golden(t, "decay 50M", HalfLifeDecay(50e6, 4096), .999943218995, 12)
	for _, c := range []struct {
		images, decay, rate float64
		digits              int
	}{
		{0, 0, 0, 9}, {512, 9.53674316e-7, 5.12e-5, 9}, {51_200, .870550563, .00512, 9}, {1_024_000, .993092495, .1024, 9},
		{10e6, .999290469, 1, 9}, {200e6, .999290469, 1, 9},
	} {
		golden(t, "ramped decay", RampedDecay(.5e6, 512, c.images), c.decay, c.digits)
		golden(t, "rate", Warmup(c.images, 10e6), c.rate, c.digits)
	}
}

// N-6.
func TestECT(t *testing.T) {
	e := ECT{A: 8, B: 1, Q: 2}
	stages := []int{0, 1, 3, 7}
	for _, c := range []struct {
		t    float64
		want [4]float64
	}{
		{.01, [4]float64{0, 0, .0068875, .009805469}},
		{.1, [4]float64{0, 0, .06999896, .09812493}},
		{1, [4]float64{0, .2121172, .8030293, .9876893}},
		{10, [4]float64{4.998184, 7.499092, 9.374773, 9.960923}},
		{80, [4]float64{40, 60, 75, 79.6875}},
	} {
		for i, stage := range stages {
			golden(t, "r", e.R(c.t, stage), c.want[i], 7-2*boolInt(c.want[i] == .0068875))
		}
		golden(t, "q 256 is q 2 at stage 7", ECT{8, 1, 256}.R(c.t, 0), e.R(c.t, 7), 14)
	}
	for i, stage := range stages {
		golden(t, "weight at 1", Weight(1, e.R(1, stage)), [4]float64{1, 1.269224, 5.076897, 81.23035}[i], 7)
		golden(t, "weight at 10", Weight(10, e.R(10, stage)), [4]float64{.1999274, .3998548, 1.599419, 25.59071}[i], 7)
	}
	at := math.Log(7)
	if r := e.R(at*(1-1e-12), 0); r != 0 {
		t.Errorf("below ln 7: got %v, want 0", r)
	}
	if r := e.R(at, 0); r > 1e-15 {
		t.Errorf("at ln 7: got %v, want 0", r)
	}
	if r := e.R(at*(1+1e-12), 0); !(r > 0) {
		t.Errorf("above ln 7: got %v, want above 0", r)
	}
}

// Every gap is open: r < t, and it closes as the stages go.
func TestECTGap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e := ECT{8, 1, rapid.SampledFrom([]float64{2, 4, 256}).Draw(t, "q")}
		level := math.Exp(rapid.Float64Range(-9, 6).Draw(t, "ln t"))
		stage := rapid.IntRange(0, 4).Draw(t, "stage")
		r, next := e.R(level, stage), e.R(level, stage+1)
		if !(0 <= r && r <= next && next < level) {
			t.Fatalf("t %v: r %v, then %v", level, r, next)
		}
	})
}
