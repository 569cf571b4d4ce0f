package pickle

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
)

// MaxMemory is what the values of a pickle may take, in bytes, not counting strings that stay in the file.
const MaxMemory = 512 << 20

const (
	maxDepth = 64  // marks that are open at a time: containers within containers
	maxName  = 128 // bytes of a module's or function's name
	inline   = 256 // longer strings stay in the file
)

// What follows an opcode.
type argument uint8

const (
	refused     argument = iota
	text                 // refused: protocols 0 and 1
	plain                // op.size bytes
	counted              // a length of op.size bytes, then as many bytes
	long                 // a length byte, then as many bytes of an integer
	get                  // a memo index of op.size bytes
	put                  // a memo index of op.size bytes; MEMOIZE has none
	global               // module and name, a line each
	stackGlobal          // none: module and name are on the stack
	frame                // eight bytes of length
	stop                 // none
)

// Bytes that an opcode may allocate, generously: a place on a stack that doubles and the copy in the container that takes it
// up, a boxed value; and by kind of container what gopickle makes room for.
const (
	slot      = 96
	container = 160
	markRoom  = 352
)

type op struct {
	arg  argument
	size int
	cost int64
	mark int // marks that it opens, or closes if negative
	code bool
}

// ops are the opcodes of protocols 2 to 5 that data needs. There are none for classes with __new__, persistent objects,
// extensions, sets and buffers out of band.
var ops = [256]op{
	'(': {arg: plain, cost: markRoom, mark: 1},
	'.': {arg: stop},
	'0': {arg: plain}, // POP

	'N': {arg: plain, cost: slot}, '\x88': {arg: plain, cost: slot}, '\x89': {arg: plain, cost: slot}, // None, True, False
	'K': {arg: plain, size: 1, cost: slot}, 'M': {arg: plain, size: 2, cost: slot}, 'J': {arg: plain, size: 4, cost: slot}, // integers
	'\x8a': {arg: long, size: 1, cost: slot},
	'G':    {arg: plain, size: 8, cost: slot}, // a float

	'U': {arg: counted, size: 1, cost: slot}, 'T': {arg: counted, size: 4, cost: slot}, // Python 2's str
	'C': {arg: counted, size: 1, cost: slot}, 'B': {arg: counted, size: 4, cost: slot}, '\x8e': {arg: counted, size: 8, cost: slot}, // bytes
	'\x96': {arg: counted, size: 8, cost: slot},                                                                   // a bytearray
	'\x8c': {arg: counted, size: 1, cost: slot, code: true}, 'X': {arg: counted, size: 4, cost: slot, code: true}, // str in UTF-8
	'\x8d': {arg: counted, size: 8, cost: slot, code: true},

	')': {arg: plain, cost: container}, 't': {arg: plain, cost: container, mark: -1}, // tuples
	'\x85': {arg: plain, cost: container}, '\x86': {arg: plain, cost: container}, '\x87': {arg: plain, cost: container},
	']': {arg: plain, cost: container}, 'l': {arg: plain, cost: container, mark: -1}, 'a': {arg: plain}, 'e': {arg: plain, mark: -1}, // lists
	'}': {arg: plain, cost: 2 * container}, 'd': {arg: plain, cost: 2 * container, mark: -1}, 's': {arg: plain}, 'u': {arg: plain, mark: -1}, // dicts

	'q': {arg: put, size: 1, cost: container}, 'r': {arg: put, size: 4, cost: container}, '\x94': {arg: put, cost: container},
	'h': {arg: get, size: 1, cost: slot}, 'j': {arg: get, size: 4, cost: slot},

	'c': {arg: global, cost: slot}, '\x93': {arg: stackGlobal, cost: slot},
	'R': {arg: plain, cost: 3 * container}, 'b': {arg: plain, cost: 3 * container}, // call, set state
	'\x80': {arg: plain, size: 1},
	'\x95': {arg: frame, size: 8},

	'I': {arg: text}, 'L': {arg: text}, 'F': {arg: text}, 'S': {arg: text}, 'V': {arg: text}, 'g': {arg: text}, 'p': {arg: text},
}

// scanner is the first pass.
type scanner struct {
	file        *io.SectionReader
	r           *bufio.Reader
	at          int64 // the next byte
	cost, limit int64 // what the values take so far, and may
	deep        int   // open marks

	out    bytes.Buffer // the pickle without frames and long strings
	cut    []*Bytes     // the long strings
	coded  []bool       // that they are UTF-8
	pushed [2]name      // the values pushed last, the newest second, as far as they are short strings
	memo   map[uint32]name
}

// name is a short string that may name a module or a function; empty if it is another value.
type name string

// scan walks over a pickle of size bytes whose values may take limit bytes.
func scan(r io.ReaderAt, size, limit int64) (*scanner, error) {
	s := &scanner{file: io.NewSectionReader(r, 0, size), limit: limit, memo: map[uint32]name{}}
	s.r = bufio.NewReaderSize(s.file, 1<<16)
	for {
		begin := s.at
		code, err := s.bytes(1)
		if err != nil {
			return nil, err
		}
		done, err := s.step(code[0])
		if err != nil {
			return nil, fmt.Errorf("%w (opcode %q at byte %d)", err, code[:1], begin)
		}
		if done && s.at != size {
			return nil, fmt.Errorf("%d bytes behind its end", size-s.at)
		}
		if done {
			return s, nil
		}
	}
}

// step takes one opcode, with what follows it.
func (s *scanner) step(code byte) (done bool, err error) {
	o := ops[code]
	if o.arg == refused {
		return false, fmt.Errorf("an opcode that plain data does not need")
	}
	if o.arg == text {
		return false, fmt.Errorf("written with protocol 0 or 1, partly as text; write it again with protocol 2 or higher")
	}
	if s.deep += o.mark; s.deep < 0 || s.deep > maxDepth {
		return false, fmt.Errorf("%d containers are open at a time, want 0 to %d", s.deep, maxDepth)
	}
	if err := s.charge(o.cost); err != nil {
		return false, err
	}
	arg, err := s.bytes(o.size)
	if err != nil {
		return false, err
	}
	top := s.pushed[1]
	switch o.arg {
	case plain, stop:
		if code == '\x80' && (arg[0] < 2 || arg[0] > 5) {
			return false, fmt.Errorf("protocol %d, want 2 to 5", arg[0])
		}
		s.push("")
		s.emit(code, arg)
	case long:
		n := arg[0]
		if n < 1 || n > 8 {
			return false, fmt.Errorf("an integer of %d bytes, want 1 to 8", n)
		}
		digits, err := s.bytes(int(n))
		if err != nil {
			return false, err
		}
		s.push("")
		s.emit(code, append([]byte{n}, digits...))
	case counted:
		return false, s.counted(code, o.code, arg)
	case put:
		i := uint32(len(s.memo)) // as MEMOIZE counts
		if o.size > 0 {
			i = index(arg)
		}
		s.memo[i] = top
		s.emit(code, arg)
	case get:
		v, found := s.memo[index(arg)]
		if !found {
			return false, fmt.Errorf("memo %d was never written", index(arg))
		}
		s.push(v)
		s.emit(code, arg)
	case global:
		module, err := s.line()
		if err != nil {
			return false, err
		}
		function, err := s.line()
		if err != nil {
			return false, err
		}
		return false, s.global(module, function)
	case stackGlobal:
		if s.pushed[0] == "" || s.pushed[1] == "" {
			return false, fmt.Errorf("the name of a function that is not a plain string")
		}
		s.emit('0', nil)
		s.emit('0', nil)
		return false, s.global(string(s.pushed[0]), string(s.pushed[1]))
	}
	return o.arg == stop, nil
}

// counted takes a string.
func (s *scanner) counted(code byte, utf8 bool, length []byte) error {
	n := count(length)
	if n > uint64(s.file.Size()-s.at) {
		return fmt.Errorf("a string of %d bytes, and %d follow", n, s.file.Size()-s.at)
	}
	if n > inline {
		// gopickle asks for the string by its number.
		s.emit('P', fmt.Appendf(nil, "%d\n", len(s.cut)))
		s.cut = append(s.cut, &Bytes{R: s.file, At: s.at, Size: int64(n)})
		s.coded = append(s.coded, utf8)
		s.push("")
		return s.skip(int64(n))
	}
	if err := s.charge(3 * int64(n)); err != nil {
		return err
	}
	b, err := s.bytes(int(n))
	if err != nil {
		return err
	}
	if n <= maxName {
		s.push(name(b))
	} else {
		s.push("")
	}
	s.emit(code, length)
	s.out.Write(b)
	return nil
}

// global takes the name of a function or a class, written out: so the table sees every name that gopickle sees.
func (s *scanner) global(module, function string) error {
	if _, known := globals[module+"."+function]; !known {
		return fmt.Errorf("it calls %q, and only numpy's arrays and plain containers are read", module+"."+function)
	}
	s.push("")
	s.emit('c', fmt.Appendf(nil, "%s\n%s\n", module, function))
	return nil
}

func (s *scanner) push(n name) { s.pushed[0], s.pushed[1] = s.pushed[1], n }

func (s *scanner) emit(code byte, arg []byte) {
	s.out.WriteByte(code)
	s.out.Write(arg)
}

func (s *scanner) charge(n int64) error {
	if s.cost += n; s.cost > s.limit {
		return fmt.Errorf("its values take more than %d MiB", s.limit>>20)
	}
	return nil
}

// bytes returns the next n bytes, n being small.
func (s *scanner) bytes(n int) ([]byte, error) {
	b := make([]byte, n)
	if _, err := io.ReadFull(s.r, b); err != nil {
		return nil, fmt.Errorf("ends early, after %d bytes: %w", s.file.Size(), err)
	}
	s.at += int64(n)
	return b, nil
}

// line returns a line without its end.
func (s *scanner) line() (string, error) {
	var line []byte
	for {
		b, err := s.bytes(1)
		switch {
		case err != nil:
			return "", err
		case b[0] == '\n':
			return string(line), nil
		case len(line) == maxName:
			return "", fmt.Errorf("a name of more than %d bytes", maxName)
		}
		line = append(line, b[0])
	}
}

// skip leaves n bytes out.
func (s *scanner) skip(n int64) error {
	s.at += n
	if n <= int64(s.r.Buffered()) {
		_, err := s.r.Discard(int(n))
		return err
	}
	if _, err := s.file.Seek(s.at, io.SeekStart); err != nil {
		return err
	}
	s.r.Reset(s.file)
	return nil
}

// index is a memo index of one or four bytes.
func index(arg []byte) uint32 { return uint32(count(arg)) }

// count is an unsigned number of up to eight bytes, little endian.
func count(arg []byte) uint64 {
	var b [8]byte
	copy(b[:], arg)
	return binary.LittleEndian.Uint64(b[:])
}
