package optest

import (
	"fmt"
	"math"
	"testing"

	"ict/tensor"
)

const (
	convTol  = 5e-6 // of outputs and of gradients of the input
	wgradTol = 2e-5
)

// A convCase is one shape of convolution.
type convCase struct {
	n, h, w, c0, c1, k, r, s int
	p                        tensor.Conv2d
}

func convolution(n, h, w, c0, c1, k, r, s, stride, padH, padW int) convCase {
	return convCase{n, h, w, c0, c1, k, r, s, tensor.Conv2d{Stride: stride, PadH: padH, PadW: padW, Scale: 0.5}}
}

func (c convCase) String() string {
	return fmt.Sprintf("%d×%d×%d×(%d+%d)→%d %d×%d stride %d padding %d,%d", c.n, c.h, c.w, c.c0, c.c1, c.k, c.r, c.s, c.p.Stride, c.p.PadH, c.p.PadW)
}

// convCases are awkward, then real: the shapes of kernels.md 13.1 as far as a test of seconds allows.
func convCases() []convCase {
	return []convCase{
		convolution(1, 1, 1, 1, 0, 1, 1, 1, 1, 0, 0),
		convolution(3, 4, 4, 8, 0, 8, 1, 1, 1, 0, 0),
		convolution(2, 7, 5, 72, 8, 3, 1, 1, 1, 0, 0),
		convolution(1, 7, 5, 5, 3, 7, 1, 1, 2, 0, 0),
		convolution(17, 4, 4, 3, 0, 8, 3, 3, 1, 1, 1),
		convolution(2, 4, 4, 8, 64, 72, 3, 3, 1, 1, 1),
		convolution(1, 7, 5, 96, 0, 3, 3, 3, 1, 1, 1),
		convolution(3, 7, 5, 40, 33, 2, 3, 3, 1, 1, 1),
		convolution(2, 7, 5, 64, 0, 200, 3, 3, 1, 0, 0),
		convolution(1, 3, 3, 24, 0, 5, 3, 3, 1, 0, 0),
		convolution(2, 1, 2, 2, 1, 4, 3, 3, 1, 1, 1),
		convolution(2, 17, 17, 3, 0, 8, 3, 3, 2, 0, 0),
		convolution(3, 17, 15, 32, 0, 24, 3, 3, 2, 0, 0),
		convolution(2, 8, 10, 24, 8, 3, 3, 3, 2, 1, 1),
		convolution(1, 13, 11, 16, 0, 8, 5, 5, 2, 2, 2),
		convolution(2, 9, 12, 16, 0, 12, 1, 7, 1, 0, 3),
		convolution(2, 12, 9, 16, 64, 12, 7, 1, 1, 3, 0),
		convolution(1, 11, 7, 64, 0, 8, 7, 1, 2, 0, 0),
		convolution(1, 6, 6, 8, 0, 8, 5, 5, 1, 2, 2),
		convolution(9, 28, 28, 1, 0, 8, 3, 3, 1, 1, 1),
		convolution(2, 28, 28, 32, 0, 1, 3, 3, 1, 1, 1),
		convolution(1, 28, 28, 32, 32, 32, 3, 3, 1, 1, 1),
		convolution(1, 32, 16, 512, 0, 5, 3, 3, 1, 1, 1),
	}
}

// convArgs are what a convolution reads.
type convArgs struct {
	x0, x1, w, bias, emb, residual, dy, dx0, dx1, dw Host
}

// args draws arguments; the gradients are what is there before.
func (c convCase) args(draw func(name string, s ...int) Host) convArgs {
	a := convArgs{x0: draw("x0", c.n, c.h, c.w, c.c0), w: draw("w", c.k, c.r, c.s, c.c0+c.c1), bias: draw("bias", c.k), emb: draw("emb", c.n, c.k)}
	if c.c1 > 0 {
		a.x1 = draw("x1", c.n, c.h, c.w, c.c1)
		a.dx1 = draw("dx1", a.x1.Shape...)
	}
	out := c.p.Out(a.x0.Shape, a.w.Shape)
	a.residual, a.dy, a.dx0, a.dw = draw("residual", out...), draw("dy", out...), draw("dx0", a.x0.Shape...), draw("dw", a.w.Shape...)
	return a
}

// fprop runs the launcher with those of bias, emb and residual that are there; row > K puts emb into wider rows.
func (c convCase) fprop(t testing.TB, d tensor.Backend, a convArgs, row int) Host {
	ep := tensor.Epilogue{Bias: Put(t, d, a.bias), Emb: Put(t, d, a.emb), Residual: Put(t, d, a.residual)}
	if row > 0 {
		ep.Emb = newWideRows(t, d, a.emb, row).Tensor
	}
	y := newWide(t, d, Zeros(c.p.Out(a.x0.Shape, a.w.Shape)...))
	d.Conv2dFprop(y.Tensor, Put(t, d, a.x0), Put(t, d, a.x1), Put(t, d, a.w), ep, c.p)
	return y.get(t, d, c.String())
}

// packed is Conv2dPack's copy of the filter.
func packed(t testing.TB, d tensor.Backend, w Host) tensor.Tensor {
	wt := New(t, d, w.Shape[3], w.Shape[1], w.Shape[2], w.Shape[0])
	d.Conv2dPack(wt, Put(t, d, w))
	return wt
}

// poison is a gradient that nobody may read; what is absent stays so.
func poison(h Host) Host {
	if h.Shape == nil {
		return h
	}
	return nans(h.Shape...)
}

// dgrad runs the launcher on those of dx0 and dx1 that are there.
func (c convCase) dgrad(t testing.TB, d tensor.Backend, a convArgs, beta0, beta1 float32) (dx0, dx1 Host) {
	var acc [2]tensor.Acc
	var out [2]wide
	for i, h := range []Host{a.dx0, a.dx1} {
		if h.Shape != nil {
			out[i] = newWide(t, d, h)
			acc[i] = tensor.Acc{Tensor: out[i].Tensor, Beta: [2]float32{beta0, beta1}[i]}
		}
	}
	d.Conv2dDgrad(acc[0], acc[1], Put(t, d, a.dy), packed(t, d, a.w), c.p)
	if a.dx0.Shape != nil {
		dx0 = out[0].get(t, d, c.String())
	}
	if a.dx1.Shape != nil {
		dx1 = out[1].get(t, d, c.String())
	}
	return dx0, dx1
}

func (c convCase) wgrad(t testing.TB, d tensor.Backend, a convArgs, beta float32) Host {
	dw := newWide(t, d, a.dw)
	ws := Work(t, d, d.Conv2dWgradScratch(a.w.Shape, a.dy.Shape))
	d.Conv2dWgrad(tensor.Acc{Tensor: dw.Tensor, Beta: beta}, Put(t, d, a.x0), Put(t, d, a.x1), Put(t, d, a.dy), c.p, ws)
	return dw.get(t, d, c.String())
}

// Conv2d tests Conv2dFprop, Conv2dDgrad, Conv2dWgrad and Conv2dPack.
func Conv2d(t *testing.T, open Open) {
	d, ref := open(t), Exact(t)
	for _, c := range convCases() {
		termsConv(t, d, ref, c, c.args(func(name string, s ...int) Host { return Ints(name, 4, s...) }))
		c.p.Scale = 0.70710677
		a := c.args(Normal)
		checkConv(t, d, ref, c, a)
		gradConv(t, ref, c, a)
	}
	concatConv(t, d)
	nanConv(t, d)
}

// termsConv: on small integers every term, beta and absent output by itself, to the bit.
func termsConv(t testing.TB, d, ref tensor.Backend, c convCase, a convArgs) {
	t.Helper()
	name := func(what string) string { return fmt.Sprintf("%s of %v, integers", what, c) }
	Same(t, name("pack"), Get(t, d, packed(t, d, a.w)), pack(a.w))
	full := c.fprop(t, ref, a, 0)
	Same(t, name("fprop"), c.fprop(t, d, a, 0), full)
	Same(t, name("fprop with emb in wide rows"), c.fprop(t, d, a, c.k+72), full)
	for _, keep := range []string{"nothing", "bias", "emb", "residual"} {
		e := a
		for _, term := range []struct {
			name string
			h    *Host
		}{{"bias", &e.bias}, {"emb", &e.emb}, {"residual", &e.residual}} {
			if term.name != keep {
				*term.h = Host{}
			}
		}
		Same(t, name("fprop with "+keep), c.fprop(t, d, e, 0), c.fprop(t, ref, e, 0))
	}

	want0, want1 := c.dgrad(t, ref, a, 1, 0)
	e := a
	e.dx1 = poison(a.dx1)
	got0, got1 := c.dgrad(t, d, e, 1, 0)
	Same(t, name("dgrad 0 with beta 1"), got0, want0)
	if c.c1 > 0 {
		Same(t, name("dgrad 1 with beta 0"), got1, want1)
		one := a
		one.dx1 = Host{}
		alone, _ := c.dgrad(t, d, one, 1, 0)
		Same(t, name("dgrad 0 alone"), alone, want0)
		one = e
		one.dx0 = Host{}
		_, alone = c.dgrad(t, d, one, 1, 0)
		Same(t, name("dgrad 1 alone"), alone, want1)
	}
	e = a
	e.dx0 = poison(a.dx0)
	want0, want1 = c.dgrad(t, ref, a, 0, 0.5)
	got0, got1 = c.dgrad(t, d, e, 0, 0.5)
	Same(t, name("dgrad 0 with beta 0"), got0, want0)
	if c.c1 > 0 {
		Same(t, name("dgrad 1 with beta ½"), got1, want1)
	}

	want := c.wgrad(t, ref, a, 1)
	Same(t, name("wgrad with beta 1"), c.wgrad(t, d, a, 1), want)
	for i, v := range a.dw.V {
		want.V[i] -= v
	}
	e.dw = poison(a.dw)
	Same(t, name("wgrad with beta 0"), c.wgrad(t, d, e, 0), want)
}

// checkConv compares d with ref on normals.
func checkConv(t testing.TB, d, ref tensor.Backend, c convCase, a convArgs) {
	t.Helper()
	name := func(what string) string { return fmt.Sprintf("%s of %v, normals", what, c) }
	y := c.fprop(t, d, a, 0)
	Near(t, name("fprop"), y, c.fprop(t, ref, a, 0), convTol)
	Same(t, name("fprop again"), c.fprop(t, d, a, 0), y)
	got0, got1 := c.dgrad(t, d, a, 0, 1)
	want0, want1 := c.dgrad(t, ref, a, 0, 1)
	Near(t, name("dgrad 0"), got0, want0, convTol)
	if c.c1 > 0 {
		Near(t, name("dgrad 1"), got1, want1, convTol)
	}
	dw := c.wgrad(t, d, a, 0)
	Near(t, name("wgrad"), dw, c.wgrad(t, ref, a, 0), wgradTol)
	Same(t, name("wgrad again"), c.wgrad(t, d, a, 0), dw)
}

// pack is the definition of Conv2dPack.
func pack(w Host) Host {
	k, r, s, c := w.Shape[0], w.Shape[1], w.Shape[2], w.Shape[3]
	wt := Zeros(c, r, s, k)
	for i, v := range w.V {
		filter, row, col, channel := i/(r*s*c), i/(s*c)%r, i/c%s, i%c
		wt.V[((channel*r+r-1-row)*s+s-1-col)*k+filter] = v
	}
	return wt
}

// gradConv: a convolution is linear in its input and in its filter, so ⟨dy, y⟩ = ⟨dx0, x0⟩ + ⟨dx1, x1⟩ = ⟨dw, w⟩.
func gradConv(t testing.TB, d tensor.Backend, c convCase, a convArgs) {
	t.Helper()
	a.bias, a.emb, a.residual = Host{}, Host{}, Host{}
	dx0, dx1 := c.dgrad(t, d, a, 0, 0)
	y, dw := c.fprop(t, d, a, 0), c.wgrad(t, d, a, 0)
	want, size := Dot(a.dy, y), math.Sqrt(Dot(a.dy, a.dy)*Dot(y, y))
	for what, got := range map[string]float64{"dgrad": Dot(dx0, a.x0) + Dot(dx1, a.x1), "wgrad": Dot(dw, a.w)} {
		if !(math.Abs(got-want) <= 1e-6*size) {
			t.Errorf("%s of %v: slope %v, want %v within %.2g", what, c, got, want, 1e-6*size)
		}
	}
}

// concatConv: two sources are their concatenation, exactly.
func concatConv(t testing.TB, d tensor.Backend) {
	t.Helper()
	for _, two := range []convCase{
		convolution(2, 5, 6, 24, 40, 33, 1, 1, 1, 0, 0), convolution(2, 5, 6, 24, 40, 33, 3, 3, 1, 1, 1),
		convolution(2, 5, 6, 4, 3, 33, 3, 3, 1, 1, 1), convolution(2, 5, 6, 24, 40, 3, 3, 3, 1, 1, 1), convolution(2, 7, 9, 24, 40, 33, 3, 3, 2, 0, 0),
	} {
		a := two.args(func(name string, s ...int) Host { return Ints(name, 4, s...) })
		one := two
		one.c0, one.c1 = two.c0+two.c1, 0
		b := a
		b.x0, b.x1, b.dx0, b.dx1 = concat(a.x0, a.x1), Host{}, concat(a.dx0, a.dx1), Host{}
		name := "concat in " + two.String()
		Same(t, name+": fprop", two.fprop(t, d, a, 0), one.fprop(t, d, b, 0))
		dx0, dx1 := two.dgrad(t, d, a, 1, 1)
		dx, _ := one.dgrad(t, d, b, 1, 1)
		Same(t, name+": dgrad", concat(dx0, dx1), dx)
		Same(t, name+": wgrad", two.wgrad(t, d, a, 0), one.wgrad(t, d, b, 0))
	}
}

// concat joins two arrays in their channels.
func concat(x0, x1 Host) Host {
	c0, c1 := x0.Shape.Last(), x1.Shape.Last()
	y := Zeros(append(append(tensor.Shape{}, x0.Shape[:3]...), c0+c1)...)
	for i := range len(y.V) / (c0 + c1) {
		copy(y.V[i*(c0+c1):], x0.V[i*c0:(i+1)*c0])
		copy(y.V[i*(c0+c1)+c0:], x1.V[i*c1:(i+1)*c1])
	}
	return y
}

// nanConv: what is not a number goes through, into the pixels that it reaches and no others.
func nanConv(t testing.TB, d tensor.Backend) {
	t.Helper()
	for _, c := range []convCase{convolution(2, 9, 9, 32, 0, 32, 3, 3, 1, 1, 1), convolution(2, 9, 9, 2, 0, 32, 3, 3, 1, 1, 1), convolution(2, 9, 9, 32, 0, 1, 3, 3, 1, 1, 1)} {
		a := c.args(Normal)
		a.residual = Host{}
		a.x0.V[(4*9+4)*c.c0] = float32(math.NaN())
		y := c.fprop(t, d, a, 0)
		for i, v := range y.V {
			p, q := i/c.k/9, i/c.k%9
			if reached := p >= 3 && p <= 5 && q >= 3 && q <= 5; reached != (v != v) {
				t.Errorf("NaN in %v: pixel %d,%d got %v", c, p, q, v)
				break
			}
		}
	}
}
