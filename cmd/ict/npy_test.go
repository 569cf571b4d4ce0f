package main

import (
	"bytes"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/sbinet/npyio/npz"

	"ict/data"
	"ict/tensor"
)

func TestNPYRoundTrip(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new", "z.npy")
	v := []float32{1, -2, 0.5, 3, 4, 5}
	for _, shape := range []tensor.Shape{{6}, {1, 2, 3}, {6, 1}} {
		if err := writeNPY(path, v, shape); err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(path)
		if err != nil || (len(b)-4*len(v))%64 != 0 {
			t.Fatalf("%v: %d bytes, %v; want the data on a multiple of 64", shape, len(b), err)
		}
		got, s, err := readNPY(path)
		if err != nil || !reflect.DeepEqual(got, v) || !shape.Equal(s) {
			t.Errorf("%v: got %v %v, %v", shape, got, s, err)
		}
	}
}

func TestParseNPYRefuses(t *testing.T) {
	good := append(npyHead("<f4", []int{2, 3}), make([]byte, 24)...)
	for name, b := range map[string][]byte{
		"empty":         nil,
		"no magic":      []byte("picture"),
		"header alone":  good[:40],
		"too short":     good[:len(good)-1],
		"too long":      append(bytes.Clone(good), 0),
		"float64":       append(npyHead("<f8", []int{3}), make([]byte, 24)...),
		"big endian":    append(npyHead(">f4", []int{6}), make([]byte, 24)...),
		"Fortran order": bytes.Replace(good, []byte("False"), []byte("True "), 1),
		"overflow":      append(npyHead("<f4", []int{1 << 40, 1 << 40}), make([]byte, 24)...),
		"negative":      append(npyHead("<f4", []int{-2, -3}), make([]byte, 24)...),
		"long header":   append([]byte("\x93NUMPY\x02\x00\xff\xff\xff\xff"), good...),
		"no newline":    bytes.ReplaceAll(good, []byte("\n"), []byte(" ")),
	} {
		if v, s, err := parseNPY(bytes.NewReader(b), int64(len(b))); err == nil {
			t.Errorf("%s: got %v of shape %v, want an error", name, v, s)
		}
	}
}

// What evaluators read, read by the library.
func TestNPZ(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.npz")
	images := []byte{1, 2, 3, 4, 5, 6, 7, 8}
	if err := writeNPZ(path, images, tensor.Shape{2, 2, 2, 1}, []int32{7, -1}, "how"); err != nil {
		t.Fatal(err)
	}
	z, err := npz.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	var pixels []uint8
	var labels []int64
	if err := z.Read("arr_0.npy", &pixels); err != nil || !bytes.Equal(pixels, images) {
		t.Errorf("arr_0: %v, %v", pixels, err)
	}
	if err := z.Read("arr_1.npy", &labels); err != nil || len(labels) != 2 || labels[0] != 7 || labels[1] != -1 {
		t.Errorf("arr_1: %v, %v", labels, err)
	}
	if h := z.Header("arr_0.npy"); !reflect.DeepEqual(h.Descr.Shape, []int{2, 2, 2, 1}) || h.Descr.Type != "|u1" {
		t.Errorf("arr_0: %+v", h)
	}
	b, err := os.ReadFile(path)
	if err != nil || !strings.HasSuffix(string(b), "how") {
		t.Errorf("no note at the end of the archive")
	}
}

// What is written can be trained on.
func TestNPZIsASet(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.npz")
	images := []byte{1, 2, 3, 4, 5, 6, 7, 8}
	if err := writeNPZ(path, images, tensor.Shape{2, 2, 2, 1}, []int32{1, 0}, "how"); err != nil {
		t.Fatal(err)
	}
	ds, err := data.Open(path, data.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer ds.Close()
	img := make([]byte, 4)
	for i, want := range []int{1, 0} {
		if label, err := ds.Image(img, i); err != nil || label != want || !bytes.Equal(img, images[4*i:4*i+4]) {
			t.Errorf("image %d: %v, label %d, %v", i, img, label, err)
		}
	}
}

func FuzzParseNPY(f *testing.F) {
	f.Add(append(npyHead("<f4", []int{2, 3}), make([]byte, 24)...))
	f.Add(append(npyHead("<f4", []int{6}), make([]byte, 24)...))
	f.Add([]byte("\x93NUMPY\x02\x00\x00\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		v, shape, err := parseNPY(bytes.NewReader(b), int64(len(b)))
		if err == nil && (len(v) != tensor.Shape(shape).Elems() || 4*len(v) > len(b)) {
			t.Fatalf("%d numbers of shape %v from %d bytes", len(v), shape, len(b))
		}
	})
}
