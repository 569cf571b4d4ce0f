package philox

import (
	"math"
	"math/big"
	"testing"
)

// fma against exact arithmetic, on random operands and on sums a hair from halfway between two float32 numbers, where
// rounding twice goes wrong.
func TestFMA(t *testing.T) {
	words := make([]uint32, 300000)
	Stream{Seed: 12}.Words(words, 0)
	differs := 0
	check := func(a, b, c float32) {
		sum := new(big.Float).SetPrec(400)
		sum.Mul(big.NewFloat(float64(a)).SetPrec(400), big.NewFloat(float64(b)).SetPrec(400))
		sum.Add(sum, big.NewFloat(float64(c)).SetPrec(400))
		want, _ := sum.Float32()
		if got := fma(a, b, c); got != want {
			t.Fatalf("fma(%x, %x, %x): got %x, want %x", a, b, c, got, want)
		}
		if float32(float64(a)*float64(b)+float64(c)) != want {
			differs++
		}
	}
	number := func(w uint32) float32 { // ±[2^-20, 2^12)
		return math.Float32frombits(w&0x807fffff | (w>>23%32+107)<<23)
	}
	for i := 0; i < 60000; i += 3 {
		check(number(words[i]), number(words[i+1]), number(words[i+2]))
	}
	for i := 60000; i+2 < len(words); i += 3 {
		// a·b = ±(2^-24 + tiny) beside c in ±[1, 2), half of whose last place is 2^-24: (1+u)(1−u+u²…) is 1 up to 2^-48.
		u := float32(words[i]>>20+1) * 0x1p-23
		a, b := (1+u)*0x1p-24, float32(1/float64(1+u))
		c := math.Float32frombits(words[i+1]&0x807fffff | 0x3f800000)
		if words[i+2]&1 == 1 {
			a = -a
		}
		check(a, b, c)
	}
	check(0, 3, 0)
	check(0x1p-24, 1, 1)         // halfway and exact: to even
	check(0x1p-24, 1, 1+0x1p-23) // the other way
	if differs == 0 {
		t.Error("no operands on which rounding twice differs: the halfway branch is not exercised")
	}
}

// ulps returns the distance of got from the exact value in units of its last place.
func ulps(got float32, exact float64) float64 {
	_, e := math.Frexp(exact)
	return math.Abs(float64(got)-exact) / math.Ldexp(1, e-24)
}

func sincosExact(w uint32) (sine, cosine float64) {
	turn := int32(w >> 8)
	q := (turn + 1<<21) >> 22
	s, c := math.Sincos(float64(turn-q<<22) * (math.Pi / (1 << 23)))
	switch q & 3 {
	case 0:
		return s, c
	case 1:
		return c, -s
	case 2:
		return -s, -c
	default:
		return -c, s
	}
}

// Accuracy of normals against float64, over both ends of both words and over random ones.
func TestNormalAccuracy(t *testing.T) {
	const n = 1 << 19
	words := make([]uint32, n)
	Stream{Seed: 99}.Words(words, 0)
	for i := 0; i < 2000; i += 2 {
		words[i], words[i+1] = uint32(i/2)<<8, uint32(i/2)<<8 // u near 0, angle near 0
		words[2000+i] = ^words[i]                             // u near 1
		words[2000+i+1] = uint32(i/16)<<29 + uint32(i/2%8-4)<<8
	}
	var worst float64
	var w [2 * lanes]uint32
	var z [2 * lanes]float32
	for i := 0; i < n; i += len(w) {
		copy(w[:], words[i:])
		boxMuller(&z, &w)
		for k := 0; k < len(w); k += 2 {
			rho := math.Sqrt(-2 * math.Log1p(float64(int32(w[k]>>8)+1-1<<24)*0x1p-24))
			s, c := sincosExact(w[k+1])
			for j, exact := range [...]float64{rho * c, rho * s} {
				if exact == 0 {
					if z[k+j] != 0 {
						t.Fatalf("words %08x %08x: got %v, want 0", w[k], w[k+1], z[k+j])
					}
					continue
				}
				e := ulps(z[k+j], exact)
				if !(e < 3) {
					t.Fatalf("words %08x %08x: got %v, want %v (%.2f units in the last place)", w[k], w[k+1], z[k+j], exact, e)
				}
				worst = max(worst, e)
			}
		}
	}
	if worst < 1 {
		t.Errorf("worst error %.3f units in the last place: not credible for float32", worst)
	}
}

// The largest normal is √(48 ln 2), from the word 0.
func TestNormalTail(t *testing.T) {
	var w [2 * lanes]uint32
	var z [2 * lanes]float32
	boxMuller(&z, &w)
	if want := math.Sqrt(48 * math.Ln2); ulps(z[0], want) > 2 || z[1] != 0 {
		t.Errorf("words 0: got %v and %v, want %v and 0", z[0], z[1], want)
	}
	for k := range w {
		w[k] = 0xffffffff
	}
	boxMuller(&z, &w)
	if z[0] != 0 || z[1] != 0 {
		t.Errorf("words 2^32-1: got %v and %v, want 0 and 0", z[0], z[1])
	}
}

// Moments to order four, the correlation of a pair, and the shares of both tails, within five standard errors.
func TestNormalMoments(t *testing.T) {
	const n = 1 << 20
	z := make([]float32, n)
	Stream{Seed: 2024, Purpose: Noise}.Normals(z, 0)
	var m [5]float64
	var pair, above3, above4 float64
	for i, v := range z {
		x := float64(v)
		p := 1.0
		for k := range m {
			m[k] += p / n
			p *= x
		}
		if i%2 == 1 {
			pair += x * float64(z[i-1]) / (n / 2)
		}
		if math.Abs(x) > 3 {
			above3 += 1. / n
		}
		if math.Abs(x) > 4 {
			above4 += 1. / n
		}
		if math.Abs(x) > 5.7682 {
			t.Fatalf("element %d: %v", i, x)
		}
	}
	p3, p4 := math.Erfc(3/math.Sqrt2), math.Erfc(4/math.Sqrt2)
	for _, c := range []struct {
		name                string
		got, want, variance float64 // variance of one draw's contribution
	}{
		{"mean", m[1], 0, 1},
		{"second moment", m[2], 1, 2},
		{"third moment", m[3], 0, 15},
		{"fourth moment", m[4], 3, 96},
		{"product of a pair", pair, 0, 2},
		{"share beyond 3", above3, p3, p3},
		{"share beyond 4", above4, p4, p4},
	} {
		if d := math.Abs(c.got - c.want); d > 5*math.Sqrt(c.variance/n) {
			t.Errorf("%s: got %v, want %v", c.name, c.got, c.want)
		}
	}
}
