package main

import (
	"bytes"
	"encoding/binary"
	"image"
	"image/color"
	"image/png"
	"reflect"
	"testing"
)

func pictureOfTest() image.Image {
	img := image.NewGray(image.Rect(0, 0, 3, 2))
	img.SetGray(1, 1, color.Gray{Y: 200})
	return img
}

func encoded(t *testing.T, img image.Image) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := encodePNG(&b, img, ""); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func decodePNG(t *testing.T, b []byte) image.Image {
	t.Helper()
	img, err := png.Decode(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	return img
}

func TestMirror(t *testing.T) {
	img := []byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12} // 2×3, two channels
	mirror(img, 3, 2)
	if want := []byte{5, 6, 3, 4, 1, 2, 11, 12, 9, 10, 7, 8}; !bytes.Equal(img, want) {
		t.Errorf("got %v, want %v", img, want)
	}
}

// A picture with a note is a picture, and holds the note.
func TestPNGNote(t *testing.T) {
	var b bytes.Buffer
	img := pictureOfTest()
	if err := encodePNG(&b, img, "step 5; σ"); err != nil {
		t.Fatal(err)
	}
	at := bytes.Index(b.Bytes(), []byte("iTXtict\x00\x00\x00\x00\x00step 5; σ"))
	if at != 8+25+4 {
		t.Fatalf("the note stands at %d", at)
	}
	if n := binary.BigEndian.Uint32(b.Bytes()[at-4:]); int(n) != len("ict\x00\x00\x00\x00\x00step 5; σ") {
		t.Errorf("length of the chunk: %d", n)
	}
	if got := decodePNG(t, b.Bytes()); !reflect.DeepEqual(got, decodePNG(t, encoded(t, img))) {
		t.Error("another picture came back")
	}
}
