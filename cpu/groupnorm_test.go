package cpu_test

import (
	"fmt"
	"testing"

	"ict/cpu"
	"ict/internal/optest"
	"ict/tensor"
)

func TestGroupNorm(t *testing.T) {
	optest.GroupNorm(t, fast)
	optest.GroupNorm(t, exact)
	optest.GroupNormFarFromZero(t, fast)
}

// M-6: one group of four numbers.
func TestGroupNormGolden(t *testing.T) {
	for _, open := range []optest.Open{fast, exact} {
		d := open(t)
		gamma, beta := optest.Put(t, d, optest.Zeros(1).Map(func(float32) float32 { return 1 })), optest.Put(t, d, optest.Zeros(1))
		for _, c := range []struct {
			unit float32
			eps  float32
			want []float64
		}{
			{1, 1e-5, []float64{-1.34163542, -.447211807, .447211807, 1.34163542}},
			{1, 1e-6, []float64{-1.34164025, -.447213417, .447213417, 1.34164025}},
			{.001, 1e-5, []float64{-.447213595, -.149071198, .149071198, .447213595}},
			{.001, 1e-6, []float64{-1, -.333333333, .333333333, 1}},
		} {
			x := ramp(1, 2, 2, 1).Map(func(v float32) float32 { return v * c.unit })
			y, mean, rstd := optest.New(t, d, 1, 2, 2, 1), optest.New(t, d, 1, 1), optest.New(t, d, 1, 1)
			d.GroupNormForward(y, mean, rstd, optest.Put(t, d, x), tensor.Tensor{}, gamma, beta, tensor.Tensor{}, tensor.Tensor{}, tensor.GroupNorm{Groups: 1, Eps: c.eps})
			near(t, fmt.Sprintf("%v·(1,2,3,4), eps %v", c.unit, c.eps), optest.Get(t, d, y).V, c.want, 2e-6)
		}
	}
}

// groupNormed is one GroupNorm of two sources with everything on.
type groupNormed struct {
	y, dx0, dx1, dgamma, dbeta, dscaleShift optest.Host
}

func groupNormBoth(t testing.TB, d tensor.Backend, x0, x1, scaleShift, dy optest.Host, image0 uint64) (g groupNormed) {
	n, c := dy.Shape[0], dy.Shape[3]
	p := tensor.GroupNorm{Groups: 3, Eps: 1e-6, SiLU: true, Dropout: tensor.Dropout{P: 0.2, Op: 4}}
	b := make([]byte, tensor.StepBytes)
	tensor.Step{Seed: 3, Step: 8, Image0: image0}.Put(b)
	step := optest.PutBytes(t, d, b, tensor.U8, tensor.StepBytes)
	put := func(h optest.Host) tensor.Tensor { return optest.Put(t, d, h) }
	tx0, tx1, gamma, beta, ss := put(x0), put(x1), put(optest.Normal("gamma", c)), put(optest.Normal("beta", c)), put(scaleShift)
	y, mean, rstd := optest.New(t, d, dy.Shape...), optest.New(t, d, n, p.Groups), optest.New(t, d, n, p.Groups)
	d.GroupNormForward(y, mean, rstd, tx0, tx1, gamma, beta, ss, step, p)
	dx0, dx1, dgamma, dbeta, dss := optest.New(t, d, x0.Shape...), optest.New(t, d, x1.Shape...), optest.New(t, d, c), optest.New(t, d, c), optest.New(t, d, n, 2*c)
	d.GroupNormBackward(tensor.Write(dx0), tensor.Write(dx1), tensor.Write(dgamma), tensor.Write(dbeta), tensor.Write(dss), put(dy),
		tx0, tx1, mean, rstd, gamma, beta, ss, step, p, optest.Work(t, d, d.GroupNormBackwardScratch(x0.Shape, x1.Shape)))
	get := func(x tensor.Tensor) optest.Host { return optest.Get(t, d, x) }
	return groupNormed{get(y), get(dx0), get(dx1), get(dgamma), get(dbeta), get(dss)}
}

// Promise C: the gradient of a batch is the pairwise sum over its parts, bit for bit, on any number of threads; masks
// follow the place of an image in the whole batch.
func TestGroupNormFolds(t *testing.T) {
	for _, exact := range []bool{false, true} {
		const n = 32
		x0, x1 := optest.Normal("x0", n, 5, 7, 8), optest.Normal("x1", n, 5, 7, 4)
		ss, dy := optest.Normal("scale-shift", n, 24), optest.Normal("dy", n, 5, 7, 12)
		run := func(threads, from, to int) groupNormed {
			d := with(cpu.Options{Exact: exact, Threads: threads})(t)
			return groupNormBoth(t, d, images(x0, from, to), images(x1, from, to), images(ss, from, to), images(dy, from, to), uint64(100+from))
		}
		whole := run(1, 0, n)
		for _, threads := range []int{2, 5} {
			again := run(threads, 0, n)
			what := fmt.Sprintf("groupnorm exact=%v on %d threads: ", exact, threads)
			optest.Same(t, what+"y", again.y, whole.y)
			optest.Same(t, what+"dx0", again.dx0, whole.dx0)
			optest.Same(t, what+"dx1", again.dx1, whole.dx1)
			optest.Same(t, what+"dgamma", again.dgamma, whole.dgamma)
			optest.Same(t, what+"dbeta", again.dbeta, whole.dbeta)
			optest.Same(t, what+"dscale-shift", again.dscaleShift, whole.dscaleShift)
		}
		a, b := run(2, 0, 16), run(2, 16, n)
		sum := func(a, b optest.Host) optest.Host {
			s := optest.Zeros(a.Shape...)
			for i := range s.V {
				s.V[i] = a.V[i] + b.V[i]
			}
			return s
		}
		what := fmt.Sprintf("groupnorm exact=%v in parts: ", exact)
		optest.Same(t, what+"y", b.y, images(whole.y, 16, n))
		optest.Same(t, what+"dx0", b.dx0, images(whole.dx0, 16, n))
		optest.Same(t, what+"dx1", b.dx1, images(whole.dx1, 16, n))
		optest.Same(t, what+"dscale-shift", b.dscaleShift, images(whole.dscaleShift, 16, n))
		optest.Same(t, what+"dgamma", sum(a.dgamma, b.dgamma), whole.dgamma)
		optest.Same(t, what+"dbeta", sum(a.dbeta, b.dbeta), whole.dbeta)
	}
}

func BenchmarkGroupNorm(b *testing.B) {
	d := fast(b)
	for _, s := range []tensor.Shape{{64, 28, 28, 32}, {64, 14, 14, 64}, {64, 7, 7, 64}} {
		for _, c := range []struct {
			name    string
			second  int
			dropout float32
		}{{"one", 0, 0}, {"two sources", s[3], 0}, {"dropout", 0, 0.3}} {
			k := s[3] + c.second
			p := tensor.GroupNorm{Groups: min(32, k/4), Eps: 1e-6, SiLU: true, Dropout: tensor.Dropout{P: c.dropout}}
			x0 := optest.Put(b, d, optest.Normal("x0", s...))
			y, dy := optest.New(b, d, s[0], s[1], s[2], k), optest.Put(b, d, optest.Normal("dy", s[0], s[1], s[2], k))
			var x1, dx1 tensor.Tensor
			if c.second > 0 {
				x1, dx1 = optest.Put(b, d, optest.Normal("x1", s...)), optest.New(b, d, s...)
			}
			gamma, beta := optest.Put(b, d, optest.Normal("gamma", k)), optest.Put(b, d, optest.Normal("beta", k))
			mean, rstd := optest.New(b, d, s[0], p.Groups), optest.New(b, d, s[0], p.Groups)
			dx0, dgamma, dbeta := optest.New(b, d, s...), optest.New(b, d, k), optest.New(b, d, k)
			step := optest.PutBytes(b, d, make([]byte, tensor.StepBytes), tensor.U8, tensor.StepBytes)
			ws := optest.Work(b, d, d.GroupNormBackwardScratch(x0.Shape, x1.Shape))
			for _, pass := range []struct {
				name string
				f    func()
			}{
				{"forward", func() {
					d.GroupNormForward(y, mean, rstd, x0, x1, gamma, beta, tensor.Tensor{}, step, p)
				}},
				{"backward", func() {
					d.GroupNormBackward(tensor.Write(dx0), tensor.Write(dx1), tensor.Write(dgamma), tensor.Write(dbeta), tensor.Acc{}, dy, x0, x1,
						mean, rstd, gamma, beta, tensor.Tensor{}, step, p, ws)
				}},
			} {
				b.Run(fmt.Sprintf("%v/%s/%s", s, c.name, pass.name), func(b *testing.B) {
					for b.Loop() {
						pass.f()
					}
					perElement(b, y.Elems())
				})
			}
		}
	}
}
