package data

import (
	"encoding/base64"
	"slices"
	"testing"
)

// The golden file is what PIL.ImageOps.exif_transpose makes of the 3×2 image 0 1 2 / 3 4 5.
func TestUprightGolden(t *testing.T) {
	for _, g := range golden[struct {
		Orientation, W, H int
		Pixels            []int
	}](t, "orientation") {
		p := raster{w: 3, h: 2, c: 1, pix: []byte{0, 1, 2, 3, 4, 5}}.upright(g.Orientation)
		got := make([]int, len(p.pix))
		for i, v := range p.pix {
			got[i] = int(v)
		}
		if p.w != g.W || p.h != g.H || !slices.Equal(got, g.Pixels) {
			t.Errorf("orientation %d: got %d×%d %v, want %d×%d %v", g.Orientation, p.w, p.h, got, g.W, g.H, g.Pixels)
		}
	}
}

// tiff is a TIFF structure whose first directory holds one entry.
func tiff(order string, tag, typ, count, value byte) string {
	if order == "II" {
		return "II*\x00\x08\x00\x00\x00\x01\x00" + string([]byte{tag, 1, typ, 0, count, 0, 0, 0, value, 0, 0, 0})
	}
	return "MM\x00*\x00\x00\x00\x08\x00\x01" + string([]byte{1, tag, 0, typ, 0, 0, 0, count, 0, value, 0, 0})
}

const (
	jpegStart = "\xff\xd8"
	pngStart  = "\x89PNG\r\n\x1a\n"
)

// app1 is a JPEG segment.
func app1(payload string) string {
	n := len(payload) + 2
	return "\xff\xe1" + string([]byte{byte(n >> 8), byte(n)}) + payload
}

// chunk is a chunk of a PNG, its CRC left zero.
func chunk(kind, payload string) string {
	return string([]byte{0, 0, 0, byte(len(payload))}) + kind + payload + "\x00\x00\x00\x00"
}

// riff is a chunk of a WebP.
func riff(kind, payload string) string {
	return kind + string([]byte{byte(len(payload)), 0, 0, 0}) + payload + "\x00"[:len(payload)%2]
}

var orientationCases = []struct {
	name, file string
	want       int
}{
	{"tiff little endian", tiff("II", 0x12, 3, 1, 6), 6},
	{"tiff big endian", tiff("MM", 0x12, 3, 1, 8), 8},
	{"jpeg", jpegStart + app1("Exif\x00\x00"+tiff("MM", 0x12, 3, 1, 3)), 3},
	{"jpeg, behind JFIF, fill bytes and another APP1", jpegStart + "\xff\xe0\x00\x04ab\xff\xff" + app1("http://x")[1:] + app1("Exif\x00\x00"+tiff("II", 0x12, 3, 1, 5)), 5},
	{"png", pngStart + chunk("IHDR", "0123456789abc") + chunk("eXIf", tiff("II", 0x12, 3, 1, 2)), 2},
	{"webp", "RIFF\x00\x00\x00\x00WEBP" + riff("VP8L", "odd") + riff("EXIF", tiff("II", 0x12, 3, 1, 7)), 7},
	{"webp with the header of a JPEG", "RIFF\x00\x00\x00\x00WEBP" + riff("EXIF", "Exif\x00\x00"+tiff("II", 0x12, 3, 1, 4)), 4},

	{"value 0", tiff("II", 0x12, 3, 1, 0), 1},
	{"value 9", tiff("II", 0x12, 3, 1, 9), 1},
	{"other type", tiff("II", 0x12, 4, 1, 6), 1},
	{"two values", tiff("II", 0x12, 3, 2, 6), 1},
	{"other tag", tiff("II", 0x13, 3, 1, 6), 1},
	{"directory far away", "II*\x00\xff\xff\xff\xff\x01\x00", 1},
	{"more entries than there are", "II*\x00\x08\x00\x00\x00\xff\xff", 1},
	{"behind the scan", jpegStart + "\xff\xda\x00\x02" + app1("Exif\x00\x00"+tiff("MM", 0x12, 3, 1, 3)), 1},
	{"segment of length 0", jpegStart + "\xff\xe1\x00\x00" + "Exif\x00\x00" + tiff("MM", 0x12, 3, 1, 3), 1},
	{"segment beyond the file", jpegStart + "\xff\xe1\xff\xff" + "Exif\x00\x00", 1},
	{"png chunk beyond the file", pngStart + "\xff\xff\xff\xffeXIf" + tiff("II", 0x12, 3, 1, 2), 1},
	{"webp chunk beyond the file", "RIFF\x00\x00\x00\x00WEBP" + "EXIF\xff\xff\xff\xff" + tiff("II", 0x12, 3, 1, 2), 1},
	{"empty", "", 1},
}

func TestOrientation(t *testing.T) {
	for _, c := range orientationCases {
		if got := orientation([]byte(c.file)); got != c.want {
			t.Errorf("%s: got %d, want %d", c.name, got, c.want)
		}
	}
}

func FuzzEXIF(f *testing.F) {
	for _, c := range orientationCases {
		f.Add([]byte(c.file))
	}
	for _, g := range golden[imageCase](f, "images") {
		f.Add(must[[]byte](f)(base64.StdEncoding.DecodeString(g.File)))
	}
	f.Fuzz(func(t *testing.T, file []byte) {
		if o := orientation(file); o < 1 || o > 8 {
			t.Errorf("got %d", o)
		}
	})
}
