package cpu

import (
	"fmt"
	"math"

	"ict/tensor"
)

// Embeddings are small: both modes compute in float64 and round once.

// EmbedFourier is defined in tensor/embed.go.
func (d *Device) EmbedFourier(y, c, freqs tensor.Tensor) {
	f := freqs.Elems()
	n := embedImages("embed_fourier", y, c, f)
	out, vc, vf := d.out(y), d.in(c), d.in(freqs)
	d.each(n, func(_, i int) {
		row := out[i*2*f : (i+1)*2*f]
		for q, w := range vf {
			sin, cos := math.Sincos(2 * math.Pi * float64(w) * float64(vc[i]))
			row[q], row[f+q] = float32(sin), float32(cos)
		}
	})
	d.store(y, out)
}

// EmbedPositional is defined in tensor/embed.go.
func (d *Device) EmbedPositional(y, c tensor.Tensor, p tensor.Positional) {
	f := 0
	if len(y.Shape) == 2 {
		f = y.Shape[1] / 2
	}
	n := embedImages("embed_positional", y, c, f)
	omega := make([]float64, f)
	span := float64(f)
	if p.Endpoint {
		span = max(span-1, 1) // one frequency is ω = 1
	}
	for q := range omega {
		omega[q] = math.Pow(p.MaxPeriod, -float64(q)/span)
	}
	out, vc := d.out(y), d.in(c)
	d.each(n, func(_, i int) {
		first, second := out[i*2*f:i*2*f+f], out[i*2*f+f:(i+1)*2*f]
		if p.CosFirst {
			first, second = second, first
		}
		for q, w := range omega {
			sin, cos := math.Sincos(float64(vc[i]) * w)
			first[q], second[q] = float32(sin), float32(cos)
		}
	})
	d.store(y, out)
}

// embedImages checks y (N,2F) and c (N) and gives N.
func embedImages(op string, y, c tensor.Tensor, f int) int {
	if c.Absent() || f < 1 || len(c.Shape) != 1 || !y.Shape.Equal(tensor.Shape{c.Shape[0], 2 * f}) {
		panic(fmt.Sprintf("cpu: %s: got y %v of c %v with %d frequencies, want (N,2F) of (N)", op, y.Shape, c.Shape, f))
	}
	return c.Shape[0]
}

// EmbedLabelForward is defined in tensor/embed.go.
func (d *Device) EmbedLabelForward(y tensor.Acc, table, labels, bias tensor.Tensor, scale float32) {
	if y.Absent() {
		return
	}
	const op = "embed_label_forward"
	n, e := labelShapes(op, y.Shape, table.Shape, labels, bias)
	out, vt, vb := d.out(y.Tensor), d.in(table), d.in(bias)
	label := d.labels(op, labels, table.Shape[0])
	d.each(n, func(_, i int) {
		row := out[i*e : (i+1)*e]
		for j := range row {
			var v float64
			if label[i] >= 0 {
				v = float64(scale) * float64(vt[int(label[i])*e+j])
			}
			if vb != nil {
				v += float64(vb[j])
			}
			if y.Beta != 0 {
				v += float64(y.Beta) * float64(row[j])
			}
			row[j] = float32(v)
		}
	})
	d.store(y.Tensor, out)
}

// EmbedLabelBackward is defined in tensor/embed.go. A row of the table is summed by one worker.
func (d *Device) EmbedLabelBackward(dtable, dbias tensor.Acc, dy, labels tensor.Tensor, scale float32) {
	const op = "embed_label_backward"
	table := dtable.Shape
	if dtable.Absent() && len(dy.Shape) == 2 {
		table = tensor.Shape{math.MaxInt32, dy.Shape[1]}
	}
	n, e := labelShapes(op, dy.Shape, table, labels, dbias.Tensor)
	v := d.in(dy)
	if !dtable.Absent() {
		owned := make([][]int, table[0])
		for i, l := range d.labels(op, labels, table[0]) {
			if l >= 0 {
				owned[l] = append(owned[l], i)
			}
		}
		out := d.out(dtable.Tensor)
		d.each(table[0], func(worker, l int) {
			accumulate(out[l*e:(l+1)*e], d.sumImages(worker, owned[l], n, v, e, scale), dtable.Beta)
		})
		d.store(dtable.Tensor, out)
	}
	if !dbias.Absent() {
		all := make([]int, n)
		for i := range all {
			all[i] = i
		}
		d.accumulate(dbias, d.sumImages(0, all, n, v, e, 1))
	}
}

// labelShapes checks y (N,E), table (classes,E), labels (N) and bias (E), which may be absent, and gives N and E.
func labelShapes(op string, y, table tensor.Shape, labels, bias tensor.Tensor) (n, e int) {
	if len(y) != 2 || len(table) != 2 || table[1] != y[1] || !labels.Shape.Equal(tensor.Shape{y[0]}) {
		panic(fmt.Sprintf("cpu: %s: got (N,E) %v, table %v, labels %v", op, y, table, labels.Shape))
	}
	if !bias.Absent() && !bias.Shape.Equal(tensor.Shape{y[1]}) {
		panic(fmt.Sprintf("cpu: %s: got bias %v, want (%d)", op, bias.Shape, y[1]))
	}
	return y[0], y[1]
}

// labels reads labels and panics where one is neither a class nor −1.
func (d *Device) labels(op string, t tensor.Tensor, classes int) []int32 {
	labels := d.i32(t)
	for i, l := range labels {
		if l < -1 || int(l) >= classes {
			panic(fmt.Sprintf("cpu: %s: label of image %d got %d, want −1 to %d", op, i, l, classes-1))
		}
	}
	return labels
}

// sumImages returns scale·Σ of the rows of v (n,e) that belong to the given images, in image order within a slice, over
// all slices of the batch pairwise, as addPairwise would: a slice without such an image counts as zero. The result is
// the worker's scratch.
func (d *Device) sumImages(worker int, images []int, n int, v []float32, e int, scale float32) []float32 {
	size, depth := 1, 1 // slices under a node of the tree
	for size < d.slices(n) {
		size, depth = 2*size, depth+1
	}
	scratch := d.work(worker, depth*e)
	clear(scratch[:e])
	if len(images) > 0 {
		d.sumTree(scratch, images, 0, size, v, e, scale)
	}
	return scratch[:e]
}

// sumTree writes the sum of images, all of the slices [first, first+size), to scratch[:e]; what follows is free.
func (d *Device) sumTree(scratch []float32, images []int, first, size int, v []float32, e int, scale float32) {
	sum := scratch[:e]
	if size == 1 {
		for j := range sum {
			var s float64
			for _, i := range images {
				s += float64(scale) * float64(v[i*e+j])
			}
			sum[j] = float32(s) + 0 // never −0, beside which an empty slice would not be neutral
		}
		return
	}
	size /= 2
	middle := 0
	for middle < len(images) && images[middle] < (first+size)*d.slice {
		middle++
	}
	low, high := images[:middle], images[middle:]
	switch {
	case len(high) == 0:
		d.sumTree(scratch, low, first, size, v, e, scale)
	case len(low) == 0:
		d.sumTree(scratch, high, first+size, size, v, e, scale)
	default:
		d.sumTree(scratch, low, first, size, v, e, scale)
		d.sumTree(scratch[e:], high, first+size, size, v, e, scale)
		add(sum, scratch[e:2*e])
	}
}
