package cpu_test

import (
	"math"
	"testing"

	"ict/cpu"
	"ict/internal/optest"
	"ict/tensor"
)

func TestOptim(t *testing.T) {
	optest.Optim(t, fast)
	optest.Optim(t, exact)
}

// An optimiser of one parameter, or of n equal ones.
type optimizer struct {
	t                    testing.TB
	d                    tensor.Backend
	w, m, v              tensor.Tensor
	ema                  []tensor.Tensor
	verdict, scale, step tensor.Tensor
	rule                 tensor.ScaleRule
}

func newOptimizer(t testing.TB, d tensor.Backend, n, averages int, start tensor.Scale) *optimizer {
	o := &optimizer{t: t, d: d, rule: tensor.ScaleRule{Floor: 1, Ceiling: 1 << 24, Limit: 10}}
	o.w, o.m, o.v = optest.Put(t, d, optest.Zeros(n)), optest.Put(t, d, optest.Zeros(n)), optest.Put(t, d, optest.Zeros(n))
	for range averages {
		o.ema = append(o.ema, optest.Put(t, d, optest.Zeros(n)))
	}
	o.verdict = optest.PutBytes(t, d, make([]byte, tensor.VerdictBytes), tensor.U8, tensor.VerdictBytes)
	o.step = optest.PutBytes(t, d, make([]byte, tensor.StepBytes), tensor.U8, tensor.StepBytes)
	b := make([]byte, tensor.ScaleBytes)
	start.Put(b)
	o.scale = optest.PutBytes(t, d, b, tensor.U8, len(b))
	return o
}

func (o *optimizer) take(g float64, st tensor.Step, p tensor.Adam) {
	b := make([]byte, tensor.StepBytes)
	st.Put(b)
	o.d.Upload(o.step, b)
	gt := optest.Put(o.t, o.d, optest.Zeros(o.w.Elems()).Map(func(float32) float32 { return float32(g) }))
	o.d.OptimNorm(o.verdict, gt, optest.Work(o.t, o.d, o.d.OptimNormScratch(o.w.Elems())))
	o.d.OptimJudge(o.verdict, o.scale, o.step, o.rule)
	o.d.OptimUpdate(o.w, o.m, o.v, tensor.Tensor{}, o.ema, gt, o.verdict, o.step, p)
}

func (o *optimizer) theta() float64 { return float64(optest.Get(o.t, o.d, o.w).V[0]) }

func (o *optimizer) scaleNow() tensor.Scale {
	return tensor.GetScale(optest.GetBytes(o.t, o.d, o.scale))
}

const beta1, beta2 = 0.9, 0.999

// radam is the step block of step n, from 1, recipes 5.6.
func radam(n int, lr float64) tensor.Step {
	p1, p2 := math.Pow(beta1, float64(n)), math.Pow(beta2, float64(n))
	end := 2/(1-beta2) - 1
	sma := end - 2*float64(n)*p2/(1-p2)
	if sma <= 5 {
		return tensor.Step{StepSize: float32(lr / (1 - p1))}
	}
	rect := math.Sqrt((sma - 4) * (sma - 2) * end / ((end - 4) * (end - 2) * sma))
	return tensor.Step{StepSize: float32(lr * rect * math.Sqrt(1-p2) / (1 - p1)), VScale: 1, Adaptive: true}
}

var torch = tensor.Adam{Beta1: beta1, Beta2: beta2, Eps: 1e-8}

// Recipes T-4.
func TestRAdamGolden(t *testing.T) {
	repeat := func(g float64, n int) []float64 {
		all := make([]float64, n)
		for i := range all {
			all[i] = g
		}
		return all
	}
	for _, open := range []optest.Open{fast, exact} {
		for _, c := range []struct {
			name string
			lr   float64
			g    []float64
			want []float64
			from int // the first step that want tells of
		}{
			{"trajectory", .1, []float64{1, -2, .5, 3, -1, .25, 2, -.5},
				[]float64{-.1, -.0421052632, -.0240240823, -.0984352484, -.130256205, -.130747044, -.131986382, -.133053306}, 1},
			{"constant", 1e-4, repeat(1, 10), []float64{-.0001, -.0002, -.0003, -.0004, -.0005, -.000502582111, -.000505855992,
				-.000509729819, -.000514140305, -.000519040106}, 1},
			{"place of eps", .1, repeat(1e-8, 8), []float64{-5e-9, -1.85420372e-4, -4.37835534e-4, -7.55364537e-4}, 5},
		} {
			o := newOptimizer(t, open(t), 9, 0, tensor.Scale{S: 1})
			for i, g := range c.g {
				o.take(g, radam(i+1, c.lr), torch)
				if i+1 < c.from {
					continue
				}
				if want := c.want[i+1-c.from]; !within(o.theta(), want, 2e-6, 0) {
					t.Errorf("%s: step %d got %.9g, want %.9g", c.name, i+1, o.theta(), want)
				}
			}
		}
	}
}

// Recipes T-5: the first five steps are momentum with bias correction.
func TestRAdamStartsAsMomentum(t *testing.T) {
	o := newOptimizer(t, fast(t), 3, 0, tensor.Scale{S: 1})
	g := optest.Normal("g", 6)
	var m, theta float64
	for n := 1; n <= 6; n++ {
		o.take(float64(g.V[n-1]), radam(n, 0.01), torch)
		m = beta1*m + (1-beta1)*float64(g.V[n-1])
		theta -= 0.01 * m / (1 - math.Pow(beta1, float64(n)))
		if equal := within(o.theta(), theta, 2e-6, 0); equal != (n <= 5) {
			t.Errorf("step %d: got %v, momentum says %v", n, o.theta(), theta)
		}
	}
}

// Recipes T-6. Parameters move by a step of size 1 along −g with no momentum.
func TestEMAGolden(t *testing.T) {
	plain := tensor.Adam{Beta1: 0, Beta2: 0, Eps: 1e-8}
	for _, open := range []optest.Open{fast, exact} {
		rate := 1 - .9
		o := newOptimizer(t, open(t), 9, 2, tensor.Scale{S: 1})
		for i, want := range []float64{.1, .29, .561, .9049, 1.31441} {
			o.take(-1, tensor.Step{StepSize: 1, EMA: [4]float32{float32(rate), 0}}, plain)
			if o.theta() != float64(i+1) {
				t.Fatalf("parameter got %v, want %d", o.theta(), i+1)
			}
			if got := float64(optest.Get(t, o.d, o.ema[0]).V[8]); !within(got, want, 2e-6, 0) {
				t.Errorf("average after %d steps: got %v, want %v", i+1, got, want)
			}
		}
		optest.Same(t, "an average of rate 0", optest.Get(t, o.d, o.ema[1]), optest.Zeros(9))

		o = newOptimizer(t, open(t), 9, 1, tensor.Scale{S: 1})
		o.d.Upload(o.ema[0], optest.GetBytes(t, o.d, optest.Put(t, o.d, ones(9))))
		for n := 1; n <= 9902; n++ {
			o.take(0, tensor.Step{EMA: [4]float32{1 - .99993}}, plain)
			if want := map[int]float64{10: .99930022, 9902: .49999146}[n]; want != 0 {
				if got := float64(optest.Get(t, o.d, o.ema[0]).V[0]); !within(got, want, 0, 2e-5) {
					t.Errorf("average of zeros after %d steps: got %v, want %v", n, got, want)
				}
			}
		}
	}
}

// Recipes T-8: the loss scale, judged from gradients on the device.
func TestLossScaleGolden(t *testing.T) {
	const good, overflow = 1, math.MaxFloat64 // the second becomes +Inf
	d := fast(t)
	st := tensor.Step{StepSize: 0.1, EMA: [4]float32{0.5}}
	run := func(name string, start int, rule tensor.ScaleRule, g []float64, want []int) *optimizer {
		o := newOptimizer(t, d, 5, 1, tensor.Scale{S: float32(math.Ldexp(1, start))})
		o.rule = rule
		for i, v := range g {
			st.Step = uint64(i)
			before := o.theta()
			o.take(v, st, torch)
			if got := o.scaleNow().S; got != float32(math.Ldexp(1, want[i])) {
				t.Errorf("%s: after step %d S = %v, want 2^%d", name, i+1, got, want[i])
			}
			if moved := o.theta() != before; moved != (v == good) {
				t.Errorf("%s: step %d: moved %v", name, i+1, moved)
			}
		}
		return o
	}
	rule := tensor.ScaleRule{Floor: 1, Ceiling: 1 << 24, Every: 2, Limit: 10}
	o := run("overflows", 20, rule, []float64{good, good, overflow, good, overflow, good, good}, []int{20, 21, 20, 20, 19, 19, 20})
	if got, want := o.scaleNow(), (tensor.Scale{S: 1 << 20, Skipped: 2, Since: 7}); got != want {
		t.Errorf("overflows: scale %+v, want %+v", got, want)
	}
	rule.Ceiling = 1 << 21
	run("ceiling", 20, rule, []float64{good, good, good, good, good, good}, []int{20, 21, 21, 21, 21, 21})
	rule.Ceiling, rule.Limit = 1<<24, 3
	o = run("floor", 1, rule, []float64{overflow, overflow, overflow, overflow}, []int{0, 0, 0, 0})
	if got, want := o.scaleNow(), (tensor.Scale{S: 1, Bad: 3, Skipped: 4}); got != want {
		t.Errorf("floor: scale %+v, want %+v", got, want)
	}
	// diverged: from now on every step is skipped, good ones too
	before := optest.Get(t, d, o.w)
	o.take(good, st, torch)
	optest.Same(t, "w of a diverged run", optest.Get(t, d, o.w), before)
	if v := tensor.GetVerdict(optest.GetBytes(t, d, o.verdict)); !v.Skip {
		t.Errorf("a diverged run: verdict %+v", v)
	}
	// a good step between bad ones starts their count again
	o = run("not diverged", 0, rule, []float64{overflow, overflow, good, overflow, overflow}, []int{0, 0, 0, 0, 0})
	if got := o.scaleNow().Bad; got != 2 {
		t.Errorf("not diverged: %d bad steps, want 2", got)
	}
}

// A loss reads the scale that its step points to, and refuses one outside the step's memory.
func TestLossScalePointer(t *testing.T) {
	d := fast(t)
	m, err := d.Alloc(512)
	if err != nil {
		t.Fatal(err)
	}
	block, step := tensor.Of(m, 0, tensor.U8, 512), tensor.Of(m, 64, tensor.U8, tensor.StepBytes)
	dyAt := func(at uint64) float32 {
		b := make([]byte, 512)
		tensor.Step{Scale: at}.Put(b[64:])
		tensor.Scale{S: 16}.Put(b[256:])
		tensor.Scale{S: 32}.Put(b[512-tensor.ScaleBytes:])
		d.Upload(block, b)
		dy := optest.New(t, d, 1, 1)
		d.L2(optest.New(t, d, 1), dy, optest.Put(t, d, optest.Host{Shape: tensor.Shape{1, 1}, V: []float32{1}}), optest.Put(t, d, optest.Zeros(1, 1)), optest.Put(t, d, ones(1)), step, tensor.L2{InvBatch: 0.5})
		return optest.Get(t, d, dy).V[0]
	}
	for at, want := range map[uint64]float32{0: 1, 256: 16, 512 - tensor.ScaleBytes: 32} {
		if got := dyAt(at); got != want {
			t.Errorf("scale at %d: got %v, want %v", at, got, want)
		}
	}
	for _, at := range []uint64{512 - tensor.ScaleBytes + 8, 512, 1 << 40, math.MaxUint64} {
		panics(t, "l2", func() { dyAt(at) })
	}
}

// The number of threads changes no bit.
func TestOptimThreads(t *testing.T) {
	const n = 200001
	run := func(threads int) (w optest.Host, v tensor.Verdict) {
		d := with(cpu.Options{Threads: threads})(t)
		o := newOptimizer(t, d, n, 1, tensor.Scale{S: 1})
		o.d.Upload(o.w, optest.GetBytes(t, d, optest.Put(t, d, optest.Normal("w", n))))
		o.take(0.1, radam(9, 0.1), torch)
		return optest.Get(t, d, o.w), tensor.GetVerdict(optest.GetBytes(t, d, o.verdict))
	}
	w, v := run(1)
	for _, threads := range []int{2, 3} {
		gotW, gotV := run(threads)
		optest.Same(t, "w", gotW, w)
		if gotV != v {
			t.Errorf("verdict with %d threads %+v, with one %+v", threads, gotV, v)
		}
	}
}

func TestOptimRefuses(t *testing.T) {
	d := fast(t)
	o := newOptimizer(t, d, 10, 5, tensor.Scale{S: 1})
	g := optest.New(t, d, 10)
	panics(t, "optim_norm", func() { d.OptimNorm(o.verdict, g, tensor.Tensor{}) })
	panics(t, "optim_norm", func() { d.OptimNorm(o.step, g, optest.Work(t, d, d.OptimNormScratch(10))) })
	panics(t, "optim_judge", func() { d.OptimJudge(o.verdict, o.verdict, o.step, o.rule) })
	panics(t, "optim_update", func() { d.OptimUpdate(o.w, o.m, o.v, tensor.Tensor{}, o.ema, g, o.verdict, o.step, torch) })
	panics(t, "optim_update", func() {
		d.OptimUpdate(o.w, o.m, o.v, tensor.Tensor{}, nil, optest.New(t, d, 9), o.verdict, o.step, torch)
	})
}

func BenchmarkOptimNorm(b *testing.B) {
	d, n := fast(b), 1_036_769
	g := optest.Put(b, d, optest.Zeros(n))
	verdict := optest.PutBytes(b, d, make([]byte, tensor.VerdictBytes), tensor.U8, tensor.VerdictBytes)
	ws := optest.Work(b, d, d.OptimNormScratch(n))
	b.SetBytes(int64(4 * n))
	for b.Loop() {
		d.OptimNorm(verdict, g, ws)
	}
}

func BenchmarkOptimUpdate(b *testing.B) {
	d, n := fast(b), 1_036_769
	o := newOptimizer(b, d, n, 1, tensor.Scale{S: 1})
	o.take(1, tensor.Step{StepSize: 1e-4, VScale: 1, Adaptive: true, EMA: [4]float32{1e-4}}, torch)
	g := optest.Put(b, d, optest.Normal("g", n))
	b.SetBytes(int64(36 * n))
	for b.Loop() {
		d.OptimUpdate(o.w, o.m, o.v, tensor.Tensor{}, o.ema, g, o.verdict, o.step, torch)
	}
}
