package cpu

import (
	"fmt"

	"ict/tensor"
)

// A conv is the geometry of one cross-correlation of (N,H,W,C) with (K,R,S,C) into (N,P,Q,K). It serves forwards, and with
// the roles of C and K exchanged for the gradient of the input.
type conv struct {
	n, h, w    int
	c0, c1, c  int // two sources, and both
	k, r, s    int
	p, q       int
	step       int // 1 or 2
	padH, padW int
	up         int // 1; 2: there are zeros between the pixels of the input, for the gradient of a step of 2
}

// newConv checks the shapes and gives the forward geometry.
func newConv(op string, y, x0, x1, w tensor.Shape, p tensor.Conv2d) conv {
	if err := p.Check(y, x0, x1, w); err != nil {
		panic(fmt.Sprintf("cpu: %s: %v", op, err))
	}
	return conv{
		n: x0[0], h: x0[1], w: x0[2], c0: x0[3], c1: w[3] - x0[3], c: w[3],
		k: w[0], r: w[1], s: w[2], p: y[1], q: y[2],
		step: p.Stride, padH: p.PadH, padW: p.PadW, up: 1,
	}
}

// backward is the geometry in which the gradient of the output, (N,P,Q,K), goes in and that of the input comes out.
func (g conv) backward() conv {
	return conv{
		n: g.n, h: g.p, w: g.q, c0: g.k, c: g.k, k: g.c, r: g.r, s: g.s, p: g.h, q: g.w,
		step: 1, padH: g.r - 1 - g.padH, padW: g.s - 1 - g.padW, up: g.step,
	}
}

// A convOutput receives channels [first, first+k) of all K.
type convOutput struct {
	y        []float32
	first, k int
	beta     float32
}

// An epilogue is tensor.Epilogue as slices, nil where absent.
type epilogue struct {
	bias, emb, residual []float32
	embRow              int
}

// Conv2dFprop is defined in tensor/conv2d.go.
func (d *Device) Conv2dFprop(y, x0, x1, w tensor.Tensor, ep tensor.Epilogue, p tensor.Conv2d) {
	const op = "conv2d_fprop"
	defer d.endLoans()
	g := newConv(op, y.Shape, x0.Shape, x1.Shape, w.Shape, p)
	sameDType(op, x0, x1, w)
	sameDType(op, y, ep.Residual)
	wantShape(op, "bias", ep.Bias, tensor.Shape{g.k})
	wantShape(op, "emb", ep.Emb, tensor.Shape{g.n, g.k})
	wantShape(op, "residual", ep.Residual, y.Shape)
	e := epilogue{bias: d.in(ep.Bias), residual: d.in(ep.Residual)}
	e.emb, e.embRow = d.rows(ep.Emb)
	out := d.out(y)
	if d.exact {
		d.correlateExact(g, d.factor(x0, g.c), d.factor(x1, g.c), d.factor(w, g.c), p.Scale, e, convOutput{y: out, k: g.k})
	} else {
		d.correlate(g, d.factor(x0, g.c), d.factor(x1, g.c), d.factor(w, g.c), p.Scale, e, convOutput{y: out, k: g.k})
	}
	d.store(y, out)
}

// Conv2dDgrad is defined in tensor/conv2d.go.
func (d *Device) Conv2dDgrad(dx0, dx1 tensor.Acc, dy, wt tensor.Tensor, p tensor.Conv2d) {
	const op = "conv2d_dgrad"
	defer d.endLoans()
	if dx0.Absent() && dx1.Absent() {
		return
	}
	if len(wt.Shape) != 4 {
		panic(fmt.Sprintf("cpu: %s: wt got %v, want (C,R,S,K)", op, wt.Shape))
	}
	w := tensor.Shape{wt.Shape[3], wt.Shape[1], wt.Shape[2], wt.Shape[0]}
	s0, s1 := dx0.Shape, dx1.Shape
	switch { // what one of two sources leaves to the other
	case dx0.Absent():
		s0 = besides(op, s1, w[3])
	case dx1.Absent() && s0.Last() < w[3]:
		s1 = besides(op, s0, w[3])
	}
	g := newConv(op, dy.Shape, s0, s1, w, p)
	sameDType(op, wt, dx0.Tensor, dx1.Tensor)
	var outs []convOutput
	var stored []tensor.Tensor
	for i, dx := range []tensor.Acc{dx0, dx1} {
		if !dx.Absent() {
			outs = append(outs, convOutput{y: d.out(dx.Tensor), first: i * g.c0, k: dx.Shape[3], beta: dx.Beta})
			stored = append(stored, dx.Tensor)
		}
	}
	if d.exact {
		d.correlateExact(g.backward(), d.factor(dy, g.c), nil, d.factor(wt, g.c), p.Scale, epilogue{}, outs...)
	} else {
		d.correlate(g.backward(), d.factor(dy, g.c), nil, d.factor(wt, g.c), p.Scale, epilogue{}, outs...)
	}
	for i, o := range outs {
		d.store(stored[i], o.y)
	}
}

// besides is the shape of the other source, c channels in all.
func besides(op string, s tensor.Shape, c int) tensor.Shape {
	if len(s) != 4 || s[3] >= c {
		panic(fmt.Sprintf("cpu: %s: source got %v, want (N,H,W,C) with C below %d", op, s, c))
	}
	return tensor.Shape{s[0], s[1], s[2], c - s[3]}
}

// Conv2dWgradScratch is room for one gradient per slice.
func (d *Device) Conv2dWgradScratch(w, dy tensor.Shape) int { return 4 * d.slices(dy[0]) * w.Elems() }

// Conv2dWgrad is defined in tensor/conv2d.go.
func (d *Device) Conv2dWgrad(dw tensor.Acc, x0, x1, dy tensor.Tensor, p tensor.Conv2d, ws tensor.Tensor) {
	const op = "conv2d_wgrad"
	if dw.Absent() {
		return
	}
	defer d.endLoans()
	g := newConv(op, dy.Shape, x0.Shape, x1.Shape, dw.Shape, p)
	sameDType(op, x0, x1)
	size := dw.Elems()
	sums := d.scratchFloats(op, ws, d.slices(g.n)*size)
	if d.exact {
		d.wgradExact(g, sums, d.factor(x0, g.c), d.factor(x1, g.c), d.factor(dy, g.c), p.Scale)
	} else {
		d.wgrad(g, sums, d.factor(x0, g.c), d.factor(x1, g.c), d.factor(dy, g.c), p.Scale)
	}
	d.addPairwise(d.slices(g.n), size, sums)
	d.accumulate(dw, sums[:size])
}

// Conv2dPack is defined in tensor/conv2d.go.
func (d *Device) Conv2dPack(wt, w tensor.Tensor) {
	defer d.endLoans()
	if len(w.Shape) != 4 || !wt.Shape.Equal(tensor.Shape{w.Shape[3], w.Shape[1], w.Shape[2], w.Shape[0]}) {
		panic(fmt.Sprintf("cpu: conv2d_pack: want wt (C,R,S,K), w (K,R,S,C), got %v, %v", wt.Shape, w.Shape))
	}
	k, taps, c := w.Shape[0], w.Shape[1]*w.Shape[2], w.Shape[3]
	out, in := d.out(wt), d.in(w)
	const block = 16 // channels at a time: one line of each row that is read
	d.ranges(c, block, func(_, from, to int) {
		for tap := range taps {
			for k0 := 0; k0 < k; k0 += block {
				for i := from; i < to; i++ {
					row := out[(i*taps+taps-1-tap)*k:][:k]
					for j := k0; j < min(k0+block, k); j++ {
						row[j] = in[(j*taps+tap)*c+i]
					}
				}
			}
		}
	})
	d.store(wt, out)
}

// imageChannels is the most channels that an input is taken for an image with. Its convolutions multiply in float32 whatever
// the rest does: rounding the noisy images would blur the pairs of late grids into one another.
const imageChannels = 4

// factor is an operand of a convolution with so many input channels.
func (d *Device) factor(t tensor.Tensor, channels int) []float32 {
	if channels <= imageChannels {
		return d.in(t)
	}
	return d.operand(t)
}

// tap is where tap t of output pixel o reads, in pixels of the input; −1: a zero.
func (g *conv) tap(o, t, pad, size int) int {
	i := o*g.step + t - pad
	if i < 0 || i%g.up != 0 || i/g.up >= size {
		return -1
	}
	return i / g.up
}

// A reach is one input pixel that an output pixel reads, and where its tap's C weights begin within a filter.
type reach struct{ pixel, at int }

// reaches appends what output pixel (p,q) of image n reads to list.
func (g *conv) reaches(list []reach, n, p, q int) []reach {
	for r := range g.r {
		h := g.tap(p, r, g.padH, g.h)
		for s := range g.s {
			if w := g.tap(q, s, g.padW, g.w); h >= 0 && w >= 0 {
				list = append(list, reach{(n*g.h+h)*g.w + w, (r*g.s + s) * g.c})
			}
		}
	}
	return list
}

// correlateExact is the definition.
func (d *Device) correlateExact(g conv, x0, x1, f []float32, scale float32, ep epilogue, outs ...convOutput) {
	filter := g.r * g.s * g.c
	d.each(g.n*g.p, func(_, row int) {
		n, p := row/g.p, row%g.p
		reaches := make([]reach, 0, g.r*g.s)
		for q := range g.q {
			at := row*g.q + q
			reaches = g.reaches(reaches[:0], n, p, q)
			for _, o := range outs {
				for j := range o.k {
					k := o.first + j
					var sum float64
					for _, i := range reaches {
						weights := f[k*filter+i.at:][:g.c]
						for c, v := range x0[i.pixel*g.c0:][:g.c0] {
							sum += float64(v) * float64(weights[c])
						}
						for c, v := range part(x1, i.pixel*g.c1, (i.pixel+1)*g.c1) {
							sum += float64(v) * float64(weights[g.c0+c])
						}
					}
					if ep.bias != nil {
						sum += float64(ep.bias[k])
					}
					if ep.emb != nil {
						sum += float64(ep.emb[n*ep.embRow+k])
					}
					if ep.residual != nil {
						sum += float64(ep.residual[at*g.k+k])
					}
					y := &o.y[at*o.k+j]
					*y = blend(*y, o.beta, float64(scale)*sum)
				}
			}
		}
	})
}

// wgradExact writes the gradient of each slice.
func (d *Device) wgradExact(g conv, sums, x0, x1, dy []float32, scale float32) {
	filter := g.r * g.s * g.c
	d.each(d.slices(g.n)*g.k, func(_, unit int) {
		slice, k := unit/g.k, unit%g.k
		sum := make([]float64, filter)
		reaches := make([]reach, 0, g.r*g.s)
		for at := slice * d.slice * g.p * g.q; at < min((slice+1)*d.slice, g.n)*g.p*g.q; at++ {
			slope := float64(dy[at*g.k+k])
			reaches = g.reaches(reaches[:0], at/(g.p*g.q), at/g.q%g.p, at%g.q)
			for _, i := range reaches {
				to := sum[i.at:][:g.c]
				for c, v := range x0[i.pixel*g.c0:][:g.c0] {
					to[c] += slope * float64(v)
				}
				for c, v := range part(x1, i.pixel*g.c1, (i.pixel+1)*g.c1) {
					to[g.c0+c] += slope * float64(v)
				}
			}
		}
		for i, v := range sum {
			sums[(slice*g.k+k)*filter+i] = float32(float64(scale) * v)
		}
	})
}
