package data

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"
)

// tree is a folder of images, read in place: sorted folder by folder, labels from the top folders or from the names.
type tree struct {
	root    string
	files   []string // slash-separated, relative to root
	labels  []int32  // nil: none
	classes []string
	opt     Options
	h, w, c int
	ignored int // files that are not images
}

func matchTree(_ string, folder bool, _ []byte) bool { return folder }

func openTree(path string, opt Options) (Dataset, error) {
	t := &tree{root: path, opt: opt, c: 3}
	if opt.Gray {
		t.c = 1
	}
	if err := t.list(); err != nil {
		return nil, err
	}
	if err := t.label(); err != nil {
		return nil, err
	}
	if err := t.measure(); err != nil {
		return nil, err
	}
	return t, nil
}

// list finds the images. Hidden files and folders are left out, links to files followed.
func (t *tree) list() error {
	err := filepath.WalkDir(t.root+string(filepath.Separator), func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(t.root, path)
		switch {
		case err != nil || rel == ".":
			return err
		case e.Name()[0] == '.' && e.IsDir():
			return fs.SkipDir
		case e.IsDir() || e.Name()[0] == '.':
			return nil
		}
		mode := e.Type()
		if mode&fs.ModeSymlink != 0 {
			info, err := os.Stat(path)
			if err != nil {
				return err
			}
			if info.IsDir() {
				return fmt.Errorf("%s: a link to a folder; put the folder itself there, or open what it links to", printable(path))
			}
			mode = info.Mode().Type()
		}
		switch strings.ToLower(filepath.Ext(rel)) {
		case ".png", ".jpg", ".jpeg", ".gif", ".bmp", ".tif", ".tiff", ".webp":
			if mode != 0 {
				return fmt.Errorf("%s: neither a file nor a link to one", printable(path))
			}
			t.files = append(t.files, filepath.ToSlash(rel))
		default:
			t.ignored++
		}
		return nil
	})
	switch {
	case err != nil:
		return err
	case len(t.files) == 0:
		return fmt.Errorf("%s: no PNG, JPEG, GIF, BMP, TIFF or WebP images in this folder", printable(t.root))
	case len(t.files) > math.MaxInt32:
		return fmt.Errorf("%s: more than %s images", printable(t.root), comma(math.MaxInt32))
	}
	return nil
}

// label numbers the classes.
func (t *tree) label() error {
	if t.opt.Labels == LabelsNone {
		return nil
	}
	names := make([]string, len(t.files))
	seen := map[string]int32{}
	for i, f := range t.files {
		folder, _, inFolder := strings.Cut(f, "/")
		name := folder
		if t.opt.Labels == LabelsPrefix {
			base := f[strings.LastIndexByte(f, '/')+1:]
			prefix, _, found := strings.Cut(base, "_")
			if !found || prefix == "" {
				return fmt.Errorf("%s: nothing before a _ in the name; labels by prefix are what stands there", t.name(i))
			}
			name = prefix
		} else if !inFolder {
			name = ""
		}
		if !utf8.ValidString(name) {
			return fmt.Errorf("%s: the name of class %q is not UTF-8; rename it", printable(t.root), name)
		}
		names[i], seen[name] = name, 0
	}
	if t.opt.Labels == LabelsFolders {
		if err := t.checkFolders(seen, names); err != nil {
			return err
		}
		if _, flat := seen[""]; flat {
			return nil
		}
	}
	for name := range seen {
		t.classes = append(t.classes, name)
	}
	slices.Sort(t.classes)
	for i, name := range t.classes {
		seen[name] = int32(i)
	}
	t.labels = make([]int32, len(names))
	for i, name := range names {
		t.labels[i] = seen[name]
	}
	return nil
}

// checkFolders refuses a tree whose top folders are not its classes: images beside them, or a folder without images,
// which would shift the labels behind it.
func (t *tree) checkFolders(classes map[string]int32, names []string) error {
	_, flat := classes[""]
	if flat && len(classes) > 1 {
		return fmt.Errorf("%s: lies beside folders of images; move it into one, or take no labels", t.name(slices.Index(names, "")))
	}
	entries, err := os.ReadDir(t.root)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if _, found := classes[e.Name()]; e.IsDir() && e.Name()[0] != '.' && !found && !flat {
			return fmt.Errorf("%s: a folder without images, so not a class; remove it, or take no labels", printable(filepath.Join(t.root, e.Name())))
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
		file, err := t.read(i)
		if err == nil {
			if t.w, t.h, err = defaultDecoder.size(file); err == nil {
				return nil
			}
			err = t.wrap(i, err)
		}
		if first == nil {
			first = err
		}
	}
	return first
}

func (t *tree) Len() int             { return len(t.files) }
func (t *tree) Shape() (h, w, c int) { return t.h, t.w, t.c }
func (t *tree) Classes() int         { return len(t.classes) }
func (t *tree) ClassNames() []string { return t.classes }
func (t *tree) Close() error         { return nil }

func (t *tree) Image(dst []byte, i int) (int, error) {
	checkImage(dst, i, len(t.files), t.h*t.w*t.c)
	file, err := t.read(i)
	if err != nil {
		return -1, err
	}
	p, err := defaultDecoder.decode(file, t.c)
	if err == nil && t.opt.Size != 0 {
		p, err = p.square(t.opt.Size, t.opt.Crop)
	}
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

// path is where image i lies.
func (t *tree) path(i int) string { return filepath.Join(t.root, filepath.FromSlash(t.files[i])) }

// name is the path of image i for messages.
func (t *tree) name(i int) string { return printable(t.path(i)) }

func (t *tree) wrap(i int, err error) error { return fmt.Errorf("%s: %w", t.name(i), err) }

// read returns the bytes of file i, unless there are too many.
func (t *tree) read(i int) ([]byte, error) {
	f, err := os.Open(t.path(i))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if info.Size() > maxFile {
		return nil, t.wrap(i, damaged("%s bytes, want at most %s", comma(info.Size()), comma(maxFile)))
	}
	file := make([]byte, info.Size())
	if _, err := io.ReadFull(f, file); err != nil && !errors.Is(err, io.EOF) { // EOF: an empty file
		return nil, t.wrap(i, err)
	}
	return file, nil
}
