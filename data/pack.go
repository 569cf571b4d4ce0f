package data

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math"
	"os"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"ict/internal/disk"
)

// Layout of a packed file, all little endian; docs/format-pack.md draws it.
//
//	header     packHeader bytes: fields below, zeros, crc32c of all before it in the last four
//	images     (N,H,W,C) bytes
//	manifest   labels N×int32, checksums N×crc32c of an image, class names (uint32 length, UTF-8)
const (
	packMagic   = "\x89ICTPACK"
	packVersion = 1
	packHeader  = 4096 // a page, so that images start on one

	atVersion  = 8
	atHeight   = 12
	atWidth    = 16
	atChannels = 20
	atClasses  = 24
	atNames    = 28 // bytes of class names
	atImages   = 32 // N, 64 bits
	atManifest = 40 // crc32c of the manifest
	atCheck    = packHeader - 4

	maxClasses = 1 << 20
	maxNames   = 1 << 26 // bytes
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// pack is a packed file, mapped.
type pack struct {
	path    string
	m       []byte
	n       int
	h, w, c int
	names   []string
	labels  []byte // N×int32
	sums    []byte // N×uint32
	print   uint64 // see Fingerprint
}

func matchPack(_ string, folder bool, head []byte) bool { return !folder && string(head) == packMagic }

func openPackAs(path string, opt Options) (Dataset, error) {
	p, err := openPack(path)
	if err != nil {
		return nil, err
	}
	return adapt(p, path, opt)
}

// openPack maps a packed file and checks all of it but the images.
func openPack(path string) (*pack, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if info.Size() < packHeader || info.Size() > math.MaxInt {
		return nil, damaged("%s: %s bytes are no packed file; import again", Printable(path), comma(info.Size()))
	}
	m, err := unix.Mmap(int(f.Fd()), 0, int(info.Size()), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("%s: mapping: %w", Printable(path), err)
	}
	var p *pack
	if e := guard(path, func() { p, err = parsePack(path, m) }); e != nil {
		err = e
	}
	if err != nil {
		unix.Munmap(m)
		return nil, err
	}
	return p, nil
}

// parsePack checks everything in a packed file but the images.
func parsePack(path string, m []byte) (*pack, error) {
	bad := func(format string, args ...any) (*pack, error) {
		return nil, damaged("%s: %s; import again", Printable(path), fmt.Sprintf(format, args...))
	}
	field := func(at int) int { return int(binary.LittleEndian.Uint32(m[at:])) }
	switch {
	case len(m) < packHeader || string(m[:len(packMagic)]) != packMagic:
		return bad("not a packed file")
	case field(atVersion) != packVersion:
		return nil, fmt.Errorf("%s: %w: pack version %d, this program reads version %d: use a newer one, or import again", Printable(path), ErrVersion, field(atVersion), packVersion)
	case crc32.Checksum(m[:atCheck], castagnoli) != uint32(field(atCheck)):
		return bad("checksum of the header: got %08x, want %08x", crc32.Checksum(m[:atCheck], castagnoli), field(atCheck))
	}
	p := &pack{path: path, m: m, h: field(atHeight), w: field(atWidth), c: field(atChannels)}
	classes, names := field(atClasses), field(atNames)
	n := binary.LittleEndian.Uint64(m[atImages:])
	switch {
	case p.c != 1 && p.c != 3, p.h == 0, p.w == 0, p.h > maxPixels/p.w:
		return bad("impossible image shape (%d,%d,%d)", p.h, p.w, p.c)
	case n == 0 || n > math.MaxInt32:
		return bad("impossible number of images, %s", comma(n))
	case classes > maxClasses || names > maxNames:
		return bad("impossible classes: %d in %s bytes", classes, comma(names))
	}
	// Below 2^31·2^26·3 + 2^34 + 2^26, so nothing overflows.
	p.n = int(n)
	manifest := packHeader + p.n*p.size()
	if want := manifest + 8*p.n + names; len(m) != want {
		return bad("%s bytes, want %s", comma(len(m)), comma(want))
	}
	if got, want := crc32.Checksum(m[manifest:], castagnoli), uint32(field(atManifest)); got != want {
		return bad("checksum of the manifest: got %08x, want %08x", got, want)
	}
	p.print = uint64(field(atCheck))<<32 | uint64(field(atManifest))
	p.labels, p.sums = m[manifest:manifest+4*p.n], m[manifest+4*p.n:manifest+8*p.n]
	rest := m[manifest+8*p.n:]
	for range classes {
		if len(rest) < 4 || uint64(binary.LittleEndian.Uint32(rest)) > uint64(len(rest)-4) {
			return bad("class names end early")
		}
		end := 4 + int(binary.LittleEndian.Uint32(rest))
		name := string(rest[4:end])
		if !utf8.ValidString(name) {
			return bad("class name %q is not UTF-8", name)
		}
		p.names, rest = append(p.names, name), rest[end:]
	}
	if len(rest) != 0 {
		return bad("%d bytes behind the class names", len(rest))
	}
	for i := range p.n {
		if l := p.label(i); l < 0 && (l != -1 || classes != 0) || l >= classes {
			return bad("label of image %s: got %d, want below %d", comma(i), l, classes)
		}
	}
	return p, nil
}

// guard runs a function that reads the mapped file at path; a page that cannot be read is damage.
func guard(path string, read func()) error {
	if err := disk.Guard(read); err != nil {
		return damaged("%s: %v", Printable(path), err)
	}
	return nil
}

func (p *pack) size() int            { return p.h * p.w * p.c }
func (p *pack) Len() int             { return p.n }
func (p *pack) Shape() (h, w, c int) { return p.h, p.w, p.c }
func (p *pack) Classes() int         { return len(p.names) }
func (p *pack) ClassNames() []string { return p.names }
func (p *pack) Close() error         { return unix.Munmap(p.m) }

// Fingerprint is made of the checksums of header and manifest; the manifest holds those of all images.
func (p *pack) Fingerprint() string { return fingerprint(p.n, p.print) }

func (p *pack) label(i int) int { return int(int32(binary.LittleEndian.Uint32(p.labels[4*i:]))) }

// Image also compares the checksum: some 5 GB/s, nothing beside a training step, and no damage goes unseen.
func (p *pack) Image(dst []byte, i int) (label int, err error) {
	checkImage(dst, i, p.n, p.size())
	at := packHeader + i*p.size()
	var want uint32
	if err := guard(p.path, func() {
		copy(dst, p.m[at:])
		want = binary.LittleEndian.Uint32(p.sums[4*i:])
		label = p.label(i)
	}); err != nil {
		return -1, err
	}
	if got := crc32.Checksum(dst, castagnoli); got != want {
		return -1, damaged("%s: image %s of %s: checksum %08x, manifest says %08x (offset %s)\n  the file changed after import; run  ict data verify %s  or import again",
			Printable(p.path), comma(i), comma(p.n), got, want, comma(at), Printable(p.path))
	}
	return label, nil
}
