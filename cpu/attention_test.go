package cpu_test

import (
	"fmt"
	"math"
	"testing"

	"ict/cpu"
	"ict/internal/optest"
	"ict/tensor"
)

func TestAttention(t *testing.T) {
	optest.Attention(t, fast)
	optest.Attention(t, exact)
}

func attended(t testing.TB, d tensor.Backend, qkv optest.Host, p tensor.Attention) (o, lse optest.Host) {
	s := qkv.Shape
	to, tl := optest.New(t, d, s[0], s[1], s[2], s[3]/3), optest.New(t, d, s[0], p.Heads, s[1]*s[2])
	d.AttentionForward(to, tl, optest.Put(t, d, qkv), p)
	return optest.Get(t, d, to), optest.Get(t, d, tl)
}

// M-7: two positions, one head of width 2.
func TestAttentionGolden(t *testing.T) {
	qkv := optest.Host{Shape: tensor.Shape{1, 1, 2, 6}, V: []float32{
		1, 0, .2, .4, 1, 2,
		.5, -1, -.3, 1, 3, -1,
	}}
	for _, open := range []optest.Open{fast, exact} {
		o, lse := attended(t, open(t), qkv, tensor.Attention{Heads: 1, Scale: float32(1 / math.Sqrt2)})
		near(t, "output", o.V, []float64{1.825042, .762437003, 1.70821124, .937683142}, 2e-6)
		// a weight is e^(logit − lse)
		for i, w := range [][2]float64{{.141421356, .587479001}, {-.212132034, .645894381}} {
			near(t, "weight", []float32{float32(math.Exp(w[0] - float64(lse.V[i])))}, []float64{w[1]}, 2e-6)
		}
	}
}

// The bits do not depend on the number of threads, nor an image's on its batch.
func TestAttentionThreads(t *testing.T) {
	p := tensor.Attention{Heads: 2, Scale: 0.25}
	qkv, do := optest.Normal("qkv", 3, 18, 17, 3*2*16), optest.Normal("do", 3, 18, 17, 2*16)
	run := func(d tensor.Backend, qkv, do optest.Host) (o, dqkv optest.Host) {
		o, lse := attended(t, d, qkv, p)
		to := optest.New(t, d, qkv.Shape...)
		d.AttentionBackward(tensor.Write(to), optest.Put(t, d, do), optest.Put(t, d, o), optest.Put(t, d, qkv), optest.Put(t, d, lse), p)
		return o, optest.Get(t, d, to)
	}
	one, three := with(cpu.Options{Threads: 1})(t), with(cpu.Options{Threads: 3})(t)
	o, dqkv := run(one, qkv, do)
	again, dagain := run(three, qkv, do)
	optest.Same(t, "attention on 3 threads", again, o)
	optest.Same(t, "attention backward on 3 threads", dagain, dqkv)
	part, dpart := run(three, images(qkv, 1, 2), images(do, 1, 2))
	optest.Same(t, "attention of a part", part, images(o, 1, 2))
	optest.Same(t, "attention backward of a part", dpart, images(dqkv, 1, 2))
}

func BenchmarkAttention(b *testing.B) {
	d := fast(b)
	for _, c := range []struct{ n, side, heads, width int }{{64, 14, 1, 64}, {64, 7, 1, 64}, {64, 8, 1, 256}, {64, 16, 1, 256}, {4, 32, 6, 64}} {
		p := tensor.Attention{Heads: c.heads, Scale: float32(1 / math.Sqrt(float64(c.width)))}
		k := c.heads * c.width
		qkv, do := optest.Put(b, d, optest.Normal("qkv", c.n, c.side, c.side, 3*k)), optest.Put(b, d, optest.Normal("do", c.n, c.side, c.side, k))
		o, lse := optest.New(b, d, c.n, c.side, c.side, k), optest.New(b, d, c.n, c.heads, c.side*c.side)
		dqkv := optest.New(b, d, c.n, c.side, c.side, 3*k)
		for _, pass := range []struct {
			name    string
			factor  float64 // multiply-adds, forward 1
			compute func()
		}{
			{"forward", 1, func() { d.AttentionForward(o, lse, qkv, p) }},
			{"backward", 2.5, func() { d.AttentionBackward(tensor.Write(dqkv), do, o, qkv, lse, p) }},
		} {
			b.Run(fmt.Sprintf("%+v/%s", c, pass.name), func(b *testing.B) {
				for b.Loop() {
					pass.compute()
				}
				b.ReportMetric(2*pass.factor*float64(p.MACs(qkv.Shape))*float64(b.N)/float64(b.Elapsed().Nanoseconds()), "GFLOP/s")
			})
		}
	}
}
