package data

import (
	"archive/tar"
	"archive/zip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/klauspost/compress/gzip"
)

// Limits of an archive. What it unpacks to is compared with what it takes on the disk: more than maxRatio times as much
// is a bomb, or images that were never compressed, which a folder holds as well.
const (
	maxMembers = 1 << 24
	maxUnpack  = 1 << 42 // bytes in all
	maxRatio   = 200
	ratioFree  = 1 << 20 // bytes that may be packed as tightly as they can be
)

func matchZip(path string, folder bool, head []byte) bool {
	return !folder && (strings.HasPrefix(string(head), "PK\x03\x04") || strings.HasPrefix(string(head), "PK\x05\x06")) &&
		!strings.EqualFold(filepath.Ext(path), ".npz")
}

func matchTar(path string, folder bool, _ []byte) bool {
	name := strings.ToLower(path)
	return !folder && (strings.HasSuffix(name, ".tar") || strings.HasSuffix(name, ".tar.gz") || strings.HasSuffix(name, ".tgz"))
}

// memberName returns the clean name of a member of an archive, or what is wrong with it.
func memberName(name string) (string, error) {
	clean := path.Clean(name)
	if name == "" || strings.ContainsAny(name, "\\\x00") || !filepath.IsLocal(name) || strings.Contains("/"+name+"/", "/../") {
		return "", damaged("member %s: its name leaves the archive or cannot be told; pack the images again", Printable(name))
	}
	return clean, nil
}

// budget bounds what an archive may hold.
type budget struct {
	packed int64 // bytes of the archive
	n      int
	total  int64
	names  map[string]bool
}

// take counts a member, and refuses the second one of a name.
func (b *budget) take(name string, size int64) error {
	switch {
	case size < 0 || size > math.MaxInt64-b.total:
		return damaged("member %s: impossible size", Printable(name))
	case b.names[name]:
		return damaged("member %s: two of this name; which one is meant?", Printable(name))
	}
	b.names[name] = true
	b.n++
	b.total += size
	switch {
	case b.n > maxMembers:
		return damaged("more than %s members", comma(maxMembers))
	case b.total > maxUnpack:
		return damaged("more than %s bytes when unpacked", comma(maxUnpack))
	case b.total-ratioFree > maxRatio*b.packed:
		return damaged("member %s: %s bytes packed become more than %s; at most %d times as much is believed", Printable(name), comma(b.packed), comma(b.total), maxRatio)
	}
	return nil
}

// listZip finds the files of a zip.
func listZip(root string) (*listing, error) {
	f, err := os.Open(root)
	if err != nil {
		return nil, err
	}
	l := &listing{archive: true, opened: files{f}}
	info, err := f.Stat()
	if err == nil {
		err = l.addZip(f, info.Size())
	}
	if err != nil {
		err = fmt.Errorf("%s: %w", Printable(root), err)
	}
	l.ignored += len(l.tars)
	l.sort()
	return l, err
}

func (l *listing) addZip(r io.ReaderAt, size int64) error {
	z, err := zip.NewReader(r, size)
	switch {
	case errors.Is(err, zip.ErrFormat):
		return damaged("a zip that was cut, or none")
	case err != nil && !errors.Is(err, zip.ErrInsecurePath): // memberName says it better
		return damaged("%v", err)
	}
	b := budget{packed: size, names: map[string]bool{}}
	for _, f := range z.File {
		name, err := memberName(f.Name)
		switch {
		case err != nil:
			return err
		case f.UncompressedSize64 > math.MaxInt64 || f.CompressedSize64 > uint64(size):
			return damaged("member %s: impossible size", Printable(name))
		case strings.HasSuffix(f.Name, "/"):
			continue
		case f.Mode()&fs.ModeType != 0:
			return damaged("member %s: a link or a device; pack the images themselves", Printable(name))
		case f.Flags&1 != 0:
			return fmt.Errorf("member %s: encrypted", Printable(name))
		}
		if err := b.take(name, int64(f.UncompressedSize64)); err != nil {
			return err
		}
		l.add(name, zipMember{f})
	}
	return nil
}

// zipMember reads a member where it lies, and compares its checksum.
type zipMember struct{ f *zip.File }

func (z zipMember) read() (b []byte, err error) {
	size := z.f.UncompressedSize64
	if size > maxFile || size > ratioFree && size > maxRatio*z.f.CompressedSize64 {
		return nil, damaged("%s bytes from %s, want at most %s, and at most %d times as many", comma(size), comma(z.f.CompressedSize64), comma(maxFile), maxRatio)
	}
	r, err := z.f.Open()
	if err != nil {
		return nil, zipError(err)
	}
	defer r.Close()
	b = make([]byte, size)
	if _, err := io.ReadFull(r, b); err != nil {
		return nil, zipError(err)
	}
	if _, err := io.ReadFull(r, make([]byte, 1)); !errors.Is(err, io.EOF) { // here the checksum is compared
		return nil, zipError(err)
	}
	return b, nil
}

// zipError says what is damaged; failures of the disk stay what they are.
func zipError(err error) error {
	var disk *fs.PathError
	switch {
	case errors.As(err, &disk):
		return err
	case err == nil:
		return damaged("more bytes than the zip's directory says")
	case errors.Is(err, zip.ErrChecksum):
		return damaged("checksum in the zip does not fit")
	}
	return damaged("in the zip: %v", err)
}

// listTar finds the files of a tar. A compressed one is unpacked into a file without a name in the folder for temporary
// files, since it cannot be read at any place.
func listTar(ctx context.Context, root string) (*listing, error) {
	f, err := os.Open(root)
	if err != nil {
		return nil, err
	}
	l := &listing{archive: true, opened: files{f}}
	if !strings.EqualFold(filepath.Ext(root), ".tar") {
		var packed fs.FileInfo
		if packed, err = f.Stat(); err == nil {
			if f, err = unpackGzip(ctx, f, packed.Size()); err == nil {
				l.opened = append(l.opened, f)
			}
		}
	}
	var info fs.FileInfo
	if err == nil {
		info, err = f.Stat()
	}
	if err == nil {
		err = l.addTar(f, info.Size(), "")
	}
	if err != nil {
		return l, fmt.Errorf("%s: %w", Printable(root), err)
	}
	err = l.expand(root)
	l.sort()
	return l, err
}

// stoppable is a reader that fails when ctx ends.
type stoppable struct {
	ctx context.Context
	io.Reader
}

func (s stoppable) Read(b []byte) (int, error) {
	if err := s.ctx.Err(); err != nil {
		return 0, err
	}
	return s.Reader.Read(b)
}

// unpackGzip unpacks into a file that is gone when it is closed, or whatever ends the program.
func unpackGzip(ctx context.Context, r io.Reader, size int64) (*os.File, error) {
	z, err := gzip.NewReader(r)
	if err != nil {
		return nil, damaged("%v", err)
	}
	defer z.Close()
	f, err := os.CreateTemp("", "ict-tar-*")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(f.Name()); err != nil {
		f.Close()
		return nil, err
	}
	most := min(maxRatio*size+ratioFree, maxUnpack)
	n, err := io.Copy(f, io.LimitReader(stoppable{ctx, z}, most+1))
	switch {
	case ctx.Err() != nil:
		err = ctx.Err()
	case err != nil:
		var disk *fs.PathError
		if errors.As(err, &disk) {
			err = fmt.Errorf("unpacking for a while (TMPDIR says where): %w", err)
		} else {
			err = damaged("unpacking: %v", err)
		}
	case n > most:
		err = damaged("%s bytes become more than %s; at most %d times as much is believed", comma(size), comma(most), maxRatio)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// addTar finds the files of a tar of size bytes, which go below prefix.
func (l *listing) addTar(r io.ReaderAt, size int64, prefix string) error {
	s := io.NewSectionReader(r, 0, size)
	t := tar.NewReader(s)
	b := budget{packed: size, names: map[string]bool{}}
	for {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil && !errors.Is(err, tar.ErrInsecurePath) { // memberName says it better
			var disk *fs.PathError
			if errors.As(err, &disk) {
				return err
			}
			return damaged("%v", err)
		}
		if h.Typeflag == tar.TypeXGlobalHeader {
			continue
		}
		name, err := memberName(h.Name)
		if err != nil {
			return err
		}
		switch h.Typeflag {
		case tar.TypeDir:
			continue
		case tar.TypeReg:
		default:
			return damaged("member %s: a link, a device or a file with holes; pack the images themselves", Printable(name))
		}
		for k := range h.PAXRecords {
			if strings.HasPrefix(k, "GNU.sparse.") {
				return damaged("member %s: a file with holes; pack the images themselves", Printable(name))
			}
		}
		if err := b.take(name, h.Size); err != nil {
			return err
		}
		at, err := s.Seek(0, io.SeekCurrent) // the reader has read the header's blocks and no more
		if err != nil {
			return err
		}
		if h.Size > size-at {
			return damaged("member %s: cut", Printable(name))
		}
		l.add(prefix+name, section{r, at, h.Size})
	}
}
