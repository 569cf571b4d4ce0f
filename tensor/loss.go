package tensor

// PseudoHuber is the metric of [iCT] on the norm over the whole image:
//
//	s = ‖y[n] − target[n]‖²
//	loss[n] = weight[n]·s/(√(s + C²) + C)                              the stable form of weight·(√(s+C²) − C)
//	dy[n]   = S·InvBatch·weight[n]·(y[n] − target[n])/√(s + C²)
//
// y, target, dy (N,D…) F32; weight, loss (N) F32. S is the loss scale that step points to (1 where it points to none):
// it is in dy alone, never in loss. InvBatch is 1/B of the whole batch, whatever part of it this call sees.
type PseudoHuber struct {
	C        float32
	InvBatch float32
}

// L2 is the squared distance: loss[n] = weight[n]·Σ(y−target)², dy = 2·S·InvBatch·weight[n]·(y−target); with Mean both
// are divided by the number of elements of an image ([EDM] sums, [CM] means).
type L2 struct {
	InvBatch float32
	Mean     bool
}
