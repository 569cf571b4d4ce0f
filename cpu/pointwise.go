package cpu

import (
	"fmt"

	"ict/tensor"
)

// sameElems panics unless the tensors have as many elements as the first.
func sameElems(op string, first tensor.Tensor, others ...tensor.Tensor) {
	for _, t := range others {
		if first.Absent() || t.Absent() || t.Elems() != first.Elems() {
			panic(fmt.Sprintf("cpu: %s: got %v beside %v, want as many elements", op, t.Shape, first.Shape))
		}
	}
}

// sameDType panics unless the tensors that are there have one type: nothing is cast on the way.
func sameDType(op string, first tensor.Tensor, others ...tensor.Tensor) {
	for _, t := range others {
		if !first.Absent() && !t.Absent() && t.DType != first.DType {
			panic(fmt.Sprintf("cpu: %s: got %v %v beside %v %v, want one type", op, t.DType, t.Shape, first.DType, first.Shape))
		}
	}
}

// perImageScalars panics unless each s is the vector (N) of t (N,D…). It gives N and the elements of one image.
func perImageScalars(op string, t tensor.Tensor, scalars ...tensor.Tensor) (n, size int) {
	if t.Absent() || len(t.Shape) == 0 || t.Shape[0] < 1 {
		panic(fmt.Sprintf("cpu: %s: got %v, want (N,D…)", op, t.Shape))
	}
	n = t.Shape[0]
	for _, s := range scalars {
		if s.Absent() || !s.Shape.Equal(tensor.Shape{n}) {
			panic(fmt.Sprintf("cpu: %s: got %v beside %v, want (%d)", op, s.Shape, t.Shape, n))
		}
	}
	return n, t.Elems() / n
}

// imageRuns calls f for runs [from, to) of the elements of each of n images, on the workers, so that few large images
// are shared too.
func (d *Device) imageRuns(n, size int, f func(image, from, to int)) {
	runs := (size + pointwiseRun - 1) / pointwiseRun
	d.each(n*runs, func(_, i int) {
		from := i % runs * pointwiseRun
		f(i/runs, from, min(from+pointwiseRun, size))
	})
}

// Axpby is defined in tensor/pointwise.go.
func (d *Device) Axpby(y tensor.Acc, a float32, x0 tensor.Tensor, b float32, x1 tensor.Tensor) {
	if y.Absent() {
		return
	}
	defer d.endLoans()
	sameElems("axpby", y.Tensor, x0)
	sameDType("axpby", y.Tensor, x0, x1)
	if !x1.Absent() {
		sameElems("axpby", y.Tensor, x1)
	}
	out, v0, v1 := d.out(y.Tensor), d.in(x0), d.in(x1)
	d.ranges(len(out), pointwiseRun, func(_, from, to int) {
		d.combine(out[from:to], y.Beta, a, v0[from:to], b, part(v1, from, to))
	})
	d.store(y.Tensor, out)
}

// part is v[from:to], nil where v is.
func part(v []float32, from, to int) []float32 {
	if v == nil {
		return nil
	}
	return v[from:to]
}

// combine writes y = beta·y + a·x0 + b·x1; x1 may be nil, and beta 0 never reads y.
func (d *Device) combine(y []float32, beta, a float32, x0 []float32, b float32, x1 []float32) {
	if d.exact {
		combineExact(y, beta, a, x0, b, x1)
		return
	}
	axpby(y, beta, a, x0, b, x1)
}

// combineExact rounds once.
func combineExact(y []float32, beta, a float32, x0 []float32, b float32, x1 []float32) {
	for i := range y {
		v := float64(a) * float64(x0[i])
		if x1 != nil {
			v += float64(b) * float64(x1[i])
		}
		if beta != 0 {
			v += float64(beta) * float64(y[i])
		}
		y[i] = float32(v)
	}
}

// axpbyGo rounds after each product and each sum, beta·y + a·x0 first. A conversion keeps a processor with fused
// multiply-add from fusing.
func axpbyGo(y []float32, beta, a float32, x0 []float32, b float32, x1 []float32) {
	x0 = x0[:len(y)]
	for i := range y {
		v := float32(a * x0[i])
		if beta != 0 {
			v = float32(beta*y[i]) + v
		}
		if x1 != nil {
			v += float32(b * x1[i])
		}
		y[i] = v
	}
}

// ScaleImages is defined in tensor/pointwise.go.
func (d *Device) ScaleImages(y, x, s tensor.Tensor) {
	n, size := perImageScalars("scale_images", x, s)
	sameElems("scale_images", x, y)
	out, v, scale := d.out(y), d.in(x), d.in(s)
	d.imageRuns(n, size, func(image, from, to int) {
		from, to = image*size+from, image*size+to
		d.combine(out[from:to], 0, scale[image], v[from:to], 0, nil)
	})
	d.store(y, out)
}

// BiasBackwardScratch holds the sum of each image and of each slice.
func (d *Device) BiasBackwardScratch(dy tensor.Shape) int {
	return 4 * (dy[0] + d.slices(dy[0])) * dy.Last()
}

// BiasBackward is defined in tensor/pointwise.go.
func (d *Device) BiasBackward(dbias, demb tensor.Acc, dy tensor.Tensor, scale float32, ws tensor.Tensor) {
	if len(dy.Shape) != 4 && len(dy.Shape) != 2 {
		panic(fmt.Sprintf("cpu: bias_backward: got dy %v, want (N,P,Q,K) or (N,K)", dy.Shape))
	}
	n, k := dy.Shape[0], dy.Shape.Last()
	if !demb.Absent() && !demb.Shape.Equal(tensor.Shape{n, k}) {
		panic(fmt.Sprintf("cpu: bias_backward: got demb %v, want (%d,%d)", demb.Shape, n, k))
	}
	if !dbias.Absent() && !dbias.Shape.Equal(tensor.Shape{k}) {
		panic(fmt.Sprintf("cpu: bias_backward: got dbias %v, want (%d)", dbias.Shape, k))
	}
	if dbias.Absent() && demb.Absent() {
		return
	}
	defer d.endLoans()
	v, size := d.in(dy), dy.Elems()/n
	var sums []float32 // (N,K), then one row per slice
	if !dbias.Absent() {
		sums = d.scratchFloats("bias_backward", ws, (n+d.slices(n))*k)
	}
	emb, row := d.rows(demb.Tensor)
	d.each(n, func(worker, i int) {
		var sum []float32
		if sums != nil {
			sum = sums[i*k : (i+1)*k]
		} else {
			sum = d.work(worker, k)
		}
		image := v[i*size : (i+1)*size]
		if d.exact {
			pixelSumsExact(sum, image, scale)
		} else {
			pixelSums(sum, image, scale)
		}
		if emb != nil {
			accumulate(emb[i*row:i*row+k], sum, demb.Beta)
		}
	})
	if !demb.Absent() {
		d.store(demb.Tensor, emb)
	}
	if dbias.Absent() {
		return
	}
	d.accumulate(dbias, d.sumSlices(n, k, sums[n*k:], func(_, from, to int, sum []float32) {
		if d.exact {
			pixelSumsExact(sum, v[from*size:to*size], scale)
			return
		}
		copy(sum, sums[from*k:(from+1)*k])
		for i := from + 1; i < to; i++ {
			add(sum, sums[i*k:(i+1)*k])
		}
	}))
}

// scratchFloats views ws as n floats.
func (d *Device) scratchFloats(op string, ws tensor.Tensor, n int) []float32 {
	return view[float32](d.scratchBytes(op, ws, 4*n))
}

// scratchBytes are the first n bytes of ws.
func (d *Device) scratchBytes(op string, ws tensor.Tensor, n int) []byte {
	b := d.bytes(ws)
	if len(b) < n {
		panic(fmt.Sprintf("cpu: %s: scratch got %d bytes, want %d", op, len(b), n))
	}
	return b[:n]
}

// pixelSumsExact writes sum[k] = scale·Σ x[pixel,k].
func pixelSumsExact(sum, x []float32, scale float32) {
	k := len(sum)
	for c := range sum {
		var s float64
		for i := c; i < len(x); i += k {
			s += float64(x[i])
		}
		sum[c] = float32(float64(scale) * s)
	}
}

const (
	pixelTile = 32 // channels that are summed side by side
	pixelRows = 16 // rows that are summed in float32 before they join the float64 sum
)

// pixelGroup is how many pixels make one row: few channels are summed as if they were many.
func pixelGroup(k int) int {
	g := 1
	for 2*g*k <= pixelTile {
		g *= 2
	}
	return g
}

// pixelSumsGo writes sum[k] = scale·Σ x[pixel,k]. Each place of a row has a sum of its own, float32 over pixelRows rows
// and float64 over these; then the pixels of a row are added in order, and last the pixels that fill no row.
func pixelSumsGo(sum, x []float32, scale float32) {
	k := len(sum)
	g := pixelGroup(k)
	width := g * k
	rows := len(x) / width
	for c := range sum {
		var total float64
		for p := range g {
			var s float64
			for first := 0; first < rows; first += pixelRows {
				var block float32
				for r := first; r < min(first+pixelRows, rows); r++ {
					block += x[r*width+p*k+c]
				}
				s += float64(block)
			}
			total += s
		}
		for i := rows*width + c; i < len(x); i += k {
			total += float64(x[i])
		}
		sum[c] = float32(float64(scale) * total)
	}
}
