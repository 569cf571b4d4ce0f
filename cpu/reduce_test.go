package cpu_test

import (
	"testing"

	"ict/internal/optest"
	"ict/tensor"
)

func TestReduce(t *testing.T) {
	optest.Reduce(t, fast)
	optest.Reduce(t, exact)
}

func BenchmarkReduceHash(b *testing.B) {
	d, n := fast(b), 1_036_769
	x, hash := optest.Put(b, d, optest.Zeros(n)), optest.PutBytes(b, d, make([]byte, 8), tensor.U8, 8)
	b.SetBytes(int64(4 * n))
	for b.Loop() {
		d.ReduceHash(hash, x)
	}
}
