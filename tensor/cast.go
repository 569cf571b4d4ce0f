package tensor

// Cast is dst = src, from F32 to F16 or BF16 or back; the tensors must have as many elements.
//
// To 16 bits it rounds to nearest, ties to even. F16 keeps its subnormals; what is beyond the largest number becomes ±Inf
// (from 65,520 on in F16), and NaN stays NaN. The way back is exact. Every launcher that stores a 16-bit type rounds so.
const _ = 0
