package noise

import (
	"fmt"
	"math"
)

// maxIntervals bounds a grid asked for by a file: a thousand times the published ones, and still strictly increasing.
const maxIntervals = 1 << 20

// Curriculum is the number of levels as training goes on: it doubles at equal intervals, from S0+1 to S1+1. [iCT]
//
//	N(k) = min(s0·2^⌊k/K'⌋, s1) + 1     K' = ⌊K / (log2⌊s1/s0⌋ + 1)⌋
//
// N is a function of the step alone, so a resumed run goes on where it was. The recipe of [iCT] is S0 10, S1 1280.
type Curriculum struct {
	S0, S1 int // first and last number of intervals between levels
	Steps  int // K, the length of training
}

// Stage is a stretch of training with the same number of levels.
type Stage struct {
	First int // its first step
	N     int // levels
	Steps int // its length
}

// Check refuses a curriculum that is none, and one with more stages than steps, where K' would be 0.
func (c Curriculum) Check() error {
	if err := checkIntervals("curriculum", c.S0, c.S1, c.Steps); err != nil {
		return err
	}
	if c.StageLength() < 1 {
		return fmt.Errorf("noise: curriculum: s0 %d, s1 %d: got %d steps, want at least one a stage; lower s1 or train longer",
			c.S0, c.S1, c.Steps)
	}
	return nil
}

func checkIntervals(what string, s0, s1, steps int) error {
	switch {
	case s0 < 1 || s1 < s0 || s1 > maxIntervals:
		return fmt.Errorf("noise: %s: got s0 %d, s1 %d, want 1 ≤ s0 ≤ s1 ≤ %d", what, s0, s1, maxIntervals)
	case steps < 1:
		return fmt.Errorf("noise: %s: got %d steps, want at least 1", what, steps)
	}
	return nil
}

func must(err error) {
	if err != nil {
		panic(err.Error())
	}
}

// StageLength returns K', the steps between two doublings.
func (c Curriculum) StageLength() int {
	return int(float64(c.Steps) / (math.Log2(float64(c.S1/c.S0)) + 1))
}

// N returns the number of levels at step k ≥ 0. Panics on a curriculum that Check refuses.
func (c Curriculum) N(k int) int {
	must(c.Check())
	if k < 0 {
		panic(fmt.Sprintf("noise: curriculum: got step %d, want at least 0", k))
	}
	doublings := min(k/c.StageLength(), 20) // 2^20 intervals are more than any S1
	return min(c.S0<<doublings, c.S1) + 1
}

// Stages returns the stages in order. The last one takes what is left of the steps. Panics as N does.
func (c Curriculum) Stages() []Stage {
	must(c.Check())
	var stages []Stage
	for first := 0; first < c.Steps; first += c.StageLength() {
		n := c.N(first)
		if last := len(stages) - 1; last >= 0 && stages[last].N == n {
			break
		}
		stages = append(stages, Stage{First: first, N: n})
	}
	for i := range stages {
		end := c.Steps
		if i+1 < len(stages) {
			end = stages[i+1].First
		}
		stages[i].Steps = end - stages[i].First
	}
	return stages
}

// AutoS1 lowers s1 for a short run, so that a doubling happens only where each stage keeps at least stageMin steps.
//
//	s0·2^m     m = min(log2(s1/s0), max(0, ⌊steps/stageMin⌋ − 1))
//
// Panics unless 1 ≤ s0 ≤ s1 ≤ 2^20 and stageMin ≥ 1.
func AutoS1(s0, s1, steps, stageMin int) int {
	must(checkIntervals("auto s1", s0, s1, max(steps, 1)))
	if stageMin < 1 {
		panic(fmt.Sprintf("noise: auto s1: got stages of %d steps, want at least 1", stageMin))
	}
	return min(s0<<min(max(0, steps/stageMin-1), 20), s1)
}

// Progressive is the schedule of consistency training before [iCT]: the square of the number of intervals grows linearly.
//
//	n(k) = max(1, ⌈√(k/K·((s1+1)² − s0²) + s0²) − 1⌉)     N(k) = n(k) + 1
//
// Source: [CM]. Published runs have S0 2, S1 150 or 200.
type Progressive struct {
	S0, S1 int
	Steps  int // K
}

// Check refuses a schedule that is none.
func (p Progressive) Check() error { return checkIntervals("progressive", p.S0, p.S1, p.Steps) }

// intervals returns n(k).
func (p Progressive) intervals(k int) float64 {
	must(p.Check())
	if k < 0 || k > p.Steps {
		panic(fmt.Sprintf("noise: progressive: got step %d, want 0 to %d", k, p.Steps))
	}
	s0, s1 := float64(p.S0), float64(p.S1)
	share := float64(k) / float64(p.Steps)
	return max(1, math.Ceil(math.Sqrt(share*((s1+1)*(s1+1)-s0*s0)+s0*s0)-1))
}

// N returns the number of levels at step k. Panics unless k is in 0 … K, and on a schedule that Check refuses.
func (p Progressive) N(k int) int { return int(p.intervals(k)) + 1 }

// TargetDecay returns the decay of the target's average at step k, given what it is where n(k) = s0. Panics as N does.
//
//	μ(k) = exp(s0·ln(initial) / n(k))
//
// n(k) = N(k)−1 as in the program published with [CM]; dividing by N(k) is a known variant, not this.
func (p Progressive) TargetDecay(k int, initial float64) float64 {
	return math.Exp(float64(p.S0) * math.Log(initial) / p.intervals(k))
}
