package data

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/sbinet/npyio/npy"

	"ict/internal/pickle"
)

const (
	maxNPYHeader = 1 << 16
	maxZipIndex  = 1 << 20 // bytes of an npz that say what is in it
	maxInflated  = 4 << 30 // bytes of deflated arrays that are held in memory
)

// NPYHeader reads the header of an array and returns its length too: where the elements begin.
func NPYHeader(r io.Reader) (h npy.Header, length int64, err error) {
	var b [12]byte
	if _, err := io.ReadFull(r, b[:]); err != nil {
		return h, 0, errors.New("not a NumPy file: shorter than its header")
	}
	// The library makes room for as much as the header says.
	length, text := 10, int64(binary.LittleEndian.Uint16(b[8:]))
	if b[6] != 1 {
		length, text = 12, int64(binary.LittleEndian.Uint32(b[8:]))
	}
	if text > maxNPYHeader {
		return h, 0, fmt.Errorf("not a NumPy file: a header of %d bytes, want at most %d", text, maxNPYHeader)
	}
	defer func() { // it trusts its input
		if recover() != nil {
			err = errors.New("not a NumPy file: its header cannot be read")
		}
	}()
	n, err := npy.NewReader(io.MultiReader(bytes.NewReader(b[:]), r))
	if err != nil {
		return h, 0, fmt.Errorf("not a NumPy file: %w", err)
	}
	return n.Header, length + text, nil
}

func matchNumpy(path string, folder bool, head []byte) bool {
	return !folder && (bytes.HasPrefix(head, npy.Magic[:]) || isNpz(path, head))
}

// isNpz goes by the name too, because other zip archives hold images as files.
func isNpz(path string, head []byte) bool {
	return strings.EqualFold(filepath.Ext(path), ".npz") && bytes.HasPrefix(head, []byte("PK\x03\x04"))
}

// openArrays opens a single npy, npz or pickle.
func openArrays(path string, opt Options) (Dataset, error) {
	b, err := openBatches(path, []string{path}, opt, maxInflated)
	if err != nil {
		return nil, err
	}
	return adapt(b, path, opt)
}

// openBatches opens files of arrays, one after the other, as one set. Deflated arrays may take room bytes.
func openBatches(path string, names []string, opt Options, room int64) (*batches, error) {
	var open files
	var parts []batch
	pool := &inflater{room: room}
	fail := func(err error) (*batches, error) {
		open.Close()
		return nil, err
	}
	for _, name := range names {
		r, size, err := open.open(name)
		if err != nil {
			return fail(err)
		}
		p, err := openBatch(member{name, r, size}, opt, pool)
		if err != nil {
			return fail(err)
		}
		parts = append(parts, p)
	}
	if err := pool.begin(path, opt.inOrder); err != nil {
		return fail(err)
	}
	b, err := join(path, parts, opt, nil, open)
	if err != nil {
		return fail(err)
	}
	return b, nil
}

// openBatch opens one file of arrays, whatever its form.
func openBatch(m member, opt Options, pool *inflater) (batch, error) {
	head := make([]byte, 8)
	n, err := m.r.ReadAt(head, 0)
	if err != nil && err != io.EOF {
		return batch{}, fmt.Errorf("%s: %w", Printable(m.name), err)
	}
	switch head = head[:n]; {
	case isPickle(head):
		return pickledBatch(m, "labels", opt)
	case bytes.HasPrefix(head, npy.Magic[:]):
		b, err := imageArray(m.name, io.NewSectionReader(m.r, 0, m.size), m.size, false)
		b.r = m.r
		return b, err
	}
	return npzBatch(m, opt, pool)
}

// imageArray reads the header of an array of images that is size bytes long, and may have rows of planes.
func imageArray(name string, r io.Reader, size int64, planes bool) (b batch, err error) {
	h, at, err := NPYHeader(r)
	if err != nil {
		return b, damaged("%s: %v", Printable(name), err)
	}
	if b, err = imageShape(name, h.Descr.Type, h.Descr.Fortran, h.Descr.Shape, planes); err != nil {
		return b, err
	}
	b.at = at
	if int64(b.n) > (math.MaxInt64-at)/b.stride || at+int64(b.n)*b.stride != size {
		return b, damaged("%s: %s bytes of images, want %s·%s for shape %v", Printable(name), comma(size-at), comma(b.n), comma(b.stride), h.Descr.Shape)
	}
	return b, nil
}

// npzBatch opens arr_0 with labels in arr_1, as evaluators' files and samples have them, or data with labels.
func npzBatch(m member, opt Options, pool *inflater) (batch, error) {
	limited := &limitedReaderAt{r: m.r}
	limited.left.Store(maxZipIndex)
	z, err := zip.NewReader(limited, m.size)
	if err != nil {
		return batch{}, damaged("%s: %v", Printable(m.name), err)
	}
	limited.left.Store(math.MaxInt64)
	members := map[string]*zip.File{}
	for _, f := range z.File {
		if _, twice := members[f.Name]; twice {
			return batch{}, damaged("%s: %s: there are two of it", Printable(m.name), Printable(f.Name))
		}
		members[f.Name] = f
	}
	for _, names := range [][2]string{{"arr_0", "arr_1"}, {"data", "labels"}} {
		images := members[names[0]+".npy"]
		if images == nil {
			continue
		}
		b, err := npzImages(m, images, names[0] == "data", pool)
		if err != nil || opt.Labels == LabelsNone {
			return b, err
		}
		b.fromOne = names[0] == "data"
		labels := members[names[1]+".npy"]
		if labels == nil && names[1] == "arr_1" { // they need not be there
			return b, nil
		}
		if labels == nil {
			return b, fmt.Errorf("%s: no array %s in it; add it, or take no labels", Printable(m.name), names[1])
		}
		b.where = m.name + ": " + labels.Name
		b.labels, err = npzLabels(m, labels, b.n)
		return b, err
	}
	return batch{}, fmt.Errorf("%s: neither an array arr_0 in it nor one called data", Printable(m.name))
}

// checkZipMember refuses sizes that cannot be.
func checkZipMember(m member, f *zip.File) error {
	packed, size := f.CompressedSize64, f.UncompressedSize64
	name := Printable(m.name) + ": " + Printable(f.Name)
	switch {
	case f.Method != zip.Store && f.Method != zip.Deflate || f.Flags&1 != 0:
		return damaged("%s: method %d, flags %x, want stored or deflated and not encrypted", name, f.Method, f.Flags)
	case packed > uint64(m.size) || f.Method == zip.Store && size != packed || size > packed*deflateRatio+deflateRatio:
		return damaged("%s: %s bytes from %s in a file of %s", name, comma(size), comma(packed), comma(m.size))
	}
	return nil
}

// npzImages opens an array of images: in place if it is stored, in memory if it is deflated.
func npzImages(m member, f *zip.File, planes bool, pool *inflater) (b batch, err error) {
	if err := checkZipMember(m, f); err != nil {
		return b, err
	}
	name, size := m.name+": "+f.Name, int64(f.UncompressedSize64)
	if f.Method == zip.Store {
		at, err := f.DataOffset()
		if err != nil {
			return b, damaged("%s: %v", Printable(name), err)
		}
		if at > m.size-size {
			return b, damaged("%s: ends after %s of %s bytes", Printable(name), comma(m.size-at), comma(size))
		}
		r := io.NewSectionReader(m.r, at, size)
		b, err = imageArray(name, r, size, planes)
		b.r, b.crc, b.whole = r, &f.CRC32, size
		return b, err
	}
	r, err := f.Open()
	if err != nil {
		return b, damaged("%s: %v", Printable(name), err)
	}
	defer r.Close()
	b, err = imageArray(name, r, size, planes)
	if err == nil {
		b.r, err = pool.add(name, f)
	}
	return b, err
}

// npzLabels reads n labels.
func npzLabels(m member, f *zip.File, n int) ([]int, error) {
	name := Printable(m.name) + ": " + Printable(f.Name)
	if err := checkZipMember(m, f); err != nil {
		return nil, err
	}
	r, err := f.Open()
	if err != nil {
		return nil, damaged("%s: %v", name, err)
	}
	defer r.Close()
	h, at, err := NPYHeader(r)
	if err != nil {
		return nil, damaged("%s: %v", name, err)
	}
	if len(h.Descr.Shape) != 1 || h.Descr.Shape[0] != n {
		return nil, damaged("%s: got labels of shape %v, want (%d), as many as images", name, h.Descr.Shape, n)
	}
	// A size that fits, before as much is read: an integer has at most eight bytes.
	if size := int64(f.UncompressedSize64) - at; size < int64(n) || size > 8*int64(n) {
		return nil, damaged("%s: got %s bytes for %s labels of type %s", name, comma(size), comma(n), Printable(h.Descr.Type))
	}
	b, err := readSized(r, int64(f.UncompressedSize64)-at, ratioFree)
	if err == nil {
		err = atEnd(r)
	}
	if err != nil {
		return nil, damaged("%s: %v", name, err)
	}
	labels, err := pickle.Integers(h.Descr.Type, b)
	if err != nil {
		return nil, damaged("%s: labels: %v", name, err)
	}
	if len(labels) != n {
		return nil, damaged("%s: got %s labels, want %s", name, comma(len(labels)), comma(n))
	}
	return labels, nil
}

// atEnd reads to the end, which must be here; there a zip member's checksum is compared.
func atEnd(r io.Reader) error {
	var b [1]byte
	if _, err := io.ReadFull(r, b[:]); err != io.EOF {
		if err == nil {
			err = errors.New("more data than the archive says")
		}
		return err
	}
	return nil
}

// limitedReaderAt fails when more than left bytes have been read.
type limitedReaderAt struct {
	r    io.ReaderAt
	left atomic.Int64
}

func (l *limitedReaderAt) ReadAt(p []byte, at int64) (int, error) {
	if l.left.Add(-int64(len(p))) < 0 {
		return 0, errors.New("too many files in it")
	}
	return l.r.ReadAt(p, at)
}

// inflater holds deflated members decompressed: as many as there is room for.
type inflater struct {
	mu         sync.Mutex
	room, held int64
	total      int64
	all        []*deflated
	recent     []*deflated // those that are held, the one used last behind
}

// deflated is a member of a zip archive, read at random.
type deflated struct {
	pool *inflater
	name string
	f    *zip.File
	data []byte // nil: not held
}

func (d *deflated) size() int64 { return int64(d.f.UncompressedSize64) }

func (p *inflater) add(name string, f *zip.File) (*deflated, error) {
	d := &deflated{pool: p, name: name, f: f}
	if d.size() > p.room {
		return nil, fmt.Errorf("%s: %s bytes when decompressed, want at most %s; write it with numpy.savez, which does not compress",
			Printable(name), comma(d.size()), comma(p.room))
	}
	p.all, p.total = append(p.all, d), p.total+d.size()
	return d, nil
}

// begin decompresses everything, if there is room for it. Where there is not, images can only be read in order.
func (p *inflater) begin(path string, inOrder bool) error {
	if p.total > p.room && !inOrder {
		return fmt.Errorf("%s: %s bytes when decompressed, and at most %s are held in memory;\n  make a packed set of it, which is read in place: ict data import %s",
			Printable(path), comma(p.total), comma(p.room), Printable(path))
	}
	if p.total > p.room {
		return nil
	}
	for _, d := range p.all {
		if _, err := d.bytes(); err != nil {
			return err
		}
	}
	return nil
}

// bytes returns the decompressed member.
func (d *deflated) bytes() ([]byte, error) {
	p := d.pool
	p.mu.Lock()
	defer p.mu.Unlock()
	if d.data != nil {
		if p.recent[len(p.recent)-1] != d {
			i := slices.Index(p.recent, d)
			p.recent = append(slices.Delete(p.recent, i, i+1), d)
		}
		return d.data, nil
	}
	for p.held+d.size() > p.room {
		p.held -= p.recent[0].size()
		p.recent[0].data = nil
		p.recent = slices.Delete(p.recent, 0, 1)
	}
	r, err := d.f.Open()
	if err != nil {
		return nil, damaged("%s: %v", Printable(d.name), err)
	}
	defer r.Close()
	data, err := readSized(r, d.size(), 16*int64(d.f.CompressedSize64)+ratioFree) // as many as pictures come to
	if err == nil {
		err = atEnd(r)
	}
	if err != nil {
		return nil, damaged("%s: %v", Printable(d.name), err)
	}
	d.data, p.held, p.recent = data, p.held+d.size(), append(p.recent, d)
	return data, nil
}

func (d *deflated) ReadAt(b []byte, at int64) (int, error) {
	data, err := d.bytes()
	if err != nil {
		return 0, err
	}
	return bytes.NewReader(data).ReadAt(b, at)
}

// checkSums reads the members that carry a checksum and are read in place, and reports those that do not have it.
func (b *batches) checkSums(ctx context.Context) (bad []BadImage, err error) {
	for k, p := range b.parts {
		if p.crc == nil {
			continue
		}
		sum := crc32.NewIEEE()
		r := io.NewSectionReader(p.r, 0, p.whole)
		for err == nil {
			if ctx.Err() != nil {
				return bad, ctx.Err()
			}
			_, err = io.CopyN(sum, r, 1<<24)
		}
		if err != io.EOF {
			return bad, fmt.Errorf("%s: %w", Printable(p.name), err)
		}
		err = nil
		if got := sum.Sum32(); got != *p.crc {
			text := fmt.Sprintf("%s: checksum of its %s images: got %08x, want %08x", Printable(p.name), comma(p.n), got, *p.crc)
			bad = append(bad, BadImage{b.starts[k], text})
		}
	}
	return bad, nil
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
