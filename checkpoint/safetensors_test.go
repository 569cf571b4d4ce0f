package checkpoint

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"github.com/cespare/xxhash/v2"
	"github.com/google/go-cmp/cmp"
	"github.com/nlpodyssey/safetensors"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

// samples is one tensor of each kind of shape and several types, the odd ones first.
func samples() []Named {
	return []Named{
		{"labels", U8, []int{3}, []byte{1, 2, 3}},
		{"enc.16x16_conv.weight", F32, []int{2, 3}, Float32Bytes([]float32{0, 1, -1, math.MaxFloat32, float32(math.Inf(1)), 1e-45})},
		{"scalar", I64, nil, []byte{1, 0, 0, 0, 0, 0, 0, 0}},
		{"empty", F32, []int{0, 7}, nil},
		{"half \"quoted\" <é>", F16, []int{1, 1, 3}, []byte{1, 2, 3, 4, 5, 6}},
		{"brain", BF16, []int{1}, []byte{0x80, 0x3f}},
		{"double", F64, []int{1}, []byte{0, 0, 0, 0, 0, 0, 0xf0, 0x3f}},
		{"count", I32, []int{1}, []byte{9, 0, 0, 0}},
	}
}

func write(t testing.TB, tensors []Named, meta map[string]string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "a.safetensors")
	if _, err := WriteSafetensors(path, tensors, meta); err != nil {
		t.Fatal(err)
	}
	return path
}

func open(t testing.TB, path string) *File {
	t.Helper()
	f, err := OpenSafetensors(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// sameTensors compares what a file holds with what was written, whatever the order.
func sameTensors(t testing.TB, f *File, want []Named) {
	t.Helper()
	if len(f.Names()) != len(want) {
		t.Errorf("got %d tensors %q, want %d", len(f.Names()), f.Names(), len(want))
	}
	for _, w := range want {
		g, ok := f.Get(w.Name)
		if !ok || g.DType != w.DType || fmt.Sprint(g.Shape) != fmt.Sprint(w.Shape) || !bytes.Equal(g.Data, w.Data) {
			t.Errorf("%s: got %v, want %v", w.Name, g, w)
		}
	}
}

func TestSafetensorsRoundTrip(t *testing.T) {
	meta := map[string]string{"format": "x", "config": `{"a": [1, "é<>"]}`, "": ""}
	path := filepath.Join(t.TempDir(), "a.safetensors")
	info, err := WriteSafetensors(path, samples(), meta)
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Size != int64(len(b)) || info.XXH64 != xxhash.Sum64(b) {
		t.Errorf("got %+v, want %d bytes, hash %x", info, len(b), xxhash.Sum64(b))
	}
	f := open(t, path)
	sameTensors(t, f, samples())
	if d := cmp.Diff(meta, f.Metadata()); d != "" {
		t.Error(d)
	}
	if n := binary.LittleEndian.Uint64(b); n%8 != 0 {
		t.Errorf("header of %d bytes is not padded to 8", n)
	}
	for _, name := range f.Names() {
		g, _ := f.Get(name)
		if at := uintptr(unsafe.Pointer(unsafe.SliceData(g.Data))); at%uintptr(elementSize[g.DType]) != 0 {
			t.Errorf("%s: %s at %#x is not aligned", name, g.DType, at)
		}
	}
	if _, ok := f.Get("nothing"); ok {
		t.Error("a tensor that is not there was found")
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(path), ".*")); len(left) > 0 {
		t.Errorf("temporary files left: %q", left)
	}
}

// Nothing at all, and nothing but metadata, are files too.
func TestSafetensorsEmpty(t *testing.T) {
	for _, meta := range []map[string]string{nil, {"a": "b"}} {
		f := open(t, write(t, nil, meta))
		sameTensors(t, f, nil)
		if len(f.Metadata()) != len(meta) {
			t.Errorf("got %v, want %v", f.Metadata(), meta)
		}
	}
}

// Each of two implementations reads what the other wrote.
func TestSafetensorsOtherImplementation(t *testing.T) {
	meta := map[string]string{"format": "pt"}
	b, err := os.ReadFile(write(t, samples(), meta))
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := safetensors.Deserialize(b)
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range samples() {
		g, ok := theirs.Tensor(w.Name)
		if !ok || g.DType().String() != w.DType || len(g.Shape()) != len(w.Shape) || !bytes.Equal(g.Data(), w.Data) {
			t.Errorf("%s: got %v, want %v", w.Name, g, w)
		}
	}
	if theirs.Len() != len(samples()) {
		t.Errorf("got %d tensors, want %d", theirs.Len(), len(samples()))
	}

	views := map[string]safetensors.TensorView{}
	tensors := slices.DeleteFunc(samples(), func(n Named) bool { return n.Shape == nil }) // their writer takes no scalars
	for _, w := range tensors {
		dtype, err := safetensors.ParseDType(w.DType)
		if err != nil {
			t.Fatal(err)
		}
		shape := make([]uint64, len(w.Shape))
		for i, n := range w.Shape {
			shape[i] = uint64(n)
		}
		if views[w.Name], err = safetensors.NewTensorView(dtype, shape, w.Data); err != nil {
			t.Fatal(err)
		}
	}
	b, err = safetensors.Serialize(views, meta)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "theirs.safetensors")
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	f := open(t, path)
	sameTensors(t, f, tensors)
	if d := cmp.Diff(meta, f.Metadata()); d != "" {
		t.Error(d)
	}
}

func TestWriteSafetensorsRefuses(t *testing.T) {
	for want, n := range map[string]Named{
		"got 4 bytes":    {"a", F32, []int{2}, make([]byte, 4)},
		"unknown dtype":  {"a", "F8", []int{2}, make([]byte, 2)},
		"negative axis":  {"a", F32, []int{-1}, nil},
		"overflows":      {"a", F32, []int{1 << 40, 1 << 40}, nil},
		"cannot be":      {"", F32, nil, make([]byte, 4)},
		`"__metadata__"`: {"__metadata__", F32, nil, make([]byte, 4)},
		"axes":           {"a", U8, make([]int, 17), nil},
		`"\xff"`:         {"\xff", U8, nil, make([]byte, 1)},
		"there twice":    {"twice", U8, nil, make([]byte, 1)},
	} {
		path := filepath.Join(t.TempDir(), "a.safetensors")
		_, err := WriteSafetensors(path, []Named{n, {"twice", U8, []int{}, make([]byte, 1)}}, nil)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
		if exists(path) {
			t.Errorf("%q: a file was written", want)
		}
	}
	if _, err := WriteSafetensors(filepath.Join(t.TempDir(), "a"), nil, map[string]string{"a": "\xff"}); err == nil {
		t.Error("metadata that are not UTF-8 were written")
	}
	if _, err := WriteSafetensors(filepath.Join(t.TempDir(), "a"), nil, map[string]string{"a": strings.Repeat("x", maxHeader)}); err == nil {
		t.Error("a header beyond the limit was written")
	}
}

// file is a safetensors file with the given header and n bytes of data.
func file(header string, n int) []byte {
	b := binary.LittleEndian.AppendUint64(nil, uint64(len(header)))
	return append(append(b, header...), make([]byte, n)...)
}

// hostile are headers and data lengths that must be refused, with a part of the reason.
var hostile = []struct {
	why    string
	header string
	data   int
}{
	{"begins with", `[]`, 0},
	{"begins with", ` {}`, 0},
	{"unexpected EOF", `{"a":`, 0},
	{"bytes after its end", `{}{}`, 0},
	{"bytes after its end", "{}\x00", 0},
	{"not UTF-8", "{\"\xff\":1}", 0},
	{"there twice", `{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}`, 2},
	{"there twice", `{"a":{"dtype":"U8","dtype":"U8","shape":[1],"data_offsets":[0,1]}}`, 1},
	{"there twice", `{"__metadata__":{"k":"1","k":"2"}}`, 0},
	{"there twice", `{"__metadata__":{},"__metadata__":{}}`, 0},
	{"want a string", `{"__metadata__":{"k":1}}`, 0},
	{"want {", `{"__metadata__":null}`, 0},
	{"want {", `{"a":3}`, 0},
	{"wants dtype", `{"a":{}}`, 0},
	{"wants dtype", `{"a":{"dtype":"U8","shape":[]}}`, 0},
	{"unknown key", `{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1],"x":1}}`, 1},
	{"want a number", `{"a":{"dtype":"U8","shape":[[[[1]]]],"data_offsets":[0,1]}}`, 1},
	{"want a string", `{"a":{"dtype":{"x":{}},"shape":[1],"data_offsets":[0,1]}}`, 1},
	{"want a number", `{"a":{"dtype":"U8","shape":["1"],"data_offsets":[0,1]}}`, 1},
	{"whole number", `{"a":{"dtype":"U8","shape":[1.0],"data_offsets":[0,1]}}`, 1},
	{"whole number", `{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1e0]}}`, 1},
	{"whole number", `{"a":{"dtype":"U8","shape":[-1],"data_offsets":[0,1]}}`, 1},
	{"whole number", `{"a":{"dtype":"U8","shape":[9223372036854775808],"data_offsets":[0,1]}}`, 1},
	{"more than 16", `{"a":{"dtype":"U8","shape":[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1],"data_offsets":[0,1]}}`, 1},
	{"more than 2", `{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1,1]}}`, 1},
	{"got 1 numbers", `{"a":{"dtype":"U8","shape":[1],"data_offsets":[1]}}`, 1},
	{"unknown dtype", `{"a":{"dtype":"F8","shape":[1],"data_offsets":[0,1]}}`, 1},
	{"overflows", `{"a":{"dtype":"F64","shape":[4294967296,4294967296],"data_offsets":[0,0]}}`, 0},
	{"overflows", `{"a":{"dtype":"F64","shape":[2305843009213693952],"data_offsets":[0,0]}}`, 0},
	{"overflows", `{"a":{"dtype":"U8","shape":[4611686018427387904,2],"data_offsets":[0,0]}}`, 0},
	{"wants 4 bytes", `{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,2]}}`, 2},
	{"wants 1 bytes", `{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,0]}}`, 0},
	{"data begin at 1", `{"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}`, 2},
	{"data begin at 0", `{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}}`, 2},
	{"data begin at 3", `{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U8","shape":[1],"data_offsets":[3,4]}}`, 4},
	{"wants 1 bytes", `{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,9223372036854775807]}}`, 1},
	{"the file holds 1", `{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}}`, 1},
	{"the file holds 3", `{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}}`, 3},
	{"the file holds 1", `{}`, 1},
}

func TestOpenSafetensorsRefuses(t *testing.T) {
	files := map[string][]byte{
		"cannot be a":                  []byte("short"),
		"header of 0 bytes":            make([]byte, 16),
		"header of 9 bytes":            append([]byte{9, 0, 0, 0, 0, 0, 0, 0}, "{}      "...),
		"header of 16777217 bytes":     append([]byte{1, 0, 0, 1, 0, 0, 0, 0}, make([]byte, maxHeader+2)...),
		"header of 184467440737095516": append(bytes.Repeat([]byte{255}, 8), "{}"...),
	}
	for i, h := range hostile {
		files[fmt.Sprintf("%s\x00%d", h.why, i)] = file(h.header, h.data)
	}
	path := filepath.Join(t.TempDir(), "a.safetensors")
	for key, b := range files {
		why, _, _ := strings.Cut(key, "\x00")
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		f, err := OpenSafetensors(path)
		if err == nil {
			f.Close()
		}
		if !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), why) || !strings.Contains(err.Error(), path) {
			t.Errorf("%.80q: got %v, want damaged: %s", b, err, why)
		}
	}
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]error{fifo: ErrDamaged, t.TempDir(): ErrDamaged, filepath.Join(t.TempDir(), "none"): os.ErrNotExist} {
		if _, err := OpenSafetensors(path); !errors.Is(err, want) {
			t.Errorf("%s: got %v, want %v", path, err, want)
		}
	}
}

// What the writer takes, the reader gives back, for any list of tensors.
func TestSafetensorsAnyTensors(t *testing.T) {
	dtypes := []string{F64, I64, F32, I32, F16, BF16, U8, "I8", "U16", "BOOL"}
	rapid.Check(t, func(r *rapid.T) {
		var tensors []Named
		for name := range rapid.MapOf(rapid.StringN(1, 5, -1), rapid.Just(0)).Draw(r, "names") {
			n := Named{Name: name, DType: rapid.SampledFrom(dtypes).Draw(r, "dtype"), Shape: rapid.SliceOfN(rapid.IntRange(0, 3), 0, 4).Draw(r, "shape")}
			size, err := byteCount(n.DType, n.Shape)
			if err != nil {
				r.Fatal(err)
			}
			n.Data = bytes.Repeat([]byte{byte(len(tensors))}, size)
			tensors = append(tensors, n)
		}
		head, order, err := encodeHeader(tensors, map[string]string{"k": rapid.String().Draw(r, "v")})
		if err != nil {
			r.Fatal(err)
		}
		for _, n := range order {
			head = append(head, n.Data...)
		}
		f, err := decode(head)
		if err != nil {
			r.Fatal(err)
		}
		sameTensors(t, f, tensors)
	})
}

func FuzzSafetensors(f *testing.F) {
	for _, h := range hostile {
		f.Add(file(h.header, h.data))
	}
	head, order, err := encodeHeader(samples(), map[string]string{"format": "x"})
	if err != nil {
		f.Fatal(err)
	}
	for _, n := range order {
		head = append(head, n.Data...)
	}
	f.Add(head)
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		file, err := decode(b)
		if err != nil {
			return
		}
		// What was accepted covers the file, and survives being written again.
		var all []Named
		size := file.start
		for _, name := range file.Names() {
			n, ok := file.Get(name)
			if !ok {
				t.Fatalf("%q is listed, but not there", name)
			}
			size += len(n.Data)
			all = append(all, n)
		}
		if size != len(b) {
			t.Fatalf("%d of %d bytes accounted for", size, len(b))
		}
		head, order, err := encodeHeader(all, file.Metadata())
		if err != nil {
			if _, noName := file.Get(""); noName {
				return // read, never written
			}
			t.Fatal(err)
		}
		for _, n := range order {
			head = append(head, n.Data...)
		}
		again, err := decode(head)
		if err != nil {
			t.Fatal(err)
		}
		sameTensors(t, again, all)
	})
}

func TestFloat32s(t *testing.T) {
	v := []float32{0, 1, -2.5, float32(math.Inf(-1)), 1e-45}
	b := Float32Bytes(v)
	if !bytes.Equal(b, encodeFloat32s(v)) || !bytes.Equal(b[4:8], []byte{0, 0, 0x80, 0x3f}) {
		t.Errorf("got %x, want %x", b, encodeFloat32s(v))
	}
	if v[1] = 3; littleEndian && !bytes.Equal(b, encodeFloat32s(v)) {
		t.Error("Float32Bytes copied")
	}
	if got := Float32s(b); cmp.Diff(v, got) != "" || littleEndian && &got[0] != &v[0] {
		t.Errorf("got %v at %p, want %v at %p", got, got, v, v)
	}
	odd := append([]byte{0}, b...)[1:] // not aligned
	if got := Float32s(odd); cmp.Diff(v, got) != "" || cmp.Diff(v, decodeFloat32s(odd)) != "" {
		t.Errorf("got %v, want %v", got, v)
	}
	if len(Float32s(nil)) != 0 || len(Float32Bytes(nil)) != 0 {
		t.Error("something came out of nothing")
	}
	defer func() {
		if recover() == nil {
			t.Error("5 bytes were taken for numbers")
		}
	}()
	Float32s(make([]byte, 5))
}
