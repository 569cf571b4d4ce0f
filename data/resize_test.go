package data

import (
	"encoding/hex"
	"testing"
)

// pattern is the input of dev/golden/data.py: a gradient in the left half, noise of a linear congruential generator in
// the right one.
func pattern(w, h, c int) raster {
	p, state := newRaster(w, h, c), uint32(1)
	for y := range h {
		for x := range w {
			for k := range c {
				state = state*1664525 + 1013904223
				v := byte(7*x + 11*y + 60*k)
				if 2*x >= w {
					v = byte(state >> 24)
				}
				p.pix[(y*w+x)*c+k] = v
			}
		}
	}
	return p
}

// The golden files are Pillow's results: resize with BOX and BICUBIC as guided-diffusion's center_crop_arr does it,
// crop and LANCZOS as EDM's center_crop, LANCZOS alone. They are met in every bit.
func TestResizeGolden(t *testing.T) {
	for _, g := range golden[struct {
		Crop          string
		W, H, C, Size int
		Pixels        string
	}](t, "resize") {
		p := must[raster](t)(pattern(g.W, g.H, g.C).square(g.Size, g.Crop))
		if p.w != g.Size || p.h != g.Size || p.c != g.C {
			t.Errorf("%s of %d×%d: got %d×%d×%d", g.Crop, g.W, g.H, p.w, p.h, p.c)
		}
		want := must[[]byte](t)(hex.DecodeString(g.Pixels))
		if got := p.pix; string(got) != string(want) {
			t.Errorf("%s of %d×%d×%d to %d: worst difference %d", g.Crop, g.W, g.H, g.C, g.Size, worst(got, want))
		}
	}
}

// worst returns the largest difference between bytes, 256 for different lengths.
func worst(a, b []byte) int {
	if len(a) != len(b) {
		return 256
	}
	d := 0
	for i := range a {
		d = max(d, int(a[i])-int(b[i]), int(b[i])-int(a[i]))
	}
	return d
}

func TestResizeKeepsPlain(t *testing.T) {
	p := newRaster(13, 29, 3)
	for i := range p.pix {
		p.pix[i] = byte(100 + i%3)
	}
	for _, crop := range []string{CropDhariwal, CropCenter, CropFit} {
		for _, size := range []int{1, 5, 13, 40} {
			q := must[raster](t)(p.square(size, crop))
			for i, v := range q.pix {
				if v != byte(100+i%3) {
					t.Fatalf("%s to %d: got %d at %d, want %d", crop, size, v, i, 100+i%3)
				}
			}
		}
	}
}

func TestResizeRefuses(t *testing.T) {
	_, err := newRaster(5, 4, 1).square(4, CropNone)
	wantError(t, err, "5×4 pixels, want 4×4", "dhariwal")
	_, err = newRaster(maxSide, 1, 1).square(64, CropDhariwal)
	wantError(t, err, "too long and thin")
	_, err = newRaster(1, maxSide, 1).square(1025, CropFit)
	wantError(t, err, "too long and thin")
	for _, crop := range []string{CropDhariwal, CropCenter, CropFit} {
		_, err = newRaster(maxSide+1, 1, 1).square(1, crop)
		wantError(t, err, "65536×1 pixels, want at most 65,535 a side for resizing")
		_, err = newRaster(1, maxSide+1, 1).square(1, crop)
		wantError(t, err, "1×65536 pixels, want at most 65,535 a side for resizing")
	}
	must[raster](t)(newRaster(maxSide, 1, 1).square(1, CropFit))
}

func TestChannels(t *testing.T) {
	p := raster{w: 2, h: 1, c: 3, pix: []byte{199, 0, 0, 7, 7, 7}}
	equal(t, "luma", p.channels(1).pix, []byte{60, 7}) // 19595·199 + 32768 = 60.0002·2^16
	equal(t, "repeated", raster{w: 2, h: 1, c: 1, pix: []byte{1, 2}}.channels(3).pix, []byte{1, 1, 1, 2, 2, 2})
}
