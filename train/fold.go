package train

import "ict/tensor"

// Gradients of micro-batches are added pairwise, (g₀+g₁)+(g₂+g₃), like a binary counter: spare block l holds the sum of
// 2^l finished parts while bit l of the number of finished parts is set. With slices inside a part added pairwise too,
// the tree is the same for every power-of-two split of a batch.

// carry keeps part j's gradient for later; nothing after the last, whose additions fold made.
func (t *Trainer) carry(j int) {
	if j == t.parts-1 {
		return
	}
	g := t.g.Range(0, t.layout.Size)
	l := 0
	for ; j>>l&1 == 1; l++ {
		t.dev.Axpby(tensor.Acc{Tensor: g, Beta: 1}, 1, t.spare[l], 0, tensor.Tensor{})
	}
	t.dev.Copy(t.spare[l], g)
}

// fold adds what earlier parts left for bucket i to the last part's gradient, small sums first.
func (t *Trainer) fold(i int) {
	s := t.layout.Buckets[i]
	g := t.g.Range(s.From, s.To-s.From)
	for l := range t.spare {
		if (t.parts-1)>>l&1 == 1 {
			t.dev.Axpby(tensor.Acc{Tensor: g, Beta: 1}, 1, t.spare[l].Range(s.From, s.To-s.From), 0, tensor.Tensor{})
		}
	}
}
