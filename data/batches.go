package data

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strconv"
)

// A batch is one file of images that lie one behind the other: an npz, a pickle, CIFAR's records.
type batch struct {
	name    string      // of the file, and of the member within an archive
	r       io.ReaderAt //
	at      int64       // where the first image begins
	stride  int64       // from one image to the next
	n       int
	h, w, c int
	planes  bool   // an image is (C,H,W) instead of (H,W,C)
	labels  []int  // as the file has them; nil: none
	fromOne bool   // files like this one may count labels from 1
	where   string // of the labels, for messages; empty: name

	// crc, if not nil, is what the CRC-32 (IEEE) of the first whole bytes of r must be.
	crc   *uint32
	whole int64
}

// batches is a set of images in batches, read in place.
type batches struct {
	parts   []batch
	starts  []int // number of the first image of each
	n       int
	labels  []int32 // nil: none
	classes []string
	notes   []string
	files   files
}

// files are open while a set is.
type files []io.Closer

func (f files) Close() error {
	var errs []error
	for _, c := range f {
		errs = append(errs, c.Close())
	}
	return errors.Join(errs...)
}

// open opens a file, to be closed with the others.
func (f *files) open(path string) (r *os.File, size int64, err error) {
	if r, err = os.Open(path); err != nil {
		return nil, 0, err
	}
	*f = append(*f, r)
	info, err := r.Stat()
	if err != nil {
		return nil, 0, err
	}
	return r, info.Size(), nil
}

// join makes a set of batches that have images of one shape. Classes have the names, or are called by their numbers. It
// takes the files over.
func join(path string, parts []batch, opt Options, names []string, open files) (*batches, error) {
	b := &batches{parts: parts, files: open}
	first := parts[0]
	for _, p := range parts {
		if p.h != first.h || p.w != first.w || p.c != first.c {
			return nil, fmt.Errorf("%s: images of %d×%d×%d, those of %s have %d×%d×%d", Printable(p.name), p.h, p.w, p.c, Printable(first.name), first.h, first.w, first.c)
		}
		b.starts = append(b.starts, b.n)
		if b.n += p.n; b.n > math.MaxInt32 {
			return nil, fmt.Errorf("%s: more than %s images", Printable(path), comma(math.MaxInt32))
		}
	}
	if opt.Labels != LabelsNone {
		return b, b.label(names)
	}
	return b, nil
}

// label numbers the classes. Labels of files that may count from 1 do if the smallest is 1.
func (b *batches) label(names []string) error {
	low, high := math.MaxInt, -1
	for _, p := range b.parts {
		if (p.labels == nil) != (b.parts[0].labels == nil) {
			return fmt.Errorf("%s: labels in one of it and %s, not in the other", Printable(p.name), Printable(b.parts[0].name))
		}
		for i, v := range p.labels {
			most := maxClasses
			if names != nil {
				most = len(names)
			}
			if v < 0 || v >= most {
				return damaged("%s: image %s of %s: label %d, want 0 to %d", Printable(cmp.Or(p.where, p.name)), comma(i), comma(p.n), v, most-1)
			}
			low, high = min(low, v), max(high, v)
		}
	}
	if high < 0 { // no labels
		return nil
	}
	first := 0
	if names == nil && b.parts[0].fromOne && low == 1 {
		first = 1
		b.notes = append(b.notes, fmt.Sprintf("labels 1 to %d count from 1, as in the downsampled ImageNet; class 0 is the one called 1", high))
	}
	if b.classes = names; b.classes == nil {
		for v := first; v <= high; v++ {
			b.classes = append(b.classes, strconv.Itoa(v))
		}
	}
	b.labels = make([]int32, 0, b.n)
	for i, p := range b.parts {
		for _, v := range p.labels {
			b.labels = append(b.labels, int32(v-first))
		}
		b.parts[i].labels = nil
	}
	return nil
}

func (b *batches) Len() int             { return b.n }
func (b *batches) Shape() (h, w, c int) { return b.parts[0].h, b.parts[0].w, b.parts[0].c }
func (b *batches) Classes() int         { return len(b.classes) }
func (b *batches) ClassNames() []string { return b.classes }
func (b *batches) Close() error         { return b.files.Close() }

func (b *batches) Image(dst []byte, i int) (int, error) {
	h, w, c := b.Shape()
	checkImage(dst, i, b.n, h*w*c)
	k, found := slices.BinarySearch(b.starts, i)
	if !found {
		k--
	}
	p := b.parts[k]
	stored := dst
	if p.planes {
		stored = make([]byte, len(dst))
	}
	j := i - b.starts[k]
	if _, err := p.r.ReadAt(stored, p.at+int64(j)*p.stride); err != nil {
		if errors.Is(err, io.EOF) {
			err = damaged("the file was cut after it was opened")
		}
		return -1, fmt.Errorf("%s: image %s of %s: %w", Printable(p.name), comma(j), comma(p.n), err)
	}
	if p.planes {
		for k := range c {
			for q, v := range stored[k*h*w : (k+1)*h*w] {
				dst[q*c+k] = v
			}
		}
	}
	if b.labels == nil {
		return -1, nil
	}
	return int(b.labels[i]), nil
}

// imageShape finds images in an array: bytes (N,H,W,C), or, where rows may be planes, (N, 3·S·S) for S×S pixels.
func imageShape(name, dtype string, fortran bool, shape []int, planes bool) (b batch, err error) {
	bad := func(format string, args ...any) (batch, error) {
		return b, fmt.Errorf("%s: %s", Printable(name), fmt.Sprintf(format, args...))
	}
	if dtype != "|u1" {
		return bad("images of type %s, want uint8: bytes from 0 to 255, neither scaled nor shifted", Printable(dtype))
	}
	if fortran {
		return bad("images in Fortran order; write numpy.ascontiguousarray of them")
	}
	for _, n := range shape {
		if n < 1 || n > math.MaxInt32 {
			return bad("impossible shape %v", shape)
		}
	}
	b.name = name
	switch {
	case len(shape) == 2 && planes:
		side := int(math.Sqrt(float64(shape[1] / 3)))
		if 3*side*side != shape[1] {
			return bad("shape %v, want (N, 3·S·S): three planes of S×S pixels a row", shape)
		}
		b.n, b.h, b.w, b.c, b.planes = shape[0], side, side, 3, true
	case len(shape) == 4 && (shape[3] == 1 || shape[3] == 3):
		b.n, b.h, b.w, b.c = shape[0], shape[1], shape[2], shape[3]
	case planes:
		return bad("shape %v, want (N,H,W,C) with 1 or 3 channels behind the pixels, or (N, 3·S·S)", shape)
	default:
		return bad("shape %v, want (N,H,W,C) with 1 or 3 channels behind the pixels", shape)
	}
	if b.h > maxPixels/b.w {
		return bad("images of %d×%d pixels, want at most %s", b.w, b.h, comma(maxPixels))
	}
	b.stride = int64(b.h) * int64(b.w) * int64(b.c)
	return b, nil
}

// Notes are what a reader of the set should know about how it was read.
func Notes(ds Dataset) []string {
	if b, ok := inner(ds).(*batches); ok {
		return b.notes
	}
	return nil
}

// inner is the set as it is stored.
func inner(ds Dataset) Dataset {
	if a, ok := ds.(*adapted); ok {
		return a.Dataset
	}
	return ds
}
