package data

// raster is an image in memory: bytes (H,W,C), C being 1 or 3.
type raster struct {
	w, h, c int
	pix     []byte
}

func newRaster(w, h, c int) raster { return raster{w, h, c, make([]byte, w*h*c)} }

// channels returns the image with c channels: gray repeated, or luma in the weights of ITU-R BT.601, 16-bit fixed point.
func (p raster) channels(c int) raster {
	if c == p.c {
		return p
	}
	q := newRaster(p.w, p.h, c)
	if c == 3 {
		for i, v := range p.pix {
			q.pix[3*i], q.pix[3*i+1], q.pix[3*i+2] = v, v, v
		}
		return q
	}
	for i := range q.pix {
		r, g, b := uint32(p.pix[3*i]), uint32(p.pix[3*i+1]), uint32(p.pix[3*i+2])
		q.pix[i] = byte((19595*r + 38470*g + 7471*b + 1<<15) >> 16)
	}
	return q
}

// crop returns the w×h pixels in the middle; an odd rest is one pixel more on the right and at the bottom.
func (p raster) crop(w, h int) raster {
	if w == p.w && h == p.h {
		return p
	}
	q := newRaster(w, h, p.c)
	x, y := (p.w-w)/2, (p.h-h)/2
	for i := range h {
		copy(q.pix[i*w*p.c:(i+1)*w*p.c], p.pix[((y+i)*p.w+x)*p.c:])
	}
	return q
}

// upright undoes an EXIF orientation: 1 to 8 say where the first row and the first column of the stored image belong.
func (p raster) upright(orientation int) raster {
	if orientation == 1 {
		return p
	}
	q := newRaster(p.w, p.h, p.c)
	if orientation >= 5 {
		q.w, q.h = p.h, p.w
	}
	for y := range q.h {
		for x := range q.w {
			sx, sy := x, y
			if orientation >= 5 {
				sx, sy = y, x
			}
			switch orientation {
			case 2, 3, 7, 8:
				sx = p.w - 1 - sx
			}
			switch orientation {
			case 3, 4, 6, 7:
				sy = p.h - 1 - sy
			}
			copy(q.pix[(y*q.w+x)*q.c:][:q.c], p.pix[(sy*p.w+sx)*p.c:])
		}
	}
	return q
}
