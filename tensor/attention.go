package tensor

import "fmt"

// Attention is softmax attention over the pixels of one image, no mask:
//
//	o = softmax_k( Scale·q·kᵀ )·v    per head
//	lse[n,h,t] = ln Σ_k exp( Scale·q_t·k )
//
//	qkv (N,H,W,3C), the 3C as (3, heads, d): q rows first, then k, then v · o (N,H,W,C) · lse (N,heads,T) F32, T = H·W
type Attention struct {
	Heads int
	Scale float32 // 1/√d
}

// Check compares shapes.
func (p Attention) Check(o, lse, qkv Shape) error {
	if len(qkv) != 4 || p.Heads < 1 || qkv[3]%(3*p.Heads) != 0 {
		return fmt.Errorf("want qkv (N,H,W,3·heads·d) with %d heads, got %v", p.Heads, qkv)
	}
	if want := (Shape{qkv[0], qkv[1], qkv[2], qkv[3] / 3}); !o.Equal(want) {
		return fmt.Errorf("output got %v, want %v", o, want)
	}
	if want := (Shape{qkv[0], p.Heads, qkv[1] * qkv[2]}); !lse.Equal(want) {
		return fmt.Errorf("lse got %v, want %v", lse, want)
	}
	return nil
}

// MACs counts the multiply-adds of q·k and w·v of one forward pass.
func (p Attention) MACs(qkv Shape) int {
	t := qkv[1] * qkv[2]
	return 2 * qkv[0] * t * t * qkv[3] / 3
}
