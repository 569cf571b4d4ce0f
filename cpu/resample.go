package cpu

import (
	"fmt"

	"ict/tensor"
)

// A tap is what one output of an axis is made of: count consecutive inputs from first on. resample.c reads it.
type tap struct {
	first, count int32
	w            [4]float32
}

// add appends the input with index i, unless it lies outside [0, n).
func (t *tap) add(i, n int, w float32) {
	if i < 0 || i >= n {
		return
	}
	if t.count == 0 {
		t.first = int32(i)
	}
	t.w[t.count] = w
	t.count++
}

// resampleTaps are the outputs of an axis with n inputs. Weights are multiples of 1/8, so each product is rounded at most once.
func resampleTaps(p tensor.Resample, n int) []tap {
	var taps []tap
	switch p.Rate {
	case tensor.Up2:
		taps = make([]tap, 2*n)
		for i := range n {
			if p.Filter == tensor.Box {
				taps[2*i].add(i, n, 1)
				taps[2*i+1].add(i, n, 1)
				continue
			}
			taps[2*i].add(i-1, n, 0.25)
			taps[2*i].add(i, n, 0.75)
			taps[2*i+1].add(i, n, 0.75)
			taps[2*i+1].add(i+1, n, 0.25)
		}
	case tensor.Down2:
		taps = make([]tap, n/2)
		for i := range taps {
			if p.Filter == tensor.Box {
				taps[i].add(2*i, n, 0.5)
				taps[i].add(2*i+1, n, 0.5)
				continue
			}
			taps[i].addFIR(2*i-1, n)
		}
	case tensor.Smooth:
		taps = make([]tap, n+1)
		for i := range taps {
			taps[i].addFIR(i-2, n)
		}
	}
	return taps
}

// addFIR appends [1,3,3,1]/8 from index i on.
func (t *tap) addFIR(i, n int) {
	for k, w := range [4]float32{0.125, 0.375, 0.375, 0.125} {
		t.add(i+k, n, w)
	}
}

// adjointTaps are the taps of the transposed map, of an axis with n inputs to the original.
func adjointTaps(taps []tap, n int) []tap {
	t := make([]tap, n)
	for i, from := range taps {
		for k := range from.count {
			t[from.first+k].add(i, len(taps), from.w[k])
		}
	}
	return t
}

// ResampleForward implements tensor.Resampler.
func (d *Device) ResampleForward(y, x tensor.Tensor, p tensor.Resample) {
	if err := p.Check(y.Shape, x.Shape); err != nil {
		panic(fmt.Sprintf("cpu: resample_forward: %v", err))
	}
	d.resample(tensor.Write(y), x, resampleTaps(p, x.Shape[1]), resampleTaps(p, x.Shape[2]))
}

// ResampleBackward implements tensor.Resampler.
func (d *Device) ResampleBackward(dx tensor.Acc, dy tensor.Tensor, p tensor.Resample) {
	if dx.Absent() {
		return
	}
	if err := p.Check(dy.Shape, dx.Shape); err != nil {
		panic(fmt.Sprintf("cpu: resample_backward: %v", err))
	}
	h, w := dx.Shape[1], dx.Shape[2]
	d.resample(dx, dy, adjointTaps(resampleTaps(p, h), h), adjointTaps(resampleTaps(p, w), w))
}

// resample applies rows along H and cols along W.
func (d *Device) resample(y tensor.Acc, x tensor.Tensor, rows, cols []tap) {
	defer d.endLoans()
	sameDType("resample", y.Tensor, x)
	images, height, width, c := x.Shape[0], x.Shape[1], x.Shape[2], x.Shape[3]
	in, out := d.in(x), d.out(y.Tensor)
	from, to := height*width*c, len(rows)*len(cols)*c
	d.each(images, func(worker, n int) {
		y0, x0 := out[n*to:(n+1)*to], in[n*from:(n+1)*from]
		if d.exact {
			resampleExact(y0, x0, rows, cols, width, c, y.Beta)
		} else {
			resampleImage(y0, x0, rows, cols, width, c, y.Beta, d.work(worker, (width+1)*c))
		}
	})
	d.store(y.Tensor, out)
}

// resampleExact is the definition.
func resampleExact(y, x []float32, rows, cols []tap, width, c int, beta float32) {
	for i, r := range rows {
		for j, q := range cols {
			for k := range c {
				var s float64
				for a := range int(r.count) {
					for b := range int(q.count) {
						s += float64(r.w[a]) * float64(q.w[b]) * float64(x[((int(r.first)+a)*width+int(q.first)+b)*c+k])
					}
				}
				e := (i*len(cols)+j)*c + k
				y[e] = blend(y[e], beta, s)
			}
		}
	}
}

// resampleImageGo writes y (rows,cols,c) = beta·y + the taps applied to x (·,width,c); beta 0 never reads y. line holds
// (width + 1)·c floats.
func resampleImageGo(y, x []float32, rows, cols []tap, width, c int, beta float32, line []float32) {
	size := width * c
	line, pixel := line[:size], line[size:size+c]
	for i := range rows {
		rows[i].combine(line, x, size)
		for j := range cols {
			cols[j].combine(pixel, line, c)
			accumulate(y[:c], pixel, beta)
			y = y[c:]
		}
	}
}

// combine writes y = Σ_k w[k]·x[(first+k)·stride + ·], from left to right.
func (t *tap) combine(y, x []float32, stride int) {
	clear(y)
	for k := range int(t.count) {
		v := x[(int(t.first)+k)*stride:][:len(y)]
		for i := range y {
			if k == 0 {
				y[i] = t.w[0] * v[i]
			} else {
				y[i] += float32(t.w[k] * v[i])
			}
		}
	}
}
