package cpu

import "ict/tensor"

// PrecondForward is defined in tensor/precond.go.
func (d *Device) PrecondForward(f, raw, x, skip, out tensor.Tensor, p tensor.Precond) {
	n, size := perImageScalars("precond_forward", x, skip, out)
	sameElems("precond_forward", x, raw, f)
	dst, vr, vx, cskip, cout := d.out(f), d.in(raw), d.in(x), d.in(skip), d.in(out)
	d.imageRuns(n, size, func(image, from, to int) {
		from, to = image*size+from, image*size+to
		y := dst[from:to]
		d.combine(y, 0, cskip[image], vx[from:to], cout[image], vr[from:to])
		if p.Clamp {
			for i, v := range y {
				y[i] = min(max(v, -1), 1) // NaN stays NaN
			}
		}
	})
	d.store(f, dst)
}

// PrecondBackward is defined in tensor/precond.go.
func (d *Device) PrecondBackward(draw tensor.Acc, df, out tensor.Tensor) {
	if draw.Absent() {
		return
	}
	n, size := perImageScalars("precond_backward", df, out)
	sameElems("precond_backward", df, draw.Tensor)
	dst, v, cout := d.out(draw.Tensor), d.in(df), d.in(out)
	d.imageRuns(n, size, func(image, from, to int) {
		from, to = image*size+from, image*size+to
		d.combine(dst[from:to], draw.Beta, cout[image], v[from:to], 0, nil)
	})
	d.store(draw.Tensor, dst)
}
