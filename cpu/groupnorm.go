package cpu

import (
	"fmt"
	"math"
	"unsafe"

	"ict/internal/philox"
	"ict/tensor"
)

// A normSource is one of the two tensors that a GroupNorm sees as if concatenated.
type normSource struct {
	x     []float32
	c     int // channels
	first int // channel of the concatenation at which they begin
}

// of is the source's part of a vector over the channels of the concatenation.
func of[T any](s normSource, v []T) []T { return v[s.first : s.first+s.c] }

// groupNorm is one call: its arguments as slices.
type groupNorm struct {
	tensor.GroupNorm
	images, hw, c           int
	sources                 []normSource
	mean, rstd, gamma, beta []float32
	scaleShift              []float32
	row                     int // between rows of scaleShift
	seed, step, image0      uint64
	threshold               uint32
	keep                    float32 // 1/(1 − P)
}

func (d *Device) groupNorm(op string, y, mean, rstd, x0, x1, gamma, beta, scaleShift, step tensor.Tensor, p tensor.GroupNorm) *groupNorm {
	fail := func(format string, a ...any) { panic(fmt.Sprintf("cpu: %s: %s", op, fmt.Sprintf(format, a...))) }
	if err := p.Check(y.Shape, mean.Shape, x0.Shape, x1.Shape, gamma.Shape); err != nil {
		fail("%v", err)
	}
	sameDType(op, y, x0, x1)
	s := x0.Shape
	g := &groupNorm{
		GroupNorm: p, images: s[0], hw: s[1] * s[2], c: y.Shape[3],
		mean: d.in(mean), rstd: d.in(rstd), gamma: d.in(gamma), beta: d.in(beta),
	}
	if !rstd.Shape.Equal(mean.Shape) || !beta.Shape.Equal(gamma.Shape) {
		fail("rstd got %v, want %v; beta got %v, want %v", rstd.Shape, mean.Shape, beta.Shape, gamma.Shape)
	}
	g.sources = append(g.sources, normSource{d.in(x0), s[3], 0})
	if !x1.Absent() {
		g.sources = append(g.sources, normSource{d.in(x1), x1.Shape[3], s[3]})
	}
	if !scaleShift.Absent() {
		if want := (tensor.Shape{g.images, 2 * g.c}); !scaleShift.Shape.Equal(want) {
			fail("scale-shift got %v, want %v", scaleShift.Shape, want)
		}
		g.scaleShift, g.row = d.rows(scaleShift)
	}
	if p.Dropout.P > 0 {
		if step.Absent() {
			fail("dropout without a step")
		}
		st := tensor.GetStep(d.u8(step))
		g.seed, g.step, g.image0 = st.Seed, st.Step, st.Image0
		g.threshold, g.keep = philox.Threshold(p.Dropout.P), 1/(1-p.Dropout.P)
	}
	return g
}

// stream draws the masks of image n.
func (g *groupNorm) stream(n int) philox.Stream {
	return philox.Stream{
		Seed: g.seed, Step: g.step, Image: uint32(g.image0 + uint64(n)), Purpose: philox.Dropout + philox.Purpose(g.Dropout.Op),
	}
}

// statistics are those of image n, groups in a row.
func (g *groupNorm) statistics(n int) (mean, rstd []float32) {
	return g.mean[n*g.Groups : (n+1)*g.Groups], g.rstd[n*g.Groups : (n+1)*g.Groups]
}

// scaleShiftOf are scale and shift of image n, nil without.
func (g *groupNorm) scaleShiftOf(n int) (scale, shift []float32) {
	if g.scaleShift == nil {
		return nil, nil
	}
	r := g.scaleShift[n*g.row:]
	return r[:g.c], r[g.c : 2*g.c]
}

// modulation are 1 + scale and shift of channel c.
func modulation(scale, shift []float32, c int) (float64, float64) {
	if scale == nil {
		return 1, 0
	}
	return 1 + float64(scale[c]), float64(shift[c])
}

// image is image n of a tensor with c channels.
func (g *groupNorm) image(x []float32, c, n int) []float32 { return x[n*g.hw*c : (n+1)*g.hw*c] }

// GroupNormForward implements tensor.Normalizer.
func (d *Device) GroupNormForward(y, mean, rstd, x0, x1, gamma, beta, scaleShift, step tensor.Tensor, p tensor.GroupNorm) {
	defer d.endLoans()
	g := d.groupNorm("groupnorm_forward", y, mean, rstd, x0, x1, gamma, beta, scaleShift, step, p)
	out, mu, rs := d.out(y), d.out(mean), d.out(rstd)
	g.mean, g.rstd = mu, rs
	d.each(g.images, func(worker, n int) {
		if d.exact {
			g.forwardExact(g.image(out, g.c, n), n)
		} else {
			g.forward(g.image(out, g.c, n), n, d.work(worker, g.channelWork()))
		}
	})
	d.store(y, out)
	d.store(mean, mu)
	d.store(rstd, rs)
}

// GroupNormBackwardScratch implements tensor.Sizer: dgamma|dbeta of each image, then of each slice.
func (d *Device) GroupNormBackwardScratch(x0, x1 tensor.Shape) int {
	c := x0[3]
	if x1 != nil {
		c += x1[3]
	}
	return 4 * (x0[0] + d.slices(x0[0])) * 2 * c
}

// GroupNormBackward implements tensor.Normalizer.
func (d *Device) GroupNormBackward(dx0, dx1, dgamma, dbeta, dscaleShift tensor.Acc, dy, x0, x1, mean, rstd, gamma, beta, scaleShift, step tensor.Tensor, p tensor.GroupNorm, ws tensor.Tensor) {
	const op = "groupnorm_backward"
	defer d.endLoans()
	g := d.groupNorm(op, dy, mean, rstd, x0, x1, gamma, beta, scaleShift, step, p)
	wantShape(op, "dx0", dx0.Tensor, x0.Shape)
	wantShape(op, "dx1", dx1.Tensor, x1.Shape)
	sameDType(op, x0, dx0.Tensor, dx1.Tensor)
	wantShape(op, "dgamma", dgamma.Tensor, gamma.Shape)
	wantShape(op, "dbeta", dbeta.Tensor, gamma.Shape)
	wantShape(op, "dscale-shift", dscaleShift.Tensor, scaleShift.Shape)
	b := &groupNormBackward{groupNorm: g, dy: d.in(dy), betas: [2]float32{dx0.Beta, dx1.Beta}, dssBeta: dscaleShift.Beta}
	b.dx[0], b.dx[1] = d.out(dx0.Tensor), d.out(dx1.Tensor)
	b.dss, b.dssRow = d.rows(dscaleShift.Tensor)

	size := 2 * g.c
	sums := view[float32](d.bytes(ws))[:(g.images+d.slices(g.images))*size]
	d.each(g.images, func(worker, n int) {
		if d.exact {
			b.backwardExact(sums[n*size:(n+1)*size], n)
		} else {
			b.backward(sums[n*size:(n+1)*size], n, d.work(worker, g.hw*g.c+g.channelWork()))
		}
	})
	d.store(dx0.Tensor, b.dx[0])
	d.store(dx1.Tensor, b.dx[1])
	d.store(dscaleShift.Tensor, b.dss)
	if dgamma.Absent() && dbeta.Absent() {
		return
	}
	total := d.sumSlices(g.images, size, sums[g.images*size:], func(_, from, to int, sum []float32) {
		copy(sum, sums[from*size:(from+1)*size])
		for n := from + 1; n < to; n++ {
			add(sum, sums[n*size:(n+1)*size])
		}
	})
	d.accumulate(dgamma, total[:g.c])
	d.accumulate(dbeta, total[g.c:])
}

// wantShape panics unless t is absent or has this shape.
func wantShape(op, name string, t tensor.Tensor, want tensor.Shape) {
	if !t.Absent() && !t.Shape.Equal(want) {
		panic(fmt.Sprintf("cpu: %s: %s got %v, want %v", op, name, t.Shape, want))
	}
}

// groupNormBackward is one call of the backward launcher.
type groupNormBackward struct {
	*groupNorm
	dy      []float32
	dx      [2][]float32 // nil where absent, as dss
	betas   [2]float32
	dss     []float32
	dssRow  int
	dssBeta float32
}

// forwardExact is the definition.
func (g *groupNorm) forwardExact(y []float32, n int) {
	mean, rstd := g.statistics(n)
	mu, rs := make([]float64, g.Groups), make([]float64, g.Groups)
	size := float64(g.hw * g.c / g.Groups)
	g.eachElement(n, func(_, _, group int, x float64) { mu[group] += x / size })
	g.eachElement(n, func(_, _, group int, x float64) { rs[group] += (x - mu[group]) * (x - mu[group]) / size })
	for i := range rs {
		rs[i] = 1 / math.Sqrt(rs[i]+float64(g.Eps))
		mean[i], rstd[i] = float32(mu[i]), float32(rs[i])
	}
	mask := g.mask(n)
	scale, shift := g.scaleShiftOf(n)
	g.eachElement(n, func(e, c, group int, x float64) {
		m, t := modulation(scale, shift, c)
		u := ((x-mu[group])*rs[group]*float64(g.gamma[c])+float64(g.beta[c]))*m + t
		if g.SiLU {
			u /= 1 + math.Exp(-u)
		}
		y[e] = float32(mask(e, u))
	})
}

// eachElement calls f for element e of image n's concatenation, channel c.
func (g *groupNorm) eachElement(n int, f func(e, c, group int, x float64)) {
	per := g.c / g.Groups
	for _, s := range g.sources {
		x := g.image(s.x, s.c, n)
		for p := range g.hw {
			for i := range s.c {
				c := s.first + i
				f(p*g.c+c, c, c/per, float64(x[p*s.c+i]))
			}
		}
	}
}

// mask applies dropout to element e of image n.
func (g *groupNorm) mask(n int) func(e int, v float64) float64 {
	if g.Dropout.P == 0 {
		return func(_ int, v float64) float64 { return v }
	}
	words := make([]uint32, g.hw*g.c)
	g.stream(n).Words(words, 0)
	return func(e int, v float64) float64 {
		if words[e] < g.threshold {
			return 0
		}
		return v / (1 - float64(g.Dropout.P))
	}
}

// backwardExact is the definition; sums receives this image's dgamma|dbeta.
func (b *groupNormBackward) backwardExact(sums []float32, n int) {
	mean, rstd := b.statistics(n)
	scale, shift := b.scaleShiftOf(n)
	dy, mask := b.image(b.dy, b.c, n), b.mask(n)
	du := make([]float64, b.hw*b.c)
	s1, s2 := make([]float64, b.c), make([]float64, b.c) // Σ du, Σ du·x̂
	b.eachElement(n, func(e, c, group int, x float64) {
		m, t := modulation(scale, shift, c)
		hat := (x - float64(mean[group])) * float64(rstd[group])
		du[e] = mask(e, float64(dy[e]))
		if b.SiLU {
			u := (hat*float64(b.gamma[c])+float64(b.beta[c]))*m + t
			s := 1 / (1 + math.Exp(-u))
			du[e] *= s * (1 + u*(1-s))
		}
		s1[c] += du[e]
		s2[c] += du[e] * hat
	})
	// means of dx̂ and dx̂·x̂ over each group
	m1, m2 := make([]float64, b.Groups), make([]float64, b.Groups)
	per := b.c / b.Groups
	for c := range b.c {
		m, _ := modulation(scale, shift, c)
		m1[c/per] += float64(b.gamma[c]) * m * s1[c] / float64(per*b.hw)
		m2[c/per] += float64(b.gamma[c]) * m * s2[c] / float64(per*b.hw)
	}
	b.channelGradients(sums, n, s1, s2)
	b.eachElement(n, func(e, c, group int, x float64) {
		source := 0
		if c >= b.sources[0].c {
			source = 1
		}
		s := b.sources[source]
		if b.dx[source] == nil {
			return
		}
		m, _ := modulation(scale, shift, c)
		rs := float64(rstd[group])
		hat := (x - float64(mean[group])) * rs
		v := rs * (du[e]*float64(b.gamma[c])*m - m1[group] - hat*m2[group])
		dx := &b.image(b.dx[source], s.c, n)[e/b.c*s.c+c-s.first]
		*dx = blend(*dx, b.betas[source], v)
	})
}

// channelGradients writes what s1 = Σ du and s2 = Σ du·x̂ of image n give: dgamma|dbeta into sums, dscale|dshift.
func (b *groupNormBackward) channelGradients(sums []float32, n int, s1, s2 []float64) {
	scale, shift := b.scaleShiftOf(n)
	dgamma, dbeta := sums[:b.c], sums[b.c:]
	for c := range b.c {
		m, _ := modulation(scale, shift, c)
		dgamma[c], dbeta[c] = float32(m*s2[c]), float32(m*s1[c])
	}
	if b.dss == nil {
		return
	}
	row := b.dss[n*b.dssRow:]
	for c := range b.c {
		row[c] = blend(row[c], b.dssBeta, float64(b.gamma[c])*s2[c]+float64(b.beta[c])*s1[c])
		row[b.c+c] = blend(row[b.c+c], b.dssBeta, s1[c])
	}
}

// blend is beta·dst + v; beta 0 does not look at dst.
func blend(dst, beta float32, v float64) float32 {
	if beta == 0 {
		return float32(v)
	}
	return float32(float64(beta)*float64(dst) + v)
}

// channelWork is the scratch of forward and backward for the channels of an image: four vectors of float32, two of float64.
// It is rounded up so that what lies behind it is aligned.
func (g *groupNorm) channelWork() int { return (8*g.c + 63) &^ 63 }

func (g *groupNorm) channels(work []float32) (f [4][]float32, s1, s2 []float64) {
	wide := unsafe.Slice((*float64)(unsafe.Pointer(unsafe.SliceData(work))), 2*g.c)
	for i := range f {
		f[i] = work[(4+i)*g.c : (5+i)*g.c]
	}
	return f, wide[:g.c], wide[g.c:]
}

// fill sets all of v.
func fill(v []float32, to float32) {
	for i := range v {
		v[i] = to
	}
}

// forward is the fast path of one image: mean, variance about it, then (x − m)·a + b, activated and dropped.
func (g *groupNorm) forward(y []float32, n int, work []float32) {
	f, s1, s2 := g.channels(work)
	m, a, b := f[0], f[1], f[2]
	mean, rstd := g.statistics(n)
	per := g.c / g.Groups
	size := float64(g.hw * per)

	for _, s := range g.sources {
		groupNormSum(of(s, s1), g.image(s.x, s.c, n), g.hw)
	}
	for i := range g.Groups {
		var sum float64
		for _, v := range s1[i*per : (i+1)*per] {
			sum += v
		}
		fill(m[i*per:(i+1)*per], float32(sum/size))
	}
	for _, s := range g.sources {
		groupNormMoments(of(s, s1), of(s, s2), g.image(s.x, s.c, n), of(s, m), g.hw)
	}
	scale, shift := g.scaleShiftOf(n)
	for i := range g.Groups {
		var sum, squares float64
		for c := i * per; c < (i+1)*per; c++ {
			sum += s1[c]
			squares += s2[c]
		}
		off := sum / size // of the true mean from m
		variance := squares/size - off*off
		if variance < 0 {
			variance = 0
		}
		rs := 1 / math.Sqrt(variance+float64(g.Eps))
		mean[i], rstd[i] = float32(float64(m[i*per])+off), float32(rs)
		for c := i * per; c < (i+1)*per; c++ {
			mod, t := modulation(scale, shift, c)
			k := rs * float64(g.gamma[c]) * mod
			a[c] = float32(k)
			b[c] = float32(float64(g.beta[c])*mod + t - off*k)
		}
	}
	for _, s := range g.sources {
		groupNormApply(y[s.first:], g.c, g.image(s.x, s.c, n), of(s, m), of(s, a), of(s, b), g.hw, g.SiLU)
	}
	if g.Dropout.P > 0 {
		groupNormDropout(y, y, g.stream(n), g.threshold, g.keep)
	}
}

// backward is the fast path of one image: du and its sums, then
//
//	dx = rstd·( g·du − mean(g·du) − x̂·mean(g·du·x̂) ),   g = gamma·(1 + scale)
func (b *groupNormBackward) backward(sums []float32, n int, work []float32) {
	du := work[b.channelWork():]
	f, s1, s2 := b.channels(work)
	mean, rstd := b.statistics(n)
	scale, shift := b.scaleShiftOf(n)
	per := b.c / b.Groups
	m, k1, k2, k3 := f[0], f[1], f[2], f[3]
	a, bias := k1, k2
	for c := range b.c {
		mod, t := modulation(scale, shift, c)
		m[c] = mean[c/per]
		a[c] = float32(float64(rstd[c/per]) * float64(b.gamma[c]) * mod)
		bias[c] = float32(float64(b.beta[c])*mod + t)
	}
	dy := b.image(b.dy, b.c, n)
	if b.Dropout.P > 0 {
		groupNormDropout(du, dy, b.stream(n), b.threshold, b.keep)
		dy = du
	}
	for _, s := range b.sources {
		groupNormSlopes(du[s.first:], b.c, of(s, s1), of(s, s2), dy[s.first:], b.image(s.x, s.c, n),
			of(s, m), of(s, a), of(s, bias), b.hw, b.SiLU)
	}
	for c := range b.c {
		s2[c] *= float64(rstd[c/per])
	}
	b.channelGradients(sums, n, s1, s2)
	size := float64(b.hw * per)
	for i := range b.Groups {
		var m1, m2 float64
		rs := float64(rstd[i])
		for c := i * per; c < (i+1)*per; c++ {
			mod, _ := modulation(scale, shift, c)
			k := float64(b.gamma[c]) * mod
			m1 += k * s1[c]
			m2 += k * s2[c]
			k1[c] = float32(rs * k)
		}
		fill(k2[i*per:(i+1)*per], float32(-rs*rs*m2/size))
		fill(k3[i*per:(i+1)*per], float32(-rs*m1/size))
	}
	for i, s := range b.sources {
		if b.dx[i] != nil {
			groupNormDx(b.image(b.dx[i], s.c, n), du[s.first:], b.c, b.image(s.x, s.c, n),
				of(s, m), of(s, k1), of(s, k2), of(s, k3), b.hw, b.betas[i])
		}
	}
}
