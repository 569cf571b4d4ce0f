package noise

import "math"

// HalfLife returns after how many steps of an average of the given decay a weight counts half.
//
//	ln ½ / ln μ
func HalfLife(decay float64) float64 { return -math.Ln2 / math.Log(decay) }

// HalfLifeDecay returns the decay of an average whose half-life is given in images.
//
//	μ = ½^(batch/halfLife)
//
// Source: [EDM].
func HalfLifeDecay(halfLife, batch float64) float64 { return math.Exp2(-batch / halfLife) }

// RampedDecay is HalfLifeDecay while the average is young: the half-life is at most a twentieth of the images seen
// before the step. At 0 images the decay is 0, the average the weights themselves.
//
//	μ = ½^(batch/max(min(halfLife, images/20), 10⁻⁸))
//
// Source: [EDM].
func RampedDecay(halfLife, batch, images float64) float64 {
	return HalfLifeDecay(max(min(halfLife, 0.05*images), 1e-8), batch)
}

// Warmup returns the factor of the learning rate, rising linearly from 0 to 1 over the first length images.
//
//	min(images/length, 1)     images: seen before the step
//
// Source: [EDM], with a length of 10 million.
func Warmup(images, length float64) float64 { return min(images/length, 1) }
