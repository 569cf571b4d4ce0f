package data

import (
	"errors"
	"fmt"
	"image"
	"image/color"
	_ "image/gif"
	_ "image/jpeg"
	_ "image/png"
	"io"
	"math"
	"strings"
	"time"

	_ "golang.org/x/image/bmp"
	_ "golang.org/x/image/tiff"
	_ "golang.org/x/image/webp"
)

// decoder turns image files into rasters, within limits.
type decoder struct {
	pixels int
	time   time.Duration
}

var defaultDecoder = decoder{pixels: maxPixels, time: 30 * time.Second}

// large is held while an image of more than largePixels is decoded and finished, so that many workers stay within bounded memory.
var large = make(chan struct{}, 1)

const largePixels = 1 << 24

// decode returns the upright image of a file with c channels, by the rules of the package comment, and finished, unless
// finish is nil.
func (d decoder) decode(file []byte, c int, finish func(raster) (raster, error)) (p raster, err error) {
	defer recoverDecoder(&err)
	w, h, name, err := d.stored(file)
	if err != nil {
		return p, err
	}
	if w*h > largePixels {
		large <- struct{}{}
		defer func() { <-large }()
	}
	r := &meter{file: file, deadline: time.Now().Add(d.time)}
	img, _, err := image.Decode(r)
	if err != nil {
		return p, r.explain(name, err)
	}
	canvas := image.Rect(0, 0, w, h)
	if got := img.Bounds(); name == "gif" && !got.In(canvas) || name != "gif" && got != canvas {
		return p, damaged("the header says %d×%d pixels, the image has %v", w, h, got)
	}
	switch name {
	case "webp":
		fullRange(img)
	case "tiff":
		if err := faxColours(img, file); err != nil {
			return p, err
		}
	}
	p = convert(img, canvas).channels(c).upright(orientation(file))
	if finish == nil {
		return p, nil
	}
	return finish(p)
}

// faxColours corrects a TIFF that is compressed as by a fax (CCITT, groups 3 and 4) and calls 0 black: there the decoder takes
// white for black. Where 0 is white it is right.
func faxColours(img image.Image, file []byte) error {
	if fax := tiffNumber(file, compressionTag); fax != group3 && fax != group4 || tiffNumber(file, photometricTag) <= whiteIsZero { // also where it says nothing
		return nil
	}
	m, ok := img.(*image.Gray)
	if !ok {
		return damaged("a palette in CCITT compression, which is not read; save it with another compression")
	}
	for i, v := range m.Pix {
		m.Pix[i] = 255 - v
	}
	return nil
}

// size returns the size of the upright image without decoding it.
func (d decoder) size(file []byte) (w, h int, err error) {
	defer recoverDecoder(&err)
	w, h, _, err = d.stored(file)
	if err == nil && orientation(file) >= 5 {
		w, h = h, w
	}
	return w, h, err
}

// stored reads a file's header: size before any rotation, name of the format.
func (d decoder) stored(file []byte) (w, h int, name string, err error) {
	r := &meter{file: file, deadline: time.Now().Add(d.time)}
	conf, name, err := image.DecodeConfig(r)
	switch {
	case errors.Is(err, image.ErrFormat) && !r.late:
		return 0, 0, "", damaged("not a PNG, JPEG, GIF, BMP, TIFF or WebP image")
	case err != nil:
		return 0, 0, "", r.explain(name, err)
	case conf.Width <= 0 || conf.Height <= 0 || conf.Width > d.pixels/conf.Height:
		return 0, 0, "", damaged("%d×%d pixels, want 1 to %s in all", conf.Width, conf.Height, comma(d.pixels))
	}
	return conf.Width, conf.Height, name, nil
}

// recoverDecoder turns the panic of a decoder into an error.
func recoverDecoder(err *error) {
	if r := recover(); r != nil {
		*err = damaged("the decoder failed: %v", r)
	}
}

// meter reads a file in small pieces, counting, until the time is over: a progressive JPEG can ask for a pass over all
// pixels with a few bytes.
type meter struct {
	file     []byte
	n        int
	deadline time.Time
	late     bool
}

var errTime = errors.New("decoding takes too long, stopped")

func (m *meter) Read(p []byte) (int, error) {
	if m.n == len(m.file) {
		return 0, io.EOF
	}
	if time.Now().After(m.deadline) {
		m.late = true
		return 0, errTime
	}
	n := copy(p[:min(len(p), 256)], m.file[m.n:])
	m.n += n
	return n, nil
}

// explain says why and where decoding stopped.
func (m *meter) explain(name string, err error) error {
	what := err.Error()
	switch {
	case m.late: // a decoder may have taken it for something else
		what = errTime.Error()
	case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
		what = strings.TrimSpace("unexpected end of "+strings.ToUpper(name)) + " data"
	}
	return damaged("%s after %s of %s bytes", what, comma(m.n), comma(len(m.file)))
}

// fullRange stretches the planes of a lossy WebP, luma 16 to 235 and chroma 16 to 240 (ITU-R BT.601), to the whole
// bytes that image.YCbCr means.
func fullRange(img image.Image) {
	var m *image.YCbCr
	switch img := img.(type) {
	case *image.YCbCr:
		m = img
	case *image.NYCbCrA:
		m = &img.YCbCr
	default: // lossless
		return
	}
	stretch := func(plane []byte, from, span, to float64) {
		var table [256]byte
		for v := range table {
			table[v] = byte(min(max(math.Round((float64(v)-from)*255/span+to), 0), 255))
		}
		for i, v := range plane {
			plane[i] = table[v]
		}
	}
	stretch(m.Y, 16, 235-16, 0)
	stretch(m.Cb, 128, 240-16, 128)
	stretch(m.Cr, 128, 240-16, 128)
}

// convert returns the pixels of a decoded image on a canvas: one channel for 8-bit gray, else three.
func convert(img image.Image, canvas image.Rectangle) raster {
	w, h := canvas.Dx(), canvas.Dy()
	switch m := img.(type) {
	case *image.Gray:
		p := newRaster(w, h, 1)
		for y := range h {
			copy(p.pix[y*w:(y+1)*w], m.Pix[y*m.Stride:])
		}
		return p
	case *image.YCbCr: // nearly every JPEG
		p := newRaster(w, h, 3)
		i := 0
		for y := range h {
			for x := range w {
				at := m.COffset(x, y)
				p.pix[i], p.pix[i+1], p.pix[i+2] = color.YCbCrToRGB(m.Y[m.YOffset(x, y)], m.Cb[at], m.Cr[at])
				i += 3
			}
		}
		return p
	}
	m, ok := img.(image.RGBA64Image)
	if !ok {
		panic(fmt.Sprintf("data: %T is not an image.RGBA64Image", img))
	}
	bounds := m.Bounds()
	p := newRaster(w, h, 3)
	i := 0
	for y := range h {
		for x := range w {
			var c color.RGBA64 // premultiplied; transparent outside the image
			if (image.Point{X: x, Y: y}).In(bounds) {
				c = m.RGBA64At(x, y)
			}
			p.pix[i] = overWhite(c.R, c.A)
			p.pix[i+1] = overWhite(c.G, c.A)
			p.pix[i+2] = overWhite(c.B, c.A)
			i += 3
		}
	}
	return p
}

// overWhite composites a premultiplied 16-bit value over white and rounds it to eight bits.
func overWhite(v, alpha uint16) byte {
	return byte((uint32(v) + 0xffff - uint32(alpha) + 128) / 257)
}
