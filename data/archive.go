package data

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"

	"github.com/klauspost/compress/gzip"
)

// Limits of an archive. What is asked for is held in memory.
const (
	maxMembers = 1000
	maxMember  = 256 << 20 // bytes; CIFAR-100's largest file has 155 MB
	maxArchive = 1 << 30   // bytes, decompressed
	maxRatio   = 100       // of decompressed to compressed bytes; pictures reach 10
	freeRatio  = 1 << 20   // bytes that come before the ratio counts
	maxAtOnce  = 1 << 25   // bytes that a file's size is believed for; CIFAR-10's have 31 MB
)

// isTarGz looks whether a file is a compressed tar archive.
func isTarGz(name string) bool {
	f, err := os.Open(name)
	if err != nil {
		return false
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		return false
	}
	block := make([]byte, 512)
	_, err = io.ReadFull(z, block)
	return err == nil && string(block[257:262]) == "ustar"
}

// readTarGz returns the files of an archive whose base names are wanted, by these, and the folder that all of them lie in.
func readTarGz(r io.Reader, wanted func(base string) bool) (folder string, members map[string][]byte, err error) {
	limit := &ratio{packed: &counter{r: r}}
	z, err := gzip.NewReader(limit.packed)
	if err != nil {
		return "", nil, damaged("%v", err)
	}
	defer z.Close()
	limit.r = z
	t := tar.NewReader(limit)
	members = map[string][]byte{}
	for n := 0; ; n++ {
		h, err := t.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return "", nil, damaged("after %s files: %v", comma(n), err)
		}
		base, err := checkMember(h, n)
		if err != nil {
			return "", nil, err
		}
		if h.Typeflag == tar.TypeDir || !wanted(base) {
			continue
		}
		dir := path.Dir(path.Clean(h.Name))
		if _, twice := members[base]; twice {
			return "", nil, damaged("%s: there are two of it", printable(h.Name))
		}
		if len(members) > 0 && dir != folder {
			return "", nil, damaged("%s: in another folder than %s", printable(h.Name), printable(folder))
		}
		folder = dir
		if h.Size > maxMember {
			return "", nil, damaged("%s: %s bytes, want at most %s", printable(h.Name), comma(h.Size), comma(maxMember))
		}
		b, err := readSized(t, h.Size, maxAtOnce)
		if err != nil {
			return "", nil, damaged("%s: ends after %s of %s bytes: %v", printable(h.Name), comma(len(b)), comma(h.Size), err)
		}
		members[base] = b
	}
	if _, err := io.Copy(io.Discard, limit); err != nil { // where gzip checks its sum
		return "", nil, damaged("behind the last file: %v", err)
	}
	return folder, members, nil
}

// readSized reads size bytes. It makes room for atOnce bytes at once; beyond them, where size may be a lie, for as much again
// as has come.
func readSized(r io.Reader, size, atOnce int64) ([]byte, error) {
	var b []byte
	for int64(len(b)) < size {
		at := len(b)
		b = append(b, make([]byte, min(size-int64(at), max(atOnce, int64(at))))...)
		if n, err := io.ReadFull(r, b[at:]); err != nil {
			return b[:at+n], err
		}
	}
	return b, nil
}

// checkMember refuses what a set of images has no need of, and returns the base name of the rest.
func checkMember(h *tar.Header, n int) (string, error) {
	name := strings.TrimPrefix(h.Name, "./") // as some programs write
	if h.Typeflag == tar.TypeDir {
		name = strings.TrimSuffix(name, "/")
	}
	switch {
	case n >= maxMembers:
		return "", damaged("more than %s files", comma(maxMembers))
	case h.Typeflag == tar.TypeXGlobalHeader, name == "" && h.Typeflag == tar.TypeDir:
		return "", nil
	case h.Typeflag != tar.TypeReg && h.Typeflag != tar.TypeDir:
		return "", damaged("%s: a link, device or the like (type %q), want files and folders", printable(h.Name), h.Typeflag)
	case !fs.ValidPath(name):
		return "", damaged("%s: a name that leads out of the archive", printable(h.Name))
	}
	for key := range h.PAXRecords {
		if strings.HasPrefix(key, "GNU.sparse.") {
			return "", damaged("%s: a sparse file", printable(h.Name))
		}
	}
	return path.Base(name), nil
}

// counter counts what is read.
type counter struct {
	r io.Reader
	n int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

// ratio fails where a decompressed stream is too long, or much longer than what it is made from.
type ratio struct {
	r      io.Reader
	packed *counter
	n      int64
}

func (r *ratio) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	r.n += int64(n)
	switch {
	case r.n > maxArchive:
		return 0, fmt.Errorf("more than %s bytes when decompressed", comma(maxArchive))
	case r.n > freeRatio+maxRatio*r.packed.n:
		return 0, errors.New("decompressed it is over 100 times as long")
	}
	return n, err
}
