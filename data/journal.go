package data

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// A journal lies beside a packed file that is being made and says what is in it, image by image, in the order of the
// import. docs/format-pack.md draws it. All numbers are little endian.
//
//	header   journalMagic, identity of source and options (32 bytes)
//	record   length of the text (0: a good image), label, crc32c of the image, text (what is wrong with a bad image),
//	         crc32c of the whole file up to here
const (
	journalMagic  = "\x89ICTJRN1"
	journalHeader = 8 + sha256.Size
	recordHead    = 12
	maxRecordText = 1 << 16

	// conversions is raised when images become other bytes than before, so that no import mixes both.
	conversions = 1
)

// journal is one that is being written.
type journal struct {
	f   *os.File
	buf *bufio.Writer
	sum uint32 // of all so far
}

func (j *journal) good(label int, sum uint32) error { return j.write(int32(label), sum, "") }

func (j *journal) bad(text string) error {
	if text == "" { // an empty text would make it a good one
		text = "bad"
	}
	return j.write(-1, 0, text)
}

func (j *journal) write(label int32, sum uint32, text string) error {
	b := binary.LittleEndian.AppendUint32(nil, uint32(len(text)))
	b = binary.LittleEndian.AppendUint32(b, uint32(label))
	b = binary.LittleEndian.AppendUint32(b, sum)
	b = append(b, text...)
	return j.seal(b)
}

// seal writes bytes and their checksum, which is a part of the next one.
func (j *journal) seal(b []byte) error {
	j.sum = crc32.Update(j.sum, castagnoli, b)
	b = binary.LittleEndian.AppendUint32(b, j.sum)
	j.sum = crc32.Update(j.sum, castagnoli, b[len(b)-4:])
	_, err := j.buf.Write(b)
	return err
}

func (j *journal) remove() error { return errors.Join(os.Remove(j.f.Name()), j.f.Close()) }

// record is an image that was done.
type record struct {
	label int32
	sum   uint32
	text  string // what is wrong with it; empty: it is good
}

// journalReader reads a journal up to the first byte that is not as it was written.
type journalReader struct {
	r    *bufio.Reader
	sum  uint32
	read int64 // bytes that are whole
}

// readJournal returns the identity that a journal is for; false: it is none.
func readJournal(r io.Reader) (j *journalReader, id [sha256.Size]byte, ok bool) {
	j = &journalReader{r: bufio.NewReader(r)}
	b := make([]byte, journalHeader)
	if !j.sealed(b) || string(b[:8]) != journalMagic {
		return nil, id, false
	}
	return j, [sha256.Size]byte(b[8:]), true
}

// next returns the next record, or false at the end of what is whole.
func (j *journalReader) next() (r record, ok bool) {
	head, err := j.r.Peek(recordHead)
	if err != nil {
		return r, false
	}
	n := binary.LittleEndian.Uint32(head)
	if n > maxRecordText {
		return r, false
	}
	b := make([]byte, recordHead+n)
	if !j.sealed(b) {
		return r, false
	}
	return record{int32(binary.LittleEndian.Uint32(b[4:])), binary.LittleEndian.Uint32(b[8:]), string(b[recordHead:])}, true
}

// sealed fills b and compares the checksum behind it.
func (j *journalReader) sealed(b []byte) bool {
	var check [4]byte
	if _, err := io.ReadFull(j.r, b); err != nil {
		return false
	}
	if _, err := io.ReadFull(j.r, check[:]); err != nil {
		return false
	}
	sum := crc32.Update(j.sum, castagnoli, b)
	if sum != binary.LittleEndian.Uint32(check[:]) {
		return false
	}
	j.sum = crc32.Update(sum, castagnoli, check[:])
	j.read += int64(len(b)) + 4
	return true
}

// identify is a digest of everything that decides which bytes an import writes: names, sizes and times of the source's
// files, and the options; not how many workers there are, nor what happens to bad images.
func identify(src, dst string, opt Options, ds Dataset, n int) (id [sha256.Size]byte, err error) {
	h := sha256.New()
	height, width, c := ds.Shape()
	err = json.NewEncoder(h).Encode(map[string]any{
		"conversions": conversions, "options": opt, "images": []int{ds.Len(), n}, "shape": []int{height, width, c}, "classes": ds.ClassNames(),
	})
	if err == nil {
		err = identifyFiles(h, src, filepath.Base(dst))
	}
	if d, ok := inner(ds).(*idx); ok && err == nil && d.beside != "" {
		err = identifyFiles(h, d.beside, filepath.Base(dst))
	}
	if err == nil && IsTable(opt.Labels) {
		err = identifyFiles(h, opt.Labels, filepath.Base(dst))
	}
	return [sha256.Size]byte(h.Sum(nil)), err
}

// identifyFiles writes names, sizes and times of a file, or of all in a folder but those that an import to the name dst
// makes there.
func identifyFiles(h hash.Hash, path, dst string) error {
	path, err := filepath.EvalSymlinks(path)
	if err != nil {
		return err
	}
	ours := []string{dst, dst + partialEnd, dst + partialEnd + journalEnd, dst + reportEnd}
	return walkFiles(path, func(at, rel string, e fs.DirEntry) error {
		if rel != "." && slices.Contains(ours, e.Name()) {
			return nil
		}
		info, err := os.Stat(at)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(h, "%q %d %d\n", rel, info.Size(), info.ModTime().UnixNano())
		return err
	})
}

// resume takes over what an earlier import with the same identity left and is whole, or starts anew.
func (m *importing) resume(ctx context.Context, id [sha256.Size]byte) error {
	name := m.p.f.Name() + journalEnd
	f, err := openOwn(name)
	if err != nil {
		return err
	}
	sum, end, err := m.replay(ctx, f, id)
	if err == nil {
		err = f.Truncate(end)
	}
	if err == nil {
		_, err = f.Seek(end, io.SeekStart)
	}
	if err == nil {
		err = m.p.rewind(m.p.images())
	}
	if err != nil {
		f.Close()
		return err
	}
	m.p.journal = &journal{f: f, buf: bufio.NewWriter(f), sum: sum}
	if end == 0 {
		return m.p.journal.seal(append([]byte(journalMagic), id[:]...))
	}
	return nil
}

// replay notes the images of a journal that are in the file, up to the first that is not. It returns the journal's
// checksum there, and its length; 0 to start anew.
func (m *importing) replay(ctx context.Context, f io.Reader, id [sha256.Size]byte) (sum uint32, end int64, err error) {
	j, theirs, ok := readJournal(f)
	info, err := m.p.f.Stat()
	switch {
	case err != nil:
		return 0, 0, err
	case !ok && info.Size() <= packHeader:
		return 0, 0, nil
	case !ok:
		m.say("%s has no journal; beginning anew", m.p.f.Name())
		return 0, 0, nil
	case theirs != id:
		m.say("%s is of another source or of other options; beginning anew", m.p.f.Name())
		return 0, 0, nil
	}
	if _, err := m.p.f.Seek(packHeader, io.SeekStart); err != nil {
		return 0, 0, err
	}
	images, img := bufio.NewReaderSize(m.p.f, 1<<20), make([]byte, m.p.h*m.p.w*m.p.c)
	var entries []int // of good images
	for m.done < m.n {
		sum, end = j.sum, j.read
		r, ok := j.next()
		if !ok {
			break
		}
		if err := ctx.Err(); err != nil {
			return 0, 0, err
		}
		if r.text != "" {
			if err := m.bad(m.at(m.done), r.text, damage(r.text)); err != nil {
				return 0, 0, err
			}
			m.done++
			continue
		}
		label := int(r.label)
		if _, err := io.ReadFull(images, img); err != nil || crc32.Checksum(img, castagnoli) != r.sum ||
			label < -1 || label >= len(m.p.classes) || (label < 0) != (len(m.p.classes) == 0) {
			break
		}
		m.p.note(label, r.sum)
		entries = append(entries, m.done)
		m.done++
	}
	if m.done == m.n {
		sum, end = j.sum, j.read
	}
	if !m.same(entries, img) {
		m.say("%s does not hold what the source holds now; beginning anew", m.p.f.Name())
		m.p.labels, m.p.sums, m.done, m.r.Bad = nil, nil, 0, []BadImage{}
		return 0, 0, nil
	}
	if m.done > 0 {
		m.say("going on with %s: %s of %s images are there and whole", m.p.f.Name(), comma(m.done), comma(m.n))
	}
	return sum, end, nil
}

// same reads a few of the images again, which finds what names, sizes and times do not tell.
func (m *importing) same(entries []int, img []byte) bool {
	const most = 8
	for k := range min(most, len(entries)) {
		i := k * len(entries) / min(most, len(entries))
		label, err := m.ds.Image(img, m.at(entries[i]))
		want := record{label: int32(label), sum: crc32.Checksum(img, castagnoli)}
		if err != nil || string(m.p.labels[4*i:4*i+4]) != string(binary.LittleEndian.AppendUint32(nil, uint32(want.label))) ||
			binary.LittleEndian.Uint32(m.p.sums[4*i:]) != want.sum {
			return false
		}
	}
	return true
}

func (m *importing) say(format string, args ...any) {
	if m.Say != nil {
		m.Say(fmt.Sprintf(format, args...))
	}
}
