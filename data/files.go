package data

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// A file of an image tree, in a folder or in an archive. Safe for concurrent use.
type file interface {
	// read returns its bytes, unless there are more than maxFile.
	read() ([]byte, error)
}

// entry is a file with its name: slash-separated, relative to the root of the tree.
type entry struct {
	name string
	file
}

// listing is what a folder or an archive holds.
type listing struct {
	images  []entry
	tars    []entry // tars inside, one folder each
	table   file    // EDM's dataset.json, at the top; nil: none
	others  []entry // files that are none of these
	ignored int     // how many files are not read; others among them
	archive bool
	opened  files
}

// tableName is the file in which EDM's preprocessing leaves labels.
const tableName = "dataset.json"

// hidden tells files and folders that are left out, by their name.
func hidden(name string) bool { return name[0] == '.' }

// add notes a file by its name, unless a part of it is hidden.
func (l *listing) add(name string, f file) {
	for part := range strings.SplitSeq(name, "/") {
		if hidden(part) {
			return
		}
	}
	switch {
	case isImage(name):
		l.images = append(l.images, entry{name, f})
	case name == tableName:
		l.table = f
	case strings.EqualFold(path.Ext(name), ".tar"):
		l.tars = append(l.tars, entry{name, f})
	default:
		l.others = append(l.others, entry{name, f})
		l.ignored++
	}
}

// isImage tells images by the extension of their names.
func isImage(name string) bool {
	switch strings.ToLower(path.Ext(name)) {
	case ".png", ".jpg", ".jpeg", ".gif", ".bmp", ".tif", ".tiff", ".webp":
		return true
	}
	return false
}

// expand looks into the tars of a tree that has no images beside them, ImageNet's form: a tar per class.
func (l *listing) expand(root string) error {
	tars := l.tars
	l.tars = nil
	if len(l.images) > 0 {
		l.ignored += len(tars)
		return nil
	}
	for _, t := range tars {
		at := filepath.Join(root, filepath.FromSlash(t.name))
		var r io.ReaderAt
		var size int64
		switch f := t.file.(type) {
		case diskFile:
			open, err := os.Open(string(f))
			if err != nil {
				return err
			}
			l.opened = append(l.opened, open)
			info, err := open.Stat()
			if err != nil {
				return err
			}
			r, size = open, info.Size()
		case section:
			r, size = io.NewSectionReader(f.r, f.at, f.size), f.size
		default:
			l.ignored++
			continue
		}
		if err := l.addTar(r, size, strings.TrimSuffix(t.name, path.Ext(t.name))+"/"); err != nil {
			return fmt.Errorf("%s: %w", Printable(at), err)
		}
	}
	l.ignored += len(l.tars) // tars in tars in tars
	return nil
}

// sort puts images in the order in which a walk through folders meets them, part by part.
func (l *listing) sort() {
	order := func(name string) string { return strings.ReplaceAll(name, "/", "\x00") }
	slices.SortFunc(l.images, func(a, b entry) int { return strings.Compare(order(a.name), order(b.name)) })
}

// walkFiles visits the files of a folder by their paths, and by those below it; hidden ones, and what lies in hidden folders, are
// left out. Of a file it visits that.
func walkFiles(root string, visit func(at, rel string, e fs.DirEntry) error) error {
	return filepath.WalkDir(root, func(at string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, at)
		switch {
		case err != nil:
			return err
		case rel != "." && hidden(e.Name()) && e.IsDir():
			return fs.SkipDir
		case rel != "." && hidden(e.Name()) || e.IsDir():
			return nil
		}
		return visit(at, rel, e)
	})
}

// listFolder finds the files of a folder; links to files are followed.
func listFolder(root string) (*listing, error) {
	l := &listing{}
	err := walkFiles(root+string(filepath.Separator), func(at, rel string, e fs.DirEntry) error {
		mode := e.Type()
		if mode&fs.ModeSymlink != 0 {
			info, err := os.Stat(at)
			if err != nil {
				return err
			}
			if info.IsDir() {
				return fmt.Errorf("%s: a link to a folder; put the folder itself there, or open what it links to", Printable(at))
			}
			mode = info.Mode().Type()
		}
		if mode != 0 && isImage(rel) {
			return fmt.Errorf("%s: neither a file nor a link to one", Printable(at))
		}
		if mode != 0 {
			l.ignored++
			return nil
		}
		l.add(filepath.ToSlash(rel), diskFile(at))
		return nil
	})
	if err == nil {
		err = l.expand(root)
	}
	l.sort()
	return l, err
}

// diskFile is the path of a file.
type diskFile string

func (d diskFile) read() ([]byte, error) {
	f, err := os.OpenFile(string(d), os.O_RDONLY|syscall.O_NONBLOCK, 0) // a named pipe is not waited for
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("neither a file nor a link to one")
	}
	return section{f, 0, info.Size()}.read()
}

// section is a file that lies in another one as it is.
type section struct {
	r        io.ReaderAt
	at, size int64
}

func (s section) read() ([]byte, error) {
	if s.size > maxFile {
		return nil, damaged("%s bytes, want at most %s", comma(s.size), comma(maxFile))
	}
	b := make([]byte, s.size)
	if n, err := s.r.ReadAt(b, s.at); n < len(b) {
		if errors.Is(err, io.EOF) {
			return nil, damaged("ends after %s of %s bytes", comma(n), comma(s.size))
		}
		return nil, err
	}
	return b, nil
}
