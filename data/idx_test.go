package data

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"

	"github.com/klauspost/compress/gzip"
)

// idxFile is an idx file of bytes.
func idxFile(data []byte, dims ...uint32) []byte {
	b := []byte{0, 0, idxType, byte(len(dims))}
	for _, d := range dims {
		b = binary.BigEndian.AppendUint32(b, d)
	}
	return append(b, data...)
}

func zipped(b []byte) []byte {
	var z bytes.Buffer
	w := gzip.NewWriter(&z)
	w.Write(b)
	w.Close()
	return z.Bytes()
}

// count is 0, 1, 2, …
func count(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i)
	}
	return b
}

func TestIdx(t *testing.T) {
	dir := t.TempDir()
	pix, labels := idxFile(count(24), 4, 2, 3), idxFile([]byte{1, 0, 2, 1}, 4)
	for _, names := range [][2]string{
		{"train-images-idx3-ubyte", "train-labels-idx1-ubyte"},
		{"train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"},
		{"train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte"},
		{"train-images.idx3-ubyte", "train-labels.idx1-ubyte"},
		{"t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"},
	} {
		sub := dir + "/" + names[0] + names[1]
		for i, content := range [][]byte{pix, labels} {
			if names[i][len(names[i])-3:] == ".gz" {
				content = zipped(content)
			}
			writeFile(t, sub+"/"+names[i], content)
		}
		paths := []string{sub + "/" + names[0]}
		if names[0][:5] == "train" {
			paths = append(paths, sub)
		}
		for _, path := range paths {
			ds := open(t, path, Options{})
			h, w, c := ds.Shape()
			equal(t, "shape", []int{ds.Len(), h, w, c}, []int{4, 2, 3, 1})
			equal(t, "classes", ds.ClassNames(), []string{"0", "1", "2"})
			imgs, got := images(t, ds)
			equal(t, "images", bytes.Join(imgs, nil), count(24))
			equal(t, "labels", got, []int{1, 0, 2, 1})
		}
	}
}

func TestIdxOptions(t *testing.T) {
	dir := t.TempDir()
	images3 := dir + "/train-images-idx3-ubyte"
	writeFile(t, images3, idxFile(bytes.Repeat([]byte{7}, 4*16), 4, 4, 4))
	_, err := Open(dir, Options{})
	wantError(t, err, "no labels file train-labels-idx1-ubyte(.gz) beside it")
	ds := open(t, dir, Options{Labels: "none"})
	_, labels := images(t, ds)
	equal(t, "no labels", labels, []int{-1, -1, -1, -1})
	equal(t, "no classes", ds.Classes(), 0)

	writeFile(t, dir+"/train-labels-idx1-ubyte", idxFile([]byte{0, 1, 0}, 3))
	_, err = Open(dir, Options{})
	wantError(t, err, "got 3 labels, want 4")
	writeFile(t, dir+"/train-labels-idx1-ubyte", idxFile([]byte{0, 1, 0, 1}, 4))
	_, err = Open(dir, Options{Labels: "prefix"})
	wantError(t, err, "are for a folder or an archive of images")
	_, err = Open(dir, Options{Size: 8})
	wantError(t, err, "4×4 pixels, want 8×8")
	ds = open(t, dir, Options{Size: 8, Crop: "fit", Gray: true})
	h, w, c := ds.Shape()
	equal(t, "resized", []int{h, w, c}, []int{8, 8, 1})
	imgs, labels := images(t, ds)
	equal(t, "pixels", imgs[3], bytes.Repeat([]byte{7}, 64))
	equal(t, "labels", labels, []int{0, 1, 0, 1})
	equal(t, "names", ds.ClassNames(), []string{"0", "1"})
}

// damagedIdx are files that must be refused, and why.
var damagedIdx = []struct {
	file []byte
	want string
}{
	{nil, "shorter than an idx header"},
	{idxFile(nil, 4, 2)[:11], "shorter than an idx header"},
	{idxFile(count(8), 4, 2), "magic 00 00 08 02"},
	{append([]byte{0, 0, 9, 3}, idxFile(count(8), 2, 2, 2)[4:]...), "magic 00 00 09 03"},
	{idxFile(nil, 0, 2, 2), "impossible size: dimension 0 is 0"},
	{idxFile(nil, 1<<31, 1<<31, 1<<31), "impossible size"},
	{idxFile(nil, 1, 1<<14, 1<<14), "want at most 67,108,864"},
	{idxFile(count(7), 2, 2, 2), "ends after 7 of 8 bytes"},
	{idxFile(nil, 1000, 28, 28), "promises 784,000 bytes, a file of 16 cannot hold them"},
	{idxFile(count(9), 2, 2, 2), "more data than the header says"},
	{zipped(idxFile(nil, 1000, 280, 280)), "cannot hold them"},
	{zipped(idxFile(count(7), 2, 2, 2)), "ends after 7 of 8 bytes"},
	{zipped(idxFile(count(9), 2, 2, 2)), "more data than the header says"},
	{cut(zipped(idxFile(count(8), 2, 2, 2)), 4), "unexpected EOF"},
	{flip(zipped(idxFile(count(8), 2, 2, 2)), -8), "checksum"},
	{[]byte{0x1f, 0x8b, 9}, "EOF"},
}

// cut takes n bytes off the end.
func cut(b []byte, n int) []byte { return b[:len(b)-n] }

// flip changes a bit of byte i, counted from the end if negative.
func flip(b []byte, i int) []byte {
	b = bytes.Clone(b)
	b[(i+len(b))%len(b)] ^= 1
	return b
}

func TestIdxDamaged(t *testing.T) {
	for _, c := range damagedIdx {
		_, _, err := parseIdx(bytes.NewReader(c.file), int64(len(c.file)), idxImages)
		wantError(t, err, c.want)
		if err != nil && !errors.Is(err, ErrDamaged) {
			t.Errorf("%v is no ErrDamaged", err)
		}
	}
}

func FuzzIdx(f *testing.F) {
	for _, c := range damagedIdx {
		f.Add(c.file)
	}
	f.Add(idxFile(count(24), 4, 2, 3))
	f.Add(zipped(idxFile(count(24), 4, 2, 3)))
	f.Add(idxFile(count(24), 24))
	f.Fuzz(func(t *testing.T, file []byte) {
		for _, rank := range []int{idxImages, idxLabels} {
			dims, data, err := parseIdx(bytes.NewReader(file), int64(len(file)), rank)
			if err != nil {
				continue
			}
			total := 1
			for _, d := range dims {
				total *= d
			}
			if len(dims) != rank || total != len(data) || total == 0 {
				t.Errorf("dimensions %v, %d bytes", dims, len(data))
			}
		}
	})
}
