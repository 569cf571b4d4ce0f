package optest

import (
	"bytes"
	"fmt"
	"testing"

	"ict/internal/philox"
	"ict/tensor"
)

// pixels is bytes of every value.
func pixels(name string, s ...int) []byte {
	b := make([]byte, tensor.Shape(s).Elems())
	w := make([]uint32, len(b))
	philox.Stream{Seed: philox.NameStep(name), Purpose: philox.Init}.Words(w, 0)
	for i := range b {
		b[i] = byte(w[i])
	}
	return b
}

// value is the float32 value of a byte.
func value(u byte) float32 { return float32(u)/127.5 - 1 }

// Perturb proves ImageLoad, ImageStore and Perturb.
func Perturb(t *testing.T, open Open) {
	d, e := open(t), Exact(t)
	imageCases(t, d)
	for _, s := range []tensor.Shape{{1, 4, 4, 1}, {3, 7, 5, 3}, {17, 8, 8, 1}, {2, 32, 32, 3}} {
		perturbCases(t, d, e, s)
	}
}

func imageCases(t *testing.T, d tensor.Backend) {
	for _, s := range []tensor.Shape{{1, 16, 16, 1}, {3, 7, 5, 3}, {2, 4, 1, 4}} {
		in, flips := pixels("bytes", s...), []byte{1, 0, 1}[:s[0]]
		for _, flipped := range []bool{false, true} {
			var flip tensor.Tensor
			if flipped {
				flip = PutBytes(t, d, flips, tensor.U8, s[0])
			}
			x := newWide(t, d, nans(s...))
			d.ImageLoad(x.Tensor, PutBytes(t, d, in, tensor.U8, s...), flip)
			want := Zeros(s...)
			for i := range want.V {
				from, w, c := i, i/s[3]%s[2], s[3]
				if flipped && flips[i/(s[1]*s[2]*s[3])] != 0 {
					from += (s[2] - 1 - 2*w) * c
				}
				want.V[i] = value(in[from])
			}
			Same(t, fmt.Sprintf("image_load %v flip=%v", s, flipped), x.get(t, d, "image_load"), want)
		}
	}
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	x := New(t, d, 1, 16, 16, 1)
	d.ImageLoad(x, PutBytes(t, d, all, tensor.U8, 1, 16, 16, 1), tensor.Tensor{})
	for _, rule := range []tensor.ByteRule{tensor.Round, tensor.Floor} {
		back := PutBytes(t, d, make([]byte, 256), tensor.U8, 1, 16, 16, 1)
		d.ImageStore(back, x, rule)
		got, low := GetBytes(t, d, back), 0
		for i, u := range got {
			if int(u) == i-1 {
				low++
			} else if int(u) != i {
				t.Errorf("image_store %v: %d came back as %d", rule, i, u)
			}
		}
		if want := map[tensor.ByteRule]int{tensor.Round: 0, tensor.Floor: 63}[rule]; low != want {
			t.Errorf("image_store %v: %d values are one low, want %d", rule, low, want)
		}
	}
}

type perturbed struct{ xt, cxt, xr, cxr Host }

func perturb(t testing.TB, d tensor.Backend, s tensor.Shape, in, flips []byte, tl, rl, it, ir Host, st tensor.Step, both bool) (p perturbed) {
	var flip tensor.Tensor
	if flips != nil {
		flip = PutBytes(t, d, flips, tensor.U8, s[0])
	}
	xt, cxt, xr, cxr := newWide(t, d, nans(s...)), newWide(t, d, nans(s...)), newWide(t, d, nans(s...)), newWide(t, d, nans(s...))
	out := tensor.Perturbed{Xt: xt.Tensor, CXt: cxt.Tensor}
	levels := tensor.PerturbLevels{T: Put(t, d, tl), InT: Put(t, d, it)}
	if both {
		out.Xr, out.CXr = xr.Tensor, cxr.Tensor
		levels.R, levels.InR = Put(t, d, rl), Put(t, d, ir)
	}
	step, _ := stepBlock(t, d, st, nil)
	d.Perturb(out, PutBytes(t, d, in, tensor.U8, s...), flip, levels, step)
	return perturbed{xt.get(t, d, "perturb"), cxt.get(t, d, "perturb"), xr.get(t, d, "perturb"), cxr.get(t, d, "perturb")}
}

func perturbCases(t *testing.T, d, e tensor.Backend, s tensor.Shape) {
	n, size := s[0], s.Elems()/s[0]
	level := func(v float32) float32 { return 0.002 + 10*v*v }
	tl, rl, it, ir := Normal("t", n).Map(level), Normal("r", n).Map(level), Normal("cin_t", n), Normal("cin_r", n)
	in := pixels("images", s...)
	flips := make([]byte, n)
	for i := range flips {
		flips[i] = byte(i+1) % 2
	}
	st := tensor.Step{Seed: 11, Step: 12, Image0: 1000}
	what := fmt.Sprintf("perturb %v", s)
	got, want := perturb(t, d, s, in, flips, tl, rl, it, ir, st, true), perturb(t, e, s, in, flips, tl, rl, it, ir, st, true)
	for _, c := range []struct {
		name      string
		got, want Host
	}{{" Xt", got.xt, want.xt}, {" CXt", got.cxt, want.cxt}, {" Xr", got.xr, want.xr}, {" CXr", got.cxr, want.cxr}} {
		Near(t, what+c.name, c.got, c.want, 1e-6)
	}
	alone := perturb(t, d, s, in, flips, tl, rl, it, ir, st, false)
	Same(t, what+" Xt without Xr", alone.xt, got.xt)
	Same(t, what+" CXt without CXr", alone.cxt, got.cxt)
	Same(t, what+" absent Xr", alone.xr, nans(s...))

	// by hand: one z for both levels, the noise of RandomNormal, under the image wherever it is mirrored to
	z := randomNormal(t, d, st, uint16(philox.Noise), s...)
	for i := range z.V {
		image, w := i/size, i/s[3]%s[2]
		from := i
		if flips[image] != 0 {
			from += (s[2] - 1 - 2*w) * s[3]
		}
		x := float64(value(in[from]))
		xt, xr := x+float64(tl.V[image])*float64(z.V[i]), x+float64(rl.V[image])*float64(z.V[i])
		if !near32(got.xt.V[i], xt) || !near32(got.xr.V[i], xr) || !near32(got.cxt.V[i], float64(it.V[image])*xt) || !near32(got.cxr.V[i], float64(ir.V[image])*xr) {
			t.Errorf("%s: element %d got Xt %v, Xr %v, want %v, %v", what, i, got.xt.V[i], got.xr.V[i], xt, xr)
			break
		}
	}
	// no image knows who shares its pass: micro-batches and ranks change nothing
	for first := 0; first < n; first += 2 {
		part := func(h Host) Host { return Host{tensor.Shape{1}, h.V[first : first+1]} }
		at := st
		at.Image0 += uint64(first)
		one := append(tensor.Shape{1}, s[1:]...)
		p := perturb(t, d, one, in[first*size:(first+1)*size], flips[first:first+1], part(tl), part(rl), part(it), part(ir), at, true)
		Same(t, what+" alone", p.xt, Host{one, got.xt.V[first*size : (first+1)*size]})
		Same(t, what+" alone, r", p.cxr, Host{one, got.cxr.V[first*size : (first+1)*size]})
	}
	if none := perturb(t, d, s, in, nil, tl, rl, it, ir, st, true); bytes.Contains(flips, []byte{1}) && RelErr(none.xt, got.xt) == 0 && s[2] > 1 {
		t.Errorf("%s: flips change nothing", what)
	}
}

// near32 allows the rounding of two float32 operations on numbers of the size of want, and of ten where they cancel.
func near32(got float32, want float64) bool {
	e := float64(got) - want
	return e*e <= 1e-12*(want*want+100)
}
