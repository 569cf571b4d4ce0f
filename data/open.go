package data

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
)

// A format is a form of image set that Open knows.
type format struct {
	name string
	// match looks at a path, which is a folder or a file that begins with head.
	match func(path string, folder bool, head []byte) bool
	open  func(path string, opt Options) (Dataset, error)
}

// formats in the order in which they are tried.
var formats = []format{
	{"a .pack file", matchPack, openPackAs},
	{"MNIST idx files", matchIdx, openIdx},
	{"CIFAR's files", matchCifar, openCifar},
	{"downsampled ImageNet batches", matchDownsampled, openDownsampled},
	{"an npz or npy of images", matchNumpy, openArrays},
	{"a pickled batch", matchPickle, openArrays},
	{"a zip of images", matchZip, openZip},
	{"a tar of images or CIFAR", matchTar, openTar},
	{"a folder of images", matchTree, openTree},
}

// Open opens the image set at path, whatever its form: a packed file; MNIST's images as idx or idx.gz, with the labels
// file beside them; CIFAR-10 or CIFAR-100, binary or python, as the tar.gz, the folder in it or one of its files; batches
// of the downsampled ImageNet, npz or pickled, one or a folder of them; an npz or npy of images; a folder, a zip or a tar
// (.tar, .tar.gz, .tgz) of PNG, JPEG, GIF, BMP, TIFF or WebP images. A folder or an archive that holds a training and a
// test set means the training set. [Notes] says what a reader of the set should know.
func Open(path string, opt Options) (Dataset, error) {
	if err := opt.check(); err != nil {
		return nil, err
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	var head []byte
	if !info.IsDir() {
		if head, err = readHead(path, info); err != nil {
			return nil, err
		}
	}
	for _, f := range formats {
		if f.match(path, info.IsDir(), head) {
			return f.open(path, opt)
		}
	}
	want := formats[0].name
	for _, f := range formats[1:] {
		want += ", " + f.name
	}
	return nil, fmt.Errorf("%s: not a known image set\n  want one of: %s", Printable(path), want)
}

// readHead returns the first bytes of a file, at most eight.
func readHead(path string, info os.FileInfo) ([]byte, error) {
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: neither a file nor a folder", Printable(path))
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, 8))
}

// adapt applies the options to a set whose images have a shape and labels already.
func adapt(ds Dataset, path string, opt Options) (Dataset, error) {
	if opt.Labels != LabelsFolders && opt.Labels != LabelsNone {
		ds.Close()
		return nil, fmt.Errorf("%s: has labels of its own; labels by prefix or from a table are for a folder or an archive of images", Printable(path))
	}
	h, w, c := ds.Shape()
	if opt.Size == 0 && !(opt.Gray && c == 3) && opt.Labels != LabelsNone {
		return ds, nil
	}
	a := &adapted{Dataset: ds, opt: opt}
	p, err := a.apply(raster{w: w, h: h, c: c, pix: make([]byte, h*w*c)})
	if err != nil {
		ds.Close()
		return nil, fmt.Errorf("%s: %w", Printable(path), err)
	}
	a.h, a.w, a.c = p.h, p.w, p.c
	return a, nil
}

// adapted is a set read with options.
type adapted struct {
	Dataset
	opt     Options
	h, w, c int
}

func (a *adapted) Shape() (h, w, c int) { return a.h, a.w, a.c }

func (a *adapted) Classes() int {
	if a.opt.Labels == LabelsNone {
		return 0
	}
	return a.Dataset.Classes()
}

func (a *adapted) ClassNames() []string {
	if a.opt.Labels == LabelsNone {
		return nil
	}
	return a.Dataset.ClassNames()
}

func (a *adapted) Image(dst []byte, i int) (int, error) {
	checkImage(dst, i, a.Len(), a.h*a.w*a.c)
	h, w, c := a.Dataset.Shape()
	p := raster{w: w, h: h, c: c, pix: make([]byte, h*w*c)}
	label, err := a.Dataset.Image(p.pix, i)
	if err != nil {
		return -1, err
	}
	if a.opt.Labels == LabelsNone {
		label = -1
	}
	if p, err = a.apply(p); err != nil {
		return -1, err
	}
	copy(dst, p.pix)
	return label, nil
}

// apply converts one image.
func (a *adapted) apply(p raster) (raster, error) {
	if a.opt.Gray {
		p = p.channels(1)
	}
	if a.opt.Size == 0 {
		return p, nil
	}
	return p.square(a.opt.Size, a.opt.Crop)
}

// Replaceable reports whether a new packed set may take the name path: nothing has it, or a packed set, or a file without content.
// Whatever else lies there may be the only copy of what the set is made from.
func Replaceable(path string) (bool, error) {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		_, err := os.Lstat(path)
		return err != nil, nil // a link that leads nowhere is somebody's
	case err != nil:
		return false, err
	case !info.Mode().IsRegular():
		return false, nil
	}
	head, err := readHead(path, info)
	return err == nil && (len(head) == 0 || matchPack(path, false, head)), err
}
