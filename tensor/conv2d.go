package tensor

import "fmt"

// Conv2d is a cross-correlation with zeros outside:
//
//	y[n,p,q,k] = Scale · ( Σ_{r,s,c} x[n, p·Stride+r−PadH, q·Stride+s−PadW, c] · w[k,r,s,c] + bias[k] + emb[n,k] + residual[n,p,q,k] )
//
//	x  (N,H,W,C0) beside (N,H,W,C1) in C, used as if concatenated; x1 may be absent
//	w  (K,R,S,C0+C1)
//	y  (N,P,Q,K), P = (H+2·PadH−R)/Stride+1, Q likewise; rounded once, on the way out
//
// Gradients, with dy (N,P,Q,K):
//
//	dx = Scale·(dy ⋆ wᵀ)   Conv2dDgrad reads wt (C0+C1,R,S,K), made by Conv2dPack: wt[c,R−1−r,S−1−s,k] = w[k,r,s,c]
//	dw = Scale·Σ_n x ⋆ dy  Conv2dWgrad; in image order within a slice, pairwise over slices
//
// Gradients of bias and emb are BiasBackward's, of residual Axpby's.
type Conv2d struct {
	Stride     int // 1 or 2
	PadH, PadW int // zeros on each side
	Scale      float32
}

// An Epilogue is what a convolution adds before it scales; each may be absent.
type Epilogue struct {
	Bias     Tensor // (K) F32
	Emb      Tensor // (N,K) F32, rows Row apart
	Residual Tensor // (N,P,Q,K)
}

// Out gives the output shape (N,P,Q,K) of input (N,H,W,C) with filter (K,R,S,C).
func (p Conv2d) Out(x, w Shape) Shape {
	return Shape{x[0], (x[1]+2*p.PadH-w[1])/p.Stride + 1, (x[2]+2*p.PadW-w[2])/p.Stride + 1, w[0]}
}

// Check compares shapes; x1 may be nil. The error says got and want.
func (p Conv2d) Check(y, x0, x1, w Shape) error {
	if len(x0) != 4 || len(w) != 4 || len(y) != 4 {
		return fmt.Errorf("want x (N,H,W,C), w (K,R,S,C), y (N,P,Q,K), got %v, %v, %v", x0, w, y)
	}
	c := x0[3]
	if x1 != nil {
		if len(x1) != 4 || !x1[:3].Equal(x0[:3]) {
			return fmt.Errorf("sources %v and %v differ in N, H or W", x0, x1)
		}
		c += x1[3]
	}
	switch {
	case w[3] != c:
		return fmt.Errorf("input %v has C=%d, filter %v wants C=%d", x0, c, w, w[3])
	case p.Stride != 1 && p.Stride != 2:
		return fmt.Errorf("stride %d, want 1 or 2", p.Stride)
	case p.PadH < 0 || p.PadW < 0 || p.PadH >= w[1] || p.PadW >= w[2]:
		return fmt.Errorf("padding %d,%d does not fit filter %v", p.PadH, p.PadW, w)
	case x0[1]+2*p.PadH < w[1] || x0[2]+2*p.PadW < w[2]:
		return fmt.Errorf("input %v is smaller than filter %v", x0, w)
	case !y.Equal(p.Out(x0, w)):
		return fmt.Errorf("output got %v, want %v", y, p.Out(x0, w))
	}
	return nil
}

// MACs counts the multiply-adds of one forward pass.
func (p Conv2d) MACs(y, w Shape) int { return y.Elems() * w[1] * w[2] * w[3] }
