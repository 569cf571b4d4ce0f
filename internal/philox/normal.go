package philox

import "math"

// Normals fills dst with standard normal numbers of elements first, first+1, …, by Box–Muller [BoxMuller] on the word pairs
// (0,1) and (2,3) of a block. The even element of a pair is the cosine, the odd one the sine.
//
//	ρ cos φ, ρ sin φ    ρ = √(−2 ln u), u = ((w0 >> 8) + 1)·2^-24, φ = 2π(w1 >> 8)·2^-24
//
// |z| ≤ √(48 ln 2) = 5.77. All arithmetic is float32, rounded to nearest after each product, fused multiply-add and
// square root; the result is within 3 units in the last place of the exact value of the formula.
func (s Stream) Normals(dst []float32, first uint64) {
	var w [2 * lanes]uint32
	var z [2 * lanes]float32
	for len(dst) > 0 {
		odd := int(first % 2)
		n := min(odd+len(dst), 2*lanes)
		s.Words(w[:(n+1)&^1], first-uint64(odd))
		boxMuller(&z, &w)
		n = copy(dst, z[odd:])
		dst, first = dst[n:], first+uint64(n)
	}
}

// lanes is how many pairs are computed side by side: independent lanes keep the processor busy where the chain of one
// polynomial would wait for each of its results.
const lanes = 32

type vector [lanes]float32

// boxMuller makes the normals 2k and 2k+1 of the words 2k and 2k+1.
func boxMuller(z *[2 * lanes]float32, w *[2 * lanes]uint32) {
	var ln, sine, cosine vector
	lnUnit(&ln, w)
	sincosTurn(&sine, &cosine, w)
	for k := range ln {
		rho := float32(math.Sqrt(float64(-2 * ln[k])))
		z[2*k] = rho * cosine[k]
		z[2*k+1] = rho * sine[k]
	}
}

// Minimax coefficients, fitted for this package, each rounded to float32 before the next higher one was fitted.
const (
	// ln(1+f) = f + f²(−1/2 + f P(f)) on [√½ − 1, √2 − 1]; relative error of the sum with the exponent below 4.0e-9.
	ln0 = 0x1.55551ep-2
	ln1 = -0x1.0002b4p-2
	ln2 = 0x1.99b412p-3
	ln3 = -0x1.545ddcp-3
	ln4 = 0x1.219cd8p-3
	ln5 = -0x1.0d3364p-3
	ln6 = 0x1.0be530p-3
	ln7 = -0x1.4813dcp-4

	lnOf2 = 0x1.62e430p-1 // ln 2

	// sin(πx/2) = x·halfPi + x S(x²) on |x| ≤ 1/2; relative error below 3.5e-9.
	halfPi = 0x1.921fb6p+0
	sin0   = -0x1.a32cf2p-25
	sin1   = -0x1.4abbbap-1
	sin2   = 0x1.465eeap-4
	sin3   = -0x1.2da156p-8

	// cos(πx/2) = 1 + x² C(x²) on |x| ≤ 1/2; relative error below 4.4e-10.
	cos0 = -0x1.3bd3ccp+0
	cos1 = 0x1.03c1b0p-2
	cos2 = -0x1.55b2b4p-6
	cos3 = 0x1.d4f632p-11
)

// lnUnit sets dst to ln(((w0 >> 8) + 1)·2^-24). The number is split as 2^e·(1+f) with 1+f in [√½, √2), exactly.
func lnUnit(dst *vector, w *[2 * lanes]uint32) {
	const sqrtHalf = 0x3f3504f3 // bits of √½
	var e, f, ff, p vector
	for k := range f {
		b := math.Float32bits(float32(w[2*k]>>8+1)*0x1p-24) + (0x3f800000 - sqrtHalf)
		e[k] = float32(int32(b>>23) - 127)
		f[k] = math.Float32frombits(b&0x7fffff+sqrtHalf) - 1
		ff[k] = f[k] * f[k]
	}
	horner(&p, &f, ln7, ln6, ln5, ln4, ln3, ln2, ln1, ln0, -0.5)
	for k := range dst {
		dst[k] = fma(e[k], lnOf2, fma(ff[k], p[k], f[k]))
	}
}

// sincosTurn sets sine and cosine of (w1 >> 8)·2^-24 turns. The angle is split as quarter turns q + x with x in
// [−1/2, 1/2), exactly; q then exchanges sine and cosine and sets their signs.
func sincosTurn(sine, cosine *vector, w *[2 * lanes]uint32) {
	var x, xx vector
	var q [lanes]uint32
	for k := range x {
		turn := w[2*k+1] >> 8
		q[k] = (turn + 1<<21) >> 22
		x[k] = float32(int32(turn)-int32(q[k]<<22)) * 0x1p-22
		xx[k] = x[k] * x[k]
	}
	horner(sine, &xx, sin3, sin2, sin1, sin0)
	horner(cosine, &xx, cos3, cos2, cos1, cos0, 1)
	for k := range x {
		s := math.Float32bits(fma(x[k], halfPi, x[k]*sine[k]))
		c := math.Float32bits(cosine[k])
		swap := (s ^ c) & -(q[k] & 1)
		sine[k] = math.Float32frombits(s ^ swap ^ q[k]>>1<<31)
		cosine[k] = math.Float32frombits(c ^ swap ^ (q[k]+1)>>1<<31)
	}
}

// horner sets dst to the polynomial in x whose coefficients are given from the highest power down.
func horner(dst, x *vector, highest float32, rest ...float32) {
	for k := 0; k < lanes; k += 4 {
		x0, x1, x2, x3 := x[k], x[k+1], x[k+2], x[k+3]
		p0, p1, p2, p3 := highest, highest, highest, highest
		for _, c := range rest {
			p0, p1, p2, p3 = fma(p0, x0, c), fma(p1, x1, c), fma(p2, x2, c), fma(p3, x3, c)
		}
		dst[k], dst[k+1], dst[k+2], dst[k+3] = p0, p1, p2, p3
	}
}

// fma returns a·b + c with one rounding to float32: C's fmaf, bit for bit, while the result is not subnormal. The product
// is exact in float64, so the sum is rounded twice, to float64 and to float32. That differs from one rounding only where
// the float64 sum lies halfway between two float32 numbers and is itself inexact: then it is first moved, by a unit or
// two in its last place, towards the exact sum.
func fma(a, b, c float32) float32 {
	p, q := float64(a)*float64(b), float64(c)
	s := p + q
	if math.Float64bits(s)<<35 == 1<<63 {
		v := s - p
		if d := ((p - (s - v)) + (q - v)) * s; d > 0 {
			s *= 1 + 0x1p-51
		} else if d < 0 {
			s *= 1 - 0x1p-51
		}
	}
	return float32(s)
}
