package noise

import "math"

// Weight returns λ = 1/(t − r), the weight of a pair of levels r < t. Source: [iCT].
func Weight(t, r float64) float64 { return 1 / (t - r) }

// HuberC returns the constant of the pseudo-Huber distance of images of dim = H·W·C scalars.
//
//	c = 0.00054·√dim
//
// Source: [iCT].
func HuberC(dim int) float64 { return 0.00054 * math.Sqrt(float64(dim)) }

// PseudoHuber returns the distance of two images whose difference has the squared norm s over the whole image.
//
//	√(s + c²) − c = s / (√(s + c²) + c)
//
// The right-hand form is used: the left one cancels where s is far below c². c may be 0: the norm.
// Source: [Charbonnier], in the form of [iCT].
func PseudoHuber(s, c float64) float64 {
	if s == 0 {
		return 0
	}
	return s / (math.Sqrt(s+c*c) + c)
}

// EDMWeight returns the weight of a denoiser's squared error at a level, which makes the network's own error count 1.
//
//	(σ² + σ_data²) / (σ·σ_data)²
//
// Source: [EDM].
func (l Levels) EDMWeight(sigma float64) float64 {
	v := sigma * l.Data
	return (sigma*sigma + l.Data*l.Data) / (v * v)
}
