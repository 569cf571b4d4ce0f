package cpu

import (
	"math"

	"ict/tensor"
)

// PseudoHuber is defined in tensor/loss.go.
func (d *Device) PseudoHuber(loss, dy, y, target, weight, step tensor.Tensor, p tensor.PseudoHuber) {
	c := float64(p.C)
	d.losses("pseudo_huber", loss, dy, y, target, weight, step, func(s float64) (value, slope float64) {
		root := math.Sqrt(s + c*c)
		return s / (root + c), float64(p.InvBatch) / root
	})
}

// L2 is defined in tensor/loss.go.
func (d *Device) L2(loss, dy, y, target, weight, step tensor.Tensor, p tensor.L2) {
	scale := 1.0
	if p.Mean && !y.Absent() {
		scale = float64(y.Shape[0]) / float64(y.Elems())
	}
	d.losses("l2", loss, dy, y, target, weight, step, func(s float64) (value, slope float64) {
		return scale * s, 2 * scale * float64(p.InvBatch)
	})
}

// losses writes weight·value(s) and S·weight·slope(s)·(y − target), s the squared distance of an image. Everything is
// float64 until it is stored.
func (d *Device) losses(op string, loss, dy, y, target, weight, step tensor.Tensor, metric func(s float64) (value, slope float64)) {
	n, size := perImageScalars(op, y, weight, loss)
	sameElems(op, y, target, dy)
	scale := float64(d.lossScale(op, step))
	value, grad := d.out(loss), d.out(dy)
	a, b, w := d.in(y), d.in(target), d.in(weight)
	d.each(n, func(_, i int) {
		a, b, grad := a[i*size:(i+1)*size], b[i*size:(i+1)*size], grad[i*size:(i+1)*size]
		var s float64
		if d.exact {
			s = squaredDistanceExact(a, b)
		} else {
			s = squaredDistance(a, b)
		}
		v, slope := metric(s)
		value[i] = float32(float64(w[i]) * v)
		slope *= scale * float64(w[i])
		for j := range grad {
			grad[j] = float32(slope * (float64(a[j]) - float64(b[j])))
		}
	})
	d.store(loss, value)
	d.store(dy, grad)
}

func squaredDistanceExact(a, b []float32) float64 {
	var s float64
	for i := range a {
		e := float64(a[i]) - float64(b[i])
		s += float64(e * e)
	}
	return s
}

// squaredDistance has four sums, of every fourth element each, so that none waits for the one before.
func squaredDistance(a, b []float32) float64 {
	var s0, s1, s2, s3 float64
	b = b[:len(a)]
	for len(a) >= 4 {
		e0, e1 := float64(a[0])-float64(b[0]), float64(a[1])-float64(b[1])
		e2, e3 := float64(a[2])-float64(b[2]), float64(a[3])-float64(b[3])
		s0 += float64(e0 * e0)
		s1 += float64(e1 * e1)
		s2 += float64(e2 * e2)
		s3 += float64(e3 * e3)
		a, b = a[4:], b[4:]
	}
	return (s0 + s1) + (s2 + s3) + squaredDistanceExact(a, b)
}
