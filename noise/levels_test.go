package noise

import (
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// N-1.
func TestScalings(t *testing.T) {
	l := Default()
	for _, c := range []struct{ sigma, skip, out, skipEDM, outEDM, in, noise float64 }{
		{0.002, 1, 0, 0.999984, 0.001999984, 1.99998400, -1.55365202},
		{0.0021, 0.99999996, 9.99991180e-5, 0.99998236, 0.00209998148, 1.99998236, -1.54145448},
		{0.01, 0.999744066, 0.00799840048, 0.99960016, 0.0099980006, 1.99960012, -1.15129255},
		{0.1, 0.963005193, 0.0960969062, 0.961538462, 0.0980580676, 1.96116135, -0.575646273},
		{0.5, 0.502004000, 0.352139177, 0.5, 0.353553391, 1.41421356, -0.173286795},
		{0.821, 0.271514541, 0.425998711, 0.270550766, 0.427039001, 1.04028989, -0.0493080424},
		{1, 0.200641410, 0.446319168, 0.2, 0.447213595, 0.894427191, 0},
		{1.526, 0.0971788589, 0.474522251, 0.0969489769, 0.475144984, 0.622732613, 0.105662483},
		{5, 0.00990883711, 0.497319588, 0.0099009901, 0.497518595, 0.199007438, 0.402359478},
		{80, 3.90629272e-5, 0.499977735, 3.90609742e-5, 0.499990235, 0.0124997559, 1.09550666},
	} {
		cm, edm := l.CM(c.sigma, 1), l.EDM(c.sigma, 1)
		golden(t, "c_skip CM", cm.Skip, c.skip, 9)
		golden(t, "c_out CM", cm.Out, c.out, 9)
		golden(t, "c_skip EDM", edm.Skip, c.skipEDM, 9)
		golden(t, "c_out EDM", edm.Out, c.outEDM, 9)
		for _, s := range []Scalings{cm, edm} {
			golden(t, "c_in", s.In, c.in, 9)
			golden(t, "c_noise", s.Noise, c.noise, 9)
		}
	}
	if s := l.CM(l.Min, 1); s.Skip != 1 || s.Out != 0 {
		t.Errorf("at σ_min: got skip %v, out %v, want exactly 1 and 0", s.Skip, s.Out)
	}
	// The columns are not the same, and σ_min enters only two places of the CM one.
	not(t, "EDM column for CM", l.CM(0.5, 1).Skip, 0.5, 9)
	not(t, "σ_min in the root of c_out", l.CM(0.5, 1).Out, 0.498*0.5/math.Sqrt(0.498*0.498+0.25), 6)
	not(t, "c_in without the root", l.CM(0.1, 1).In, 1/(0.01+0.25), 3)
}

// N-1, noise scale 1000.
func TestNoiseScale(t *testing.T) {
	l := Default()
	golden(t, ".002", l.CM(0.002, 1000).Noise, -1553.65202, 9)
	golden(t, ".5", l.CM(0.5, 1000).Noise, -173.286795, 9)
	golden(t, "80", l.EDM(80, 1000).Noise, 1095.50666, 9)
	if n := l.EDM(0, 1000).Noise; math.IsInf(n, 0) || n > -25000 {
		t.Errorf("level 0: got %v, want finite and far below the others", n)
	}
}

// N-2.
func TestGrid(t *testing.T) {
	l := Default()
	for _, c := range []struct {
		want   []float64
		digits int
	}{
		{[]float64{.002, 80}, 9},
		{[]float64{.002, 2.51521898, 80}, 9},
		{[]float64{.002, .169752756, 2.51521898, 17.527832, 80}, 8},
		{[]float64{.002, .0167208, .0850872, .318283, .965417, 2.51522, 5.83895, 12.3816, 24.4083, 45.3137, 80}, 6},
	} {
		grid := l.Grid(len(c.want))
		for i, want := range c.want {
			golden(t, "grid", grid[i], want, c.digits)
		}
	}
	for j, want := range []float64{80, 57.58598, 40.78557, 28.37458, 19.35245, 12.91008, 8.400935, 5.315195, 3.256822, 1.92334,
		1.088171, 0.5853481, 0.2964423, 0.1395165, 0.05994731, 0.02293452, 0.00752802, 0.002} {
		golden(t, "18 descending", l.Descending(18)[j], want, 7-boolInt(j == 16)) // .00752802 ends in a dropped 0
	}
	golden(t, "index 5 of 18", l.Grid(18)[5], .2964423, 7)
	for j, want := range []float64{80, 69.45095, 60.11739, 51.88032, 44.6302} {
		golden(t, "40 descending", l.Descending(40)[j], want, 7)
	}
	long := l.Grid(1281)
	for i, want := range []float64{.002, .0020390858, .0020788246} {
		golden(t, "1281 first", long[i], want, 8)
	}
	for i, want := range []float64{79.320052, 79.659404, 80} {
		golden(t, "1281 last", long[1278+i], want, 8)
	}
	golden(t, "492 of 1281", long[492], .820866841, 9)
	golden(t, "571 of 1281", long[571], 1.52576624, 9)
	for _, c := range []struct {
		level, n int
		want     float64
	}{
		{788, 1281, .820866841}, {709, 1281, 1.52576624}, {20, 40, 2.24043976}, {22, 40, 1.38236796},
		{106, 201, 1.91284362}, {11, 18, .585348123}, {17, 40, 4.36556169}, {18, 40, 3.51969883},
		{67, 151, 3.99121861}, {62, 151, 5.24850323},
	} {
		golden(t, "descending level", l.Descending(c.n)[c.level], c.want, 9)
		not(t, "ascending order", l.Descending(c.n)[c.level], l.Grid(c.n)[c.level], 3)
	}
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

// The ends are exact though their formula is not, and any grid that a curriculum may ask for increases strictly.
func TestGridProperties(t *testing.T) {
	l := Default()
	lo := math.Pow(l.Min, 1/l.Rho)
	if computed := math.Pow(lo, l.Rho); computed == l.Min || l.Grid(40)[0] == computed {
		t.Errorf("computed end %v: want it different from σ_min and not used", computed)
	}
	rapid.Check(t, func(t *rapid.T) {
		l := Levels{
			Min:  rapid.Float64Range(1e-4, 0.1).Draw(t, "min"),
			Max:  rapid.Float64Range(1, 1000).Draw(t, "max"),
			Data: 0.5,
			Rho:  rapid.Float64Range(1, 10).Draw(t, "rho"),
		}
		checkGrid(t, l, rapid.IntRange(2, 3000).Draw(t, "n"))
	})
	checkGrid(t, l, maxIntervals+1)
}

func checkGrid(t rapid.TB, l Levels, n int) {
	grid, down := l.Grid(n), l.Descending(n)
	if len(grid) != n || len(down) != n {
		t.Fatalf("got %d and %d levels, want %d", len(grid), len(down), n)
	}
	if grid[0] != l.Min || grid[n-1] != l.Max {
		t.Fatalf("ends: got %v and %v, want %v and %v", grid[0], grid[n-1], l.Min, l.Max)
	}
	for i := range grid {
		if i > 0 && grid[i] <= grid[i-1] {
			t.Fatalf("level %d of %d: got %v after %v", i, n, grid[i], grid[i-1])
		}
		if down[n-1-i] != grid[i] {
			t.Fatalf("level %d: descending %v, ascending %v", i, down[n-1-i], grid[i])
		}
	}
}

// S-5 on the analytic consistency function of Gaussian data, and the last level of a schedule.
func TestMultistepStd(t *testing.T) {
	l := Default()
	f := func(x, sigma float64) float64 {
		return x * math.Sqrt((l.Min*l.Min+l.Data*l.Data)/(sigma*sigma+l.Data*l.Data))
	}
	x0 := f(l.Max, l.Max)
	for _, c := range []struct{ tau, x, out, plainX, plainOut float64 }{
		{.821, .0894954526, .0465509798, .0894942346, .0465503463},
		{1.526, -.26300511, -.0818915849, -.263005765, -.0818917889},
		{l.Descending(40)[22], -.19118902, -.0650301798, -.191189744, -.0650304259},
	} {
		x := x0 - 0.5*MultistepStd(c.tau, l.Min)
		golden(t, "x_tau", x, c.x, 9)
		golden(t, "out", f(x, c.tau), c.out, 9)
		not(t, "noise without −σ_min²", x, c.plainX, 9)
		not(t, "noise without −σ_min²", f(x, c.tau), c.plainOut, 9)
	}
	down := l.Descending(40)
	if s := MultistepStd(down[39], l.Min); s != 0 {
		t.Errorf("at σ_min: got %v, want exactly 0", s)
	}
	if s := MultistepStd(0.001, l.Min); s != 0 {
		t.Errorf("below σ_min: got %v, want 0", s)
	}
}

// S-6.
func TestGridIndices(t *testing.T) {
	l := Default()
	down := l.Descending(40)
	for _, c := range []struct {
		indices []int
		levels  []float64
	}{
		{[]int{0}, []float64{80}},
		{[]int{0, 20}, []float64{80, 2.24043976}},
		{[]int{0, 13, 26}, []float64{80, 9.72320136, .469979058}},
		{[]int{0, 10, 20, 30}, []float64{80, 16.7798895, 2.24043976, .131197363}},
	} {
		got := GridIndices(40, len(c.indices))
		if !slices.Equal(got, c.indices) {
			t.Errorf("%d calls: got %v, want %v", len(c.indices), got, c.indices)
			continue
		}
		for i, want := range c.levels {
			golden(t, "level", down[got[i]], want, 9)
		}
	}
	for i, want := range []float64{1095.50666, 705.045279, 201.668042, -507.763125} {
		golden(t, "timestep", l.EDM(down[10*i], 1000).Noise, want, 9)
	}
	golden(t, "timestep", l.EDM(down[22], 1000).Noise, 80.949485, 8)
	if got := GridIndices(40, 11); got[10] != 30 { // 10·⌊40/11⌋, not ⌊10·40/11⌋
		t.Errorf("last of 11 calls: got %d, want 30", got[10])
	}
	mustPanic(t, "noise: grid indices:", func() { GridIndices(40, 0) })
	mustPanic(t, "noise: grid indices:", func() { GridIndices(40, 41) })
}

// N-5, angles.
func TestAngle(t *testing.T) {
	l := Default()
	for _, c := range []struct {
		sigma, phi float64
		digits     int
	}{
		{.002, .00399997867, 9}, {.5, .785398163, 9}, {.821, 1.02377567, 9}, {1.526, 1.25416585, 9}, {80, 1.56454641, 9},
	} {
		golden(t, "angle", l.Angle(c.sigma), c.phi, c.digits)
		golden(t, "level of an angle", l.Sigma(l.Angle(c.sigma)), c.sigma, 12)
	}
	golden(t, "level of 1.1", l.Sigma(1.1), .98237983, 8)
	golden(t, "cosine at 80", math.Cos(l.Angle(80)), .00624987793, 9)
	golden(t, "cosine by the scalings", l.Data*l.EDM(80, 1).In, .00624987793, 9)
}

func TestLevelsCheck(t *testing.T) {
	if err := Default().Check(); err != nil {
		t.Error(err)
	}
	nan, inf := math.NaN(), math.Inf(1)
	for _, l := range []Levels{{}, {0.002, 80, 0.5, 0}, {0, 80, 0.5, 7}, {80, 0.002, 0.5, 7}, {1, 1, 0.5, 7}, {nan, 80, 0.5, 7}, {0.002, inf, 0.5, 7}, {0.002, 80, -1, 7}} {
		mustRefuse(t, l.Check(), "noise: levels: got")
	}
	mustPanic(t, "noise: grid: got 1", func() { Default().Grid(1) })
}
