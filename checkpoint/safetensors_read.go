package checkpoint

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"maps"
	"math"
	"os"
	"slices"
	"strconv"
	"unicode/utf8"

	"github.com/cespare/xxhash/v2"
	"golang.org/x/sys/unix"

	"ict/internal/disk"
)

// ErrDamaged is wrapped by every error that says a file is not what was written, or not a file of ours at all.
var ErrDamaged = errors.New("damaged")

func damaged(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrDamaged}, args...)...)
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// File is an open safetensors file, mapped into memory. It may be used by several goroutines.
type File struct {
	file    *os.File
	mapped  []byte
	start   int // of the data
	meta    map[string]string
	names   []string // in the order of their data
	tensors map[string]Named
}

// OpenSafetensors maps the file at path after checking its header: length against file and limit, every name once, offsets
// without gap or overlap, shape × dtype = bytes, end of data = end of file. It does not read the data. What this
// package writes is replaced, never changed, but others may shorten a file while it is open: look at its data under [Guard].
func OpenSafetensors(path string) (*File, error) {
	f, err := openMapped(path)
	if err != nil {
		return nil, fmt.Errorf("checkpoint: %s: %w", path, err)
	}
	return f, nil
}

func openMapped(path string) (*File, error) {
	file, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0) // a FIFO must not block; refused below
	if err != nil {
		return nil, bare(err)
	}
	f, err := mapFile(file)
	if err != nil {
		file.Close()
		return nil, err
	}
	return f, nil
}

func mapFile(file *os.File) (*File, error) {
	stat, err := file.Stat()
	if err != nil {
		return nil, bare(err)
	}
	size := stat.Size()
	if !stat.Mode().IsRegular() {
		return nil, damaged("not a regular file")
	}
	if size < 10 || size > math.MaxInt {
		return nil, damaged("%d bytes cannot be a safetensors file", size)
	}
	b, err := unix.Mmap(int(file.Fd()), 0, int(size), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("mmap: %w", err)
	}
	var f *File
	if err := Guard(func() (err error) { f, err = decode(b); return err }); err != nil {
		return nil, errors.Join(err, unix.Munmap(b))
	}
	f.file = file
	return f, nil
}

// Guard runs a function that looks at the data of open files in its own goroutine, and returns its error. A page that cannot be
// read, because a file was cut or the disk fails, becomes an error that wraps [ErrDamaged].
func Guard(read func() error) (err error) {
	if e := disk.Guard(func() { err = read() }); e != nil {
		return damaged("%v", e)
	}
	return err
}

// Close unmaps the file: data got from it must not be used any more.
func (f *File) Close() error {
	err := unix.Munmap(f.mapped)
	f.mapped, f.tensors = nil, nil
	return errors.Join(err, f.file.Close())
}

// Names are the tensors' names in the order of their data.
func (f *File) Names() []string { return slices.Clone(f.names) }

// Metadata is the file's own map of strings.
func (f *File) Metadata() map[string]string { return maps.Clone(f.meta) }

// Get returns a tensor by name. Its Data is the file itself: not to be written to, gone after Close.
func (f *File) Get(name string) (Named, bool) {
	t, ok := f.tensors[name]
	t.Shape = slices.Clone(t.Shape)
	return t, ok
}

// Size is the file's length in bytes.
func (f *File) Size() int64 { return int64(len(f.mapped)) }

// sums reads the whole file once. It reads rather than looking at the map, where a bad block would be a fault, not an error.
func (f *File) sums() (whole uint64, tensors map[string]uint32, err error) {
	tensors = make(map[string]uint32, len(f.names))
	sum := xxhash.New()
	r := io.NewSectionReader(f.file, 0, f.Size())
	buf := make([]byte, 256<<10)
	part := func(n int) (crc uint32, err error) {
		for n > 0 {
			b := buf[:min(n, len(buf))]
			if _, err := io.ReadFull(r, b); err != nil {
				return 0, bare(err)
			}
			sum.Write(b)
			crc = crc32.Update(crc, castagnoli, b)
			n -= len(b)
		}
		return crc, nil
	}
	if _, err := part(f.start); err != nil {
		return 0, nil, err
	}
	for _, name := range f.names {
		if tensors[name], err = part(len(f.tensors[name].Data)); err != nil {
			return 0, nil, err
		}
	}
	return sum.Sum64(), tensors, nil
}

// entry is one tensor of a header.
type entry struct {
	Named
	begin, end int
}

// decode checks the bytes of a file and names what is in them.
func decode(b []byte) (*File, error) {
	if len(b) < 10 {
		return nil, damaged("%d bytes cannot be a safetensors file", len(b))
	}
	n := binary.LittleEndian.Uint64(b)
	if n < 2 || n > maxHeader || n > uint64(len(b)-8) {
		return nil, damaged("header of %d bytes in a file of %d, limit %d: cut short, or no safetensors file", n, len(b), maxHeader)
	}
	start := 8 + int(n)
	meta, entries, err := parseHeader(b[8:start])
	if err != nil {
		return nil, damaged("header: %v", err)
	}
	slices.SortStableFunc(entries, func(x, y entry) int {
		return cmp.Or(cmp.Compare(x.begin, y.begin), cmp.Compare(x.end, y.end))
	})
	f := &File{mapped: b, start: start, meta: meta, tensors: make(map[string]Named, len(entries))}
	data, next := b[start:], 0
	for _, e := range entries {
		want, err := byteCount(e.DType, e.Shape)
		switch {
		case err != nil:
			return nil, damaged("tensor %q: %v", e.Name, err)
		case e.begin != next:
			return nil, damaged("tensor %q: data begin at %d, those before end at %d", e.Name, e.begin, next)
		case e.end < e.begin || e.end-e.begin != want:
			return nil, damaged("tensor %q: offsets %d, %d; %s %v wants %d bytes", e.Name, e.begin, e.end, e.DType, e.Shape, want)
		case e.end > len(data):
			return nil, damaged("tensor %q: data end at %d, the file holds %d", e.Name, e.end, len(data))
		}
		e.Data = data[e.begin:e.end:e.end]
		f.tensors[e.Name] = e.Named
		f.names = append(f.names, e.Name)
		next = e.end
	}
	if next != len(data) {
		return nil, damaged("data end at %d, the file holds %d", next, len(data))
	}
	return f, nil
}

// parseHeader reads the JSON of a header. It asks for tokens one by one, so its depth is the format's, and what
// encoding/json would pass (a key given twice, bad UTF-8) is refused.
func parseHeader(h []byte) (meta map[string]string, entries []entry, err error) {
	if !utf8.Valid(h) {
		return nil, nil, errors.New("not UTF-8")
	}
	if h[0] != '{' {
		return nil, nil, fmt.Errorf("begins with %q, want {", h[0])
	}
	d := header{json.NewDecoder(bytes.NewReader(h))}
	d.UseNumber()
	err = d.object(func(key string) error {
		if key == metaKey {
			meta = map[string]string{}
			return d.object(func(k string) (err error) { meta[k], err = d.text(); return err })
		}
		e, err := d.entry()
		if err != nil {
			return fmt.Errorf("tensor %q: %w", key, err)
		}
		e.Name = key
		entries = append(entries, e)
		return nil
	})
	if err != nil {
		return nil, nil, err
	}
	if rest := bytes.Trim(h[d.InputOffset():], " "); len(rest) > 0 {
		return nil, nil, fmt.Errorf("%d bytes after its end", len(rest))
	}
	return meta, entries, nil
}

// header is a decoder for the few shapes a header is made of.
type header struct{ *json.Decoder }

func (d header) entry() (e entry, err error) {
	fields := 0
	err = d.object(func(key string) (err error) {
		fields++
		switch key {
		case "dtype":
			e.DType, err = d.text()
		case "shape":
			e.Shape, err = d.ints(maxAxes)
		case "data_offsets":
			var at []int
			if at, err = d.ints(2); err == nil && len(at) != 2 {
				err = fmt.Errorf("data_offsets: got %d numbers, want 2", len(at))
			}
			if err == nil {
				e.begin, e.end = at[0], at[1]
			}
		default:
			err = fmt.Errorf("unknown key %q", key)
		}
		return err
	})
	if err == nil && fields != 3 {
		err = errors.New("wants dtype, shape and data_offsets")
	}
	return e, err
}

func (d header) object(field func(key string) error) error {
	if err := d.delim('{'); err != nil {
		return err
	}
	seen := map[string]bool{}
	for d.More() {
		key, err := d.text()
		if err != nil {
			return err
		}
		if seen[key] {
			return fmt.Errorf("%q is there twice", key)
		}
		seen[key] = true
		if err := field(key); err != nil {
			return err
		}
	}
	return d.delim('}')
}

func (d header) ints(limit int) ([]int, error) {
	if err := d.delim('['); err != nil {
		return nil, err
	}
	v := []int{}
	for d.More() {
		t, err := d.token()
		if err != nil {
			return nil, err
		}
		number, ok := t.(json.Number)
		if !ok {
			return nil, fmt.Errorf("got %v, want a number", t)
		}
		n, err := strconv.ParseUint(number.String(), 10, 63)
		if err != nil || n > math.MaxInt {
			return nil, fmt.Errorf("got %s, want a whole number below 2^63", number)
		}
		if len(v) == limit {
			return nil, fmt.Errorf("more than %d numbers", limit)
		}
		v = append(v, int(n))
	}
	return v, d.delim(']')
}

func (d header) text() (string, error) {
	t, err := d.token()
	if err != nil {
		return "", err
	}
	s, ok := t.(string)
	if !ok {
		return "", fmt.Errorf("got %v, want a string", t)
	}
	return s, nil
}

func (d header) delim(want json.Delim) error {
	t, err := d.token()
	if err == nil && t != want {
		err = fmt.Errorf("got %v, want %v", t, want)
	}
	return err
}

func (d header) token() (json.Token, error) {
	t, err := d.Token()
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return t, err
}

// bare takes the path out of an error of package os, for messages that name it already.
func bare(err error) error {
	if p, ok := err.(*os.PathError); ok {
		return p.Err
	}
	return err
}
