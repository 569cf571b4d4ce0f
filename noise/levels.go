package noise

import (
	"fmt"
	"math"
	"slices"
)

// Levels are the constants of the noise levels. [EDM] [CM]
type Levels struct {
	Min  float64 // σ_min, where f(x, σ_min) = x
	Max  float64 // σ_max, where sampling starts
	Data float64 // σ_data, the standard deviation of the data
	Rho  float64 // ρ, the curvature of the grid
}

// Default returns σ_min 0.002, σ_max 80, σ_data 0.5, ρ 7, the values of every published model. [EDM] [CM] [iCT]
func Default() Levels { return Levels{Min: 0.002, Max: 80, Data: 0.5, Rho: 7} }

// Check refuses constants that make no grid.
func (l Levels) Check() error {
	for _, v := range []float64{l.Min, l.Max, l.Data, l.Rho} {
		if !(v > 0) || math.IsInf(v, 0) {
			return fmt.Errorf("noise: levels: got %+v, want four positive numbers", l)
		}
	}
	if l.Min >= l.Max {
		return fmt.Errorf("noise: levels: got σ_min %v, σ_max %v, want σ_min below σ_max", l.Min, l.Max)
	}
	return nil
}

// Scalings wrap the network F at one level:
//
//	f(x_σ, σ) = Skip·x_σ + Out·F(In·x_σ, Noise)
type Scalings struct{ In, Skip, Out, Noise float64 }

// CM returns the scalings of the consistency function, exactly Skip 1 and Out 0 at σ_min.
//
//	c_skip = σ_data² / ((σ−σ_min)² + σ_data²)     c_out = (σ−σ_min)·σ_data / √(σ² + σ_data²)
//
// In and Noise are those of EDM. Source: [CM].
func (l Levels) CM(sigma, noiseScale float64) Scalings {
	s := l.EDM(sigma, noiseScale)
	d := sigma - l.Min
	s.Skip = l.Data * l.Data / (d*d + l.Data*l.Data)
	s.Out = d * l.Data * s.In
	return s
}

// EDM returns the scalings of a denoiser, the identity at level 0.
//
//	c_in = 1 / √(σ² + σ_data²)     c_skip = σ_data² / (σ² + σ_data²)     c_out = σ·σ_data / √(σ² + σ_data²)
//	c_noise = noiseScale·¼·ln(σ + 10⁻⁴⁴)
//
// noiseScale is 1, or 1000 for published weights that were trained so. The 10⁻⁴⁴ is theirs too: it keeps c_noise finite
// at level 0 and vanishes in rounding at any other.
// Source: [EDM]; noiseScale: [CM].
func (l Levels) EDM(sigma, noiseScale float64) Scalings {
	v := sigma*sigma + l.Data*l.Data
	in := 1 / math.Sqrt(v)
	return Scalings{
		In:    in,
		Skip:  l.Data * l.Data / v,
		Out:   sigma * l.Data * in,
		Noise: noiseScale * 0.25 * math.Log(sigma+1e-44),
	}
}

// Grid returns n levels, ascending: grid[i-1] = σ_i for i = 1 … n.
//
//	σ_i = ( σ_min^(1/ρ) + (i−1)/(n−1)·(σ_max^(1/ρ) − σ_min^(1/ρ)) )^ρ
//
// Both ends are the exact constants; computed, they are off by a rounding, and √(τ² − σ_min²) must be 0 at the last.
// Panics if n < 2. Source: [EDM], in the order of [CM].
func (l Levels) Grid(n int) []float64 {
	if n < 2 {
		panic(fmt.Sprintf("noise: grid: got %d levels, want at least 2", n))
	}
	lo, hi := math.Pow(l.Min, 1/l.Rho), math.Pow(l.Max, 1/l.Rho)
	grid := make([]float64, n)
	for i := range grid {
		grid[i] = math.Pow(lo+float64(i)/float64(n-1)*(hi-lo), l.Rho)
	}
	grid[0], grid[n-1] = l.Min, l.Max
	return grid
}

// Descending returns the grid in the order in which samplers walk and other programs count: level j = 0 is σ_max, level
// j is σ_{n−j}. Panics if n < 2.
func (l Levels) Descending(n int) []float64 {
	grid := l.Grid(n)
	slices.Reverse(grid)
	return grid
}

// GridIndices returns where in a descending grid of n levels a sampler of the given number of calls evaluates the
// network, in the schedule of diffusers: 0, ⌊n/calls⌋, 2⌊n/calls⌋, … Panics unless calls is in 1 … n.
func GridIndices(n, calls int) []int {
	if calls < 1 || calls > n {
		panic(fmt.Sprintf("noise: grid indices: got %d calls on %d levels, want 1 to %d", calls, n, n))
	}
	indices := make([]int, calls)
	for i := range indices {
		indices[i] = i * (n / calls)
	}
	return indices
}

// MultistepStd returns the standard deviation of the noise that takes a result of f, a sample at σ_min, to level tau.
//
//	√max(0, τ² − σ_min²)
//
// Source: [CM].
func MultistepStd(tau, sigmaMin float64) float64 {
	return math.Sqrt(max(0, (tau-sigmaMin)*(tau+sigmaMin)))
}

// Angle returns φ = arctan(σ/σ_data) in [0, π/2), the level as an angle. Source: [sCM].
func (l Levels) Angle(sigma float64) float64 { return math.Atan(sigma / l.Data) }

// Sigma returns σ_data·tan φ, the level of an angle. Source: [sCM].
func (l Levels) Sigma(phi float64) float64 { return l.Data * math.Tan(phi) }
