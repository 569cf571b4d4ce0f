package optest

import (
	"fmt"
	"math"
	"testing"

	"ict/tensor"
)

// A halfFormat is a 16-bit type by its numbers, for a definition of rounding that has nothing in common with a backend's.
type halfFormat struct {
	d        tensor.DType
	mantissa int // stored bits
	min, max int // exponents of the least and the largest normal numbers
}

var halfFormats = []halfFormat{{tensor.F16, 10, -14, 15}, {tensor.BF16, 7, -126, 127}}

func formatOf(d tensor.DType) halfFormat {
	for _, f := range halfFormats {
		if f.d == d {
			return f
		}
	}
	panic(fmt.Sprintf("optest: %v has not 16 bits", d))
}

// value is the number of a bit pattern, exact in float64.
func (f halfFormat) value(bits uint16) float64 {
	sign := 1.0
	if bits>>15 == 1 {
		sign = -1
	}
	fraction := float64(bits&(1<<f.mantissa-1)) / float64(int(1)<<f.mantissa)
	switch exponent := int(bits&0x7fff) >> f.mantissa; {
	case exponent == f.max-f.min+2 && fraction != 0:
		return math.NaN()
	case exponent == f.max-f.min+2:
		return math.Inf(int(sign))
	case exponent == 0:
		return sign * math.Ldexp(fraction, f.min)
	default:
		return sign * math.Ldexp(1+fraction, f.min+exponent-1)
	}
}

// round is x to the nearest number, ties to even; all steps are exact.
func (f halfFormat) round(x float64) float64 {
	if x == 0 || math.IsInf(x, 0) || math.IsNaN(x) {
		return x
	}
	_, e := math.Frexp(x) // |x| in [½, 1)·2^e
	unit := math.Ldexp(1, max(e-1, f.min)-f.mantissa)
	r := math.RoundToEven(x/unit) * unit
	if math.Abs(r) >= math.Ldexp(1, f.max+1) {
		return math.Inf(int(math.Copysign(1, x)))
	}
	return math.Copysign(r, x)
}

// Rounded are the values of h as type d holds them.
func (h Host) Rounded(d tensor.DType) Host {
	if !d.Half() || h.Shape == nil {
		return h
	}
	f := formatOf(d)
	return h.Map(func(v float32) float32 { return float32(f.round(float64(v))) })
}

// PutAs uploads h, whose values d must hold exactly.
func PutAs(t testing.TB, d tensor.Backend, dt tensor.DType, h Host) tensor.Tensor {
	if !dt.Half() || h.Shape == nil {
		return Put(t, d, h)
	}
	f := formatOf(dt)
	b := make([]byte, 0, 2*len(h.V))
	for _, v := range h.V {
		u := f.bits(v)
		b = append(b, byte(u), byte(u>>8))
	}
	return PutBytes(t, d, b, dt, h.Shape...)
}

// bits is the pattern of a value that the type holds.
func (f halfFormat) bits(v float32) uint16 {
	var sign uint16
	if math.Signbit(float64(v)) {
		sign = 1 << 15
	}
	x := math.Abs(float64(v))
	infinity := uint16((f.max - f.min + 2) << f.mantissa)
	switch {
	case v != v:
		return infinity | 1<<(f.mantissa-1)
	case math.IsInf(x, 1):
		return sign | infinity
	case x < math.Ldexp(1, f.min):
		return sign | uint16(math.Ldexp(x, f.mantissa-f.min))
	}
	fraction, e := math.Frexp(x)
	return sign | uint16((e-f.min)<<f.mantissa) | uint16(math.Ldexp(2*fraction-1, f.mantissa))
}

// GetAs downloads a tensor of any float type.
func GetAs(t testing.TB, d tensor.Backend, x tensor.Tensor) Host {
	if !x.DType.Half() {
		return Get(t, d, x)
	}
	f, b, h := formatOf(x.DType), GetBytes(t, d, x), Zeros(x.Shape...)
	for i := range h.V {
		h.V[i] = float32(f.value(uint16(b[2*i]) | uint16(b[2*i+1])<<8))
	}
	return h
}

// Cast proves Cast on every 16-bit pattern and on what lies between them.
func Cast(t *testing.T, open Open) {
	d := open(t)
	for _, f := range halfFormats {
		all := make([]byte, 2<<16)
		exact := Zeros(1 << 16)
		for i := range exact.V {
			all[2*i], all[2*i+1] = byte(i), byte(i>>8)
			exact.V[i] = float32(f.value(uint16(i)))
		}
		half, wide := PutBytes(t, d, all, f.d, 1<<16), New(t, d, 1<<16)
		d.Cast(wide, half)
		back := New16(t, d, f.d, 1<<16)
		d.Cast(back, wide)
		got, bits := Get(t, d, wide), GetBytes(t, d, back)
		for i, v := range exact.V {
			u := uint16(bits[2*i]) | uint16(bits[2*i+1])<<8
			if v != v {
				if r := f.value(u); got.V[i] == got.V[i] || r == r {
					t.Fatalf("cast of NaN %v %#04x: got %v and back %#04x", f.d, i, got.V[i], u)
				}
			} else if math.Float32bits(got.V[i]) != math.Float32bits(v) || int(u) != i {
				t.Fatalf("cast of %v %#04x: got %v, want %v, and back %#04x", f.d, i, got.V[i], v, u)
			}
		}

		// between neighbours: the middle, and one float32 to either side of it and of both ends
		var x []float32
		for i := range exact.V[:f.finite()] {
			lo, hi := f.value(uint16(i)), f.value(uint16(i+1))
			if math.IsInf(hi, 1) {
				hi = math.Ldexp(1, f.max+1)
			}
			for _, v := range []float64{lo, (lo + hi) / 2} {
				for _, step := range []float32{-1, 0, 1} {
					w := float32(v)
					if step != 0 {
						w = math.Nextafter32(w, step*float32(math.Inf(1)))
					}
					x = append(x, w, -w)
				}
			}
		}
		x = append(x, float32(math.Inf(1)), float32(math.Inf(-1)), float32(math.NaN()), math.MaxFloat32, -math.MaxFloat32,
			math.SmallestNonzeroFloat32, 0x1p-126, 65504, 65519, 65519.996, 65520, 65536)
		for i := range 50000 { // and anything
			x = append(x, math.Float32frombits(uint32(i)*0x9e3779b1))
		}
		src := Host{tensor.Shape{len(x)}, x}
		dst := New16(t, d, f.d, len(x))
		d.Cast(dst, Put(t, d, src))
		want := src.Rounded(f.d)
		for i, v := range GetAs(t, d, dst).V {
			if w := want.V[i]; math.Float32bits(v) != math.Float32bits(w) && (v == v || w == w) {
				t.Fatalf("cast of %v (%#08x) to %v: got %v, want %v", x[i], math.Float32bits(x[i]), f.d, v, w)
			}
		}
	}
}

// finite is the number of patterns from 0 to the largest number.
func (f halfFormat) finite() int { return (f.max - f.min + 2) << f.mantissa }

// New16 is a tensor of type d whose every element is NaN.
func New16(t testing.TB, dev tensor.Backend, d tensor.DType, s ...int) tensor.Tensor {
	return PutAs(t, dev, d, nans(s...))
}
