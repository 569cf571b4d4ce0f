package tensor

// Precond combines the network's raw output with its noisy input, per image:
//
//	f[n,…] = skip[n]·x[n,…] + out[n]·raw[n,…]        skip, out (N) F32; f, x, raw (N,H,W,C) F32
//	draw   = out[n]·df
//
// It is the preconditioning f = c_skip·x + c_out·F of [EDM] and [CM].
type Precond struct {
	Clamp bool // f to [−1,1]; for sampling
}
