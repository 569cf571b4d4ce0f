package data

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"ict/internal/disk"
)

// packWriter writes a packed file as <dst>.partial, under a lock, and renames it when it is complete and checked. What
// has a journal beside it can be gone on with.
type packWriter struct {
	dst     string
	f       *os.File
	buf     *bufio.Writer
	h, w, c int
	classes []string
	labels  []byte
	sums    []byte
	journal *journal // nil: none

	published bool
}

// newPackWriter starts a file of images (h,w,c), or empties what another left.
func newPackWriter(dst string, h, w, c int, classes []string) (*packWriter, error) {
	p, err := openPackWriter(dst, h, w, c, classes)
	if err == nil {
		err = p.rewind(0)
	}
	return p, err
}

// openPackWriter locks a file of images (h,w,c) as it is; rewind comes next.
func openPackWriter(dst string, h, w, c int, classes []string) (*packWriter, error) {
	f, err := openLocked(dst + partialEnd)
	if err != nil {
		return nil, err
	}
	return &packWriter{dst: dst, f: f, buf: bufio.NewWriterSize(f, 1<<20), h: h, w: w, c: c, classes: classes}, nil
}

// rewind leaves the first n images, and writing goes on behind them.
func (p *packWriter) rewind(n int) error {
	p.labels, p.sums = p.labels[:4*n], p.sums[:4*n]
	end := packHeader + int64(n)*int64(p.h*p.w*p.c)
	err := p.f.Truncate(end)
	if err == nil { // no magic yet, and none that an import left when it was killed at its end
		_, err = p.f.WriteAt(make([]byte, packHeader), 0)
	}
	if err == nil {
		_, err = p.f.Seek(end, io.SeekStart)
	}
	p.buf.Reset(p.f)
	return err
}

// flush hands everything to the operating system, images before the journal that speaks of them.
func (p *packWriter) flush() error {
	err := p.buf.Flush()
	if err == nil && p.journal != nil {
		err = p.journal.buf.Flush()
	}
	return err
}

// Names of the files beside a packed file, behind its own: the one that is being made, its journal behind that, the report.
const (
	partialEnd = ".partial"
	journalEnd = ".journal"
	reportEnd  = ".import.json"
)

// openOwn opens a file of ours, or makes it. It follows no link, behind which somebody else's file may lie.
func openOwn(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o666)
	if errors.Is(err, unix.ELOOP) {
		return nil, fmt.Errorf("%s: a link, which an import does not write through; remove it", Printable(path))
	}
	return f, err
}

// openLocked opens a file of ours, or makes it, unless another process is writing it.
func openLocked(path string) (*os.File, error) {
	f, err := openOwn(path)
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
		err = fmt.Errorf("%s: another import is writing it", Printable(path))
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
	if p.images() == math.MaxInt32 {
		return fmt.Errorf("%s: more than %s images", Printable(p.dst), comma(math.MaxInt32))
	}
	_, err := p.buf.Write(img)
	p.note(label, crc32.Checksum(img, castagnoli))
	return err
}

// note adds to the manifest.
func (p *packWriter) note(label int, sum uint32) {
	p.labels = binary.LittleEndian.AppendUint32(p.labels, uint32(label))
	p.sums = binary.LittleEndian.AppendUint32(p.sums, sum)
}

// images is how many there are.
func (p *packWriter) images() int { return len(p.sums) / 4 }

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
	p.published = true
	var err error
	if p.journal != nil { // while the lock is held: then another import may have one of this name
		err = p.journal.remove()
	}
	return errors.Join(err, p.f.Close(), disk.SyncDir(filepath.Dir(p.dst)))
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
	binary.LittleEndian.PutUint64(b[atImages:], uint64(p.images()))
	binary.LittleEndian.PutUint32(b[atManifest:], manifest)
	binary.LittleEndian.PutUint32(b[atCheck:], crc32.Checksum(b[:atCheck], castagnoli))
	return b
}

// abort leaves nothing behind.
func (p *packWriter) abort() {
	if p.journal != nil {
		p.journal.remove()
	}
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
