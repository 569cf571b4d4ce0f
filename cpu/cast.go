package cpu

import (
	"fmt"
	"math"

	"ict/tensor"
)

// Cast is defined in tensor/cast.go.
func (d *Device) Cast(dst, src tensor.Tensor) {
	defer d.endLoans()
	sameElems("cast", src, dst)
	for _, t := range []tensor.Tensor{dst, src} {
		if t.DType != tensor.F32 && !t.DType.Half() {
			panic(fmt.Sprintf("cpu: cast: got %v into %v, want f32 into f16 or bf16, or back", src.DType, dst.DType))
		}
	}
	switch {
	case dst.DType == src.DType || dst.DType.Half() && src.DType.Half():
		panic(fmt.Sprintf("cpu: cast: got %v into %v, want f32 into f16 or bf16, or back", src.DType, dst.DType))
	case dst.DType.Half():
		d.rounded(dst, d.in(src))
	default:
		out, b := d.out(dst), view[uint16](d.bytes(src))
		d.ranges(len(b), pointwiseRun, func(_, from, to int) { widen(out[from:to], b[from:to], src.DType) })
	}
}

// widen writes the 16-bit numbers b of type t as float32.
func widen(v []float32, b []uint16, t tensor.DType) {
	if t == tensor.F16 {
		widenF16(v, b)
	} else {
		widenBF16(v, b)
	}
}

// roundHalf rounds v to the 16-bit type t.
func roundHalf(b []uint16, v []float32, t tensor.DType) {
	if t == tensor.F16 {
		narrowF16(b, v)
	} else {
		narrowBF16(b, v)
	}
}

// The Go twins of cast.c.

const (
	f32Inf       = 0x7f800000
	f16Inf       = 0x7c00
	f16Rebias    = (127 - 15) << 23 // between the exponents of F16, moved to where float32 has them, and of float32
	f16Normal    = f16Rebias + 1<<23
	f16Beyond    = 0x47800000 // 2^16
	f16Subnormal = 0x1p-24    // the least
)

func widenF16Go(v []float32, b []uint16) {
	v = v[:len(b)]
	for i, h := range b {
		magnitude := uint32(h) & 0x7fff
		bits := magnitude<<13 + f16Rebias
		switch {
		case magnitude >= f16Inf:
			bits = magnitude<<13 | f32Inf
		case magnitude < 1<<10:
			bits = math.Float32bits(float32(magnitude) * f16Subnormal)
		}
		v[i] = math.Float32frombits(uint32(h)&0x8000<<16 | bits)
	}
}

// narrowF16Go rounds to nearest, ties to even.
func narrowF16Go(b []uint16, v []float32) {
	v = v[:len(b)]
	for i, x := range v {
		bits := math.Float32bits(x)
		magnitude := bits & 0x7fffffff
		var h uint32
		switch {
		case magnitude > f32Inf: // a quiet NaN
			h = f16Inf | 0x200 | magnitude>>13&0x3ff
		case magnitude >= f16Normal: // what rounds up to 2^16, the infinity too, lies at or beyond f16Inf
			h = min((min(magnitude, f16Beyond)+0xfff+magnitude>>13&1-f16Rebias)>>13, f16Inf)
		default: // beside ½ the lowest bit of float32 is the least subnormal
			h = math.Float32bits(math.Float32frombits(magnitude)+0.5) - 0x3f000000
		}
		b[i] = uint16(bits>>16&0x8000 | h)
	}
}

func widenBF16Go(v []float32, b []uint16) {
	v = v[:len(b)]
	for i, h := range b {
		v[i] = math.Float32frombits(uint32(h) << 16)
	}
}

// narrowBF16Go rounds to nearest, ties to even; past the largest number that gives the infinity.
func narrowBF16Go(b []uint16, v []float32) {
	v = v[:len(b)]
	for i, x := range v {
		bits := math.Float32bits(x)
		if x != x {
			b[i] = uint16(bits>>16 | 0x40) // a quiet NaN
			continue
		}
		b[i] = uint16((bits + 0x7fff + bits>>16&1) >> 16)
	}
}

// roundTF32Go rounds to ten bits of mantissa, ties away from zero, as the instruction cvt.rna.tf32 does; past the largest
// number that gives the infinity. r may be v.
func roundTF32Go(r, v []float32) {
	r = r[:len(v)]
	for i, x := range v {
		if x == x {
			x = math.Float32frombits((math.Float32bits(x) + 0x1000) &^ 0x1fff)
		}
		r[i] = x
	}
}
