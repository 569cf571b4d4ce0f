package optest

import (
	"fmt"
	"math"
	"testing"

	"ict/tensor"
)

// An optimizer is the state of n parameters on a backend.
type optimizer struct {
	d           tensor.Backend
	w, m, v     wide
	ema         []wide
	verdict     tensor.Tensor
	rule        tensor.ScaleRule
	p           tensor.Adam
	scale       tensor.Scale // after the last step
	lastVerdict tensor.Verdict
}

func newOptimizer(t testing.TB, d tensor.Backend, n, averages int) *optimizer {
	o := &optimizer{
		d: d, scale: tensor.Scale{S: 1}, rule: tensor.ScaleRule{Floor: 1, Ceiling: 1 << 24, Limit: 10},
		p: tensor.Adam{Beta1: 0.9, Beta2: 0.999, Eps: 1e-8},
	}
	o.w = newWide(t, d, Normal("w", n))
	o.m = newWide(t, d, Normal("m", n).Map(func(v float32) float32 { return 0.1 * v }))
	o.v = newWide(t, d, Normal("v", n).Map(func(v float32) float32 { return 0.01 * v * v }))
	for i := range averages {
		o.ema = append(o.ema, newWide(t, d, Normal(fmt.Sprint("ema", i), n)))
	}
	o.verdict = PutBytes(t, d, make([]byte, tensor.VerdictBytes), tensor.U8, tensor.VerdictBytes)
	return o
}

// step does norm, judgement and update for one gradient.
func (o *optimizer) step(t testing.TB, g Host, st tensor.Step) {
	step, scale := stepBlock(t, o.d, st, &o.scale)
	averages := make([]tensor.Tensor, len(o.ema))
	for i, e := range o.ema {
		averages[i] = e.Tensor
	}
	gt := Put(t, o.d, g)
	o.d.OptimNorm(o.verdict, gt, Work(t, o.d, o.d.OptimNormScratch(len(g.V))))
	o.d.OptimJudge(o.verdict, scale, step, o.rule)
	o.d.OptimUpdate(o.w.Tensor, o.m.Tensor, o.v.Tensor, tensor.Tensor{}, averages, gt, o.verdict, step, o.p)
	o.scale = tensor.GetScale(GetBytes(t, o.d, scale))
	o.lastVerdict = tensor.GetVerdict(GetBytes(t, o.d, o.verdict))
}

// state is w, m, v and the averages.
func (o *optimizer) state(t testing.TB) []Host {
	all := []Host{o.w.get(t, o.d, "w"), o.m.get(t, o.d, "m"), o.v.get(t, o.d, "v")}
	for _, e := range o.ema {
		all = append(all, e.get(t, o.d, "ema"))
	}
	return all
}

func sameState(t testing.TB, what string, got, want []Host) {
	t.Helper()
	for i := range want {
		Same(t, fmt.Sprintf("%s, tensor %d of w, m, v, ema…", what, i), got[i], want[i])
	}
}

// Optim proves OptimNorm, OptimJudge and OptimUpdate.
func Optim(t *testing.T, open Open) {
	d, e := open(t), Exact(t)
	adaptive := tensor.Step{StepSize: 1e-3, VScale: 1, Adaptive: true, EMA: [4]float32{1e-4, 0.5, 0, 0.01}}
	momentum := tensor.Step{StepSize: 1e-3, EMA: [4]float32{1e-4, 0.5, 0, 0.01}}
	bias := adaptive
	bias.VScale = 12.5 // Adam's 1/√(1−β2ⁿ)
	for _, n := range []int{1, 7, 4096, 100003} {
		for i, st := range []tensor.Step{adaptive, momentum, bias} {
			for _, decay := range []float32{0, 0.01} {
				if n > 1e5 && (i != 0 || decay == 0) {
					continue // once is enough
				}
				what := fmt.Sprintf("optim n=%d step %d decay=%v", n, i, decay)
				got, want := newOptimizer(t, d, n, 4), newOptimizer(t, e, n, 4)
				got.p.WeightDecay, want.p.WeightDecay = decay, decay
				start := got.state(t)
				g := Normal("g", n)
				got.step(t, g, st)
				want.step(t, g, st)
				normCheck(t, what, got.lastVerdict, g, 1)
				after, ref := got.state(t), want.state(t)
				for j, name := range []string{"w", "m", "v", "ema0", "ema1", "ema2", "ema3"} {
					// two units in the last place, and the rounding of what was added
					for k, w := range ref[j].V {
						old, now := float64(start[j].V[k]), float64(w)
						allowed := 0x1p-22*math.Max(math.Abs(old), math.Abs(now)) + 0x1p-20*(math.Abs(now-old)+float64(st.StepSize))
						if !(math.Abs(float64(after[j].V[k])-now) <= allowed) {
							t.Errorf("%s: %s[%d] got %v, want %v", what, name, k, after[j].V[k], w)
							break
						}
					}
				}
				Same(t, what+": an average of rate 0", after[5], start[5])
				if n == 7 && RelErr(after[0], start[0]) == 0 {
					t.Errorf("%s: nothing moved", what)
				}
			}
		}
	}
	skipCases(t, d)
	clipCases(t, d, e)

	// a loss scale that is a power of two changes no bit
	var states [2][]Host
	for i, s := range []float32{1 << 8, 1 << 20} {
		o := newOptimizer(t, d, 4099, 2)
		o.scale.S = s
		for k := range 3 {
			o.step(t, Normal(fmt.Sprint("g", k), 4099).Map(func(v float32) float32 { return s * v }), adaptive)
		}
		states[i] = o.state(t)
	}
	sameState(t, "optim with S = 2^20 against 2^8", states[1], states[0])

	// the copy of the weights
	o, copied := newOptimizer(t, d, 100, 0), newWide(t, d, nans(100))
	step, scale := stepBlock(t, d, adaptive, &o.scale)
	g := Put(t, d, Normal("g", 100))
	d.OptimNorm(o.verdict, g, Work(t, d, d.OptimNormScratch(100)))
	d.OptimJudge(o.verdict, scale, step, o.rule)
	d.OptimUpdate(o.w.Tensor, o.m.Tensor, o.v.Tensor, copied.Tensor, nil, g, o.verdict, step, o.p)
	Same(t, "optim_update: copy of w", copied.get(t, d, "w16"), o.state(t)[0])
	for _, f := range halfFormats {
		w16 := New16(t, d, f.d, 100)
		d.OptimUpdate(o.w.Tensor, o.m.Tensor, o.v.Tensor, w16, nil, g, o.verdict, step, o.p)
		Same(t, fmt.Sprintf("optim_update: %v copy of w", f.d), GetAs(t, d, w16), o.state(t)[0].Rounded(f.d))
	}
}

// normCheck compares Σg² with the sum in float64.
func normCheck(t testing.TB, what string, v tensor.Verdict, g Host, s float64) {
	t.Helper()
	want := Dot(g, g)
	if math.Abs(float64(v.Sum2)-want) > 1e-6*want || math.Abs(float64(v.Norm)*s-math.Sqrt(want)) > 1e-6*math.Sqrt(want) || v.NonFinite != 0 || v.Skip {
		t.Errorf("%s: verdict %+v, want Σg² = %v", what, v, want)
	}
}

// skipCases: a gradient that is not finite moves nothing but the scale.
func skipCases(t *testing.T, d tensor.Backend) {
	inf, nan := float32(math.Inf(1)), float32(math.NaN())
	st := tensor.Step{Step: 41, StepSize: 1e-3, VScale: 1, Adaptive: true, EMA: [4]float32{0.1, 0.1, 0.1, 0.1}}
	for _, n := range []int{1, 7, 4096, 50000} {
		for count, bad := range [][]float32{{3e38}, {inf}, {nan, -inf}} {
			if len(bad) > n {
				continue
			}
			what := fmt.Sprintf("optim n=%d with %v", n, bad)
			o := newOptimizer(t, d, n, 4)
			o.scale = tensor.Scale{S: 4, Good: 3, Skipped: 5, Since: 40}
			o.rule.Every = 2000
			start := o.state(t)
			g := Normal("g", n)
			copy(g.V[n-len(bad):], bad) // in the last elements
			o.step(t, g, st)
			sameState(t, what, o.state(t), start)
			if v := o.lastVerdict; !v.Skip || v.NonFinite != uint64(count) {
				t.Errorf("%s: verdict %+v, want a skip and a count of %d", what, v, count)
			}
			if want := (tensor.Scale{S: 2, Skipped: 6, Since: 40}); o.scale != want {
				t.Errorf("%s: scale %+v, want %+v", what, o.scale, want)
			}
		}
	}
}

// clipCases: a gradient longer than MaxNorm is shortened to it, whatever the loss scale.
func clipCases(t *testing.T, d, e tensor.Backend) {
	g := Normal("g", 5000)
	norm := math.Sqrt(Dot(g, g))
	for _, c := range []struct {
		max, scale float32
		factor     float64
	}{
		{float32(norm / 2), 1, 0.5}, {float32(2 * norm), 1, 1}, {0, 8, 0.125}, {float32(norm / 2), 8, 0.0625},
	} {
		st := tensor.Step{StepSize: 0.1, MaxNorm: c.max}
		got, want := newOptimizer(t, d, 5000, 0), newOptimizer(t, e, 5000, 0)
		for _, o := range []*optimizer{got, want} {
			o.scale.S = c.scale
			o.step(t, g.Map(func(v float32) float32 { return c.scale * v }), st)
		}
		if f := float64(got.lastVerdict.Factor); math.Abs(f-c.factor) > 1e-6*c.factor {
			t.Errorf("optim: max norm %v, S %v: factor got %v, want %v", c.max, c.scale, f, c.factor)
		}
		Near(t, "optim with clipping", got.state(t)[0], want.state(t)[0], 1e-6)
	}
}
