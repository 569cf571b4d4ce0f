package cpu

import (
	"math"
	"sync/atomic"

	"ict/tensor"
)

// ReduceNonFinite is defined in tensor/reduce.go.
func (d *Device) ReduceNonFinite(count, x tensor.Tensor) {
	defer d.endLoans()
	v := d.in(x)
	var total atomic.Uint64
	d.ranges(len(v), pointwiseRun, func(_, from, to int) { total.Add(nonFinite(v[from:to])) })
	d.putCount("reduce_nonfinite", count, total.Load())
}

// nonFinite counts infinities and NaNs.
func nonFinite(x []float32) uint64 {
	const exponent = 0xff << 23
	n := uint64(0)
	for _, v := range x {
		if math.Float32bits(v)&exponent == exponent {
			n++
		}
	}
	return n
}

// ReduceHash is defined in tensor/reduce.go. Integer sums have no order.
func (d *Device) ReduceHash(hash, x tensor.Tensor) {
	b := d.bytes(x)
	var h uint64
	switch x.DType.Size() {
	case 4:
		h = hashOf[uint32](d, b)
	case 2:
		h = hashOf[uint16](d, b)
	default:
		h = hashOf[uint8](d, b)
	}
	d.putCount("reduce_hash", hash, h)
}

func hashOf[T uint8 | uint16 | uint32](d *Device, b []byte) uint64 {
	x := view[T](b)
	var total atomic.Uint64
	d.ranges(len(x), pointwiseRun, func(_, from, to int) {
		var h uint64
		for i := from; i < to; i++ {
			h += splitMix(uint64(x[i]) + uint64(i+1)*0x9e3779b97f4a7c15)
		}
		total.Add(h)
	})
	return total.Load()
}

// splitMix is the finaliser of SplitMix64.
func splitMix(z uint64) uint64 {
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}
