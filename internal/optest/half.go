package optest

import (
	"fmt"
	"math"
	"testing"

	"ict/tensor"
)

// A halfBudget is how far results of 16-bit storage may be from the reference on the same rounded inputs, before its rounding.
type halfBudget struct {
	out, f32, wgrad, normBackward, attention, attentionBackward float64
}

var halfBudgets = map[tensor.DType]halfBudget{
	tensor.F16:  {4e-4, 5e-5, 1e-4, 5e-4, 7e-4, 1.5e-3},
	tensor.BF16: {3e-3, 5e-5, 1e-4, 4e-3, 5e-3, 1e-2},
}

// halfCase is one backend and type.
type halfCase struct {
	*testing.T
	d, ref tensor.Backend
	dt     tensor.DType
	tol    halfBudget
}

// Half proves the launchers that take 16-bit activations: two of a kind, and mixed with float32 where the tape mixes them.
func Half(t *testing.T, open Open) {
	for _, f := range halfFormats {
		c := halfCase{t, open(t), Exact(t), f.d, halfBudgets[f.d]}
		for _, s := range []convCase{
			convolution(2, 7, 5, 72, 8, 8, 1, 1, 1, 0, 0), convolution(3, 8, 8, 64, 0, 24, 3, 3, 1, 1, 1),
			convolution(2, 4, 4, 8, 64, 72, 3, 3, 1, 1, 1), convolution(9, 9, 9, 32, 0, 24, 3, 3, 2, 0, 0),
		} {
			c.conv(s, f.d, f.d)
		}
		for _, s := range []convCase{ // images of few channels, and what no network does: plain products of any shape
			convolution(9, 8, 8, 3, 0, 16, 3, 3, 1, 1, 1), convolution(2, 17, 17, 1, 0, 16, 3, 3, 2, 0, 0),
			convolution(2, 7, 5, 16, 8, 24, 3, 3, 1, 1, 1),
		} {
			c.conv(s, tensor.F32, f.d)
		}
		c.conv(convolution(9, 8, 8, 32, 0, 3, 3, 3, 1, 1, 1), f.d, tensor.F32)
		c.norms()
		c.attentions()
		c.rest()
		c.overflow()
	}
}

func (c halfCase) name(what string, s any) string {
	return fmt.Sprintf("%s of %v in %v", what, s, c.dt)
}

func (c halfCase) normal(name string, s ...int) Host { return Normal(name, s...).Rounded(c.dt) }

// conv: input and filter in xt, output and its gradient in yt; on small integers, whose sums are exact and rounded once, and
// on normals.
func (c halfCase) conv(s convCase, xt, yt tensor.DType) {
	c.Helper()
	for _, ints := range []bool{true, false} {
		draw := Normal
		if ints {
			draw = func(name string, s ...int) Host { return Ints(name, 1, s...) }
		} else {
			s.p.Scale = 0.70710677
		}
		a := s.args(draw)
		for _, h := range []*Host{&a.x0, &a.x1, &a.w, &a.dx0, &a.dx1} {
			*h = h.Rounded(xt)
		}
		a.residual, a.dy = a.residual.Rounded(yt), a.dy.Rounded(yt)
		check := func(what string, got tensor.Tensor, want Host, tol float64) {
			c.Helper()
			g := GetAs(c, c.d, got)
			if ints {
				Same(c, c.name(what+", integers,", s), g, want.Rounded(got.DType))
				return
			}
			Near(c, c.name(what, s), g, want, tol)
		}
		c.fpropWgrad(s, a, xt, yt, check)
		c.dgrad(s, a, xt, yt, check)
	}
}

// A convCheck compares a result with the reference.
type convCheck func(what string, got tensor.Tensor, want Host, tol float64)

// outTol is the tolerance of an output in dt.
func (c halfCase) outTol(dt tensor.DType) float64 {
	if dt.Half() {
		return c.tol.out
	}
	return c.tol.f32
}

func (c halfCase) put(dt tensor.DType, h Host) tensor.Tensor { return PutAs(c, c.d, dt, h) }

func (c halfCase) fpropWgrad(s convCase, a convArgs, xt, yt tensor.DType, check convCheck) {
	y := New16(c, c.d, yt, s.p.Out(a.x0.Shape, a.w.Shape)...)
	c.d.Conv2dFprop(y, c.put(xt, a.x0), c.put(xt, a.x1), c.put(xt, a.w),
		tensor.Epilogue{Bias: Put(c, c.d, a.bias), Emb: Put(c, c.d, a.emb), Residual: c.put(yt, a.residual)}, s.p)
	check("fprop", y, s.fprop(c, c.ref, a, 0), c.outTol(yt))

	dw := Put(c, c.d, a.dw)
	c.d.Conv2dWgrad(tensor.Acc{Tensor: dw, Beta: 1}, c.put(xt, a.x0), c.put(xt, a.x1), c.put(yt, a.dy), s.p,
		Work(c, c.d, c.d.Conv2dWgradScratch(a.w.Shape, a.dy.Shape)))
	check("wgrad", dw, s.wgrad(c, c.ref, a, 1), c.tol.wgrad)
}

func (c halfCase) dgrad(s convCase, a convArgs, xt, yt tensor.DType, check convCheck) {
	wt := New16(c, c.d, xt, a.w.Shape[3], s.r, s.s, s.k)
	c.d.Conv2dPack(wt, c.put(xt, a.w))
	Same(c, c.name("pack", s), GetAs(c, c.d, wt), pack(a.w))
	dx0 := tensor.Acc{Tensor: c.put(xt, a.dx0), Beta: 1}
	var dx1 tensor.Acc
	if s.c1 > 0 {
		dx1 = tensor.Write(New16(c, c.d, xt, a.dx1.Shape...))
	}
	c.d.Conv2dDgrad(dx0, dx1, c.put(yt, a.dy), wt, s.p)
	want0, want1 := s.dgrad(c, c.ref, a, 1, 0)
	check("dgrad 0, beta 1,", dx0.Tensor, want0, c.outTol(xt))
	if s.c1 > 0 {
		check("dgrad 1", dx1.Tensor, want1, c.outTol(xt))
	}
}

func (c halfCase) norms() {
	for _, s := range []struct{ n, h, w, c0, c1, groups int }{{3, 7, 5, 16, 8, 3}, {2, 4, 4, 384, 192, 32}, {9, 8, 8, 32, 0, 8}} {
		a := newGroupNorm(s.n, s.h, s.w, s.c0, s.c1, s.groups, 3).modulated(0)
		a.p.SiLU, a.p.Dropout = true, tensor.Dropout{P: 0.25, Op: 1}
		a.x0, a.x1, a.dy = a.x0.Rounded(c.dt), a.x1.Rounded(c.dt), a.dy.Rounded(c.dt)
		want := a.forward(c, c.ref)
		x0, x1 := PutAs(c, c.d, c.dt, a.x0), PutAs(c, c.d, c.dt, a.x1)
		_, _, gamma, beta, ss, step := a.put(c, c.d)
		y, mean, rstd := New16(c, c.d, c.dt, a.dy.Shape...), New(c, c.d, want.mean.Shape...), New(c, c.d, want.mean.Shape...)
		c.d.GroupNormForward(y, mean, rstd, x0, x1, gamma, beta, ss, step, a.p)
		Near(c, c.name("groupnorm", s), GetAs(c, c.d, y), want.y, c.tol.out)
		Near(c, c.name("groupnorm mean", s), Get(c, c.d, mean), want.mean, groupNormTol)
		Near(c, c.name("groupnorm rstd", s), Get(c, c.d, rstd), want.rstd, groupNormTol)

		grads := a.backward(c, c.ref, want, 0, "")
		before := c.normal("dx0", a.x0.Shape...)
		dx0, dx1 := PutAs(c, c.d, c.dt, before), tensor.Tensor{}
		if s.c1 > 0 {
			dx1 = New16(c, c.d, c.dt, a.x1.Shape...)
		}
		dgamma, dbeta, dss := New(c, c.d, a.gamma.Shape...), New(c, c.d, a.gamma.Shape...), New(c, c.d, a.scaleShift.Shape...)
		c.d.GroupNormBackward(tensor.Acc{Tensor: dx0, Beta: 1}, tensor.Write(dx1), tensor.Write(dgamma), tensor.Write(dbeta), tensor.Write(dss),
			PutAs(c, c.d, c.dt, a.dy), x0, x1, Put(c, c.d, want.mean), Put(c, c.d, want.rstd), gamma, beta, ss, step, a.p,
			Work(c, c.d, c.d.GroupNormBackwardScratch(a.x0.Shape, a.x1.Shape)))
		Near(c, c.name("groupnorm dx0, beta 1,", s), GetAs(c, c.d, dx0), added(before, 1, grads.dx0), c.tol.normBackward)
		if s.c1 > 0 {
			Near(c, c.name("groupnorm dx1", s), GetAs(c, c.d, dx1), grads.dx1, c.tol.normBackward)
		}
		for what, pair := range map[string][2]Host{"dgamma": {Get(c, c.d, dgamma), grads.dgamma}, "dbeta": {Get(c, c.d, dbeta), grads.dbeta},
			"dscale-shift": {Get(c, c.d, dss), grads.dscaleShift}} {
			Near(c, c.name("groupnorm "+what, s), pair[0], pair[1], c.tol.wgrad)
		}
	}
}

func (c halfCase) attentions() {
	for _, s := range []struct{ n, h, w, heads, width int }{{2, 7, 5, 2, 8}, {1, 8, 8, 1, 256}, {3, 4, 4, 3, 64}} {
		p := tensor.Attention{Heads: s.heads, Scale: float32(1 / math.Sqrt(float64(s.width)))}
		qkv, do := c.normal("qkv", s.n, s.h, s.w, 3*s.heads*s.width), c.normal("do", s.n, s.h, s.w, s.heads*s.width)
		want := attentionForward(c, c.ref, qkv, p)
		o, lse, x := New16(c, c.d, c.dt, do.Shape...), New(c, c.d, want.lse.Shape...), PutAs(c, c.d, c.dt, qkv)
		c.d.AttentionForward(o, lse, x, p)
		Near(c, c.name("attention", s), GetAs(c, c.d, o), want.o, c.tol.attention)
		Near(c, c.name("attention lse", s), Get(c, c.d, lse), want.lse, c.tol.attention)
		before := c.normal("dqkv", qkv.Shape...)
		dqkv := PutAs(c, c.d, c.dt, before)
		c.d.AttentionBackward(tensor.Acc{Tensor: dqkv, Beta: 1}, PutAs(c, c.d, c.dt, do), o, x, lse, p)
		Near(c, c.name("attention backward, beta 1,", s), GetAs(c, c.d, dqkv), added(before, 1, attentionBackward(c, c.ref, do, qkv, want, 0, p)), c.tol.attentionBackward)
	}
}

// rest are resample, axpby, bias_backward and reduce_nonfinite.
func (c halfCase) rest() {
	for _, p := range resamples {
		x := c.normal("x", 3, 6, 10, 24)
		dy := c.normal("dy", p.Out(x.Shape)...)
		y := New16(c, c.d, c.dt, dy.Shape...)
		c.d.ResampleForward(y, PutAs(c, c.d, c.dt, x), p)
		Near(c, c.name("resample", p), GetAs(c, c.d, y), resampleForward(c, c.ref, x, p), c.tol.out)
		before := c.normal("dx", x.Shape...)
		dx := PutAs(c, c.d, c.dt, before)
		c.d.ResampleBackward(tensor.Acc{Tensor: dx, Beta: 1}, PutAs(c, c.d, c.dt, dy), p)
		Near(c, c.name("resample backward, beta 1,", p), GetAs(c, c.d, dx), added(before, 1, resampleBackward(c, c.ref, dy, x.Shape, 0, p)), c.tol.out)
	}
	for _, n := range []int{1, 7, 100003} {
		x0, x1, before := c.normal("x0", n), c.normal("x1", n), c.normal("y", n)
		y := PutAs(c, c.d, c.dt, before)
		c.d.Axpby(tensor.Acc{Tensor: y, Beta: 0.5}, 2, PutAs(c, c.d, c.dt, x0), -4, PutAs(c, c.d, c.dt, x1))
		want := Zeros(n)
		for i := range want.V { // exact in float32, so that the backend rounds once
			want.V[i] = float32(0.5*float64(before.V[i]) + 2*float64(x0.V[i]) - 4*float64(x1.V[i]))
		}
		Near(c, c.name("axpby", n), GetAs(c, c.d, y), want, c.tol.out)
	}
	dy := c.normal("dy", 9, 7, 5, 24)
	dbias, demb := New(c, c.d, 24), New(c, c.d, 9, 24)
	c.d.BiasBackward(tensor.Write(dbias), tensor.Write(demb), PutAs(c, c.d, c.dt, dy), 0.7, Work(c, c.d, c.d.BiasBackwardScratch(dy.Shape)))
	want := biasBackward(c, c.ref, dy, 24, 0, 0.7, true, true)
	Near(c, c.name("bias_backward dbias", dy.Shape), Get(c, c.d, dbias), want.bias, 1e-5)
	Near(c, c.name("bias_backward demb", dy.Shape), Get(c, c.d, demb), want.emb, 1e-5)
	dy.V[3], dy.V[100] = float32(math.Inf(-1)), float32(math.NaN())
	count := PutBytes(c, c.d, make([]byte, 8), tensor.U8, 8)
	c.d.ReduceNonFinite(count, PutAs(c, c.d, c.dt, dy))
	if b := GetBytes(c, c.d, count); b[0] != 2 {
		c.Errorf("reduce_nonfinite in %v: got %d, want 2", c.dt, b[0])
	}
}

// overflow: what a type cannot hold is stored as infinity, and what is not finite passes through.
func (c halfCase) overflow() {
	large := Zeros(1, 1, 1, 8).Map(func(float32) float32 { return 0x1p15 })
	if c.dt == tensor.BF16 {
		large = large.Map(func(float32) float32 { return 0x1p127 })
	}
	large.V[1], large.V[2], large.V[3] = -large.V[1], float32(math.NaN()), 0
	x := PutAs(c, c.d, c.dt, large)
	check := func(what string, y tensor.Tensor) {
		c.Helper()
		if v := GetAs(c, c.d, y).V; !math.IsInf(float64(v[0]), 1) || !math.IsInf(float64(v[1]), -1) || v[2] == v[2] || v[3] != 0 {
			c.Errorf("%s past the end of %v: got %v, want +Inf, -Inf, NaN, 0", what, c.dt, v[:4])
		}
	}
	y := New16(c, c.d, c.dt, 1, 1, 1, 8)
	c.d.Axpby(tensor.Write(y), 2, x, 0, tensor.Tensor{})
	check("axpby", y)
	identity := Zeros(8, 1, 1, 8)
	for i := range 8 {
		identity.V[9*i] = 1
	}
	p := tensor.Conv2d{Stride: 1, Scale: 2}
	large.V[2] = 0
	c.d.Conv2dFprop(y, PutAs(c, c.d, c.dt, large), tensor.Tensor{}, PutAs(c, c.d, c.dt, identity), tensor.Epilogue{}, p)
	if v := GetAs(c, c.d, y).V; !math.IsInf(float64(v[0]), 1) || !math.IsInf(float64(v[1]), -1) || v[3] != 0 {
		c.Errorf("conv2d_fprop past the end of %v: got %v, want +Inf, -Inf, 0, 0", c.dt, v[:4])
	}
}
