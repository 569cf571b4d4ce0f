package data

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"
)

// tree is the images of a folder or an archive, read in place: sorted folder by folder, labels from the top folders, from
// the names, or from a table.
type tree struct {
	root    string
	files   []entry
	labels  []int32 // nil: none
	classes []string
	opt     Options
	h, w, c int
	ignored int // files that are not images
	close   func() error
}

func matchTree(_ string, folder bool, _ []byte) bool { return folder }

func openTree(path string, opt Options) (Dataset, error) {
	l, err := listFolder(path)
	return l.tree(path, opt, err)
}

func openZip(path string, opt Options) (Dataset, error) {
	l, err := listZip(path)
	return l.tree(path, opt, err)
}

func openTar(path string, opt Options) (Dataset, error) {
	l, err := listTar(opt.ctx, path)
	if err == nil {
		if f, c := l.cifar(path); c != nil {
			return c.set(f, c.train, path, opt)
		}
	}
	return l.tree(path, opt, err)
}

// tree makes a set of the images that were found, unless finding them failed.
func (l *listing) tree(path string, opt Options, err error) (Dataset, error) {
	if l == nil {
		return nil, err
	}
	t := &tree{root: path, files: l.images, opt: opt, c: 3, ignored: l.ignored, close: l.opened.Close}
	if opt.Gray {
		t.c = 1
	}
	switch {
	case err != nil:
	case len(t.files) == 0:
		err = fmt.Errorf("%s: no PNG, JPEG, GIF, BMP, TIFF or WebP images in it", Printable(path))
	case len(t.files) > math.MaxInt32:
		err = fmt.Errorf("%s: more than %s images", Printable(path), comma(math.MaxInt32))
	default:
		if err = t.label(l); err == nil {
			err = t.measure()
		}
	}
	if err != nil {
		l.opened.Close()
		return nil, err
	}
	return t, nil
}

// label finds out the labels, as Options.Labels says.
func (t *tree) label(l *listing) error {
	switch {
	case t.opt.Labels == LabelsNone:
		return nil
	case t.opt.Labels == LabelsPrefix:
		return t.labelByName(t.prefix)
	case t.opt.Labels != LabelsFolders:
		return t.labelByFile(t.opt.Labels, diskFile(t.opt.Labels), t.opt.Classes, "")
	}
	top := ""
	if l.archive {
		top = t.top()
	}
	if table := t.table(l, top); table.file != nil { // what made the tree knows all its classes, whether they have images or not
		if err := t.labelByFile(filepath.Join(t.root, filepath.FromSlash(table.name)), table.file, maxClasses, strings.TrimSuffix(table.name, tableName)); err != nil {
			return fmt.Errorf("%w\n  to go by folders, take the file away", err)
		}
		return nil
	}
	flat, common := 0, top
	for _, f := range t.files {
		if !strings.Contains(f.name[len(top):], "/") { // the one folder is a class
			common = ""
		}
	}
	for i, f := range t.files {
		if !strings.Contains(f.name[len(common):], "/") {
			if flat < i { // the ones before lie in folders
				return t.beside(i)
			}
			flat++
		} else if flat > 0 {
			return t.beside(0)
		}
	}
	if flat > 0 {
		return nil
	}
	err := t.labelByName(func(i int) (string, error) {
		folder, _, _ := strings.Cut(t.files[i].name[len(common):], "/")
		return folder, nil
	})
	if err != nil || l.archive {
		return err
	}
	return t.checkFolders()
}

func (t *tree) beside(i int) error {
	return fmt.Errorf("%s: lies beside folders of images; move it into one, or take no labels", t.name(i))
}

// top is the one folder that all images of an archive lie in, with its slash; empty if there is none.
func (t *tree) top() string {
	top, _, _ := strings.Cut(t.files[0].name, "/")
	top += "/"
	for _, f := range t.files {
		if !strings.HasPrefix(f.name, top) {
			return ""
		}
	}
	return top
}

// table is EDM's dataset.json, at the top or in the folder that all images lie in; one without a file: there is none.
func (t *tree) table(l *listing, top string) entry {
	if l.table != nil {
		return entry{tableName, l.table}
	}
	for _, e := range l.others {
		if top != "" && e.name == top+tableName {
			t.ignored--
			return e
		}
	}
	return entry{}
}

// prefix is what stands before the first _ of a file name.
func (t *tree) prefix(i int) (string, error) {
	prefix, _, found := strings.Cut(path.Base(t.files[i].name), "_")
	if !found || prefix == "" {
		return "", fmt.Errorf("%s: nothing before a _ in the name; labels by prefix are what stands there", t.name(i))
	}
	return prefix, nil
}

// labelByName makes a class of each name, in their order.
func (t *tree) labelByName(class func(i int) (string, error)) error {
	names := make([]string, len(t.files))
	seen := map[string]int32{}
	for i := range t.files {
		name, err := class(i)
		if err != nil {
			return err
		}
		if !utf8.ValidString(name) {
			return fmt.Errorf("%s: the name of class %q is not UTF-8; rename it", Printable(t.root), name)
		}
		names[i], seen[name] = name, 0
	}
	if len(seen) > maxClasses {
		return fmt.Errorf("%s: %s classes, want at most %s", Printable(t.root), comma(len(seen)), comma(maxClasses))
	}
	t.classes = slices.Sorted(maps.Keys(seen))
	for i, name := range t.classes {
		seen[name] = int32(i)
	}
	t.labels = make([]int32, len(names))
	for i, name := range names {
		t.labels[i] = seen[name]
	}
	return nil
}

// labelByFile reads a table of labels, whose paths begin below a folder, if any, that all images lie in.
func (t *tree) labelByFile(name string, f file, classes int, below string) error {
	table, err := readTable(name, f)
	if err == nil && table != nil {
		files := slices.Clone(t.files)
		for i := range files {
			files[i].name = files[i].name[len(below):]
		}
		t.labels, t.classes, err = table.resolve(files, classes)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", Printable(name), err)
	}
	return nil
}

// checkFolders refuses a folder without images, which would shift the labels behind it.
func (t *tree) checkFolders() error {
	entries, err := os.ReadDir(t.root)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if _, found := slices.BinarySearch(t.classes, e.Name()); e.IsDir() && e.Name()[0] != '.' && !found {
			return fmt.Errorf("%s: a folder without images, so not a class; remove it, or take no labels", Printable(filepath.Join(t.root, e.Name())))
		}
	}
	return nil
}

// measure finds the size of all images: the one asked for, or that of the first readable one.
func (t *tree) measure() error {
	if t.opt.Size != 0 {
		t.h, t.w = t.opt.Size, t.opt.Size
		return nil
	}
	var first error
	for i := range t.files {
		b, err := t.files[i].read()
		if err == nil {
			if t.w, t.h, err = defaultDecoder.size(b); err == nil {
				return nil
			}
		}
		if first == nil {
			first = t.wrap(i, err)
		}
	}
	return first
}

func (t *tree) Len() int             { return len(t.files) }
func (t *tree) Shape() (h, w, c int) { return t.h, t.w, t.c }
func (t *tree) Classes() int         { return len(t.classes) }
func (t *tree) ClassNames() []string { return t.classes }
func (t *tree) Close() error         { return t.close() }

func (t *tree) Image(dst []byte, i int) (int, error) {
	checkImage(dst, i, len(t.files), t.h*t.w*t.c)
	b, err := t.files[i].read()
	if errors.Is(err, fs.ErrNotExist) {
		return -1, damaged("%s: is gone; it was there when the set was opened", t.name(i))
	}
	if err != nil {
		return -1, t.wrap(i, err)
	}
	p, err := defaultDecoder.decode(b, t.c, func(p raster) (raster, error) {
		if t.opt.Size == 0 {
			return p, nil
		}
		return p.square(t.opt.Size, t.opt.Crop)
	})
	if err != nil {
		return -1, t.wrap(i, err)
	}
	if p.h != t.h || p.w != t.w {
		return -1, fmt.Errorf("%s: %d×%d pixels, the first image has %d×%d; import the set with --size", t.name(i), p.w, p.h, t.w, t.h)
	}
	copy(dst, p.pix)
	if t.labels == nil {
		return -1, nil
	}
	return int(t.labels[i]), nil
}

// name is where image i lies, for messages.
func (t *tree) name(i int) string {
	return Printable(filepath.Join(t.root, filepath.FromSlash(t.files[i].name)))
}

func (t *tree) wrap(i int, err error) error { return fmt.Errorf("%s: %w", t.name(i), bare(err)) }

// bare is the error of a file without its path, which wrap names.
func bare(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}
