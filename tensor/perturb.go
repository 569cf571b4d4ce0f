package tensor

// ByteRule turns a value of [−1,1] into a byte.
type ByteRule uint8

const (
	Floor ByteRule = iota // trunc(clip((x+1)·127.5, 0, 255)): [CM]; for scores
	Round                 // trunc(clip(x·127.5 + 128, 0, 255)): [EDM]; for pictures
)

func (r ByteRule) String() string {
	if r == Floor {
		return "floor"
	}
	return "round"
}

// ImageLoad is x = u/127.5 − 1, mirrored in W where flip: bytes (N,H,W,C) U8, flip (N) U8 or absent, x (N,H,W,C) F32.
// ImageStore is its way back, by rule.
//
// Perturb reads each byte once, draws one unit normal z per element (purpose 4, training noise; see RandomNormal for the key)
// and writes both members of a pair and what the network reads of them:
//
//	x = u/127.5 − 1 ;  Xt = x + t·z ;  CXt = cin_t·Xt ;  Xr = x + r·z ;  CXr = cin_r·Xr
//
// All (N,H,W,C) F32. Xr and CXr may be absent.
type Perturbed struct {
	Xt, CXt, Xr, CXr Tensor
}

// PerturbLevels are vectors (N) F32: the two levels of each image and c_in at each. R and InR may be absent with Xr.
type PerturbLevels struct {
	T, R, InT, InR Tensor
}
