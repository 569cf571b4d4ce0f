package tensor

// Axpby is y = y.Beta·y + a·x0 + b·x1; x1 may be absent. Elementwise, any shape; the tensors must have
// as many elements. It merges residuals, folds gradients and re-noises samples.
//
// ScaleImages is y[n,…] = s[n]·x[n,…]: x, y (N,D…), s (N) F32.
//
// BiasBackward sums a gradient over pixels:
//
//	demb[n,k] = scale·Σ_{p,q} dy[n,p,q,k]    (N,K) F32, rows Row apart
//	dbias[k]  = Σ_n demb[n,k]                (K) F32: in image order within a slice, pairwise over slices
//
// dy (N,P,Q,K) or (N,K).
const _ = 0
