package cpu_test

import (
	"fmt"
	"testing"

	"ict/cpu"
	"ict/internal/optest"
	"ict/tensor"
)

// with opens cpu with options.
func with(o cpu.Options) optest.Open {
	return func(t testing.TB) tensor.Backend {
		d, err := cpu.Open(o)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
}

var (
	fast  = with(cpu.Options{})
	exact = with(cpu.Options{Exact: true})
)

func TestPointwise(t *testing.T) {
	optest.Pointwise(t, fast)
	optest.Pointwise(t, exact)
}

// biasSums runs BiasBackward on consecutive parts of a batch.
func biasSums(t testing.TB, d tensor.Backend, dy optest.Host) (bias, emb optest.Host) {
	n, k := dy.Shape[0], dy.Shape.Last()
	b, e := optest.New(t, d, k), optest.New(t, d, n, k)
	d.BiasBackward(tensor.Write(b), tensor.Write(e), optest.Put(t, d, dy), 0.3, optest.Work(t, d, d.BiasBackwardScratch(dy.Shape)))
	return optest.Get(t, d, b), optest.Get(t, d, e)
}

// images is part of a batch.
func images(h optest.Host, from, to int) optest.Host {
	size := len(h.V) / h.Shape[0]
	return optest.Host{Shape: append(tensor.Shape{to - from}, h.Shape[1:]...), V: h.V[from*size : to*size]}
}

// Promise C: sums over a batch are the pairwise sums over its parts, bit for bit, on any number of threads.
func TestBiasBackwardFolds(t *testing.T) {
	for _, o := range []cpu.Options{{Threads: 1}, {Threads: 2}, {Threads: 5}, {Exact: true, Threads: 2}} {
		d, one := with(o)(t), with(cpu.Options{Threads: 1, Exact: o.Exact})(t)
		for _, s := range []tensor.Shape{{32, 5, 5, 33}, {32, 7, 9, 3}, {16, 14, 14, 64}, {32, 100}} {
			dy := optest.Normal("dy", s...)
			bias, emb := biasSums(t, d, dy)
			again, againEmb := biasSums(t, one, dy)
			optest.Same(t, fmt.Sprintf("dbias %v with %d threads against 1", s, o.Threads), bias, again)
			optest.Same(t, fmt.Sprintf("demb %v with %d threads against 1", s, o.Threads), emb, againEmb)
			var parts []optest.Host
			for from := 0; from < s[0]; from += 8 {
				part, partEmb := biasSums(t, d, images(dy, from, from+8))
				optest.Same(t, fmt.Sprintf("demb %v in parts", s), partEmb, images(emb, from, from+8))
				parts = append(parts, part)
				if !o.Exact { // within a slice, in the order of the images
					sum := append([]float32(nil), partEmb.V[:s.Last()]...)
					for i, v := range partEmb.V[s.Last():] {
						sum[i%s.Last()] += v
					}
					optest.Same(t, fmt.Sprintf("dbias %v of one slice", s), part, optest.Host{Shape: part.Shape, V: sum})
				}
			}
			optest.Same(t, fmt.Sprintf("dbias %v in parts of one slice", s), optest.RankSum(parts), bias)
			low, _ := biasSums(t, d, images(dy, 0, s[0]/2))
			high, _ := biasSums(t, d, images(dy, s[0]/2, s[0]))
			optest.Same(t, fmt.Sprintf("dbias %v in halves", s), optest.RankSum([]optest.Host{low, high}), bias)
		}
	}
}

// The shapes of NCSN++ 28x28x1 with 32 channels at batch 64.
var networkShapes = []tensor.Shape{{64, 28, 28, 32}, {64, 14, 14, 64}, {64, 7, 7, 64}}

func BenchmarkAxpby(b *testing.B) {
	d := fast(b)
	for _, s := range networkShapes {
		y, x0, x1 := optest.Put(b, d, optest.Zeros(s...)), optest.Put(b, d, optest.Zeros(s...)), optest.Put(b, d, optest.Zeros(s...))
		b.Run(fmt.Sprint("sum of two ", s), func(b *testing.B) {
			b.SetBytes(int64(12 * s.Elems()))
			for b.Loop() {
				d.Axpby(tensor.Write(y), 0.7, x0, 0.7, x1)
			}
		})
		b.Run(fmt.Sprint("added ", s), func(b *testing.B) {
			b.SetBytes(int64(12 * s.Elems()))
			for b.Loop() {
				d.Axpby(tensor.Acc{Tensor: y, Beta: 1}, 1, x0, 0, tensor.Tensor{})
			}
		})
	}
}

func BenchmarkBiasBackward(b *testing.B) {
	d := fast(b)
	for _, s := range append(networkShapes, tensor.Shape{64, 28, 28, 1}) {
		dy, bias, emb := optest.Put(b, d, optest.Zeros(s...)), optest.New(b, d, s[3]), optest.New(b, d, s[0], s[3])
		ws := optest.Work(b, d, d.BiasBackwardScratch(s))
		b.Run(fmt.Sprint(s), func(b *testing.B) {
			b.SetBytes(int64(4 * s.Elems()))
			for b.Loop() {
				d.BiasBackward(tensor.Write(bias), tensor.Write(emb), dy, 1, ws)
			}
		})
	}
}
