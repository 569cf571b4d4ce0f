package optest

import (
	"encoding/binary"
	"math"
	"testing"

	"ict/tensor"
)

// Reduce proves ReduceNonFinite and ReduceHash.
func Reduce(t *testing.T, open Open) {
	d := open(t)
	result := func(f func(dst tensor.Tensor)) uint64 {
		dst := PutBytes(t, d, []byte{1, 2, 3, 4, 5, 6, 7, 8}, tensor.U8, 8)
		f(dst)
		return binary.LittleEndian.Uint64(GetBytes(t, d, dst))
	}
	for _, n := range []int{1, 7, 4096, 100003} {
		h := Normal("x", n)
		count := func(h Host) uint64 {
			return result(func(dst tensor.Tensor) { d.ReduceNonFinite(dst, Put(t, d, h)) })
		}
		hash := func(h Host) uint64 {
			return result(func(dst tensor.Tensor) { d.ReduceHash(dst, Put(t, d, h)) })
		}
		var want uint64
		for i, v := range h.V {
			z := uint64(math.Float32bits(v)) + uint64(i+1)*0x9e3779b97f4a7c15
			z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
			z = (z ^ z>>27) * 0x94d049bb133111eb
			want += z ^ z>>31
		}
		before := hash(h)
		if before != want {
			t.Errorf("reduce_hash n=%d: got %#x, want %#x", n, before, want)
		}
		if got := count(h); got != 0 {
			t.Errorf("reduce_nonfinite n=%d: got %d, want 0", n, got)
		}
		for bit := range 32 { // of the last element
			o := h.Map(func(v float32) float32 { return v })
			o.V[n-1] = math.Float32frombits(math.Float32bits(o.V[n-1]) ^ 1<<bit)
			if hash(o) == before {
				t.Errorf("reduce_hash n=%d: bit %d of the last element changes nothing", n, bit)
			}
		}
		if n > 1 {
			o := h.Map(func(v float32) float32 { return v })
			o.V[0], o.V[n-1] = o.V[n-1], o.V[0]
			if hash(o) == before {
				t.Errorf("reduce_hash n=%d: exchanging two elements changes nothing", n)
			}
		}
		for i, v := range []float32{float32(math.NaN()), float32(math.Inf(1)), float32(math.Inf(-1)), math.MaxFloat32} {
			o := h.Map(func(v float32) float32 { return v })
			o.V[n-1] = v
			want := uint64(1)
			if i == 3 {
				want = 0
			}
			if n > 1 && i < 3 {
				o.V[0], want = v, 2
			}
			if got := count(o); got != want {
				t.Errorf("reduce_nonfinite n=%d with %v: got %d, want %d", n, v, got, want)
			}
		}
	}
	// elements of one byte are hashed as such
	b := []byte{0, 1, 255}
	got := result(func(dst tensor.Tensor) { d.ReduceHash(dst, PutBytes(t, d, b, tensor.U8, 3)) })
	same := result(func(dst tensor.Tensor) {
		w := make([]byte, 0, 12)
		for _, v := range b {
			w = binary.LittleEndian.AppendUint32(w, uint32(v))
		}
		d.ReduceHash(dst, PutBytes(t, d, w, tensor.I32, 3))
	})
	if got != same {
		t.Errorf("reduce_hash of bytes: got %#x, want %#x", got, same)
	}
}
