package cpu

// Convolution by BLAS. A panel is a whole number of output rows of one image, fixed by the image's shape; its products are
//
//	y (pixels,K)   = Σ over factors: col (pixels,L) · w[:, at:at+L]ᵀ
//	dw[:, at:at+L] = Σ over panels:  dyᵀ (K,pixels) · col (pixels,L)
//
// A factor is one row of taps: with the pixels of a row copied once for each of the S columns of taps, a third of what
// im2col copies for a filter of 3×3, each row of taps reads the same copy from R different beginnings.
type factor struct {
	col     []float32
	row, at int // floats from pixel to pixel; first of the filter's R·S·C columns
	l       int
}

// convMode is how the factors come about.
type convMode int

const (
	convDirect convMode = iota // 1×1: the image itself, one factor per source
	convRows                   // R factors of S·C columns
	convFull                   // so few channels that one factor of R·S·C columns is better
	convTaps                   // so few outputs, or zeros between the inputs: all products of a pixel first, moved and added afterwards
)

const (
	panelFloats = 1 << 18 // floats of a panel's copy: 1 MiB, what second-level caches hold
	panelRows   = 4       // but so many rows at least: the R−1 rows above and below are copied for each panel
	narrow      = 64      // columns of a factor below which a product is slow
	fewOutputs  = 4
	wgradRows   = 64 // filters to a block of the weight gradient
)

func (g *conv) mode() convMode {
	switch {
	case g.up == 1 && g.step == 1 && g.r == 1 && g.s == 1:
		return convDirect
	case g.up > 1 || g.step == 1 && g.k <= fewOutputs && g.k < g.c:
		return convTaps
	case g.s*g.c < narrow:
		return convFull
	}
	return convRows
}

// factors is how many there are.
func (m convMode) factors(g *conv) int {
	switch {
	case m == convRows:
		return g.r
	case m == convDirect && g.c1 > 0:
		return 2
	}
	return 1
}

// copyFloats is the size of the copy that a panel of so many output rows needs.
func (m convMode) copyFloats(g *conv, rows int) int {
	switch m {
	case convRows:
		inputs := 0
		for phase := range min(g.step, g.r) {
			inputs += rows + (g.r-1-phase)/g.step
		}
		return inputs * g.q * g.s * g.c
	case convFull:
		return rows * g.q * g.r * g.s * g.c
	}
	return 0
}

// panels cuts the P output rows of an image: number of panels, rows of all but the last.
func (m convMode) panels(g *conv) (n, rows int) {
	floats := g.q * g.c // of one row
	if m != convDirect {
		floats = m.copyFloats(g, 2) - m.copyFloats(g, 1)
	}
	n = (g.p*floats + panelFloats - 1) / panelFloats
	rows = min(max((g.p+n-1)/n, panelRows), g.p)
	return (g.p + rows - 1) / rows, rows
}

// build appends the factors of output rows [p0, p1) of image n to list, or only the one of that number where only ≥ 0.
// col is room for the copy.
func (m convMode) build(list []factor, g *conv, x0, x1 []float32, n, p0, p1, only int, col []float32) []factor {
	image := g.h * g.w
	x0, x1 = x0[n*image*g.c0:(n+1)*image*g.c0], part(x1, n*image*g.c1, (n+1)*image*g.c1)
	width := g.s * g.c
	switch {
	case m == convDirect:
		if only != 1 {
			list = append(list, factor{x0[p0*g.q*g.c0:], g.c0, 0, g.c0})
		}
		if g.c1 > 0 && only != 0 {
			list = append(list, factor{x1[p0*g.q*g.c1:], g.c1, g.c0, g.c1})
		}
	case m == convFull:
		im2col(col, g, x0, x1, p0*g.step-g.padH, p1-p0, g.r)
		list = append(list, factor{col, g.r * width, 0, g.r * width})
	case only >= 0:
		im2col(col, g, x0, x1, p0*g.step-g.padH+only, p1-p0, 1)
		list = append(list, factor{col, width, only * width, width})
	default: // the input rows that taps phase, phase+step, … read, one after another
		for phase := range min(g.step, g.r) {
			rows := p1 - p0 + (g.r-1-phase)/g.step
			im2col(col, g, x0, x1, p0*g.step-g.padH+phase, rows, 1)
			for r := phase; r < g.r; r += g.step {
				list = append(list, factor{col[r/g.step*g.q*width:], width, r * width, width})
			}
			col = col[rows*g.q*width:]
		}
	}
	return list
}

// correlate is correlateExact by BLAS.
func (d *Device) correlate(g conv, x0, x1, f []float32, scale float32, ep epilogue, outs ...convOutput) {
	mode := g.mode()
	if mode == convTaps {
		d.correlateTaps(g, x0, x1, f, scale, ep, outs...)
		return
	}
	filter := g.r * g.s * g.c
	panels, rows := mode.panels(&g)
	size := mode.copyFloats(&g, rows)
	d.each(g.n*panels, func(worker, unit int) {
		n, p0 := unit/panels, unit%panels*rows
		p1 := min(p0+rows, g.p)
		first, pixels := (n*g.p+p0)*g.q, (p1-p0)*g.q
		work := d.work(worker, size+g.k)
		factors := mode.build(make([]factor, 0, 8), &g, x0, x1, n, p0, p1, -1, work[:size])
		for _, o := range outs {
			y := o.y[first*o.k : (first+pixels)*o.k]
			beta := ep.begin(y, o.beta, scale, &g, n, first, work[size:])
			for _, a := range factors {
				d.blas.gemm(false, true, pixels, o.k, a.l, scale, a.col, a.row, f[o.first*filter+a.at:], filter, beta, y, o.k)
				beta = 1
			}
		}
	})
}

// begin writes what is added to the products into y, pixels of image n from number first, and returns the factor with
// which y counts in the sum. v is room for K floats.
func (ep *epilogue) begin(y []float32, beta, scale float32, g *conv, n, first int, v []float32) float32 {
	if ep.bias == nil && ep.emb == nil && ep.residual == nil {
		return beta
	}
	v = v[:g.k]
	clear(v)
	if ep.bias != nil {
		copy(v, ep.bias)
	}
	if ep.emb != nil {
		add(v, ep.emb[n*ep.embRow:n*ep.embRow+g.k])
	}
	convBegin(y, v, part(ep.residual, first*g.k, first*g.k+len(y)))
	return scale
}

// correlateTaps multiplies each input pixel by all filters at all taps, and adds what falls on one output pixel.
func (d *Device) correlateTaps(g conv, x0, x1, f []float32, scale float32, ep epilogue, outs ...convOutput) {
	taps, image := g.r*g.s, g.h*g.w
	d.each(g.n, func(worker, n int) {
		work := d.work(worker, image*g.k*taps)
		for _, o := range outs {
			y := o.y[n*g.p*g.q*o.k : (n+1)*g.p*g.q*o.k]
			beta := ep.begin(y, o.beta, scale, &g, n, n*g.p*g.q, work)
			t, filters := work[:image*o.k*taps], f[o.first*taps*g.c:]
			d.blas.gemm(false, true, image, o.k*taps, g.c0, 1, x0[n*image*g.c0:], g.c0, filters, g.c, 0, t, o.k*taps)
			if g.c1 > 0 {
				d.blas.gemm(false, true, image, o.k*taps, g.c1, 1, x1[n*image*g.c1:], g.c1, filters[g.c0:], g.c, 1, t, o.k*taps)
			}
			convGather(y, &g, o.k, t, scale, beta)
		}
	})
}

// wgrad is wgradExact by BLAS. The products are fixed by the layer's shape; how many of them make one unit of work is not,
// for it changes nothing but the time: few slices are cut finer, at the price of copying pixels more often.
func (d *Device) wgrad(g conv, sums, x0, x1, dy []float32, scale float32) {
	mode := g.mode()
	if mode == convTaps {
		d.wgradTaps(g, sums, x0, x1, dy, scale)
		return
	}
	filter := g.r * g.s * g.c
	_, rows := mode.panels(&g)
	size := mode.copyFloats(&g, rows)
	// products adds up one slice: filters [k0, k1), the factor called only or all.
	products := func(worker, slice, k0, k1, only int) {
		sum := sums[slice*g.k*filter:]
		col := d.work(worker, size)
		var beta float32
		for n := slice * d.slice; n < min((slice+1)*d.slice, g.n); n++ {
			for p0 := 0; p0 < g.p; p0 += rows {
				p1 := min(p0+rows, g.p)
				first, pixels := (n*g.p+p0)*g.q, (p1-p0)*g.q
				for _, a := range mode.build(make([]factor, 0, 8), &g, x0, x1, n, p0, p1, only, col) {
					for k := k0; k < k1; k += wgradRows {
						d.blas.gemm(true, false, min(wgradRows, k1-k), a.l, pixels, scale, dy[first*g.k+k:], g.k, a.col, a.row, beta, sum[k*filter+a.at:], filter)
					}
				}
				beta = 1
			}
		}
	}
	slices := d.slices(g.n)
	if slices >= 2*d.threads {
		d.each(slices, func(worker, slice int) { products(worker, slice, 0, g.k, -1) })
		return
	}
	parts, blocks := mode.factors(&g), (g.k+wgradRows-1)/wgradRows
	d.each(slices*parts*blocks, func(worker, unit int) {
		k := unit / parts % blocks * wgradRows
		products(worker, unit/(parts*blocks), k, min(k+wgradRows, g.k), unit%parts)
	})
}

// wgradTaps is wgrad where outputs are few: the slopes are moved instead of the input.
func (d *Device) wgradTaps(g conv, sums, x0, x1, dy []float32, scale float32) {
	taps, image := g.k*g.r*g.s, g.h*g.w
	d.each(d.slices(g.n), func(worker, slice int) {
		sum := sums[slice*taps*g.c : (slice+1)*taps*g.c]
		u := d.work(worker, image*taps)
		var beta float32
		for n := slice * d.slice; n < min((slice+1)*d.slice, g.n); n++ {
			convSpread(u, &g, dy[n*g.p*g.q*g.k:(n+1)*g.p*g.q*g.k])
			d.blas.gemm(true, false, taps, g.c0, image, scale, u, taps, x0[n*image*g.c0:], g.c0, beta, sum, g.c)
			if g.c1 > 0 {
				d.blas.gemm(true, false, taps, g.c1, image, scale, u, taps, x1[n*image*g.c1:], g.c1, beta, sum[g.c0:], g.c)
			}
			beta = 1
		}
	})
}
