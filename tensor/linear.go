package tensor

import "fmt"

// Linear is y = act(x)·wᵀ + b with act the identity or SiLU.
//
//	x (N,C) · w (K,C) · b (K), may be absent · y (N,K); all F32
//	dx = (dy·w)·act′(x)   LinearDgrad; reads x only with SiLU
//	dw = Σ_n dy·act(x)ᵀ, db = Σ_n dy   LinearWgrad; in image order within a slice, pairwise over slices
//
// Several linears of one input are one: their weights stacked in K (see nn.Stack).
type Linear struct {
	SiLU bool // on the input
}

// Check compares shapes.
func (p Linear) Check(y, x, w Shape) error {
	if len(x) != 2 || len(w) != 2 || !y.Equal(Shape{x[0], w[0]}) || x[1] != w[1] {
		return fmt.Errorf("want x (N,C), w (K,C), y (N,K), got %v, %v, %v", x, w, y)
	}
	return nil
}
