package optest

import (
	"fmt"
	"math"
	"testing"

	"ict/tensor"
)

const pointwiseTol = 1e-6

// wide is a tensor inside a larger block of NaN, so that what is written beside it shows.
type wide struct {
	tensor.Tensor
	block tensor.Tensor // flat F32
	first int           // place of the tensor's element 0 in the block
}

const wideMargin = 64 // elements, and a multiple of every alignment that a launcher may ask for

func newWide(t testing.TB, d tensor.Backend, h Host) wide {
	block := Zeros(len(h.V) + 2*wideMargin).Map(func(float32) float32 { return float32(math.NaN()) })
	copy(block.V[wideMargin:], h.V)
	b := Put(t, d, block)
	return wide{tensor.Of(b.Mem, 4*wideMargin, tensor.F32, h.Shape...), b, wideMargin}
}

// newWideRows is an (N,K) view of columns of an (N,row) matrix of NaN.
func newWideRows(t testing.TB, d tensor.Backend, h Host, row int) wide {
	n, k := h.Shape[0], h.Shape[1]
	first := row - k
	block := Zeros(n * row).Map(func(float32) float32 { return float32(math.NaN()) })
	for i := range n {
		copy(block.V[i*row+first:], h.V[i*k:(i+1)*k])
	}
	b := Put(t, d, block)
	x := tensor.Of(b.Mem, 4*first, tensor.F32, n, k)
	x.Row = row
	return wide{x, b, first}
}

// get downloads the tensor and fails the test where the block around it is no longer NaN.
func (w wide) get(t testing.TB, d tensor.Backend, what string) Host {
	t.Helper()
	all, h := Get(t, d, w.block), Zeros(w.Shape...)
	k := h.Shape.Last()
	inside := make([]bool, len(all.V))
	for i := range h.V {
		at := w.first + i/k*w.Stride() + i%k
		h.V[i], inside[at] = all.V[at], true
	}
	for i, v := range all.V {
		if !inside[i] && v == v {
			t.Errorf("%s: wrote %v beside its output", what, v)
			break
		}
	}
	return h
}

func nans(s ...int) Host {
	return Zeros(s...).Map(func(float32) float32 { return float32(math.NaN()) })
}

// before is what an output holds at the start: NaN where beta 0 must not read it.
func before(name string, beta float32, s ...int) Host {
	if beta == 0 {
		return nans(s...)
	}
	return Ints(name, 8, s...)
}

// old is what element i of an output brings into its new value.
func old(start Host, beta float32, i int) float64 {
	if beta == 0 {
		return 0
	}
	return float64(beta) * float64(start.V[i])
}

// added is beta·start + v.
func added(start Host, beta float32, v Host) Host {
	h := Zeros(v.Shape...)
	for i := range h.V {
		h.V[i] = float32(old(start, beta, i) + float64(v.V[i]))
	}
	return h
}

// Pointwise proves Axpby, ScaleImages and BiasBackward.
func Pointwise(t *testing.T, open Open) {
	d, e := open(t), Exact(t)
	axpbyCases(t, d)
	scaleImagesCases(t, d)
	biasBackwardCases(t, d, e)
}

func axpbyCases(t *testing.T, d tensor.Backend) {
	for _, n := range []int{1, 7, 4096, 100003} {
		normals, ints := []Host{Normal("x0", n), Normal("x1", n)}, []Host{Ints("x0", 100, n), Ints("x1", 100, n)}
		for _, beta := range []float32{0, 1, -0.5} {
			for _, two := range []bool{false, true} {
				what := fmt.Sprintf("axpby n=%d beta=%v two=%v", n, beta, two)
				run := func(a, b float32, x []Host) (got, want Host) {
					start := before("y", beta, n)
					y, x1 := newWide(t, d, start), tensor.Tensor{}
					if two {
						x1 = Put(t, d, x[1])
					}
					d.Axpby(tensor.Acc{Tensor: y.Tensor, Beta: beta}, a, Put(t, d, x[0]), b, x1)
					want = Zeros(n)
					for i := range want.V {
						v := float64(a) * float64(x[0].V[i])
						if two {
							v += float64(b) * float64(x[1].V[i])
						}
						want.V[i] = float32(v + old(start, beta, i))
					}
					return y.get(t, d, what), want
				}
				got, want := run(0.7, -1.3, normals)
				Near(t, what, got, want, pointwiseTol)
				got, want = run(3, -2, ints)
				Same(t, what, got, want)
			}
		}
	}
	// an absent output is skipped; what is not finite passes through; the shapes may differ
	d.Axpby(tensor.Acc{}, 1, Put(t, d, Zeros(3)), 0, tensor.Tensor{})
	y, inf := New(t, d, 2, 2), float32(math.Inf(1))
	d.Axpby(tensor.Write(y), 1, Put(t, d, Host{tensor.Shape{4}, []float32{inf, -inf, float32(math.NaN()), 1}}), 1, Put(t, d, Zeros(4)))
	if v := Get(t, d, y).V; v[0] != inf || v[1] != -inf || v[2] == v[2] || v[3] != 1 {
		t.Errorf("axpby of +Inf, -Inf, NaN, 1: got %v", v)
	}
}

func scaleImagesCases(t *testing.T, d tensor.Backend) {
	for _, s := range []tensor.Shape{{1, 5}, {3, 7, 5, 3}, {17, 28, 28, 1}, {2, 20011}} {
		x, scale := Normal("x", s...), Normal("s", s[0])
		y := newWide(t, d, nans(s...))
		d.ScaleImages(y.Tensor, Put(t, d, x), Put(t, d, scale))
		want := Zeros(s...)
		for i := range want.V {
			want.V[i] = scale.V[i/(len(x.V)/s[0])] * x.V[i]
		}
		what := fmt.Sprintf("scale_images %v", s)
		Near(t, what, y.get(t, d, what), want, pointwiseTol)
	}
}

// A biasGrad is what BiasBackward writes.
type biasGrad struct{ bias, emb Host }

func biasBackward(t testing.TB, d tensor.Backend, dy Host, row int, beta, scale float32, wantBias, wantEmb bool) (g biasGrad) {
	n, k := dy.Shape[0], dy.Shape.Last()
	what := fmt.Sprintf("bias_backward %v row=%d beta=%v", dy.Shape, row, beta)
	bias := newWide(t, d, before("bias", beta, k))
	emb := newWideRows(t, d, before("emb", beta, n, k), row)
	var dbias, demb tensor.Acc
	if wantBias {
		dbias = tensor.Acc{Tensor: bias.Tensor, Beta: beta}
	}
	if wantEmb {
		demb = tensor.Acc{Tensor: emb.Tensor, Beta: beta}
	}
	d.BiasBackward(dbias, demb, Put(t, d, dy), scale, Work(t, d, d.BiasBackwardScratch(dy.Shape)))
	return biasGrad{bias.get(t, d, what), emb.get(t, d, what)}
}

func biasBackwardCases(t *testing.T, d, e tensor.Backend) {
	for _, s := range []tensor.Shape{
		{1, 4, 4, 3}, {2, 7, 5, 8}, {3, 8, 8, 1}, {17, 7, 7, 64}, {3, 16, 16, 72}, {2, 32, 32, 96}, {17, 3, 3, 33},
		{2, 4, 4, 200}, {1, 1, 1, 5}, {17, 40}, {5, 3}, {32, 14, 14, 2},
	} {
		n, k := s[0], s.Last()
		dy, ints := Normal("dy", s...), Ints("dy", 16, s...)
		for _, row := range []int{k, k + 72} {
			for _, beta := range []float32{0, 1, 0.5} {
				what := fmt.Sprintf("bias_backward %v row=%d beta=%v", s, row, beta)
				got, want := biasBackward(t, d, dy, row, beta, 0.7, true, true), biasBackward(t, e, dy, row, beta, 0.7, true, true)
				Near(t, what+" dbias", got.bias, want.bias, 1e-5)
				Near(t, what+" demb", got.emb, want.emb, 1e-5)
				got, want = biasBackward(t, d, ints, row, beta, 2, true, true), biasBackward(t, e, ints, row, beta, 2, true, true)
				Same(t, what+" dbias of integers", got.bias, want.bias)
				Same(t, what+" demb of integers", got.emb, want.emb)
				fresh := biasBackward(t, d, ints, row, 0, 2, true, true)
				Same(t, what+" dbias added", got.bias, added(before("bias", beta, k), beta, fresh.bias))
				Same(t, what+" demb added", got.emb, added(before("emb", beta, n, k), beta, fresh.emb))
				only := biasBackward(t, d, ints, row, beta, 2, true, false)
				Same(t, what+" dbias alone", only.bias, got.bias)
				Same(t, what+" absent demb", only.emb, before("emb", beta, n, k))
				only = biasBackward(t, d, ints, row, beta, 2, false, true)
				Same(t, what+" demb alone", only.emb, got.emb)
				Same(t, what+" absent dbias", only.bias, before("bias", beta, k))
			}
		}
		// the adjoint of y += scale·(bias[k] + emb[n,k])
		b, emb := Normal("b", k), Normal("e", n, k)
		var want float64
		for i, v := range dy.V {
			image := i / (len(dy.V) / n)
			want += 0.7 * float64(v) * (float64(b.V[i%k]) + float64(emb.V[image*k+i%k]))
		}
		g := biasBackward(t, e, dy, k, 0, 0.7, true, true)
		if got := Dot(g.bias, b) + Dot(g.emb, emb); math.Abs(got-want) > 1e-4*(1+math.Abs(want)) {
			t.Errorf("bias_backward %v: adjoint got %v, want %v", s, got, want)
		}
	}
	dy := Zeros(2, 4, 4, 3)
	dy.V[3], dy.V[4+48] = float32(math.Inf(-1)), float32(math.NaN())
	g := biasBackward(t, d, dy, 3, 0, 1, true, true)
	if !math.IsInf(float64(g.emb.V[0]), -1) || g.emb.V[4] == g.emb.V[4] || !math.IsInf(float64(g.bias.V[0]), -1) || g.bias.V[1] == g.bias.V[1] || g.bias.V[2] != 0 {
		t.Errorf("bias_backward of -Inf and NaN: got dbias %v, demb %v", g.bias.V, g.emb.V)
	}
}
