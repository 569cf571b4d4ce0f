package optest

import (
	"fmt"
	"math"
	"testing"

	"ict/tensor"
)

// A metric is one of the launchers of losses.
type metric struct {
	name string
	run  func(d tensor.Backend, loss, dy, y, target, weight, step tensor.Tensor, invBatch float32)
}

var metrics = []metric{
	{"pseudo_huber", func(d tensor.Backend, loss, dy, y, target, weight, step tensor.Tensor, invBatch float32) {
		d.PseudoHuber(loss, dy, y, target, weight, step, tensor.PseudoHuber{C: 0.03, InvBatch: invBatch})
	}},
	{"l2", func(d tensor.Backend, loss, dy, y, target, weight, step tensor.Tensor, invBatch float32) {
		d.L2(loss, dy, y, target, weight, step, tensor.L2{InvBatch: invBatch})
	}},
	{"l2 mean", func(d tensor.Backend, loss, dy, y, target, weight, step tensor.Tensor, invBatch float32) {
		d.L2(loss, dy, y, target, weight, step, tensor.L2{InvBatch: invBatch, Mean: true})
	}},
}

// of gives loss (N) and dy (N,D…); scale 0 leaves the loss scale out.
func (m metric) of(t testing.TB, d tensor.Backend, y, target, weight Host, invBatch, scale float32) (loss, dy Host) {
	l, g := newWide(t, d, nans(y.Shape[0])), newWide(t, d, nans(y.Shape...))
	var s *tensor.Scale
	if scale != 0 {
		s = &tensor.Scale{S: scale}
	}
	step, _ := stepBlock(t, d, tensor.Step{}, s)
	m.run(d, l.Tensor, g.Tensor, Put(t, d, y), Put(t, d, target), Put(t, d, weight), step, invBatch)
	return l.get(t, d, m.name), g.get(t, d, m.name)
}

// Loss proves PseudoHuber and L2.
func Loss(t *testing.T, open Open) {
	d, e := open(t), Exact(t)
	for _, m := range metrics {
		for _, s := range []tensor.Shape{{1, 4, 4, 3}, {2, 7, 5, 3}, {17, 8, 8, 1}, {3, 5}, {2, 100, 100, 1}} {
			what := fmt.Sprintf("%s %v", m.name, s)
			weight := Normal("weight", s[0]).Map(func(v float32) float32 { return 1 + v*v })
			y := Normal("y", s...)
			target := Normal("target", s...)
			for i := range target.V { // pairs of the last stage lie close together
				target.V[i] = y.V[i] + 0.01*target.V[i]
			}
			loss, dy := m.of(t, d, y, target, weight, 0.25, 0)
			wantLoss, wantDy := m.of(t, e, y, target, weight, 0.25, 0)
			Near(t, what, loss, wantLoss, 1e-5)
			Near(t, what+" dy", dy, wantDy, 1e-5)

			scaled, scaledDy := m.of(t, d, y, target, weight, 0.25, 1024)
			Same(t, what+" under a loss scale", scaled, loss)
			Same(t, what+" dy under a loss scale", scaledDy, dy.Map(func(v float32) float32 { return 1024 * v }))

			// The gradient of InvBatch·Σ loss. The stored loss is float32: differences are taken over a change that is
			// large beside its rounding.
			dir := Normal("dir", s...)
			total := func(y Host) (sum float64) {
				l, _ := m.of(t, e, y, target, weight, 0.25, 0)
				for _, v := range l.V {
					sum += 0.25 * float64(v)
				}
				return sum
			}
			slope := Slope(total, y, dir, 1e-3)
			if got := Dot(wantDy, dir); math.Abs(got-slope) > 2e-2*math.Sqrt(Dot(wantDy, wantDy)*Dot(dir, dir)) {
				t.Errorf("%s: dy along a direction got %v, differences say %v", what, got, slope)
			}
		}
		one := Zeros(2).Map(func(float32) float32 { return 1 })
		zero, dzero := m.of(t, d, Normal("y", 2, 5), Normal("y", 2, 5), one, 1, 0)
		Same(t, m.name+" at the target", zero, Zeros(2))
		if RelErr(dzero, Zeros(2, 5)) != 0 {
			t.Errorf("%s: dy at the target got %v", m.name, dzero.V)
		}
		y := Zeros(2, 5)
		y.V[0] = float32(math.NaN())
		if loss, dy := m.of(t, d, y, Zeros(2, 5), one, 1, 0); loss.V[0] == loss.V[0] || loss.V[1] != 0 || dy.V[0] == dy.V[0] || dy.V[5] != 0 {
			t.Errorf("%s: NaN in image 0 gave losses %v, dy %v", m.name, loss.V, dy.V)
		}
	}
}
