package data

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// packWriter writes a packed file as <dst>.tmp, under a lock, and renames it when it is complete and checked.
type packWriter struct {
	dst     string
	f       *os.File
	buf     *bufio.Writer
	h, w, c int
	classes []string
	labels  []byte
	sums    []byte
}

// newPackWriter starts a file of images (h,w,c).
func newPackWriter(dst string, h, w, c int, classes []string) (*packWriter, error) {
	f, err := createLocked(dst + ".tmp")
	if err != nil {
		return nil, err
	}
	p := &packWriter{dst: dst, f: f, buf: bufio.NewWriterSize(f, 1<<20), h: h, w: w, c: c, classes: classes}
	p.buf.Write(make([]byte, packHeader)) // no magic yet; the writer keeps its first error
	return p, nil
}

// createLocked makes a file, or empties what a killed import left, unless another process is writing it.
func createLocked(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o666)
	if err != nil {
		return nil, err
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if err == nil { // the name may have gone to another file before the lock was ours
		var mine, there os.FileInfo
		if mine, err = f.Stat(); err == nil {
			if there, err = os.Lstat(path); err == nil && !os.SameFile(mine, there) {
				err = unix.EWOULDBLOCK
			}
		}
	}
	if errors.Is(err, unix.EWOULDBLOCK) {
		err = fmt.Errorf("%s: another import is writing it", printable(path))
	}
	if err == nil {
		err = f.Truncate(0)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// add appends an image.
func (p *packWriter) add(img []byte, label int) error {
	if len(img) != p.h*p.w*p.c || label < -1 || label >= len(p.classes) || (label < 0) != (len(p.classes) == 0) {
		panic(fmt.Sprintf("data: pack: image of %d bytes, label %d; want (%d,%d,%d), %d classes", len(img), label, p.h, p.w, p.c, len(p.classes)))
	}
	if len(p.sums)/4 == math.MaxInt32 {
		return fmt.Errorf("%s: more than %s images", printable(p.dst), comma(math.MaxInt32))
	}
	_, err := p.buf.Write(img)
	p.labels = binary.LittleEndian.AppendUint32(p.labels, uint32(label))
	p.sums = binary.LittleEndian.AppendUint32(p.sums, crc32.Checksum(img, castagnoli))
	return err
}

// complete writes the manifest and the header and reads everything back.
func (p *packWriter) complete(ctx context.Context) error {
	manifest, names := p.manifest()
	p.buf.Write(manifest)
	if err := p.buf.Flush(); err != nil {
		return err
	}
	if _, err := p.f.WriteAt(p.header(names, crc32.Checksum(manifest, castagnoli)), 0); err != nil {
		return err
	}
	if err := p.f.Sync(); err != nil {
		return err
	}
	if err := checkPack(ctx, p.f.Name()); err != nil {
		return fmt.Errorf("reading back what was written: %w", err)
	}
	return nil
}

// publish gives the complete file its name.
func (p *packWriter) publish() error {
	if err := os.Rename(p.f.Name(), p.dst); err != nil {
		return err
	}
	return errors.Join(p.f.Close(), syncFolder(filepath.Dir(p.dst)))
}

// manifest returns the part behind the images, and how many bytes of it are class names.
func (p *packWriter) manifest() ([]byte, int) {
	var names []byte
	for _, name := range p.classes {
		names = binary.LittleEndian.AppendUint32(names, uint32(len(name)))
		names = append(names, name...)
	}
	return bytes.Join([][]byte{p.labels, p.sums, names}, nil), len(names)
}

func (p *packWriter) header(names int, manifest uint32) []byte {
	b := make([]byte, packHeader)
	copy(b, packMagic)
	for _, f := range []struct{ at, v int }{
		{atVersion, packVersion}, {atHeight, p.h}, {atWidth, p.w}, {atChannels, p.c}, {atClasses, len(p.classes)}, {atNames, names},
	} {
		binary.LittleEndian.PutUint32(b[f.at:], uint32(f.v))
	}
	binary.LittleEndian.PutUint64(b[atImages:], uint64(len(p.sums)/4))
	binary.LittleEndian.PutUint32(b[atManifest:], manifest)
	binary.LittleEndian.PutUint32(b[atCheck:], crc32.Checksum(b[:atCheck], castagnoli))
	return b
}

// abort leaves nothing behind.
func (p *packWriter) abort() {
	os.Remove(p.f.Name())
	p.f.Close()
}

// checkPack reads all of a packed file.
func checkPack(ctx context.Context, path string) error {
	p, err := openPack(path)
	if err != nil {
		return err
	}
	defer p.Close()
	img := make([]byte, p.size())
	for i := range p.n {
		if err := ctx.Err(); err != nil {
			return err
		}
		if _, err := p.Image(img, i); err != nil {
			return err
		}
	}
	return nil
}

// syncFolder makes a rename in a folder last.
func syncFolder(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
