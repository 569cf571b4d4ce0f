package noise

import (
	"math"
	"testing"

	"pgregory.net/rapid"

	"ict/internal/philox"
)

var recipe = LogNormal{Mean: -1.1, Std: 2}

func lambda(grid []float64, i int) float64 { return Weight(grid[i], grid[i-1]) }

// N-3, the lists.
func TestProposal(t *testing.T) {
	grid := Default().Grid(11)
	p := recipe.Proposal(grid)
	for i, want := range []float64{.062633, .181737, .245501, .213494, .142446, .0806046, .0410799, .0195801, .00894387, .00397961} {
		golden(t, "p", p.P[i], want, 6)
	}
	for i, want := range []float64{.062632993, .24436997, .48987139, .70336584, .8458119, .92641652, .96749643, .98707652, .99602039} {
		golden(t, "CDF", p.CDF[i], want, 8-boolInt(i == 4)) // .8458119 ends in a dropped 0
	}
	for i, want := range []float64{67.9313, 14.6271, 4.28824, 1.54528, .645244, .300867, .152844, .0831479, .0478345, .0288299} {
		golden(t, "λ", lambda(grid, i+1), want, 6)
	}
	grid = Default().Grid(21)
	p = recipe.Proposal(grid)
	for i, want := range []float64{.0183777, .0442552, .0766436} {
		golden(t, "p of 21", p.P[i], want, 6)
	}
	golden(t, "last p of 21", p.P[19], .00158762, 6)
	golden(t, "λ of 21", lambda(grid, 1), 234.420, 6)
	golden(t, "λ of 21", lambda(grid, 2), 95.6489, 6)
	golden(t, "last λ of 21", lambda(grid, 20), .0514326, 6)
	grid = Default().Grid(1281)
	p = recipe.Proposal(grid)
	golden(t, "p of 1281", p.P[0], 1.49821e-4, 6)
	golden(t, "p of 1281", p.P[1], 1.53132e-4, 6)
	golden(t, "last p of 1281", p.P[1279], 2.01095e-5, 6)
	golden(t, "λ of 1281", lambda(grid, 1), 25584.72, 7)
	golden(t, "last λ of 1281", lambda(grid, 1280), 2.936031, 7)
	golden(t, "level of the mode", grid[329], .186, 3)
	if two := recipe.Proposal(Default().Grid(2)); len(two.P) != 1 || two.P[0] != 1 || two.CDF[0] != 1 {
		t.Errorf("two levels: got %+v, want one pair with probability 1", two)
	}
	// The known mistake of a positive mean.
	not(t, "mean +1.1", recipe.Proposal(Default().Grid(11)).P[2], LogNormal{1.1, 2}.Proposal(Default().Grid(11)).P[2], 3)
}

// N-3, the table, and the expectations of N-4.
func TestProposalTable(t *testing.T) {
	for _, c := range []struct {
		n                int
		expect, uniform  float64
		mode             int
		pMode            float64
		first, last      float64
		lnT, lnR         float64 // 0: not tabulated
		digitsP, digitsL int
	}{
		{11, 8.4203074, 8.9650643, 3, .245501, 67.93131, .02882985, -.501532416, -1.74725071, 6, 7},
		{21, 17.452855, 21.306785, 6, .123926, 234.4197, .05143261, -.786998035, -1.40729337, 6, 7},
		{41, 35.192104, 44.721092, 11, .0624871, 616.0191, .09708118, 0, 0, 6, 7},
		{81, 70.524612, 90.564999, 21, .0312809, 1410.468, .188594, 0, 0, 6, 6},
		{161, 141.11907, 181.70077, 42, .0156437, 3016.749, .3717258, 0, 0, 6, 7},
		{321, 282.27301, 363.68812, 83, .00782265, 6238.416, .738042, 0, 0, 6, 6},
		{641, 564.56344, 727.51968, 165, .00391133, 12686.4, 1.470701, 0, 0, 6, 6},
		{1281, 1129.1356, 1455.1111, 330, .00195569, 25584.72, 2.936031, -1.08337815, -1.09305715, 6, 7},
	} {
		grid := Default().Grid(c.n)
		p, u := recipe.Proposal(grid), Uniform(c.n)
		mode := 1
		var sum, uSum, expect, uniform, lnT, lnR float64
		for i := 1; i < c.n; i++ {
			if p.P[i-1] > p.P[mode-1] {
				mode = i
			}
			sum += p.P[i-1]
			uSum += u.P[i-1]
			expect += p.P[i-1] * lambda(grid, i)
			uniform += u.P[i-1] * lambda(grid, i)
			lnT += p.P[i-1] * math.Log(grid[i])
			lnR += p.P[i-1] * math.Log(grid[i-1])
		}
		if math.Abs(sum-1) > 1e-12 || math.Abs(uSum-1) > 1e-12 || p.CDF[c.n-2] != 1 || u.CDF[c.n-2] != 1 {
			t.Errorf("N %d: sums %v, %v, last CDFs %v, %v, want 1", c.n, sum, uSum, p.CDF[c.n-2], u.CDF[c.n-2])
		}
		if mode != c.mode {
			t.Errorf("N %d: mode %d, want %d", c.n, mode, c.mode)
		}
		golden(t, "E[λ]", expect, c.expect, 8)
		golden(t, "uniform mean of λ", uniform, c.uniform, 8)
		golden(t, "p(mode)", p.P[mode-1], c.pMode, c.digitsP)
		golden(t, "λ_1", lambda(grid, 1), c.first, c.digitsL)
		golden(t, "λ_{N-1}", lambda(grid, c.n-1), c.last, c.digitsL)
		if c.lnT != 0 {
			golden(t, "E[ln t]", lnT, c.lnT, 9)
			golden(t, "E[ln r]", lnR, c.lnR, 9)
		}
		l := Default()
		golden(t, "sum before normalising", 2*(recipe.CDF(l.Max)-recipe.CDF(l.Min)), 1.98332630, 9)
	}
}

// N-4.
func TestIndex(t *testing.T) {
	for _, c := range []struct {
		n       int
		u       float64
		i       int
		r, t, w float64
	}{
		{11, 0, 1, .002, .0167207532, 67.9313065},
		{11, .0626, 1, .002, .0167207532, 67.9313065},
		{11, .0627, 2, .0167207532, .0850872027, 14.6270577},
		{11, .25, 3, .0850872027, .318283289, 4.28823664},
		{11, .5, 4, .318283289, .965416926, 1.54527588},
		{11, .75, 5, .965416926, 2.51521898, .645243694},
		{11, .9, 6, 2.51521898, 5.83894763, .300866919},
		{11, .99, 9, 24.4083418, 45.3137341, .0478345484},
		{11, .9999999, 10, 45.3137341, 80, .0288298545},
		{21, .05, 2, .0062658526, .0167207532, 95.6489243},
		{21, .5, 7, .318283289, .56663458, 4.02655446},
		{21, .9, 12, 3.88107974, 5.83894763, .510759692},
		{21, .99, 17, 24.4083418, 33.4850992, .110171503},
		{1281, 0, 1, .002, .00203908582, 25584.7238},
		{1281, .001, 7, .00224449137, .00228763263, 23179.668},
		{1281, .05, 114, .0134454904, .0136452394, 5006.28291},
		{1281, .25, 260, .0880249428, .0890233113, 1001.63415},
		{1281, .5, 390, .333536994, .336661753, 320.024644},
		{1281, .75, 548, 1.27113784, 1.2809679, 101.728821},
		{1281, .9, 717, 4.19768328, 4.22503793, 36.5568582},
		{1281, .99, 1056, 28.4986458, 28.6398103, 7.08393508},
		{1281, .9999999, 1280, 79.6594042, 80, 2.93603127},
	} {
		grid := Default().Grid(c.n)
		i := recipe.Proposal(grid).Index(c.u)
		if i != c.i {
			t.Errorf("N %d, u %v: got %d, want %d", c.n, c.u, i, c.i)
			continue
		}
		golden(t, "r", grid[i-1], c.r, 9)
		golden(t, "t", grid[i], c.t, 9)
		golden(t, "λ", Weight(grid[i], grid[i-1]), c.w, 9)
	}
	for _, u := range []float64{-1e-9, 1, math.NaN()} {
		mustPanic(t, "noise: index: got u", func() { Uniform(5).Index(u) })
	}
}

// The binary search finds what a search from the start finds, also at the borders themselves.
func TestIndexIsSmallest(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(2, 200).Draw(t, "n")
		p := LogNormal{rapid.Float64Range(-4, 4).Draw(t, "mean"), rapid.Float64Range(.2, 4).Draw(t, "std")}.Proposal(Default().Grid(n))
		u := rapid.Float64Range(0, math.Nextafter(1, 0)).Draw(t, "u")
		if rapid.Bool().Draw(t, "border") {
			u = min(p.CDF[rapid.IntRange(0, n-2).Draw(t, "at")], math.Nextafter(1, 0))
		}
		want := 1
		for p.CDF[want-1] <= u {
			want++
		}
		if got := p.Index(u); got != want {
			t.Fatalf("u %v: got %d, want %d", u, got, want)
		}
	})
}

// N-4: a million draws against p. Chi-square has N−2 degrees of freedom k, a mean of k and a deviation of √(2k); at six
// deviations chance alone fails about once in 10^6.
func TestProposalChiSquare(t *testing.T) {
	const draws = 1_000_000
	for _, n := range []int{11, 1281} {
		grid := Default().Grid(n)
		p := recipe.Proposal(grid)
		count := make([]int, n-1)
		var lnT, lnT2 float64
		for i := range uint32(draws) {
			index := p.Index(philox.Stream{Seed: 1, Image: i, Purpose: philox.Level}.Float64(0))
			count[index-1]++
			v := math.Log(grid[index])
			lnT += v / draws
			lnT2 += v * v / draws
		}
		var chi float64
		for i, c := range count {
			want := draws * p.P[i]
			chi += (float64(c) - want) * (float64(c) - want) / want
		}
		k := float64(n - 2)
		if math.Abs(chi-k) > 6*math.Sqrt(2*k) {
			t.Errorf("N %d: chi-square %v, want about %v", n, chi, k)
		}
		want := map[int]float64{11: -.501532416, 1281: -1.08337815}[n]
		if d := math.Abs(lnT - want); d > 5*math.Sqrt((lnT2-lnT*lnT)/draws) {
			t.Errorf("N %d: mean of ln t %v, want %v", n, lnT, want)
		}
	}
}

func TestUniform(t *testing.T) {
	p := Uniform(18)
	for u, want := range map[float64]int{0: 1, 1./17 - 1e-9: 1, 1./17 + 1e-9: 2, .5: 9, .9999999: 17} {
		if got := p.Index(u); got != want {
			t.Errorf("u %v: got %d, want %d", u, got, want)
		}
	}
}

// N-5, continuous laws.
func TestLogNormal(t *testing.T) {
	edm := LogNormal{Mean: -1.2, Std: 1.2}
	for n, want := range map[float64][2]float64{
		-2: {.00609674657, .0273237224}, -1: {.0450492024, .0907179533}, 0: {.332871084, .301194212}, 1: {2.45960311, 1}, 2: {18.1741454, 3.32011692},
	} {
		below := 0.5 * math.Erfc(-n/math.Sqrt2)
		golden(t, "quantile", recipe.Quantile(below), want[0], 9)
		golden(t, "quantile", edm.Quantile(below), want[1], 9)
		golden(t, "share", recipe.CDF(want[0]), below, 8)
	}
	golden(t, "mass below .002", recipe.CDF(.002), .00527434852, 9)
	golden(t, "mass above 80", 1-recipe.CDF(80), .00306250125, 9)
	if lo := recipe.Quantile(0); !(lo > 0) || lo != recipe.Quantile(0x1p-54) {
		t.Errorf("u 0: got level %v, want that of 2^-54", lo)
	}
	if hi := recipe.Quantile(math.Nextafter(1, 0)); math.IsInf(hi, 0) {
		t.Errorf("largest u: got level %v", hi)
	}
}

func TestLogNormalCheck(t *testing.T) {
	if err := recipe.Check(); err != nil {
		t.Error(err)
	}
	for _, l := range []LogNormal{{}, {-1.1, -2}, {math.NaN(), 2}, {math.Inf(1), 2}, {0, math.Inf(1)}, {0, math.NaN()}} {
		mustRefuse(t, l.Check(), "noise: lognormal: got")
	}
	mustPanic(t, "has no mass on the grid", func() { LogNormal{1000, 2}.Proposal(Default().Grid(11)) })
}
