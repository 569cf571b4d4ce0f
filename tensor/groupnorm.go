package tensor

import "fmt"

// GroupNorm normalises each image over groups of channels and all pixels, then scales, shifts,
// activates and drops [GroupNorm]:
//
//	x̂ = (x − mean)·rstd over (H, W, C/G),   rstd = 1/√(var + Eps), biased variance
//	u = x̂·gamma[c] + beta[c]
//	u = u·(1 + scale[n,c]) + shift[n,c]      where scaleShift (N,2C) = scale|shift is given (AdaGN [ADM])
//	y = dropout(act(u))                      act: identity or SiLU
//
//	x0 (N,H,W,C0) | x1 (N,H,W,C1): two sources used as if concatenated; reading them and writing y is the concat
//	mean, rstd (N,G) F32: written by Forward, read by Backward
//
// Backward computes the activation and the mask again instead of keeping them. dgamma, dbeta are sums over
// images: in image order within a slice, pairwise over slices. Statistics are two-pass, never E[x²] − E[x]².
type GroupNorm struct {
	Groups  int
	Eps     float32
	SiLU    bool
	Dropout Dropout
}

// Dropout keeps element e of image n where word(e) ≥ ⌊P·2³²⌋, and divides by 1 − P. The word is
// Philox's for (seed, step, 16+Op, place of the image in the whole batch, e): the pass and the level
// are not in the key, so student and teacher share masks [iCT].
type Dropout struct {
	P  float32 // 0: none; then step may be absent
	Op uint16  // number of this dropout among the dropouts of the tape
}

// Check compares shapes; x1 may be nil.
func (p GroupNorm) Check(y, mean, x0, x1, gamma Shape) error {
	if len(x0) != 4 {
		return fmt.Errorf("want x (N,H,W,C), got %v", x0)
	}
	c := x0[3]
	if x1 != nil {
		if len(x1) != 4 || !x1[:3].Equal(x0[:3]) {
			return fmt.Errorf("sources %v and %v differ in N, H or W", x0, x1)
		}
		c += x1[3]
	}
	switch {
	case p.Groups < 1 || c%p.Groups != 0:
		return fmt.Errorf("%d channels cannot be split into %d groups", c, p.Groups)
	case !gamma.Equal(Shape{c}):
		return fmt.Errorf("gamma got %v, want (%d)", gamma, c)
	case !y.Equal(Shape{x0[0], x0[1], x0[2], c}):
		return fmt.Errorf("output got %v, want %v", y, Shape{x0[0], x0[1], x0[2], c})
	case !mean.Equal(Shape{x0[0], p.Groups}):
		return fmt.Errorf("mean got %v, want %v", mean, Shape{x0[0], p.Groups})
	case p.Dropout.P < 0 || p.Dropout.P >= 1:
		return fmt.Errorf("dropout %g, want 0 ≤ p < 1", p.Dropout.P)
	}
	return nil
}
