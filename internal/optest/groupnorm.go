package optest

import (
	"fmt"
	"math"
	"testing"

	"ict/internal/philox"
	"ict/tensor"
)

const (
	groupNormTol         = 1e-5
	groupNormBackwardTol = 2e-5
)

// groupNormArgs are the host side of one GroupNorm.
type groupNormArgs struct {
	x0, x1, gamma, beta, scaleShift, dy Host
	row                                 int // between rows of scale-shift and of its gradient
	st                                  tensor.Step
	p                                   tensor.GroupNorm
}

// newGroupNorm makes arguments for images (n,h,w,c0|c1) whose values have this mean and a standard deviation of 1.
func newGroupNorm(n, h, w, c0, c1, groups int, mean float32) groupNormArgs {
	shift := func(v float32) float32 { return v + mean }
	a := groupNormArgs{
		x0:    Normal("x0", n, h, w, c0).Map(shift),
		gamma: Normal("gamma", c0+c1).Map(func(v float32) float32 { return 1 + v/4 }),
		beta:  Normal("beta", c0+c1),
		dy:    Normal("dy", n, h, w, c0+c1),
		st:    tensor.Step{Seed: 7<<32 | 5, Step: 3<<32 | 11, Image0: 40},
		p:     tensor.GroupNorm{Groups: groups, Eps: 1e-6},
	}
	if c1 > 0 {
		a.x1 = Normal("x1", n, h, w, c1).Map(shift)
	}
	return a
}

// modulated adds scale and shift, rows row apart.
func (a groupNormArgs) modulated(extra int) groupNormArgs {
	k := 2 * a.gamma.Shape[0]
	a.scaleShift, a.row = Normal("scale-shift", a.x0.Shape[0], k).Map(func(v float32) float32 { return v / 2 }), k+extra
	return a
}

type groupNormOut struct{ y, mean, rstd Host }

type groupNormGrads struct{ dx0, dx1, dgamma, dbeta, dscaleShift Host }

// put are the tensors of both directions.
func (a groupNormArgs) put(t testing.TB, d tensor.Backend) (x0, x1, gamma, beta, scaleShift, step tensor.Tensor) {
	if a.scaleShift.Shape != nil {
		scaleShift = newWideRows(t, d, a.scaleShift, a.row).Tensor
	}
	if a.p.Dropout.P > 0 {
		step, _ = stepBlock(t, d, a.st, nil)
	}
	return Put(t, d, a.x0), Put(t, d, a.x1), Put(t, d, a.gamma), Put(t, d, a.beta), scaleShift, step
}

func (a groupNormArgs) forward(t testing.TB, d tensor.Backend) groupNormOut {
	n := a.x0.Shape[0]
	y, mean, rstd := newWide(t, d, nans(a.dy.Shape...)), newWide(t, d, nans(n, a.p.Groups)), newWide(t, d, nans(n, a.p.Groups))
	x0, x1, gamma, beta, scaleShift, step := a.put(t, d)
	d.GroupNormForward(y.Tensor, mean.Tensor, rstd.Tensor, x0, x1, gamma, beta, scaleShift, step, a.p)
	const what = "groupnorm_forward"
	return groupNormOut{y.get(t, d, what+" y"), mean.get(t, d, what+" mean"), rstd.get(t, d, what+" rstd")}
}

// backward writes all gradients over what before says; those named in skip stay absent.
func (a groupNormArgs) backward(t testing.TB, d tensor.Backend, f groupNormOut, b float32, skip string) (g groupNormGrads) {
	const what = "groupnorm_backward"
	x0, x1, gamma, beta, scaleShift, step := a.put(t, d)
	output := func(name string, like Host, row int) (tensor.Acc, func() Host) {
		if like.Shape == nil || skip == name {
			return tensor.Acc{}, func() Host { return Host{} }
		}
		h := before(name, b, like.Shape...)
		w := newWide(t, d, h)
		if row > 0 {
			w = newWideRows(t, d, h, row)
		}
		return tensor.Acc{Tensor: w.Tensor, Beta: b}, func() Host { return w.get(t, d, what+" "+name) }
	}
	dx0, getX0 := output("dx0", a.x0, 0)
	dx1, getX1 := output("dx1", a.x1, 0)
	dgamma, getGamma := output("dgamma", a.gamma, 0)
	dbeta, getBeta := output("dbeta", a.beta, 0)
	dss, getSS := output("dscale-shift", a.scaleShift, a.row)
	ws := Work(t, d, d.GroupNormBackwardScratch(a.x0.Shape, a.x1.Shape))
	d.GroupNormBackward(dx0, dx1, dgamma, dbeta, dss, Put(t, d, a.dy), x0, x1, Put(t, d, f.mean), Put(t, d, f.rstd), gamma, beta,
		scaleShift, step, a.p, ws)
	return groupNormGrads{getX0(), getX1(), getGamma(), getBeta(), getSS()}
}

// each calls f with every pair of gradients.
func (g groupNormGrads) each(o groupNormGrads, f func(name string, a, b Host)) {
	f("dx0", g.dx0, o.dx0)
	f("dx1", g.dx1, o.dx1)
	f("dgamma", g.dgamma, o.dgamma)
	f("dbeta", g.dbeta, o.dbeta)
	f("dscale-shift", g.dscaleShift, o.dscaleShift)
}

// GroupNorm proves GroupNormForward and GroupNormBackward.
func GroupNorm(t *testing.T, open Open) {
	d, e := open(t), Exact(t)
	for i, c := range []struct{ n, h, w, c0, c1, groups int }{
		{1, 1, 1, 2, 0, 1}, {2, 2, 2, 3, 0, 3}, {2, 7, 5, 8, 0, 2}, {3, 4, 4, 16, 0, 4}, {1, 8, 8, 1, 0, 1},
		{2, 5, 3, 12, 6, 2}, {1, 9, 7, 5, 7, 3}, {2, 7, 7, 24, 72, 32}, {17, 7, 7, 32, 0, 8}, {2, 28, 28, 32, 0, 8},
		{1, 4, 4, 256, 128, 32}, {1, 4, 4, 384, 192, 32}, {1, 2, 2, 1536, 0, 32},
	} {
		for _, mean := range []float32{0, 100} {
			a := newGroupNorm(c.n, c.h, c.w, c.c0, c.c1, c.groups, mean)
			a.p.SiLU = i%3 != 2
			groupNormCheck(t, fmt.Sprintf("groupnorm %+v mean=%v", c, mean), d, e, a)
			a = a.modulated(i % 2 * 72)
			a.p.Dropout = tensor.Dropout{P: 0.3, Op: uint16(i)}
			groupNormCheck(t, fmt.Sprintf("groupnorm %+v mean=%v, scale-shift, dropout", c, mean), d, e, a)
		}
	}
	groupNormConcat(t, d)
	groupNormSkips(t, d)
	groupNormMasks(t, d)
	groupNormNaN(t, d)
	groupNormGrad(t, e)
}

func groupNormCheck(t *testing.T, what string, d, e tensor.Backend, a groupNormArgs) {
	got, want := a.forward(t, d), a.forward(t, e)
	Near(t, what+" y", got.y, want.y, groupNormTol)
	Near(t, what+" rstd", got.rstd, want.rstd, groupNormTol)
	rms := math.Sqrt(Dot(a.x0, a.x0) / float64(len(a.x0.V)))
	for i, m := range want.mean.V {
		if !(math.Abs(float64(got.mean.V[i]-m)) <= groupNormTol*rms) {
			t.Errorf("%s mean: element %d got %v, want %v", what, i, got.mean.V[i], m)
			break
		}
	}
	if a.x0.Shape[1]*a.x0.Shape[2]*len(a.gamma.V)/a.p.Groups < 4 {
		return // x̂ is ±1 or so whatever x is, and dx the rest of a cancellation
	}
	grads := a.backward(t, e, want, 0, "") // both from the reference's statistics, so that only backward is compared
	for _, b := range []float32{0, 1, -0.5} {
		a.backward(t, d, want, b, "").each(grads, func(name string, g, w Host) {
			if w.Shape != nil {
				Near(t, fmt.Sprintf("%s %s beta=%v", what, name, b), g, accumulated(name, b, w), groupNormBackwardTol)
			}
		})
	}
}

// GroupNormFarFromZero asks for statistics in float64: at a mean of 10⁶ even the mean rounded to float32 is a part of the
// deviation off. cpu promises that, kernels do not.
func GroupNormFarFromZero(t *testing.T, open Open) {
	d, e := open(t), Exact(t)
	a := newGroupNorm(2, 7, 5, 12, 0, 3, 1e6)
	got, want := a.forward(t, d), a.forward(t, e)
	Near(t, "groupnorm of mean 1e6: y", got.y, want.y, groupNormTol)
	Near(t, "groupnorm of mean 1e6: rstd", got.rstd, want.rstd, groupNormTol)
}

// groupNormConcat: two sources are the concatenation, a group across the border included; a wider row is the narrow one.
func groupNormConcat(t *testing.T, d tensor.Backend) {
	two := newGroupNorm(2, 5, 5, 6, 10, 4, 0).modulated(0)
	two.p.SiLU, two.p.Dropout = true, tensor.Dropout{P: 0.1}
	one := two
	one.x0, one.x1 = Zeros(2, 5, 5, 16), Host{}
	for p := range 50 {
		copy(one.x0.V[p*16:], two.x0.V[p*6:(p+1)*6])
		copy(one.x0.V[p*16+6:], two.x1.V[p*10:(p+1)*10])
	}
	wide := two
	wide.row += 72
	f1, f2, f3 := one.forward(t, d), two.forward(t, d), wide.forward(t, d)
	Near(t, "groupnorm of two sources", f2.y, f1.y, groupNormTol)
	Same(t, "groupnorm with wider rows", f3.y, f2.y)
	g1, g2, g3 := one.backward(t, d, f1, 0, ""), two.backward(t, d, f1, 0, ""), wide.backward(t, d, f1, 0, "")
	dx := Zeros(2, 5, 5, 16)
	for p := range 50 {
		copy(dx.V[p*16:], g2.dx0.V[p*6:(p+1)*6])
		copy(dx.V[p*16+6:], g2.dx1.V[p*10:(p+1)*10])
	}
	Near(t, "groupnorm of two sources dx", dx, g1.dx0, groupNormBackwardTol)
	Near(t, "groupnorm of two sources dgamma", g2.dgamma, g1.dgamma, groupNormBackwardTol)
	Near(t, "groupnorm of two sources dbeta", g2.dbeta, g1.dbeta, groupNormBackwardTol)
	Near(t, "groupnorm of two sources dscale-shift", g2.dscaleShift, g1.dscaleShift, groupNormBackwardTol)
	g3.each(g2, func(name string, a, b Host) { Same(t, "groupnorm with wider rows "+name, a, b) })
}

// groupNormSkips: an absent output changes no other.
func groupNormSkips(t *testing.T, d tensor.Backend) {
	a := newGroupNorm(2, 3, 3, 4, 4, 2, 0).modulated(0)
	a.p.SiLU = true
	f := a.forward(t, d)
	all := a.backward(t, d, f, 0, "")
	for _, skip := range []string{"dx0", "dx1", "dgamma", "dbeta", "dscale-shift"} {
		a.backward(t, d, f, 0, skip).each(all, func(name string, g, w Host) {
			if (g.Shape == nil) != (name == skip) {
				t.Errorf("groupnorm without %s: got %v for %s", skip, g.Shape, name)
			}
			if g.Shape != nil {
				Same(t, fmt.Sprintf("groupnorm without %s: %s", skip, name), g, w)
			}
		})
	}
}

// groupNormMasks: a mask is Philox's for the image and the op, whatever the values, the batch or the place in it.
func groupNormMasks(t *testing.T, d tensor.Backend) {
	for _, s := range []tensor.Shape{{3, 5, 3, 7}, {2, 16, 16, 32}} {
		a := newGroupNorm(s[0], s[1], s[2], s[3], 0, 1, 0)
		for i := range a.gamma.V {
			a.gamma.V[i], a.beta.V[i] = 0, 1 // y is the mask
		}
		a.p.Dropout = tensor.Dropout{P: 0.25, Op: 9}
		y := a.forward(t, d).y
		size := len(y.V) / s[0]
		words := make([]uint32, size)
		for n := range s[0] {
			philox.Stream{Seed: a.st.Seed, Step: a.st.Step, Image: uint32(a.st.Image0) + uint32(n), Purpose: philox.Dropout + 9}.Words(words, 0)
			for e, w := range words {
				var want float32
				if w >= 1<<30 {
					want = 1 / float32(0.75)
				}
				if got := y.V[n*size+e]; got != want {
					t.Fatalf("groupnorm dropout %v: image %d element %d got %v, word %#x", s, n, e, got, w)
				}
			}
		}
		last := a // the last image alone, of other values
		one := tensor.Shape{1, s[1], s[2], s[3]}
		last.x0, last.dy = Normal("other", one...), Zeros(one...)
		last.st.Image0 += uint64(s[0] - 1)
		Same(t, "groupnorm dropout of one image", last.forward(t, d).y, Host{one, y.V[(s[0]-1)*size:]})
	}
}

// groupNormNaN: a NaN comes out of its group, whole, and of no other image.
func groupNormNaN(t *testing.T, d tensor.Backend) {
	for _, bad := range []float64{math.NaN(), math.Inf(1), math.Inf(-1)} {
		a := newGroupNorm(2, 3, 3, 8, 0, 2, 0)
		a.p.SiLU = true
		a.x0.V[9] = float32(bad) // pixel 1, channel 1: group 0
		f := a.forward(t, d)
		dx := a.backward(t, d, f, 0, "").dx0
		for _, h := range []Host{f.y, dx} {
			for i, v := range h.V {
				if inside := i < 72 && i%8 < 4; inside != (v != v) {
					t.Errorf("groupnorm of %v: element %d is %v", bad, i, v)
					break
				}
			}
		}
	}
}

// groupNormGrad compares backward with differences of forward.
func groupNormGrad(t *testing.T, e tensor.Backend) {
	a := newGroupNorm(2, 3, 2, 4, 8, 3, 0.5).modulated(0)
	a.p.SiLU, a.p.Eps, a.p.Dropout = true, 1e-5, tensor.Dropout{P: 0.2, Op: 2}
	g := a.backward(t, e, a.forward(t, e), 0, "")
	for _, v := range []struct {
		name string
		grad Host
		arg  func(*groupNormArgs) *Host
	}{
		{"x0", g.dx0, func(a *groupNormArgs) *Host { return &a.x0 }},
		{"x1", g.dx1, func(a *groupNormArgs) *Host { return &a.x1 }},
		{"gamma", g.dgamma, func(a *groupNormArgs) *Host { return &a.gamma }},
		{"beta", g.dbeta, func(a *groupNormArgs) *Host { return &a.beta }},
		{"scale-shift", g.dscaleShift, func(a *groupNormArgs) *Host { return &a.scaleShift }},
	} {
		f := func(x Host) float64 {
			b := a
			*v.arg(&b) = x
			return Dot(b.forward(t, e).y, a.dy)
		}
		dir := Normal("direction of "+v.name, v.grad.Shape...)
		got, want := Dot(v.grad, dir), Slope(f, *v.arg(&a), dir, 1e-2)
		if !(math.Abs(got-want) <= 1e-3*math.Sqrt(Dot(v.grad, v.grad))) {
			t.Errorf("groupnorm slope of %s: got %v, differences give %v", v.name, got, want)
		}
	}
}
