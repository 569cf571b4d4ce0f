package cpu

import (
	"fmt"
	"math"

	"ict/tensor"
)

// Every product has the rows of one slice, so that no bit depends on the batch. What is wide is cut into fixed blocks,
// which the workers share.
const (
	linearOut = 256 // outputs of a forward block: with a few hundred inputs its weights stay in the second-level cache
	linearIn  = 128 // inputs of a dgrad block
	linearRow = 64  // rows of a block of the weight gradient, of which a few are kept for the sum over slices
)

// linearShapes checks and gives N, C, K.
func linearShapes(op string, y, x, w tensor.Shape, p tensor.Linear) (n, c, k int) {
	if err := p.Check(y, x, w); err != nil {
		panic(fmt.Sprintf("cpu: %s: %v", op, err))
	}
	return x[0], x[1], w[0]
}

// LinearFprop is defined in tensor/linear.go.
func (d *Device) LinearFprop(y, x, w, b tensor.Tensor, p tensor.Linear) {
	n, c, k := linearShapes("linear_fprop", y.Shape, x.Shape, w.Shape, p)
	if !b.Absent() {
		wantShape("linear_fprop", "bias", b, tensor.Shape{k})
	}
	out, in, weights, bias := d.out(y), d.in(x), d.in(w), d.in(b)
	if d.exact {
		d.each(n, func(_, i int) { linearExact(out[i*k:(i+1)*k], in[i*c:(i+1)*c], weights, bias, p.SiLU) })
		d.store(y, out)
		return
	}
	if p.SiLU {
		in = d.activated(d.work(0, n*c), in)
	}
	slices := d.slices(n)
	d.each((k+linearOut-1)/linearOut*slices, func(_, unit int) { // one block after another, so that its weights stay near
		from, first := unit/slices*linearOut, unit%slices*d.slice
		to, last := min(from+linearOut, k), min(first+d.slice, n)
		var beta float32
		if bias != nil {
			beta = 1
			for i := first; i < last; i++ {
				copy(out[i*k+from:i*k+to], bias[from:to])
			}
		}
		d.blas.gemm(false, true, last-first, to-from, c, 1, in[first*c:], c, weights[from*c:], c, beta, out[first*k+from:], k)
	})
	d.store(y, out)
}

// activated writes SiLU(x) to a and returns it.
func (d *Device) activated(a, x []float32) []float32 {
	d.ranges(len(x), pointwiseRun, func(_, from, to int) { silu(a[from:to], x[from:to]) })
	return a
}

// LinearDgrad is defined in tensor/linear.go.
func (d *Device) LinearDgrad(dx tensor.Acc, dy, x, w tensor.Tensor, p tensor.Linear) {
	if dx.Absent() {
		return
	}
	n, c, k := linearShapes("linear_dgrad", dy.Shape, dx.Shape, w.Shape, p)
	var in []float32
	if p.SiLU {
		if !x.Shape.Equal(dx.Shape) {
			panic(fmt.Sprintf("cpu: linear_dgrad: x got %v, want %v", x.Shape, dx.Shape))
		}
		in = d.in(x)
	}
	out, slope, weights := d.out(dx.Tensor), d.in(dy), d.in(w)
	if d.exact {
		d.each(n, func(_, i int) {
			linearDgradExact(out[i*c:(i+1)*c], dx.Beta, slope[i*k:(i+1)*k], part(in, i*c, (i+1)*c), weights)
		})
		d.store(dx.Tensor, out)
		return
	}
	blocks := (c + linearIn - 1) / linearIn
	d.each(d.slices(n)*blocks, func(worker, unit int) {
		first := unit / blocks * d.slice
		rows := min(d.slice, n-first)
		from := unit % blocks * linearIn
		cols := min(linearIn, c-from)
		if in == nil {
			d.blas.gemm(false, false, rows, cols, k, 1, slope[first*k:], k, weights[from:], c, dx.Beta, out[first*c+from:], c)
			return
		}
		t := d.work(worker, rows*cols)
		d.blas.gemm(false, false, rows, cols, k, 1, slope[first*k:], k, weights[from:], c, 0, t, cols)
		for i := range rows {
			at := (first+i)*c + from
			siluBackward(out[at:at+cols], t[i*cols:(i+1)*cols], in[at:at+cols], dx.Beta)
		}
	})
	d.store(dx.Tensor, out)
}

// LinearWgradScratch is room for the activated input, N·C floats.
func (d *Device) LinearWgradScratch(w, dy tensor.Shape) int { return 4 * dy[0] * w[1] }

// LinearWgrad is defined in tensor/linear.go.
func (d *Device) LinearWgrad(dw, db tensor.Acc, x, dy tensor.Tensor, p tensor.Linear, ws tensor.Tensor) {
	var w tensor.Shape
	if len(dy.Shape) == 2 && len(x.Shape) == 2 {
		w = tensor.Shape{dy.Shape[1], x.Shape[1]}
	}
	n, c, k := linearShapes("linear_wgrad", dy.Shape, x.Shape, w, p)
	in, slope := d.in(x), d.in(dy)
	var weights, bias []float32
	if !dw.Absent() {
		wantShape("linear_wgrad", "dw", dw.Tensor, w)
		weights = d.out(dw.Tensor)
	}
	if !db.Absent() {
		wantShape("linear_wgrad", "db", db.Tensor, tensor.Shape{k})
		bias = d.out(db.Tensor)
	}
	if p.SiLU && weights != nil && !d.exact {
		in = d.activated(d.scratchFloats("linear_wgrad", ws, n*c), in)
	}
	d.ranges(k, linearRow, func(worker, from, to int) {
		size := (to - from) * c
		if weights != nil {
			sum := d.foldSlices(n, size, d.work(worker, d.foldScratch(n, size)), func(first, last int, sum []float32) {
				if d.exact {
					linearWgradExact(sum, slope[first*k+from:last*k], k, in[first*c:last*c], c, p.SiLU)
					return
				}
				d.blas.gemm(true, false, to-from, c, last-first, 1, slope[first*k+from:], k, in[first*c:], c, 0, sum, c)
			})
			accumulate(weights[from*c:to*c], sum, dw.Beta)
		}
		if bias != nil {
			sum := d.foldSlices(n, to-from, d.work(worker, d.foldScratch(n, to-from)), func(first, last int, sum []float32) {
				columnSums(sum, slope[first*k+from:last*k], k)
			})
			accumulate(bias[from:to], sum, db.Beta)
		}
	})
	if weights != nil {
		d.store(dw.Tensor, weights)
	}
	if bias != nil {
		d.store(db.Tensor, bias)
	}
}

// columnSums writes sum[j] = Σ_i x[i·stride+j], in float64.
func columnSums(sum, x []float32, stride int) {
	for j := range sum {
		var s float64
		for at := j; at < len(x); at += stride {
			s += float64(x[at])
		}
		sum[j] = float32(s)
	}
}

// foldScratch is the number of floats that foldSlices needs.
func (d *Device) foldScratch(n, size int) int {
	levels := 0
	for m := d.slices(n); m > 0; m /= 2 {
		levels++
	}
	return levels * size
}

// foldSlices is sumSlices within one worker: part writes the sum of images [first, last) of one slice, and the slices are
// added pairwise, in the same tree, while they are in the cache. The result lies in ws.
func (d *Device) foldSlices(n, size int, ws []float32, part func(first, last int, sum []float32)) []float32 {
	at := func(i int) []float32 { return ws[i*size : (i+1)*size] }
	depth := 0 // sums at ws[0:depth·size], each of a power of two of slices, the latest on top
	for slice := range d.slices(n) {
		part(slice*d.slice, min((slice+1)*d.slice, n), at(depth))
		depth++
		for done := slice + 1; done%2 == 0; done /= 2 {
			add(at(depth-2), at(depth-1))
			depth--
		}
	}
	for ; depth > 1; depth-- {
		add(at(depth-2), at(depth-1))
	}
	return at(0)
}

func linearExact(y, x, w, b []float32, act bool) {
	a := activationsExact(x, act)
	for k := range y {
		var s float64
		if b != nil {
			s = float64(b[k])
		}
		for c, v := range a {
			s += v * float64(w[k*len(a)+c])
		}
		y[k] = float32(s)
	}
}

func linearDgradExact(dx []float32, beta float32, dy, x, w []float32) {
	for c := range dx {
		var s float64
		for k, g := range dy {
			s += float64(g) * float64(w[k*len(dx)+c])
		}
		if x != nil {
			sigma := 1 / (1 + math.Exp(-float64(x[c])))
			s *= sigma * (1 + float64(x[c])*(1-sigma))
		}
		dx[c] = blend(dx[c], beta, s)
	}
}

// linearWgradExact writes dw = Σ dy·act(x)ᵀ over the images of x; dy has rows k apart, of which dw has the first.
func linearWgradExact(dw, dy []float32, k int, x []float32, c int, act bool) {
	a := activationsExact(x, act)
	for i := range dw {
		var s float64
		for image := range len(a) / c {
			s += float64(dy[image*k+i/c]) * a[image*c+i%c]
		}
		dw[i] = float32(s)
	}
}

// activationsExact is x or SiLU(x).
func activationsExact(x []float32, act bool) []float64 {
	a := make([]float64, len(x))
	for i, v := range x {
		a[i] = float64(v)
		if act {
			a[i] /= 1 + math.Exp(-a[i])
		}
	}
	return a
}
