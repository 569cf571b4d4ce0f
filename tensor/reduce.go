package tensor

// ReduceNonFinite writes how many values of x are not finite: count is 8 bytes, a little-endian uint64.
//
// ReduceHash writes an order-free 64-bit hash of the bits of x (every element hashed with its index, hashes added):
//
//	h = Σ_i mix( bits(x_i) + (i+1)·0x9E3779B97F4A7C15 )     mix: the finaliser of SplitMix64
//
// hash is 8 bytes. Equal tensors give equal hashes on any backend; it compares weights across ranks and resumes.
const _ = 0
