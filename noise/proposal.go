package noise

import (
	"fmt"
	"math"
	"sort"
)

// LogNormal is the law of levels whose logarithm is normal.
//
//	p(i) ∝ erf((ln σ_{i+1} − Mean)/(√2·Std)) − erf((ln σ_i − Mean)/(√2·Std))     on a grid, i = 1 … N−1
//
// Mean and Std are those of ln σ. [iCT]: −1.1 and 2 on a grid; [EDM]: −1.2 and 1.2, [ECT]: −1.1 and 2, without a grid.
type LogNormal struct{ Mean, Std float64 }

// Check refuses a law that is none.
func (l LogNormal) Check() error {
	if math.IsNaN(l.Mean) || math.IsInf(l.Mean, 0) || !(l.Std > 0) || math.IsInf(l.Std, 0) {
		return fmt.Errorf("noise: lognormal: got mean %v, std %v, want finite ones, std positive", l.Mean, l.Std)
	}
	return nil
}

// CDF returns the share of levels below sigma.
func (l LogNormal) CDF(sigma float64) float64 {
	return 0.5 * math.Erfc((l.Mean-math.Log(sigma))/(math.Sqrt2*l.Std))
}

// Quantile returns the level below which a share u of [0, 1) lies: the draw of a continuous law from a uniform. A u below
// 2^-54 counts as 2^-54, so that the level is positive.
//
//	exp(Mean + Std·√2·erf⁻¹(2u − 1))
func (l LogNormal) Quantile(u float64) float64 {
	return math.Exp(l.Mean + l.Std*math.Sqrt2*math.Erfinv(2*max(u, 0x1p-54)-1))
}

// Reaches reports whether levels between low and high are ever drawn: whether Proposal has mass on a grid from low to high.
func (l LogNormal) Reaches(low, high float64) bool { return l.erf(high) > l.erf(low) }

// erf is the CDF, doubled and about 0.
func (l LogNormal) erf(sigma float64) float64 {
	return math.Erf((math.Log(sigma) - l.Mean) / (math.Sqrt2 * l.Std))
}

// Proposal returns the law of the pairs of neighbours of an ascending grid. Panics if there is no mass on the grid.
// Source: [iCT].
func (l LogNormal) Proposal(grid []float64) *Proposal {
	p := make([]float64, len(grid)-1)
	for i := range p {
		p[i] = l.erf(grid[i+1]) - l.erf(grid[i])
	}
	return newProposal(p, fmt.Sprintf("lognormal of mean %v, std %v", l.Mean, l.Std))
}

// Uniform returns the proposal that draws each pair of a grid of n levels equally often. Panics if n < 2. Source: [CM].
func Uniform(n int) *Proposal {
	p := make([]float64, n-1)
	for i := range p {
		p[i] = 1
	}
	return newProposal(p, "uniform")
}

// Proposal is the law of the pair index i = 1 … N−1: r = σ_i, t = σ_{i+1}.
type Proposal struct {
	P   []float64 // P[i-1] = p(i); the sum is 1
	CDF []float64 // CDF[i-1] = p(1) + … + p(i); the last is exactly 1
}

// newProposal normalises p in place.
func newProposal(p []float64, what string) *Proposal {
	var sum float64
	for _, v := range p {
		sum += v
	}
	if !(sum > 0) {
		panic(fmt.Sprintf("noise: proposal: %s has no mass on the grid", what))
	}
	cdf := make([]float64, len(p))
	var below float64
	for i := range p {
		p[i] /= sum
		below += p[i]
		cdf[i] = min(below, 1)
	}
	cdf[len(cdf)-1] = 1
	return &Proposal{P: p, CDF: cdf}
}

// Index returns the smallest i with CDF_i > u, in 1 … N−1, for u in [0, 1): the draw from a uniform.
// Panics on any other u.
func (p *Proposal) Index(u float64) int {
	if !(u >= 0 && u < 1) {
		panic(fmt.Sprintf("noise: index: got u %v, want one in [0, 1)", u))
	}
	return 1 + sort.Search(len(p.CDF), func(i int) bool { return p.CDF[i] > u })
}
