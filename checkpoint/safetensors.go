package checkpoint

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"math/bits"
	"path/filepath"
	"slices"
	"strconv"
	"unicode/utf8"

	"github.com/cespare/xxhash/v2"
	"github.com/google/renameio/v2"

	"ict/internal/disk"
)

// Names of the element types that the program itself writes; files of others may hold all of elementSize.
const (
	F64  = "F64"
	F32  = "F32"
	F16  = "F16"
	BF16 = "BF16"
	I64  = "I64"
	I32  = "I32"
	U8   = "U8"
)

// elementSize maps the element types of safetensors to bytes. All are powers of two, so that data in descending order of
// size are aligned without gaps.
var elementSize = map[string]int{
	F64: 8, I64: 8, "U64": 8,
	F32: 4, I32: 4, "U32": 4,
	F16: 2, BF16: 2, "I16": 2, "U16": 2,
	U8: 1, "I8": 1, "BOOL": 1,
}

const (
	maxHeader = 16 << 20 // bytes of a safetensors header; the largest of ours has 0.3 MB
	maxAxes   = 16       // axes of a tensor
	metaKey   = "__metadata__"
	chunk     = 4 << 20 // bytes between two looks at the context while writing
)

// Named is one tensor of a file.
type Named struct {
	Name  string
	DType string // F32, F16, …
	Shape []int  // outermost axis first; empty: a scalar
	Data  []byte // little endian, row-major
}

// FileInfo says what was written.
type FileInfo struct {
	Size  int64  // bytes
	XXH64 uint64 // xxHash64, seed 0, of the whole file
}

// WriteSafetensors writes tensors and meta to path: a temporary file beside it, flushed, then renamed over it, so that path
// holds the old content or the new, never a part. Tensors are stored in the order given, larger element types first.
func WriteSafetensors(path string, tensors []Named, meta map[string]string) (FileInfo, error) {
	head, order, err := encodeHeader(tensors, meta)
	if err != nil {
		return FileInfo{}, fmt.Errorf("checkpoint: %s: %w", path, err)
	}
	return writeAtomic(context.Background(), path, head, order)
}

// writeAtomic puts head and the tensors' data in place of path.
func writeAtomic(ctx context.Context, path string, head []byte, order []Named) (FileInfo, error) {
	fail := func(err error) (FileInfo, error) {
		return FileInfo{}, fmt.Errorf("checkpoint: %s: %w", path, spaceOr(bare(err)))
	}
	dir := filepath.Dir(path)
	f, err := renameio.NewPendingFile(path, renameio.WithTempDir(dir), renameio.WithPermissions(0o644))
	if err != nil {
		return fail(err)
	}
	defer f.Cleanup()
	info, err := stream(ctx, f, head, order)
	if err != nil {
		return fail(err)
	}
	if err := f.CloseAtomicallyReplace(); err != nil {
		return fail(err)
	}
	if err := disk.SyncDir(dir); err != nil {
		return fail(err)
	}
	return info, nil
}

// stream writes head and data to w, and gives up between two chunks when ctx is done.
func stream(ctx context.Context, w io.Writer, head []byte, order []Named) (FileInfo, error) {
	sum := xxhash.New()
	size := int64(0)
	put := func(b []byte) error {
		for len(b) > 0 {
			if err := ctx.Err(); err != nil {
				return err
			}
			part := b[:min(len(b), chunk)]
			sum.Write(part)
			if _, err := w.Write(part); err != nil {
				return err
			}
			size += int64(len(part))
			b = b[len(part):]
		}
		return nil
	}
	if err := put(head); err != nil {
		return FileInfo{}, err
	}
	for _, t := range order {
		if err := put(t.Data); err != nil {
			return FileInfo{}, err
		}
	}
	return FileInfo{Size: size, XXH64: sum.Sum64()}, nil
}

// encodeHeader checks the tensors and returns the length word with the padded header, and the tensors in the order of
// their data.
func encodeHeader(tensors []Named, meta map[string]string) (head []byte, order []Named, err error) {
	seen := make(map[string]bool, len(tensors))
	for _, t := range tensors {
		if err := checkNamed(t); err != nil {
			return nil, nil, err
		}
		if seen[t.Name] {
			return nil, nil, fmt.Errorf("tensor %q is there twice", t.Name)
		}
		seen[t.Name] = true
	}
	order = slices.Clone(tensors)
	slices.SortStableFunc(order, func(a, b Named) int { return elementSize[b.DType] - elementSize[a.DType] })

	head = append(make([]byte, 8), '{')
	if len(meta) > 0 {
		for k, v := range meta {
			if !utf8.ValidString(k) || !utf8.ValidString(v) {
				return nil, nil, fmt.Errorf("metadata %q is not UTF-8", k)
			}
		}
		head = fmt.Appendf(head, "%q:%s", metaKey, mustJSON(meta))
	}
	offset := 0
	for _, t := range order {
		if len(head) > 9 {
			head = append(head, ',')
		}
		head = fmt.Appendf(head, `%s:{"dtype":%q,"shape":[`, mustJSON(t.Name), t.DType)
		for i, n := range t.Shape {
			if i > 0 {
				head = append(head, ',')
			}
			head = strconv.AppendInt(head, int64(n), 10)
		}
		if offset > math.MaxInt-len(t.Data) {
			return nil, nil, fmt.Errorf("tensor %q: file larger than %d bytes", t.Name, math.MaxInt)
		}
		head = fmt.Appendf(head, `],"data_offsets":[%d,%d]}`, offset, offset+len(t.Data))
		offset += len(t.Data)
	}
	head = append(head, '}')
	for len(head)%8 != 0 {
		head = append(head, ' ')
	}
	if len(head)-8 > maxHeader {
		return nil, nil, fmt.Errorf("header of %d bytes, limit %d", len(head)-8, maxHeader)
	}
	binary.LittleEndian.PutUint64(head, uint64(len(head)-8))
	return head, order, nil
}

// checkNamed says what a file could not hold.
func checkNamed(t Named) error {
	if t.Name == "" || t.Name == metaKey || !utf8.ValidString(t.Name) {
		return fmt.Errorf("tensor name %q cannot be stored", t.Name)
	}
	want, err := byteCount(t.DType, t.Shape)
	if err != nil {
		return fmt.Errorf("tensor %q: %w", t.Name, err)
	}
	if len(t.Data) != want {
		return fmt.Errorf("tensor %q: got %d bytes, %s %v wants %d", t.Name, len(t.Data), t.DType, t.Shape, want)
	}
	return nil
}

// byteCount is the size of a tensor's data.
func byteCount(dtype string, shape []int) (int, error) {
	size, ok := elementSize[dtype]
	if !ok {
		return 0, fmt.Errorf("unknown dtype %q", dtype)
	}
	if len(shape) > maxAxes {
		return 0, fmt.Errorf("%d axes, limit %d", len(shape), maxAxes)
	}
	n := uint64(size)
	for _, d := range shape {
		if d < 0 {
			return 0, fmt.Errorf("shape %v: negative axis", shape)
		}
		hi, lo := bits.Mul64(n, uint64(d))
		if hi != 0 || lo > math.MaxInt {
			return 0, fmt.Errorf("shape %v: size overflows", shape)
		}
		n = lo
	}
	return int(n), nil
}

// mustJSON is the JSON of a value that always has one.
func mustJSON(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic("checkpoint: " + err.Error())
	}
	return b
}
