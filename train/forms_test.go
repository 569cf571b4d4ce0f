package train

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"image"
	"image/png"
	"io"
	"os"
	"path/filepath"
	"testing"

	"ict/data"
)

// pictures are images of 32×32×3 in ten classes, sorted by class as a folder of images is.
type pictures struct {
	pix    [][]byte
	labels []byte
}

// shapePictures are n of the program's synthetic shapes. What they show is not their class, so that there are ten.
func shapePictures(t *testing.T, n int) (p pictures) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "shapes.pack")
	if err := data.MakeShapes(path, n, 32, 0); err != nil {
		t.Fatal(err)
	}
	ds := openSet(t, path)
	for i := range n {
		img := make([]byte, 32*32*3)
		if _, err := ds.Image(img, i); err != nil {
			t.Fatal(err)
		}
		p.pix, p.labels = append(p.pix, img), append(p.labels, byte(10*i/n))
	}
	return p
}

func openSet(t *testing.T, path string) data.Dataset {
	t.Helper()
	ds, err := data.Open(path, data.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ds.Close() })
	return ds
}

// forms are the ways to store the pictures. Each makes what it needs in an empty folder and returns the path to open.
var forms = []struct {
	name  string
	write func(p pictures, dir string) (path string, err error)
}{
	{"folder", pictures.folder},
	{"zip", func(p pictures, dir string) (string, error) { return p.zip(dir, zip.Deflate, false) }},
	{"zip with dataset.json", func(p pictures, dir string) (string, error) { return p.zip(dir, zip.Store, true) }},
	{"CIFAR binary", pictures.cifarBinary},
	{"CIFAR binary tar.gz", pictures.cifarBinaryTar},
	{"CIFAR python", pictures.cifarPython},
	{"npz stored", func(p pictures, dir string) (string, error) { return p.npz(dir, zip.Store) }},
	{"npz deflated", func(p pictures, dir string) (string, error) { return p.npz(dir, zip.Deflate) }},
	{"pack", func(p pictures, dir string) (string, error) {
		src, err := p.cifarBinary(dir)
		if err != nil {
			return "", err
		}
		dst := filepath.Join(dir, "x.pack")
		_, err = data.Import(context.Background(), src, dst, data.ImportOptions{}, nil)
		return dst, err
	}},
}

// The same 3,000 images in the same order give the same weights, whatever form they are read from.
func TestFormsTrainTheSameBits(t *testing.T) {
	n := 3000
	if testing.Short() {
		n = 300
	}
	p := shapePictures(t, n)
	var want uint64
	for i, f := range forms {
		path, err := f.write(p, t.TempDir())
		if err != nil {
			t.Fatalf("%s: %v", f.name, err)
		}
		ds := openSet(t, path)
		if h, w, c := ds.Shape(); ds.Len() != len(p.pix) || h != 32 || w != 32 || c != 3 || ds.Classes() != 10 {
			t.Fatalf("%s: %d images of %d×%d×%d, %d classes", f.name, ds.Len(), h, w, c, ds.Classes())
		}
		img := make([]byte, 32*32*3)
		for j := range p.pix {
			label, err := ds.Image(img, j)
			if err != nil || label != int(p.labels[j]) || !bytes.Equal(img, p.pix[j]) {
				t.Fatalf("%s: image %d: label %d, want %d; same bytes %v; %v", f.name, j, label, p.labels[j], bytes.Equal(img, p.pix[j]), err)
			}
		}
		got := trainedOn(t, ds)
		if i == 0 {
			want = got
		}
		if got != want {
			t.Errorf("%s: hash of the weights %x, want %x", f.name, got, want)
		}
	}
	// A pixel more or less is seen.
	p.pix[p.firstTrained(t)][0] ^= 1
	path, err := p.npz(t.TempDir(), zip.Store)
	if err != nil {
		t.Fatal(err)
	}
	if trainedOn(t, openSet(t, path)) == want {
		t.Error("another pixel: the same weights")
	}
}

// overPictures is a small network for them.
func overPictures() Config {
	c := toy(2, 4)
	c.Model.Resolution, c.Model.Classes, c.Model.Attention = 32, 10, nil
	return c
}

// trainedOn trains two steps and returns the hash of the weights.
func trainedOn(t *testing.T, ds data.Dataset) uint64 {
	t.Helper()
	c := overPictures()
	tr := fresh(t, c)
	stepsFrom(t, tr, data.NewLoader(ds, data.LoaderOptions{Seed: c.Train.Seed, Batch: c.Train.Batch, World: 1, Flip: c.Data.Flip}), 2)
	return hash(t, tr)
}

// firstTrained is the number of the image that a run sees first.
func (p pictures) firstTrained(t *testing.T) int {
	t.Helper()
	c := overPictures()
	seen := &firstSeen{pictures: p, first: make(chan int, len(p.pix))}
	l := data.NewLoader(seen, data.LoaderOptions{Seed: c.Train.Seed, Batch: 1, World: 1})
	defer l.Close()
	if _, err := l.Next(context.Background()); err != nil {
		t.Fatal(err)
	}
	return <-seen.first
}

// firstSeen is a set that notes what is read.
type firstSeen struct {
	pictures
	first chan int
}

func (s *firstSeen) Len() int             { return len(s.pix) }
func (s *firstSeen) Shape() (h, w, c int) { return 32, 32, 3 }
func (s *firstSeen) Classes() int         { return 10 }
func (s *firstSeen) ClassNames() []string { return nil }
func (s *firstSeen) Close() error         { return nil }
func (s *firstSeen) Image(dst []byte, i int) (int, error) {
	s.first <- i
	return int(s.labels[i]), nil
}

func (p pictures) folder(dir string) (string, error) {
	for i, pix := range p.pix {
		img := image.NewNRGBA(image.Rect(0, 0, 32, 32))
		for j := range 32 * 32 {
			copy(img.Pix[4*j:], []byte{pix[3*j], pix[3*j+1], pix[3*j+2], 255})
		}
		var b bytes.Buffer
		if err := png.Encode(&b, img); err != nil {
			return "", err
		}
		if err := write(fmt.Sprintf("%s/%d/%04d.png", dir, p.labels[i], i), b.Bytes()); err != nil {
			return "", err
		}
	}
	return dir, nil
}

// zip packs the folder; with a table, which is EDM's form, names tell nothing of the classes.
func (p pictures) zip(dir string, method uint16, table bool) (string, error) {
	path := filepath.Join(dir, "x.zip")
	if _, err := p.folder(filepath.Join(dir, "folder")); err != nil {
		return "", err
	}
	f, err := os.Create(path)
	if err != nil {
		return "", err
	}
	z := zip.NewWriter(f)
	put := func(name string, b []byte) error {
		w, err := z.CreateHeader(&zip.FileHeader{Name: name, Method: method})
		if err == nil {
			_, err = w.Write(b)
		}
		return err
	}
	type row [2]any // name and class
	var rows []row
	for i, label := range p.labels {
		name := fmt.Sprintf("%d/%04d.png", label, i)
		b, err := os.ReadFile(filepath.Join(dir, "folder", name))
		if err != nil {
			return "", err
		}
		if table {
			name = fmt.Sprintf("%05d/img%08d.png", i/1000, i)
			rows = append(rows, row{name, int(label)})
		}
		if err := put(name, b); err != nil {
			return "", err
		}
	}
	if table {
		b, err := json.Marshal(map[string]any{"labels": rows})
		if err := errors.Join(err, put("dataset.json", b)); err != nil {
			return "", err
		}
	}
	return path, errors.Join(z.Close(), f.Close())
}

func write(path string, b []byte) error {
	return errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, b, 0o644))
}

// planes is image i as (C,H,W).
func (p pictures) planes(i int) []byte {
	b := make([]byte, 0, 32*32*3)
	for k := range 3 {
		for j := range 32 * 32 {
			b = append(b, p.pix[i][3*j+k])
		}
	}
	return b
}

// fifths are the numbers of the images in each of CIFAR's five batches.
func (p pictures) fifths() (parts [5][]int) {
	for i := range p.pix {
		k := 5 * i / len(p.pix)
		parts[k] = append(parts[k], i)
	}
	return parts
}

func (p pictures) cifarBatches() map[string][]byte {
	files := map[string][]byte{}
	for k, part := range p.fifths() {
		var b []byte
		for _, i := range part {
			b = append(append(b, p.labels[i]), p.planes(i)...)
		}
		files[fmt.Sprintf("data_batch_%d.bin", k+1)] = b
	}
	return files
}

func (p pictures) cifarBinary(dir string) (string, error) {
	for name, b := range p.cifarBatches() {
		if err := write(filepath.Join(dir, name), b); err != nil {
			return "", err
		}
	}
	return dir, nil
}

func (p pictures) cifarBinaryTar(dir string) (string, error) {
	path := filepath.Join(dir, "x.tar.gz")
	f, err := os.Create(path)
	if err != nil {
		return "", err
	}
	z := gzip.NewWriter(f)
	w := tar.NewWriter(z)
	for name, b := range p.cifarBatches() {
		if err := w.WriteHeader(&tar.Header{Name: "cifar-10-batches-bin/" + name, Size: int64(len(b)), Mode: 0o644}); err != nil {
			return "", err
		}
		if _, err := w.Write(b); err != nil {
			return "", err
		}
	}
	return path, errors.Join(w.Close(), z.Close(), f.Close())
}

// cifarPython writes what pickle wrote with protocol 2 in Python 2.
func (p pictures) cifarPython(dir string) (string, error) {
	u16 := func(n int) []byte { return binary.LittleEndian.AppendUint16(nil, uint16(n)) }
	for k, part := range p.fifths() {
		labels, pix := []byte("]("), []byte(nil)
		for _, i := range part {
			labels, pix = append(labels, 'K', p.labels[i]), append(pix, p.planes(i)...)
		}
		b := []byte("\x80\x02}U\x06labels")
		b = append(append(b, labels...), "esU\x04data"...)
		b = append(b, "cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R(K\x01"...)
		b = append(append(append(append(b, 'M'), u16(len(part))...), 'M'), u16(3072)...)
		b = append(b, "\x86cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89"...)
		b = binary.LittleEndian.AppendUint32(append(b, 'T'), uint32(len(pix)))
		b = append(append(b, pix...), "tbs."...)
		if err := write(fmt.Sprintf("%s/data_batch_%d", dir, k+1), b); err != nil {
			return "", err
		}
	}
	return dir, nil
}

// npz writes arr_0 and arr_1.
func (p pictures) npz(dir string, method uint16) (string, error) {
	path := filepath.Join(dir, "x.npz")
	f, err := os.Create(path)
	if err != nil {
		return "", err
	}
	z := zip.NewWriter(f)
	put := func(name, dtype, shape string, content []byte) error {
		w, err := z.CreateHeader(&zip.FileHeader{Name: name + ".npy", Method: method})
		if err != nil {
			return err
		}
		head := fmt.Sprintf("{'descr': '%s', 'fortran_order': False, 'shape': (%s), }\n", dtype, shape)
		_, err = io.WriteString(w, "\x93NUMPY\x01\x00"+string([]byte{byte(len(head)), 0})+head+string(content))
		return err
	}
	n := len(p.pix)
	err = errors.Join(put("arr_0", "|u1", fmt.Sprintf("%d, 32, 32, 3", n), bytes.Join(p.pix, nil)), put("arr_1", "|u1", fmt.Sprintf("%d,", n), p.labels))
	return path, errors.Join(err, z.Close(), f.Close())
}
