//go:build !cuda

package oracle

import (
	"math"
	"testing"

	g "gorgonia.org/gorgonia"
	gt "gorgonia.org/tensor"

	"ict/cpu"
	"ict/internal/optest"
	"ict/nn"
	"ict/tensor"
)

// graph is a gorgonia expression with named leaves.
type graph struct {
	*g.ExprGraph
	t      *testing.T
	leaves map[string]*g.Node
}

func newGraph(t *testing.T) *graph { return &graph{g.NewGraph(), t, map[string]*g.Node{}} }

// must is a node or the end of the test.
func (e *graph) must(n *g.Node, err error) *g.Node {
	e.t.Helper()
	if err != nil {
		e.t.Fatal(err)
	}
	return n
}

// leaf is a named input of a float32 array, in float64, with its axes permuted if perm is given.
func (e *graph) leaf(name string, h optest.Host, perm ...int) *g.Node {
	shape, v := h.Shape, h.V
	if perm != nil {
		shape, v = permuted(h.Shape, h.V, perm)
	}
	data := make([]float64, len(v))
	for i, x := range v {
		data[i] = float64(x)
	}
	d := gt.New(gt.WithShape(shape...), gt.WithBacking(data))
	n := g.NewTensor(e.ExprGraph, gt.Float64, len(shape), g.WithShape(shape...), g.WithValue(d), g.WithName(name))
	e.leaves[name] = n
	return n
}

func permuted(shape tensor.Shape, v []float32, perm []int) (tensor.Shape, []float32) {
	to := make(tensor.Shape, len(shape))
	for i, p := range perm {
		to[i] = shape[p]
	}
	out := make([]float32, len(v))
	idx := make([]int, len(shape))
	for i := range out {
		rest := i
		for a := len(to) - 1; a >= 0; a-- {
			idx[perm[a]] = rest % to[a]
			rest /= to[a]
		}
		at := 0
		for a, n := range shape {
			at = at*n + idx[a]
		}
		out[i] = v[at]
	}
	return to, out
}

// solve runs the graph and returns the cost and the gradients of the named leaves.
func (e *graph) solve(cost *g.Node, names ...string) (float64, map[string][]float64) {
	e.t.Helper()
	var wrt g.Nodes
	for _, n := range names {
		wrt = append(wrt, e.leaves[n])
	}
	// The Lisp machine: the tape machine reuses memory that reshaped values still share, and gives wrong gradients.
	vm := g.NewLispMachine(e.ExprGraph)
	defer vm.Close()
	if err := vm.RunAll(); err != nil {
		e.t.Fatal(err)
	}
	out := map[string][]float64{}
	for i, n := range names {
		grad, err := wrt[i].Grad()
		if err != nil {
			e.t.Fatal(err)
		}
		out[n] = append([]float64(nil), grad.Data().([]float64)...)
	}
	return cost.Value().Data().(float64), out
}

// dot is Σ a·b.
func (e *graph) dot(a, b *g.Node) *g.Node {
	return e.must(g.Sum(e.must(g.HadamardProd(a, b))))
}

// constant is a scalar.
func (e *graph) constant(v float64) *g.Node { return g.NewConstant(v) }

// near compares our array, permuted to the oracle's layout, with the oracle's.
func near(t *testing.T, what string, got optest.Host, want []float64, perm ...int) {
	t.Helper()
	v := got.V
	if perm != nil {
		_, v = permuted(got.Shape, got.V, perm)
	}
	var diff, ref float64
	for i := range want {
		diff += (float64(v[i]) - want[i]) * (float64(v[i]) - want[i])
		ref += want[i] * want[i]
	}
	if e := math.Sqrt(diff / ref); !(e < 2e-6) || ref == 0 {
		t.Errorf("%s: relative error %.3g against the oracle (norm %.3g)", what, e, math.Sqrt(ref))
	}
}

func exact(t *testing.T) *cpu.Device {
	t.Helper()
	d, err := cpu.Open(cpu.Options{Exact: true})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

var (
	nchw = []int{0, 3, 1, 2} // our (N,H,W,C) as theirs; also (K,R,S,C) as OIHW
)

func TestConv2d(t *testing.T) {
	for _, row := range []struct{ stride, pad, h, w, c, k int }{{1, 1, 5, 6, 3, 4}, {2, 0, 7, 5, 2, 3}, {1, 0, 4, 4, 3, 2}} {
		dev := exact(t)
		p := tensor.Conv2d{Stride: row.stride, PadH: row.pad, PadW: row.pad, Scale: 1}
		x, w := optest.Normal("x", 2, row.h, row.w, row.c), optest.Normal("w", row.k, 3, 3, row.c)
		ys := p.Out(x.Shape, w.Shape)
		dy := optest.Normal("dy", ys...)

		e := newGraph(t)
		y := e.must(g.Conv2d(e.leaf("x", x, nchw...), e.leaf("w", w, nchw...), gt.Shape{3, 3}, []int{row.pad, row.pad}, []int{row.stride, row.stride}, []int{1, 1}))
		cost, grads := e.solve(e.dot(y, e.leaf("dy", dy, nchw...)), "x", "w")

		tx, tw, tdy := optest.Put(t, dev, x), optest.Put(t, dev, w), optest.Put(t, dev, dy)
		ty, dx, dw := optest.New(t, dev, ys...), optest.New(t, dev, x.Shape...), optest.New(t, dev, w.Shape...)
		wt := optest.New(t, dev, row.c, 3, 3, row.k)
		dev.Conv2dPack(wt, tw)
		dev.Conv2dFprop(ty, tx, tensor.Tensor{}, tw, tensor.Epilogue{}, p)
		dev.Conv2dDgrad(tensor.Write(dx), tensor.Acc{}, tdy, wt, p)
		dev.Conv2dWgrad(tensor.Write(dw), tx, tensor.Tensor{}, tdy, p, optest.Work(t, dev, dev.Conv2dWgradScratch(w.Shape, ys)))
		if got := optest.Dot(optest.Get(t, dev, ty), dy); math.Abs(got-cost) > 1e-5*math.Max(1, math.Abs(cost)) {
			t.Errorf("Σ y·dy: got %g, oracle %g", got, cost)
		}
		near(t, "dx", optest.Get(t, dev, dx), grads["x"], nchw...)
		near(t, "dw", optest.Get(t, dev, dw), grads["w"], nchw...)
	}
}

// groupNorm of x (N,C,H,W): normalised over (C/G, H, W), without gamma and beta. Means are products with a constant matrix.
func (e *graph) groupNorm(x *g.Node, groups int, eps float64) *g.Node {
	s := x.Shape().Clone()
	rows := s[0] * groups
	m := s.TotalSize() / rows
	average, centre := make([]float64, m*m), make([]float64, m*m)
	for i := range m {
		for j := range m {
			average[i*m+j], centre[i*m+j] = 1/float64(m), -1/float64(m)
		}
		centre[i*m+i]++
	}
	square := func(v []float64) *g.Node { return g.NewConstant(gt.New(gt.WithShape(m, m), gt.WithBacking(v))) }
	d := e.must(g.Mul(e.must(g.Reshape(x, gt.Shape{rows, m})), square(centre)))
	v := e.must(g.Add(e.must(g.Mul(e.must(g.HadamardProd(d, d)), square(average))), e.constant(eps)))
	return e.must(g.Reshape(e.must(g.HadamardDiv(d, e.must(g.Sqrt(v)))), s))
}

// perChannel is op of x (N,C,H,W) with v (C), spread over images and pixels by products with constant matrices.
func (e *graph) perChannel(op func(a, b *g.Node) (*g.Node, error), x, v *g.Node) *g.Node {
	s := x.Shape().Clone()
	n, c, hw := s[0], s[1], s[2]*s[3]
	pick, ones := make([]float64, n*c*c), make([]float64, hw)
	for i := range n * c {
		pick[i*c+i%c] = 1
	}
	for i := range ones {
		ones[i] = 1
	}
	column := e.must(g.Mul(g.NewConstant(gt.New(gt.WithShape(n*c, c), gt.WithBacking(pick))), e.must(g.Reshape(v, gt.Shape{c, 1}))))
	full := e.must(g.Mul(column, g.NewConstant(gt.New(gt.WithShape(1, hw), gt.WithBacking(ones)))))
	return e.must(op(x, e.must(g.Reshape(full, s))))
}

func (e *graph) silu(x *g.Node) *g.Node { return e.must(g.HadamardProd(x, e.must(g.Sigmoid(x)))) }

func TestGroupNormSiLU(t *testing.T) {
	dev := exact(t)
	x, gamma, beta, dy := optest.Normal("x", 2, 3, 4, 6), optest.Normal("gamma", 6), optest.Normal("beta", 6), optest.Normal("dy", 2, 3, 4, 6)
	e := newGraph(t)
	n := e.groupNorm(e.leaf("x", x, nchw...), 3, 1e-5)
	n = e.perChannel(g.HadamardProd, n, e.leaf("gamma", gamma))
	n = e.silu(e.perChannel(g.Add, n, e.leaf("beta", beta)))
	cost, grads := e.solve(e.dot(n, e.leaf("dy", dy, nchw...)), "x", "gamma", "beta")

	p := tensor.GroupNorm{Groups: 3, Eps: 1e-5, SiLU: true}
	in := func(h optest.Host) tensor.Tensor { return optest.Put(t, dev, h) }
	tx, tg, tb, tdy := in(x), in(gamma), in(beta), in(dy)
	y, mean, rstd := optest.New(t, dev, x.Shape...), optest.New(t, dev, 2, 3), optest.New(t, dev, 2, 3)
	dx, dg, db := optest.New(t, dev, x.Shape...), optest.New(t, dev, 6), optest.New(t, dev, 6)
	no := tensor.Tensor{}
	dev.GroupNormForward(y, mean, rstd, tx, no, tg, tb, no, no, p)
	dev.GroupNormBackward(tensor.Write(dx), tensor.Acc{}, tensor.Write(dg), tensor.Write(db), tensor.Acc{}, tdy, tx, no, mean, rstd, tg, tb, no, no, p,
		optest.Work(t, dev, dev.GroupNormBackwardScratch(x.Shape, nil)))
	if got := optest.Dot(optest.Get(t, dev, y), dy); math.Abs(got-cost) > 1e-5 {
		t.Errorf("Σ y·dy: got %g, oracle %g", got, cost)
	}
	near(t, "dx", optest.Get(t, dev, dx), grads["x"], nchw...)
	near(t, "dgamma", optest.Get(t, dev, dg), grads["gamma"])
	near(t, "dbeta", optest.Get(t, dev, db), grads["beta"])
}

func TestAttention(t *testing.T) {
	dev := exact(t)
	const n, h, w, heads, d = 2, 2, 3, 2, 4
	const T = h * w
	qkv, do := optest.Normal("qkv", n, h, w, 3*heads*d), optest.Normal("do", n, h, w, heads*d)
	p := tensor.Attention{Heads: heads, Scale: 1 / float32(math.Sqrt(d))}
	tq, tdo := optest.Put(t, dev, qkv), optest.Put(t, dev, do)
	o, lse, dq := optest.New(t, dev, n, h, w, heads*d), optest.New(t, dev, n, heads, T), optest.New(t, dev, n, h, w, 3*heads*d)
	dev.AttentionForward(o, lse, tq, p)
	dev.AttentionBackward(tensor.Write(dq), tdo, o, tq, lse, p)
	got, gotDo := optest.Get(t, dev, dq), optest.Get(t, dev, o)
	part := func(h optest.Host, image, component, head int) optest.Host { // (T,d) of one head
		m := optest.Zeros(T, d)
		width := h.Shape.Last()
		for i := range T {
			copy(m.V[i*d:(i+1)*d], h.V[(image*T+i)*width+component*heads*d+head*d:])
		}
		return m
	}
	for image := range n {
		for head := range heads {
			e := newGraph(t)
			q, k, v := e.leaf("q", part(qkv, image, 0, head)), e.leaf("k", part(qkv, image, 1, head)), e.leaf("v", part(qkv, image, 2, head))
			logits := e.must(g.Mul(e.must(g.Mul(q, e.must(g.Transpose(k, 1, 0)))), e.constant(1/math.Sqrt(d))))
			// Softmax over a row from its parts: exp, sum, broadcast division.
			x := e.must(g.Exp(logits))
			sum := e.must(g.Reshape(e.must(g.Sum(x, 1)), gt.Shape{T, 1}))
			out := e.must(g.Mul(e.must(g.BroadcastHadamardDiv(x, sum, nil, []byte{1})), v))
			cost, grads := e.solve(e.dot(out, e.leaf("do", part(do, image, 0, head))), "q", "k", "v")
			if c := optest.Dot(part(gotDo, image, 0, head), part(do, image, 0, head)); math.Abs(c-cost) > 1e-5 {
				t.Errorf("Σ o·do: got %g, oracle %g", c, cost)
			}
			for i, name := range []string{"q", "k", "v"} {
				near(t, "d"+name, part(got, image, i, head), grads[name])
			}
		}
	}
}

func TestLinearSiLU(t *testing.T) {
	dev := exact(t)
	x, w, b, dy := optest.Normal("x", 3, 5), optest.Normal("w", 4, 5), optest.Normal("b", 4), optest.Normal("dy", 3, 4)
	e := newGraph(t)
	y := e.must(g.Mul(e.silu(e.leaf("x", x)), e.must(g.Transpose(e.leaf("w", w), 1, 0))))
	y = e.must(g.BroadcastAdd(y, e.must(g.Reshape(e.leaf("b", b), gt.Shape{1, 4})), nil, []byte{0}))
	cost, grads := e.solve(e.dot(y, e.leaf("dy", dy)), "x", "w", "b")

	p := tensor.Linear{SiLU: true}
	tx, tw, tb, tdy := optest.Put(t, dev, x), optest.Put(t, dev, w), optest.Put(t, dev, b), optest.Put(t, dev, dy)
	ty, dx, dw, db := optest.New(t, dev, 3, 4), optest.New(t, dev, 3, 5), optest.New(t, dev, 4, 5), optest.New(t, dev, 4)
	dev.LinearFprop(ty, tx, tw, tb, p)
	dev.LinearDgrad(tensor.Write(dx), tdy, tx, tw, p)
	dev.LinearWgrad(tensor.Write(dw), tensor.Write(db), tx, tdy, p, optest.Work(t, dev, dev.LinearWgradScratch(w.Shape, dy.Shape)))
	if got := optest.Dot(optest.Get(t, dev, ty), dy); math.Abs(got-cost) > 1e-5 {
		t.Errorf("Σ y·dy: got %g, oracle %g", got, cost)
	}
	near(t, "dx", optest.Get(t, dev, dx), grads["x"])
	near(t, "dw", optest.Get(t, dev, dw), grads["w"])
	near(t, "db", optest.Get(t, dev, db), grads["b"])
}

// A residual block of SongUNet with preconditioning and the pseudo-Huber loss, recorded with nn, against the same
// formulas in gorgonia: loss and every gradient.
func TestResidualBlockWithLoss(t *testing.T) {
	dev := exact(t)
	const n, size, c = 1, 4, 4
	const eps, c2 = 1e-6, 0.03
	scale := math.Sqrt(0.5)
	tape := nn.NewTape(tensor.F32)
	cx := tape.Input("cx", tensor.F32, true, n, size, size, c)
	x := tape.Input("x", tensor.F32, false, n, size, size, c)
	skip, out := tape.Input("skip", tensor.F32, false, n), tape.Input("out", tensor.F32, false, n)
	norm := tensor.GroupNorm{Groups: 2, Eps: eps, SiLU: true}
	f := nn.Filter{C: c, K: c, R: 3}
	norm0, conv0 := nn.NewGroupNorm(tape, "norm0", c, norm), nn.NewConv2d(tape, "conv0", f, nn.Init{}, nn.Init{})
	norm1, conv1 := nn.NewGroupNorm(tape, "norm1", c, norm), nn.NewConv2d(tape, "conv1", f, nn.Init{}, nn.Init{})
	h := conv0.Forward(nn.One(norm0.Forward(nn.One(cx), nil)), nn.Conv{})
	h = conv1.Forward(nn.One(norm1.Forward(nn.One(h), nil)), nn.Conv{Residual: cx, Scale: scale})
	y := tape.Output(nn.Precond(tape, "precond", h, x, skip, out))

	plan := nn.Rehearse(tape, dev, nn.Want{Grad: true})
	layout := nn.NewLayout(tape, plan)
	w, err := layout.NewWeights(dev, tensor.Tensor{}, true)
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]optest.Host{}
	for _, e := range layout.Entries {
		v := optest.Normal(e.Name, e.Shape...)
		values[e.Name] = v
		dev.Copy(w.Tensor(e), optest.Put(t, dev, v))
	}
	w.Refresh(dev)
	grad, _ := nn.NewTensor(dev, tensor.F32, layout.Size+nn.VoteFloats)
	arena, _ := dev.Alloc(plan.Bytes)
	prog := nn.NewProgram(dev, tape, plan, w, grad, arena, tensor.Tensor{})
	image := []int{n, size, size, c}
	in := func(name string, shape ...int) optest.Host { return optest.Normal("in/"+name, shape...) }
	hcx, hx, target := in("cx", image...), in("x", image...), in("target", image...)
	const cskip, cout, weight = 0.3, 0.7, 1.7
	one := func(v float32) tensor.Tensor {
		return optest.Put(t, dev, optest.Host{Shape: tensor.Shape{n}, V: []float32{v}})
	}
	ty, dcx, dyT, loss := optest.New(t, dev, image...), optest.New(t, dev, image...), optest.New(t, dev, image...), optest.New(t, dev, n)
	prog.Bind(cx, optest.Put(t, dev, hcx))
	prog.Bind(x, optest.Put(t, dev, hx))
	prog.Bind(skip, one(cskip))
	prog.Bind(out, one(cout))
	prog.Bind(y, ty)
	prog.BindGrad(y, dyT)
	prog.BindGrad(cx, dcx)
	prog.Forward()
	step := make([]byte, tensor.StepBytes)
	dev.PseudoHuber(loss, dyT, ty, optest.Put(t, dev, target), one(weight), optest.PutBytes(t, dev, step, tensor.U8, tensor.StepBytes),
		tensor.PseudoHuber{C: c2, InvBatch: 1})
	prog.Backward(nil)

	e := newGraph(t)
	affine := func(v *g.Node, name string) *g.Node {
		v = e.perChannel(g.HadamardProd, v, e.leaf(name+".weight", values[name+".weight"]))
		return e.silu(e.perChannel(g.Add, v, e.leaf(name+".bias", values[name+".bias"])))
	}
	conv := func(v *g.Node, name string) *g.Node {
		v = e.must(g.Conv2d(v, e.leaf(name+".weight", values[name+".weight"], nchw...), gt.Shape{3, 3}, []int{1, 1}, []int{1, 1}, []int{1, 1}))
		return e.perChannel(g.Add, v, e.leaf(name+".bias", values[name+".bias"]))
	}
	gcx := e.leaf("cx", hcx, nchw...)
	v := conv(affine(e.groupNorm(gcx, 2, eps), "norm0"), "conv0")
	v = conv(affine(e.groupNorm(v, 2, eps), "norm1"), "conv1")
	// The residual branch has a leaf of its own: gorgonia loses one of two uses of a reshaped leaf.
	v = e.must(g.Mul(e.must(g.Add(v, e.leaf("cx/residual", hcx, nchw...))), e.constant(float64(float32(scale)))))
	v = e.must(g.Add(e.must(g.Mul(v, e.constant(float64(float32(cout))))), e.must(g.Mul(e.leaf("x", hx, nchw...), e.constant(float64(float32(cskip)))))))
	d := e.must(g.Sub(v, e.leaf("target", target, nchw...)))
	s := e.must(g.Sum(e.must(g.Square(d))))
	huber := e.must(g.Sub(e.must(g.Sqrt(e.must(g.Add(s, e.constant(c2*c2))))), e.constant(c2)))
	var names []string
	for _, en := range layout.Entries {
		names = append(names, en.Name)
	}
	cost, grads := e.solve(e.must(g.Mul(huber, e.constant(weight))), append(names, "cx", "cx/residual")...)
	if got := float64(optest.Get(t, dev, loss).V[0]); math.Abs(got-cost) > 2e-6*cost {
		t.Errorf("loss: got %.9g, oracle %.9g", got, cost)
	}
	for i, r := range grads["cx/residual"] {
		grads["cx"][i] += r
	}
	near(t, "cx", optest.Get(t, dev, dcx), grads["cx"], nchw...)
	for _, en := range layout.Entries {
		got := optest.Get(t, dev, en.View(grad))
		if len(en.Shape) == 4 {
			near(t, en.Name, got, grads[en.Name], nchw...)
		} else {
			near(t, en.Name, got, grads[en.Name])
		}
	}
}
