package cpu

import (
	"math"
	"slices"
	"testing"
	"testing/quick"

	"ict/tensor"
)

func TestCastTwins(t *testing.T) {
	for _, n := range []int{1, 7, 8, 33, 70001} {
		x, b := make([]float32, n), make([]uint16, n)
		for i := range x {
			x[i], b[i] = math.Float32frombits(uint32(i)*0x9e3779b1), uint16(i)
		}
		got, want := make([]uint16, n), make([]uint16, n)
		for what, f := range map[string][2]func([]uint16, []float32){"f16": {narrowF16, narrowF16Go}, "bf16": {narrowBF16, narrowBF16Go}} {
			f[0](got, x)
			f[1](want, x)
			if !slices.Equal(got, want) {
				t.Errorf("to %s: %d elements differ from the definition", what, n)
			}
		}
		v, w := make([]float32, n), make([]float32, n)
		for what, f := range map[string][2]func([]float32, []uint16){"f16": {widenF16, widenF16Go}, "bf16": {widenBF16, widenBF16Go}} {
			f[0](v, b)
			f[1](w, b)
			sameBits(t, "from "+what, v, w)
		}
		roundTF32(v, x)
		roundTF32Go(w, x)
		sameBits(t, "to tf32", v, w)
	}
}

// tf32 has ten bits of mantissa and float32's exponents; halfway is rounded away from zero.
func TestRoundTF32(t *testing.T) {
	for _, c := range [][2]float32{
		{1, 1}, {1 + 0x1p-10, 1 + 0x1p-10}, {1 + 0x1p-11, 1 + 0x1p-10}, {-1 - 0x1p-11, -1 - 0x1p-10}, {1 + 0x1.ffep-12, 1},
		{0x1p-149, 0}, {0x1p-137, 0x1p-136}, {65504, 65504}, {0x1p-24, 0x1p-24}, {math.MaxFloat32, inf}, {inf, inf}, {-inf, -inf}, {nan, nan},
	} {
		got := []float32{0}
		roundTF32(got, []float32{c[0]})
		sameBits(t, "tf32", got, []float32{c[1]})
	}
	nearest := func(bits uint32) bool {
		x := math.Float32frombits(bits)
		r := []float32{x}
		roundTF32(r, r)
		e := int(bits>>23&0xff) - 127
		return x != x && r[0] != r[0] || math.IsInf(float64(r[0]), 0) ||
			math.Float32bits(r[0])&0x1fff == 0 && math.Abs(float64(r[0])-float64(x)) <= math.Ldexp(1, max(e, -126)-11)
	}
	if err := quick.Check(nearest, &quick.Config{MaxCount: 20000}); err != nil {
		t.Error(err)
	}
}

// The products of convolutions and attention are of rounded operands, in both modes, but for those of images; linears and
// what is added stay float32.
func TestTF32(t *testing.T) {
	open := func(o Options) *Device {
		d, err := Open(o)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	put := func(image uint32, round bool, s ...int) tensor.Tensor {
		n := tensor.Shape(s).Elems()
		m := &memory{alignedBytes(4 * n)}
		v := view[float32](m.b)
		copy(v, normals(image, n))
		if round {
			roundTF32(v, v)
		}
		return tensor.Of(m, 0, tensor.F32, s...)
	}
	distance := func(a, b []float32) float64 {
		var diff, ref float64
		for i := range a {
			diff += float64(a[i]-b[i]) * float64(a[i]-b[i])
			ref += float64(b[i]) * float64(b[i])
		}
		return math.Sqrt(diff / ref)
	}
	type attended struct{ o, dqkv []float32 }
	var fast attended
	for _, exact := range []bool{false, true} {
		tf, plain := open(Options{Exact: exact, TF32: true}), open(Options{Exact: exact})
		run := func(d *Device, round bool, c int) map[string][]float32 {
			x, w, dy := put(0, round, 3, 6, 5, c), put(1, round, 8, 3, 3, c), put(2, round, 3, 6, 5, 8)
			wt, y, dx, dw := put(3, round, c, 3, 3, 8), put(4, false, 3, 6, 5, 8), put(5, false, 3, 6, 5, c), put(6, false, 8, 3, 3, c)
			p := tensor.Conv2d{Stride: 1, PadH: 1, PadW: 1, Scale: 1}
			d.Conv2dFprop(y, x, tensor.Tensor{}, w, tensor.Epilogue{Bias: put(7, false, 8)}, p)
			d.Conv2dDgrad(tensor.Write(dx), tensor.Acc{}, dy, wt, p)
			bytes := d.Conv2dWgradScratch(w.Shape, dy.Shape)
			ws := &memory{alignedBytes(bytes)}
			d.Conv2dWgrad(tensor.Write(dw), x, tensor.Tensor{}, dy, p, tensor.Of(ws, 0, tensor.U8, bytes))
			lin := put(8, false, 3, 8)
			d.LinearFprop(lin, put(9, false, 3, 7), put(10, false, 8, 7), tensor.Tensor{}, tensor.Linear{})
			return map[string][]float32{"fprop": d.in(y), "dgrad": d.in(dx), "wgrad": d.in(dw), "linear": d.in(lin)}
		}
		got, rounded, full := run(tf, false, 16), run(plain, true, 16), run(plain, false, 16)
		for op, v := range got {
			if op == "linear" {
				sameBits(t, op, v, full[op])
				continue
			}
			sameBits(t, op+" in tf32", v, rounded[op])
			if slices.Equal(v, full[op]) {
				t.Errorf("%s in tf32 is that in float32", op)
			}
		}
		got, full = run(tf, false, 3), run(plain, false, 3)
		for op, v := range got {
			sameBits(t, op+" of an image in tf32", v, full[op])
		}

		attend := func(d *Device, round bool) attended {
			o, lse := put(0, false, 2, 5, 5, 16), put(1, false, 2, 2, 25)
			qkv, p := put(2, round, 2, 5, 5, 48), tensor.Attention{Heads: 2, Scale: 0.3}
			d.AttentionForward(o, lse, qkv, p)
			dqkv := put(3, false, 2, 5, 5, 48)
			d.AttentionBackward(tensor.Write(dqkv), put(4, round, 2, 5, 5, 16), o, qkv, lse, p)
			return attended{slices.Clone(d.in(o)), slices.Clone(d.in(dqkv))}
		}
		a, r, b := attend(tf, false), attend(tf, true), attend(plain, true) // b lacks the rounding of probabilities and of their gradients
		sameBits(t, "attention in tf32, of operands rounded before", a.o, r.o)
		sameBits(t, "gradient of attention in tf32, of operands rounded before", a.dqkv, r.dqkv)
		if tf.lent != 0 || len(tf.loans) == 0 {
			t.Errorf("%d of %d copies are still on loan", tf.lent, len(tf.loans))
		}
		for what, e := range map[string]float64{"attention": distance(a.o, b.o), "its gradient": distance(a.dqkv, b.dqkv)} {
			if !(e > 5e-5 && e < 1e-3) {
				t.Errorf("%s in tf32: %.2g from that of rounded arguments, want about 2e-4", what, e)
			}
		}
		if !exact {
			fast = a
			continue
		}
		if e := distance(fast.o, a.o); e > 1e-6 {
			t.Errorf("attention in tf32: %.2g from the definition", e)
		}
		// The fast path takes Σ do·o, of rounded probabilities, where the definition has Σ p·dp: 1.4e-4. Without its own roundings it is 2e-4.
		if e := distance(fast.dqkv, a.dqkv); e > 1.7e-4 {
			t.Errorf("gradient of attention in tf32: %.2g from the definition, want 1.4e-4", e)
		}
	}
}
