package data

import (
	"fmt"
	"math"
)

// square returns the image as size×size, by the crop of Options.Crop.
func (p raster) square(size int, crop string) (raster, error) {
	if crop != CropNone && max(p.w, p.h) > maxSide {
		return p, damaged("%d×%d pixels, want at most %s a side for resizing", p.w, p.h, comma(maxSide))
	}
	switch crop {
	case CropDhariwal:
		for min(p.w, p.h) >= 2*size {
			p = p.resample(p.w/2, p.h/2, box)
		}
		scale := float64(size) / float64(min(p.w, p.h))
		w, h := math.RoundToEven(float64(p.w)*scale), math.RoundToEven(float64(p.h)*scale)
		if w*h > maxPixels {
			return p, fmt.Errorf("%d×%d pixels are too long and thin for size %d", p.w, p.h, size)
		}
		return p.resample(int(w), int(h), bicubic).crop(size, size), nil
	case CropCenter:
		side := min(p.w, p.h)
		return p.crop(side, side).resample(size, size, lanczos), nil
	case CropFit:
		if size > maxPixels/p.h { // between the passes it is size×h
			return p, fmt.Errorf("%d×%d pixels are too long and thin for size %d", p.w, p.h, size)
		}
		return p.resample(size, size, lanczos), nil
	}
	if p.w != size || p.h != size {
		return p, fmt.Errorf("%d×%d pixels, want %d×%d; to resize: crop dhariwal, center or fit", p.w, p.h, size, size)
	}
	return p, nil
}

// filter is a resampling kernel, zero beyond ±support source pixels (target pixels when shrinking).
type filter struct {
	support float64
	at      func(x float64) float64
}

var (
	box = filter{0.5, func(x float64) float64 {
		if x > -0.5 && x <= 0.5 {
			return 1
		}
		return 0
	}}

	// Cubic convolution with a = -1/2.
	bicubic = filter{2, func(x float64) float64 {
		const a = -0.5
		switch x = math.Abs(x); {
		case x < 1:
			return ((a+2)*x-(a+3))*x*x + 1
		case x < 2:
			return (((x-5)*x+8)*x - 4) * a
		}
		return 0
	}}

	// sinc(x)·sinc(x/3).
	lanczos = filter{3, func(x float64) float64 {
		if x == 0 {
			return 1
		}
		if math.Abs(x) >= 3 {
			return 0
		}
		return math.Sin(math.Pi*x) / (math.Pi * x) * math.Sin(math.Pi*x/3) / (math.Pi * x / 3)
	}}
)

// weightBits is the precision of the fixed-point weights: with eight bits of pixel and two for weights beyond one,
// sums fit 32 bits.
const weightBits = 32 - 8 - 2

// taps are the source pixels of one target pixel: weights of pixels first, first+1, …
type taps struct {
	first   int
	weights []int
}

// taps of a row of n pixels made from one of m. A target pixel's centre lies at (i + ½)·m/n; when shrinking the filter
// is stretched by m/n, so that it averages. Weights are normalised where the border cuts them.
func (f filter) taps(m, n int) []taps {
	scale := float64(m) / float64(n)
	stretch := max(scale, 1)
	support := f.support * stretch
	out := make([]taps, n)
	w := make([]float64, 0, 2*int(math.Ceil(support))+1)
	for i := range out {
		center := (float64(i) + 0.5) * scale
		first, end := max(int(center-support+0.5), 0), min(int(center+support+0.5), m)
		w = w[:0]
		sum := 0.0
		for j := first; j < end; j++ {
			v := f.at((float64(j) - center + 0.5) * (1 / stretch))
			w = append(w, v)
			sum += v
		}
		out[i] = taps{first, make([]int, len(w))}
		for j, v := range w {
			out[i].weights[j] = int(math.Round(v * (1 / sum) * (1 << weightBits)))
		}
	}
	return out
}

// round turns a weighted sum into a byte.
func round(sum int) byte {
	return byte(min(max((sum+1<<(weightBits-1))>>weightBits, 0), 255))
}

// resample returns the image as w×h: rows first, rounded to bytes, then columns, as Pillow did up to version 12.
func (p raster) resample(w, h int, f filter) raster {
	if w != p.w {
		p = p.resampleRows(f.taps(p.w, w))
	}
	if h != p.h {
		p = p.resampleColumns(f.taps(p.h, h))
	}
	return p
}

func (p raster) resampleRows(row []taps) raster {
	q := newRaster(len(row), p.h, p.c)
	for y := range p.h {
		src, dst := p.pix[y*p.w*p.c:(y+1)*p.w*p.c], q.pix[y*q.w*q.c:(y+1)*q.w*q.c]
		for x, t := range row {
			if p.c == 1 {
				v := 0
				for j, weight := range t.weights {
					v += weight * int(src[t.first+j])
				}
				dst[x] = round(v)
				continue
			}
			r, g, b := 0, 0, 0
			s := src[3*t.first : 3*(t.first+len(t.weights))]
			for _, weight := range t.weights {
				r += weight * int(s[0])
				g += weight * int(s[1])
				b += weight * int(s[2])
				s = s[3:]
			}
			dst[3*x], dst[3*x+1], dst[3*x+2] = round(r), round(g), round(b)
		}
	}
	return q
}

func (p raster) resampleColumns(column []taps) raster {
	q := newRaster(p.w, len(column), p.c)
	n := p.w * p.c
	sums := make([]int, n)
	for y, t := range column {
		clear(sums)
		for j, weight := range t.weights {
			for x, v := range p.pix[(t.first+j)*n : (t.first+j+1)*n] {
				sums[x] += weight * int(v)
			}
		}
		for x, v := range sums {
			q.pix[y*n+x] = round(v)
		}
	}
	return q
}
