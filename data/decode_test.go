package data

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"image"
	"image/color"
	"image/gif"
	"image/jpeg"
	"image/png"
	"io"
	"testing"
	"time"
)

// imageCase is a small file, the RGB that Pillow reads from it, and how far decoders may differ.
type imageCase struct {
	Name            string
	Tolerance, W, H int
	File, Pixels    string
}

func TestDecodeGolden(t *testing.T) {
	for _, g := range golden[imageCase](t, "images") {
		file := must[[]byte](t)(base64.StdEncoding.DecodeString(g.File))
		want := must[[]byte](t)(hex.DecodeString(g.Pixels))
		p, err := defaultDecoder.decode(file, 3, nil)
		if err != nil {
			t.Errorf("%s: %v", g.Name, err)
			continue
		}
		if p.w != g.W || p.h != g.H || worst(p.pix, want) > g.Tolerance {
			t.Errorf("%s: got %d×%d, worst difference %d, want %d×%d, %d", g.Name, p.w, p.h, worst(p.pix, want), g.W, g.H, g.Tolerance)
		}
		if w, h, err := defaultDecoder.size(file); w != g.W || h != g.H || err != nil {
			t.Errorf("%s: size: got %d×%d, %v, want %d×%d", g.Name, w, h, err, g.W, g.H)
		}
		gray := must[raster](t)(defaultDecoder.decode(file, 1, nil))
		equal(t, g.Name+": gray", gray, p.channels(1))
	}
}

// one decodes a 1×1 PNG of a colour.
func one(t *testing.T, img interface {
	image.Image
	Set(x, y int, c color.Color)
}, c color.Color) []byte {
	t.Helper()
	img.Set(0, 0, c)
	return must[raster](t)(defaultDecoder.decode(pngFile(t, img), 3, nil)).pix
}

func TestDecodeRules(t *testing.T) {
	dot := image.Rect(0, 0, 1, 1)
	nrgba := func(r, g, b, a uint8) []byte { return one(t, image.NewNRGBA(dot), color.NRGBA{r, g, b, a}) }
	equal(t, "opaque", nrgba(1, 127, 254, 255), []byte{1, 127, 254})
	equal(t, "transparent", nrgba(1, 127, 254, 0), []byte{255, 255, 255})
	equal(t, "half", nrgba(0, 100, 255, 128), []byte{127, 177, 255})

	gray16 := func(v uint16) byte { return one(t, image.NewGray16(dot), color.Gray16{v})[0] }
	for v, want := range map[uint16]byte{0: 0, 0xffff: 255, 0xabab: 0xab, 128: 0, 129: 1, 257 + 128: 1, 257 + 129: 2, 0xff7f: 255, 0xff7e: 254} {
		if got := gray16(v); got != want {
			t.Errorf("16 bits: %#04x: got %d, want %d", v, got, want)
		}
	}

	palette := color.Palette{color.NRGBA{10, 20, 30, 255}, color.NRGBA{10, 20, 30, 0}}
	equal(t, "palette", one(t, image.NewPaletted(dot, palette), palette[0]), []byte{10, 20, 30})
	clear := image.NewPaletted(dot, palette)
	clear.SetColorIndex(0, 0, 1)
	equal(t, "transparent entry", must[raster](t)(defaultDecoder.decode(pngFile(t, clear), 3, nil)).pix, []byte{255, 255, 255})

	cmyk := image.NewCMYK(dot)
	copy(cmyk.Pix, []byte{255, 0, 128, 51})
	equal(t, "cmyk", convert(cmyk, dot).pix, []byte{0, 204, 102}) // 255·(1 − c)·(1 − k), rounded
}

// A first frame that is smaller than the canvas lies where it says; the rest is transparent.
func TestDecodeGIFCanvas(t *testing.T) {
	frame := image.NewPaletted(image.Rect(1, 1, 2, 2), color.Palette{color.NRGBA{9, 8, 7, 255}})
	second := image.NewPaletted(image.Rect(0, 0, 3, 2), color.Palette{color.Black})
	var b bytes.Buffer
	if err := gif.EncodeAll(&b, &gif.GIF{Image: []*image.Paletted{frame, second}, Delay: []int{0, 0}, Config: image.Config{Width: 3, Height: 2}}); err != nil {
		t.Fatal(err)
	}
	p := must[raster](t)(defaultDecoder.decode(b.Bytes(), 3, nil))
	w := []byte{255, 255, 255}
	equal(t, "canvas", p, raster{3, 2, 3, bytes.Join([][]byte{w, w, w, w, {9, 8, 7}, w}, nil)})
}

// Equal rows in the stored image stay equal whatever the stride and chroma subsampling.
func TestConvertSubsampled(t *testing.T) {
	m := image.NewYCbCr(image.Rect(0, 0, 3, 3), image.YCbCrSubsampleRatio420)
	for i := range m.Y {
		m.Y[i] = byte(10 * i)
	}
	for i := range m.Cb {
		m.Cb[i], m.Cr[i] = byte(100+i), byte(120+i)
	}
	p := convert(m, m.Rect)
	for i := range 9 {
		want := m.At(i%3, i/3).(color.YCbCr)
		r, g, b := color.YCbCrToRGB(want.Y, want.Cb, want.Cr)
		equal(t, "pixel", p.pix[3*i:3*i+3], []byte{r, g, b})
	}
}

func jpegFile(t testing.TB, w, h int) []byte {
	t.Helper()
	p := pattern(w, h, 3)
	img := image.NewRGBA(image.Rect(0, 0, w, h))
	for i := range w * h {
		img.Set(i%w, i/w, color.RGBA{p.pix[3*i], p.pix[3*i+1], p.pix[3*i+2], 255})
	}
	var b bytes.Buffer
	if err := jpeg.Encode(&b, img, nil); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestDecodeDamaged(t *testing.T) {
	file := jpegFile(t, 90, 60)
	decode := func(d decoder, file []byte, want ...string) {
		t.Helper()
		_, err := d.decode(file, 3, nil)
		wantError(t, err, want...)
		if err != nil && !errors.Is(err, ErrDamaged) {
			t.Errorf("%v is no ErrDamaged", err)
		}
	}
	decode(defaultDecoder, file[:1500], "after 1,500 of 1,500 bytes")
	decode(defaultDecoder, file[:300], "unexpected end of JPEG data after 300 of 300 bytes")
	decode(defaultDecoder, nil, "not a PNG, JPEG")
	decode(defaultDecoder, []byte("hello, world"), "not a PNG, JPEG")
	decode(decoder{pixels: 90*60 - 1, time: time.Hour}, file, "90×60 pixels, want 1 to 5,399 in all")
	must[raster](t)(decoder{pixels: 90 * 60, time: time.Hour}.decode(file, 3, nil))
	decode(decoder{pixels: maxPixels, time: -time.Second}, file, "takes too long")

	broken := bytes.Clone(plain(t, 4, 4, gray(9)))
	broken[45] ^= 1
	decode(defaultDecoder, broken, "png", "checksum", "bytes")

	huge := bytes.Clone(plain(t, 4, 4, gray(9)))
	copy(huge[16:], "\x7f\xff\xff\xff\x7f\xff\xff\xff")
	decode(defaultDecoder, huge, "")
}

// A large image is alone until it is finished, a small one is not held up by it.
func TestLargeImagesOneAtATime(t *testing.T) {
	small := plain(t, 4, 4, gray(9))
	var b bytes.Buffer
	if err := (&png.Encoder{CompressionLevel: png.BestSpeed}).Encode(&b, image.NewGray(image.Rect(0, 0, 4097, 4096))); err != nil {
		t.Fatal(err)
	}
	finished := false
	must[raster](t)(defaultDecoder.decode(b.Bytes(), 1, func(p raster) (raster, error) {
		equal(t, "held", len(large), 1)
		must[raster](t)(defaultDecoder.decode(small, 1, nil))
		finished = true
		return p.crop(1, 1), nil
	}))
	equal(t, "finished, held", []any{finished, len(large)}, []any{true, 0})
}

func init() { // formats whose decoders misbehave
	config := func(io.Reader) (image.Config, error) { return image.Config{Width: 2, Height: 2}, nil }
	image.RegisterFormat("panics", "PANICS", func(io.Reader) (image.Image, error) { panic("index out of range") }, config)
	image.RegisterFormat("grows", "GROWS", func(io.Reader) (image.Image, error) { return image.NewGray(image.Rect(0, 0, 9, 9)), nil }, config)
}

func TestDecoderMisbehaves(t *testing.T) {
	_, err := defaultDecoder.decode([]byte("PANICS"), 3, nil)
	wantError(t, err, "the decoder failed: index out of range")
	_, err = defaultDecoder.decode([]byte("GROWS"), 3, nil)
	wantError(t, err, "the header says 2×2 pixels")
}

func FuzzImage(f *testing.F) {
	for _, g := range golden[imageCase](f, "images") {
		f.Add(must[[]byte](f)(base64.StdEncoding.DecodeString(g.File)))
	}
	f.Add(jpegFile(f, 20, 10))
	f.Add(plain(f, 3, 3, color.NRGBA{1, 2, 3, 4}))
	d := decoder{pixels: 1 << 16, time: time.Second}
	f.Fuzz(func(t *testing.T, file []byte) {
		p, err := d.decode(file, 3, nil)
		if err != nil {
			if !errors.Is(err, ErrDamaged) {
				t.Errorf("%v is no ErrDamaged", err)
			}
			return
		}
		if w, h, err := d.size(file); w != p.w || h != p.h || err != nil {
			t.Errorf("size says %d×%d, %v, decode %d×%d", w, h, err, p.w, p.h)
		}
		if len(p.pix) != p.w*p.h*3 || p.w*p.h > d.pixels {
			t.Errorf("%d×%d in %d bytes", p.w, p.h, len(p.pix))
		}
		if _, err := p.square(7, CropDhariwal); err != nil && min(p.w, p.h) >= 7 {
			t.Error(err)
		}
	})
}
