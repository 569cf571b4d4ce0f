package data

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/klauspost/compress/gzip"
)

// An idx file is big endian: two zero bytes, the type (8: unsigned byte), the number of dimensions, each dimension as
// 32 bits, the elements row by row. MNIST has images (N,H,W) in one file, labels (N) in another.
const (
	idxType   = 8
	idxImages = 3 // dimensions
	idxLabels = 1

	// A file is held in memory, so it is limited; deflate shrinks by at most 1032, which limits what a header may claim.
	maxIdx       = 4 << 30
	deflateRatio = 1032
)

// trainImages are the names that MNIST's training images come under.
var trainImages = []string{
	"train-images-idx3-ubyte.gz", "train-images-idx3-ubyte", "train-images.idx3-ubyte.gz", "train-images.idx3-ubyte",
}

// idx is an MNIST-like set: gray images, held in memory.
type idx struct {
	n, h, w int
	pix     []byte // (N,H,W)
	labels  []byte // nil: none
	beside  string // the file of the labels
	classes []string
}

func matchIdx(path string, folder bool, head []byte) bool {
	if folder {
		return findFile(path, trainImages) != ""
	}
	return string(head[:min(4, len(head))]) == string([]byte{0, 0, idxType, idxImages}) ||
		len(head) >= 2 && head[0] == 0x1f && head[1] == 0x8b && strings.Contains(filepath.Base(path), "idx3-ubyte")
}

// findFile returns the first of the names that exists in a folder, as a path; empty if none does.
func findFile(folder string, names []string) string {
	for _, name := range names {
		if info, err := os.Stat(filepath.Join(folder, name)); err == nil && info.Mode().IsRegular() {
			return filepath.Join(folder, name)
		}
	}
	return ""
}

func openIdx(path string, opt Options) (Dataset, error) {
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		path = findFile(path, trainImages)
	}
	dims, pix, err := readIdx(path, idxImages)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", Printable(path), err)
	}
	d := &idx{n: dims[0], h: dims[1], w: dims[2], pix: pix}
	if opt.Labels == LabelsFolders {
		if err := d.readLabels(path); err != nil {
			return nil, err
		}
	}
	return adapt(d, path, opt)
}

// readLabels reads the labels file that belongs to an images file: the same name with labels for images and idx1 for
// idx3, compressed or not.
func (d *idx) readLabels(images string) error {
	folder, base := filepath.Split(images)
	plain := strings.TrimSuffix(base, ".gz")
	name := strings.Replace(strings.Replace(plain, "images", "labels", 1), "idx3", "idx1", 1)
	path := ""
	if name != plain {
		path = findFile(folder, []string{name + ".gz", name})
	}
	if path == "" {
		return fmt.Errorf("%s: no labels file %s(.gz) beside it; add it, or import with --labels none", Printable(images), Printable(name))
	}
	dims, labels, err := readIdx(path, idxLabels)
	if err != nil {
		return fmt.Errorf("%s: %w", Printable(path), err)
	}
	if dims[0] != d.n {
		return damaged("%s: got %s labels, want %s, as many as images", Printable(path), comma(dims[0]), comma(d.n))
	}
	d.labels, d.beside = labels, path
	for i := range int(slices.Max(labels)) + 1 {
		d.classes = append(d.classes, strconv.Itoa(i))
	}
	return nil
}

// readIdx reads a whole file, compressed or not.
func readIdx(path string, rank int) (dims []int, data []byte, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, nil, err
	}
	return parseIdx(f, info.Size(), rank)
}

// parseIdx reads an idx file of size bytes, which may be compressed, with the given number of dimensions.
func parseIdx(f io.ReadSeeker, size int64, rank int) (dims []int, data []byte, err error) {
	var magic [2]byte
	if _, err := io.ReadFull(f, magic[:]); err != nil {
		return nil, nil, damaged("shorter than an idx header")
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, nil, err
	}
	r, limit := io.Reader(f), size
	if magic == [2]byte{0x1f, 0x8b} {
		z, err := gzip.NewReader(f)
		if err != nil {
			return nil, nil, damaged("%v", err)
		}
		defer z.Close()
		r, limit = z, size*deflateRatio
	}
	head := make([]byte, 4+4*rank)
	if _, err := io.ReadFull(r, head); err != nil {
		return nil, nil, damaged("shorter than an idx header")
	}
	if want := [4]byte{0, 0, idxType, byte(rank)}; [4]byte(head) != want {
		return nil, nil, damaged("magic % x, want % x: an idx file of bytes with %d dimensions", head[:4], want, rank)
	}
	total := int64(1)
	for i := range rank {
		n := int64(binary.BigEndian.Uint32(head[4+4*i:]))
		if n == 0 || n > maxIdx/total {
			return nil, nil, damaged("impossible size: dimension %d is %s", i, comma(n))
		}
		total *= n
		dims = append(dims, int(n))
	}
	if rank == idxImages && dims[1] > maxPixels/dims[2] {
		return nil, nil, damaged("images of %d×%d pixels, want at most %s", dims[2], dims[1], comma(maxPixels))
	}
	if total > limit {
		return nil, nil, damaged("the header promises %s bytes, a file of %s cannot hold them", comma(total), comma(size))
	}
	data = make([]byte, total)
	if n, err := io.ReadFull(r, data); err != nil {
		return nil, nil, damaged("ends after %s of %s bytes: %v", comma(n), comma(total), err)
	}
	if _, err := io.ReadFull(r, head[:1]); !errors.Is(err, io.EOF) { // also where gzip checks its sum
		if err == nil {
			err = errors.New("more data than the header says")
		}
		return nil, nil, damaged("after %s bytes: %v", comma(total), err)
	}
	return dims, data, nil
}

func (d *idx) Len() int             { return d.n }
func (d *idx) Shape() (h, w, c int) { return d.h, d.w, 1 }
func (d *idx) Classes() int         { return len(d.classes) }
func (d *idx) ClassNames() []string { return d.classes }
func (d *idx) Close() error         { return nil }

func (d *idx) Image(dst []byte, i int) (int, error) {
	size := d.h * d.w
	checkImage(dst, i, d.n, size)
	copy(dst, d.pix[i*size:])
	if d.labels == nil {
		return -1, nil
	}
	return int(d.labels[i]), nil
}
