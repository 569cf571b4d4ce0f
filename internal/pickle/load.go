package pickle

import (
	"bytes"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/nlpodyssey/gopickle/pickle"
	"github.com/nlpodyssey/gopickle/types"
)

// Bytes are a long string, Size bytes from At on of R: the file that the pickle is in, or memory.
type Bytes struct {
	R        io.ReaderAt
	At, Size int64
}

// Load reads the pickle that fills a file of size bytes. R is kept by long strings and arrays in the result. Errors say what
// is wrong with the pickle, not which file it is.
func Load(r io.ReaderAt, size int64) (any, error) { return load(r, size, MaxMemory) }

func load(r io.ReaderAt, size, limit int64) (v any, err error) {
	defer func() {
		// The machine trusts its input: odd lists of pairs, values that cannot be keys, and more end in a panic.
		if p := recover(); p != nil {
			v, err = nil, fmt.Errorf("pickle: its opcodes make no sense: %s", short(fmt.Sprint(p)))
		}
	}()
	s, err := scan(r, size, limit)
	if err != nil {
		return nil, fmt.Errorf("pickle: %w", err)
	}
	u := pickle.NewUnpickler(&s.out)
	u.FindClass = func(module, function string) (any, error) { return globals[module+"."+function], nil }
	u.PersistentLoad = func(id any) (any, error) { return s.long(id) }
	if v, err = u.Load(); err != nil {
		return nil, fmt.Errorf("pickle: %s", short(err.Error()))
	}
	return v, nil
}

// long returns a string that the first pass left in the file.
func (s *scanner) long(id any) (any, error) {
	i, err := strconv.Atoi(id.(string))
	if err != nil {
		return nil, err
	}
	if s.coded[i] {
		return &coded{Bytes: *s.cut[i]}, nil
	}
	return s.cut[i], nil
}

// coded is a long str in UTF-8.
type coded struct {
	Bytes
	plain *Bytes // the bytes that its characters stand for
}

// maxCoded is how many bytes may have to be turned from UTF-8 into bytes, in memory.
const maxCoded = 1 << 30

// latin1 returns the bytes that the characters of the string stand for. Protocol 2 of Python 3 writes bytes so.
func (c *coded) latin1() (*Bytes, error) {
	if c.plain != nil {
		return c.plain, nil
	}
	if c.Size > maxCoded {
		return nil, fmt.Errorf("an array of %d bytes as text, want at most %d; write it again with protocol 3 or higher", c.Size, maxCoded)
	}
	b := make([]byte, c.Size)
	if _, err := c.R.ReadAt(b, c.At); err != nil {
		return nil, err
	}
	n, err := fromLatin1(b)
	if err != nil {
		return nil, err
	}
	c.plain = inMemory(b[:n])
	return c.plain, nil
}

// fromLatin1 replaces characters, in place, by the bytes that they stand for, and returns how many there are.
func fromLatin1(b []byte) (int, error) {
	n := 0
	for at := 0; at < len(b); n++ {
		r, size := utf8.DecodeRune(b[at:])
		if r > 0xff || r == utf8.RuneError {
			return 0, fmt.Errorf("byte %d of a string is no character of Latin-1", at)
		}
		b[n] = byte(r)
		at += size
	}
	return n, nil
}

func inMemory(b []byte) *Bytes { return &Bytes{R: bytes.NewReader(b), Size: int64(len(b))} }

// Get returns a dict's value, nil if there is none or v is no dict. Python 2's str and Python 3's bytes count as keys alike.
func Get(v any, key string) any {
	switch d := v.(type) {
	case *types.Dict:
		for i := len(*d) - 1; i >= 0; i-- { // the last one counts
			if k, ok := str((*d)[i].Key); ok && k == key {
				return (*d)[i].Value
			}
		}
	case *types.OrderedDict:
		value, _ := d.Get(key)
		return value
	}
	return nil
}

// Ints returns a list, a tuple or a one-dimensional array of integers, at most so many.
func Ints(v any, most int) ([]int, error) {
	if a, ok := v.(*Array); ok {
		return a.ints(most)
	}
	items, ok := elements(v)
	if !ok {
		return nil, fmt.Errorf("got %T, want a list of integers", v)
	}
	if len(items) > most {
		return nil, fmt.Errorf("got %d integers, want at most %d", len(items), most)
	}
	out := make([]int, len(items))
	for i, x := range items {
		if out[i], ok = x.(int); !ok {
			return nil, fmt.Errorf("entry %d: got %T, want an integer", i, x)
		}
	}
	return out, nil
}

// Strings returns a list or a tuple of strings.
func Strings(v any) ([]string, error) {
	items, ok := elements(v)
	if !ok {
		return nil, fmt.Errorf("got %T, want a list of strings", v)
	}
	out := make([]string, len(items))
	for i, x := range items {
		if out[i], ok = str(x); !ok {
			return nil, fmt.Errorf("entry %d: got %T, want a string", i, x)
		}
	}
	return out, nil
}

func elements(v any) ([]any, bool) {
	switch v := v.(type) {
	case *types.List:
		return *v, true
	case *types.Tuple:
		return *v, true
	}
	return nil, false
}

// str is a short string: of characters or bytes.
func str(v any) (string, bool) {
	switch v := v.(type) {
	case string:
		return v, true
	case []byte:
		return string(v), true
	}
	return "", false
}

// short is the beginning of a message that may quote values, on one line.
func short(s string) string {
	const most = 200
	if len(s) > most {
		s = s[:most] + "…"
	}
	return strings.Map(func(r rune) rune {
		if strconv.IsPrint(r) {
			return r
		}
		return utf8.RuneError
	}, s)
}
