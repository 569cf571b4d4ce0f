package noise

import "math"

// ECT maps the student's level to the teacher's, with a gap that closes stage by stage.
//
//	r = max(0, t·(1 − (1 + A/(1 + e^(B·t)))/Q^(stage+1)))
//
// Published runs have A 8, B 1, and Q 2, 4 or 256. Source: [ECT], whose program calls A k.
type ECT struct{ A, B, Q float64 }

// R returns the teacher's level for the student's level t in a stage, counted from 0. Where it is 0 the target is the
// clean image and the network is not asked.
func (e ECT) R(t float64, stage int) float64 {
	gap := (1 + e.A/(1+math.Exp(e.B*t))) / math.Pow(e.Q, float64(stage+1))
	return max(0, t*(1-gap))
}
