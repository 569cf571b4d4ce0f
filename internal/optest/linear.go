package optest

import (
	"fmt"
	"math"
	"testing"

	"ict/tensor"
)

// A linearCase is one shape of linear.
type linearCase struct {
	n, c, k int
	p       tensor.Linear
}

func (l linearCase) String() string {
	return fmt.Sprintf("%d×%d→%d, SiLU %v", l.n, l.c, l.k, l.p.SiLU)
}

// linearArgs are what a linear reads; the gradients are what is there before.
type linearArgs struct{ x, w, b, dy, dx, dw, db Host }

func (l linearCase) args(draw func(name string, s ...int) Host) linearArgs {
	return linearArgs{draw("x", l.n, l.c), draw("w", l.k, l.c), draw("b", l.k), draw("dy", l.n, l.k), draw("dx", l.n, l.c), draw("dw", l.k, l.c), draw("db", l.k)}
}

func (l linearCase) fprop(t testing.TB, d tensor.Backend, a linearArgs) Host {
	y := newWide(t, d, Zeros(l.n, l.k))
	d.LinearFprop(y.Tensor, Put(t, d, a.x), Put(t, d, a.w), Put(t, d, a.b), l.p)
	return y.get(t, d, l.String())
}

func (l linearCase) dgrad(t testing.TB, d tensor.Backend, a linearArgs, beta float32) Host {
	dx := newWide(t, d, a.dx)
	var x tensor.Tensor
	if l.p.SiLU {
		x = Put(t, d, a.x)
	}
	d.LinearDgrad(tensor.Acc{Tensor: dx.Tensor, Beta: beta}, Put(t, d, a.dy), x, Put(t, d, a.w), l.p)
	return dx.get(t, d, l.String())
}

// wgrad runs the launcher on those of dw and db that are there.
func (l linearCase) wgrad(t testing.TB, d tensor.Backend, a linearArgs, beta float32) (dw, db Host) {
	var acc [2]tensor.Acc
	var out [2]wide
	for i, h := range []Host{a.dw, a.db} {
		if h.Shape != nil {
			out[i] = newWide(t, d, h)
			acc[i] = tensor.Acc{Tensor: out[i].Tensor, Beta: beta}
		}
	}
	ws := Work(t, d, d.LinearWgradScratch(a.w.Shape, a.dy.Shape))
	d.LinearWgrad(acc[0], acc[1], Put(t, d, a.x), Put(t, d, a.dy), l.p, ws)
	if a.dw.Shape != nil {
		dw = out[0].get(t, d, l.String())
	}
	if a.db.Shape != nil {
		db = out[1].get(t, d, l.String())
	}
	return dw, db
}

// Linear tests LinearFprop, LinearDgrad and LinearWgrad.
func Linear(t *testing.T, open Open) {
	d, ref := open(t), Exact(t)
	for _, n := range []int{1, 2, 5, 17, 64} {
		for _, l := range []linearCase{{c: 1, k: 1}, {c: 7, k: 3}, {c: 130, k: 65}, {c: 33, k: 300}} {
			l.n = n
			checkLinear(t, d, ref, l, "integers", l.args(func(name string, s ...int) Host { return Ints(name, 4, s...) }), func(what string, got, want Host, _ float64) {
				t.Helper()
				Same(t, what, got, want)
			})
			for _, l.p.SiLU = range []bool{false, true} {
				a := l.args(Normal)
				checkLinear(t, d, ref, l, "normals", a, func(what string, got, want Host, tol float64) {
					t.Helper()
					Near(t, what, got, want, tol)
				})
				gradLinear(t, ref, l, a)
			}
		}
	}
	siluLinear(t, d)
}

func checkLinear(t testing.TB, d, ref tensor.Backend, l linearCase, data string, a linearArgs, same func(what string, got, want Host, tol float64)) {
	t.Helper()
	name := func(what string) string { return fmt.Sprintf("linear %s of %v, %s", what, l, data) }
	same(name("fprop"), l.fprop(t, d, a), l.fprop(t, ref, a), convTol)
	e := a
	e.b = Host{}
	same(name("fprop without bias"), l.fprop(t, d, e), l.fprop(t, ref, e), convTol)

	e.dx, e.dw, e.db = poison(a.dx), poison(a.dw), poison(a.db)
	for _, beta := range []float32{0, 1, 0.5} {
		if beta != 0 {
			e = a
		}
		same(name(fmt.Sprint("dgrad with beta ", beta)), l.dgrad(t, d, e, beta), l.dgrad(t, ref, a, beta), convTol)
		dw, db := l.wgrad(t, d, e, beta)
		wantDw, wantDb := l.wgrad(t, ref, a, beta)
		same(name(fmt.Sprint("dw with beta ", beta)), dw, wantDw, wgradTol)
		same(name(fmt.Sprint("db with beta ", beta)), db, wantDb, wgradTol)
		e.db = Host{}
		alone, _ := l.wgrad(t, d, e, beta)
		Same(t, name("dw alone"), alone, dw)
		e.dw, e.db = Host{}, a.db
		if beta == 0 {
			e.db = poison(a.db)
		}
		_, alone = l.wgrad(t, d, e, beta)
		Same(t, name("db alone"), alone, db)
	}
}

// gradLinear compares the slope along one random direction with central differences: exact in w and b, in x up to the
// curvature of SiLU.
func gradLinear(t testing.TB, d tensor.Backend, l linearCase, a linearArgs) {
	t.Helper()
	dw, db := l.wgrad(t, d, a, 0)
	f := func(set func(*linearArgs, Host)) func(Host) float64 {
		return func(h Host) float64 {
			e := a
			set(&e, h)
			return Dot(a.dy, l.fprop(t, d, e))
		}
	}
	size := math.Sqrt(Dot(a.dy, a.dy) * float64(l.n*l.k*l.c))
	for what, v := range map[string]struct {
		at, slope Host
		set       func(*linearArgs, Host)
	}{
		"x": {a.x, l.dgrad(t, d, a, 0), func(e *linearArgs, h Host) { e.x = h }},
		"w": {a.w, dw, func(e *linearArgs, h Host) { e.w = h }},
		"b": {a.b, db, func(e *linearArgs, h Host) { e.b = h }},
	} {
		dir := Normal("direction of "+what, v.at.Shape...)
		got, want := Dot(v.slope, dir), Slope(f(v.set), v.at, dir, 1e-2)
		if !(math.Abs(got-want) <= 1e-4*size) {
			t.Errorf("gradient of %v in %s: slope %v, want %v within %.2g", l, what, got, want, 1e-4*size)
		}
	}
}

// siluLinear: SiLU far out, at both zeros, and through NaN.
func siluLinear(t testing.TB, d tensor.Backend) {
	t.Helper()
	x := []float32{100, -100, 0, float32(math.Copysign(0, -1)), float32(math.Inf(1)), float32(math.NaN())}
	l := linearCase{n: len(x), c: 1, k: 1, p: tensor.Linear{SiLU: true}}
	one := Host{tensor.Shape{1, 1}, []float32{1}}
	y := l.fprop(t, d, linearArgs{x: Host{tensor.Shape{len(x), 1}, x}, w: one})
	Near(t, "linear of SiLU", Host{tensor.Shape{4}, y.V[:4]}, Host{tensor.Shape{4}, []float32{100, 0, 0, 0}}, 1e-6)
	if !math.IsInf(float64(y.V[4]), 1) || y.V[5] == y.V[5] {
		t.Errorf("linear of SiLU of +Inf, NaN: got %v, want the same", y.V[4:])
	}
}
