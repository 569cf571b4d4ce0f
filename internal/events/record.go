package events

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

const (
	maxRecord  = 1 << 28 // bytes of an event; TensorBoard itself would hold it in memory, too
	headBytes  = 12      // length and its checksum
	frameBytes = headBytes + 4
)

// ErrDamaged is wrapped by errors about records that are torn, whose checksum is wrong, or that hold no event.
var ErrDamaged = errors.New("damaged")

// errTorn is an ErrDamaged: the file ends inside a record, as after a kill.
var errTorn = fmt.Errorf("%w: torn", ErrDamaged)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func masked(b []byte) uint32 {
	c := crc32.Checksum(b, castagnoli)
	return (c>>15 | c<<17) + 0xa282ead8
}

// appendRecord puts an event into its frame.
func appendRecord(b []byte, data []byte) []byte {
	at := len(b)
	b = binary.LittleEndian.AppendUint64(b, uint64(len(data)))
	b = binary.LittleEndian.AppendUint32(b, masked(b[at:]))
	b = append(b, data...)
	return binary.LittleEndian.AppendUint32(b, masked(data))
}

// Reader reads events one after the other.
type Reader struct {
	r   io.Reader
	end int64
}

// NewReader reads from the beginning of a file.
func NewReader(r io.Reader) *Reader { return &Reader{r: r} }

// End is where the last event that Next returned ends, in bytes from the beginning.
func (r *Reader) End() int64 { return r.end }

// Next returns the next event; io.EOF behind the last one; an error that wraps ErrDamaged where there is none to be read, and
// then there is no way to go on.
func (r *Reader) Next() (Event, error) {
	fault := func(kind error, format string, a ...any) (Event, error) {
		return Event{}, fmt.Errorf("events: %w: record at byte %d: %s", kind, r.end, fmt.Sprintf(format, a...))
	}
	var head [headBytes]byte
	switch got, err := io.ReadFull(r.r, head[:]); {
	case errors.Is(err, io.EOF):
		return Event{}, io.EOF
	case errors.Is(err, io.ErrUnexpectedEOF):
		return fault(errTorn, "%d bytes of %d", got, headBytes)
	case err != nil:
		return Event{}, err
	}
	n := binary.LittleEndian.Uint64(head[:8])
	if got, want := masked(head[:8]), binary.LittleEndian.Uint32(head[8:]); got != want {
		return fault(ErrDamaged, "checksum of the length: got %08x, want %08x", got, want)
	}
	if n > maxRecord {
		return fault(ErrDamaged, "%d bytes, at most %d are read", n, maxRecord)
	}
	var rest bytes.Buffer // grows by what is there, not by what the length claims
	switch got, err := io.CopyN(&rest, r.r, int64(n)+4); {
	case errors.Is(err, io.EOF):
		return fault(errTorn, "%d bytes of %d", got, n+4)
	case err != nil:
		return Event{}, err
	}
	data := rest.Bytes()[:n]
	if got, want := masked(data), binary.LittleEndian.Uint32(rest.Bytes()[n:]); got != want {
		return fault(ErrDamaged, "checksum of the event: got %08x, want %08x", got, want)
	}
	e, err := decode(data)
	if err != nil {
		return fault(ErrDamaged, "%v", err)
	}
	r.end += int64(n) + frameBytes
	return e, nil
}
