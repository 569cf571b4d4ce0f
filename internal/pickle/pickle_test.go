package pickle

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"testing"
)

// golden are pickles that numpy wrote (dev/golden/sets.py).
func golden(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("../../data/testdata/sets", name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func read(b []byte) (any, error) { return Load(bytes.NewReader(b), int64(len(b))) }

func content(t testing.TB, b Bytes) []byte {
	t.Helper()
	out := make([]byte, b.Size)
	if _, err := b.R.ReadAt(out, b.At); err != nil {
		t.Fatal(err)
	}
	return out
}

// planes is what picture in dev/golden/sets.py makes.
func planes(i, size int) []byte {
	var b []byte
	for k := range 3 {
		for y := range size {
			for x := range size {
				b = append(b, byte(7*x+11*y+60*k+13*i+x*y/5))
			}
		}
	}
	return b
}

func TestProtocols(t *testing.T) {
	for _, c := range []struct {
		name              string
		first, n, size    int
		labels            []int
		inFile            bool // its images stay there
		labelKey, another string
	}{
		{"py/data_batch_1", 0, 3, 32, []int{1, 4, 7}, true, "labels", "filenames"},
		{"cifar-100-python/train", 100, 3, 32, []int{99, 0, 7}, true, "fine_labels", "filenames"},
		{"pickles/protocol2", 200, 6, 8, []int{5, 1, 2, 2, 4, 3}, false, "labels", "mean"},
		{"pickles/protocol3", 200, 6, 8, []int{5, 1, 2, 2, 4, 3}, true, "labels", "mean"},
		{"pickles/protocol4", 200, 6, 8, []int{5, 1, 2, 2, 4, 3}, true, "labels", "mean"},
		{"pickles/protocol5", 200, 6, 8, []int{5, 1, 2, 2, 4, 3}, true, "labels", "mean"},
		{"pickles/arrays", 200, 6, 8, []int{5, 1, 2, 2, 4, 3}, true, "labels", "mean"},
		{"pickles/scalars", 200, 6, 8, []int{5, 1, 2, 2, 4, 3}, true, "labels", "mean"},
	} {
		file := bytes.NewReader(golden(t, c.name))
		v, err := Load(file, file.Size())
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		a, ok := Get(v, "data").(*Array)
		if !ok {
			t.Errorf("%s: data is %T", c.name, Get(v, "data"))
			continue
		}
		if a.Dtype != "|u1" || a.Fortran || !reflect.DeepEqual(a.Shape, []int{c.n, 3 * c.size * c.size}) {
			t.Errorf("%s: %s of shape %v, Fortran %v", c.name, a.Dtype, a.Shape, a.Fortran)
		}
		var want []byte
		for i := range c.n {
			want = append(want, planes(c.first+i, c.size)...)
		}
		if !bytes.Equal(content(t, a.Data), want) {
			t.Errorf("%s: other images", c.name)
		}
		if _, held := a.Data.R.(*bytes.Reader); held == c.inFile {
			t.Errorf("%s: images in memory: %v, want %v", c.name, held, !c.inFile)
		}
		if labels, err := Ints(Get(v, c.labelKey), 1<<20); err != nil || !reflect.DeepEqual(labels, c.labels) {
			t.Errorf("%s: labels %v, %v; want %v", c.name, labels, err, c.labels)
		}
		if Get(v, c.another) == nil || Get(v, "nothing") != nil || Get(nil, "data") != nil {
			t.Errorf("%s: got %v under %s, %v under nothing", c.name, Get(v, c.another), c.another, Get(v, "nothing"))
		}
	}
}

func TestMeta(t *testing.T) {
	for name, key := range map[string]string{"py/batches.meta": "label_names", "cifar-100-python/meta": "fine_label_names"} {
		v, err := read(golden(t, name))
		if err != nil {
			t.Fatal(err)
		}
		names, err := Strings(Get(v, key))
		if err != nil || len(names) != 10 && len(names) != 100 || names[0] != "airplane" && names[0] != "thing_0" {
			t.Errorf("%s: got %v, %v", name, names, err)
		}
	}
}

// numpy's calls as protocol 2 writes them, with a place for data.
const (
	array   = "cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
	dtypeU1 = "cnumpy\ndtype\nU\x02u1\x89\x88\x87R(K\x03U\x01|NNNK\x00K\x00K\x00tb"
)

func state(shape, kind, data string) string { return "(K\x01" + shape + kind + "\x89" + data + "tb" }

func TestLoadSmall(t *testing.T) {
	for _, c := range []struct {
		pickle string
		want   any
	}{
		{"N.", nil}, {"\x88.", true}, {"J\xfe\xff\xff\xff.", -2}, {"M\x01\x02.", 513}, {"\x8a\x02\x00\xff.", -256}, {"G\x3f\xf8\x00\x00\x00\x00\x00\x00.", 1.5},
		{"U\x03abc.", "abc"}, {"C\x03abc.", []byte("abc")}, {"\x8c\x02é.", "é"}, {"c__builtin__\nbytes\n)R.", []byte{}},
		{"c_codecs\nencode\nX\x03\x00\x00\x00aé\x8c\x06latin1\x86R.", []byte("a\xe9")},
		{"\x8c\x07_codecs\x94\x8c\x06encode\x94\x93\x8c\x01a\x8c\x06latin1\x86R.", []byte("a")},       // STACK_GLOBAL
		{"\x8c\x06encode\x940\x8c\x07_codecs\x94h\x00\x93\x8c\x01a\x8c\x06latin1\x86R.", []byte("a")}, // a name from the memo
		{"cnumpy.core.multiarray\nscalar\ncnumpy\ndtype\nU\x02i2\x89\x88\x87R(K\x03U\x01>NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tbU\x02\x01\x02\x86R.", 258},
		{"cnumpy.core.multiarray\nscalar\ncnumpy\ndtype\nU\x02f8\x89\x88\x87RU\x08\x00\x00\x00\x00\x00\x00\xf8\x3f\x86R.", 1.5},
	} {
		got, err := read([]byte("\x80\x02" + c.pickle))
		if err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%q: got %v, %v; want %v", c.pickle, got, err, c.want)
		}
	}
	v, err := read([]byte("\x80\x02ccollections\nOrderedDict\n)R(U\x01aK\x01U\x01bK\x02u."))
	if err != nil || Get(v, "b") != 2 || Get(v, "c") != nil {
		t.Errorf("OrderedDict: got %v, %v", v, err)
	}
	v, err = read([]byte("\x80\x02" + array + state("K\x02K\x03\x86", dtypeU1, "U\x06abcdef") + "."))
	if a, ok := v.(*Array); err != nil || !ok || string(content(t, a.Data)) != "abcdef" || !reflect.DeepEqual(a.Shape, []int{2, 3}) {
		t.Errorf("array: got %v, %v", v, err)
	}
}

var hostile = []struct{ pickle, want string }{
	{"", "ends early"},
	{"\x80", "ends early"},
	{"\x80\x02K", "ends early"},
	{"\x80\x02K\x01", "ends early"},
	{"\x80\x06N.", "protocol 6, want 2 to 5"},
	{"\x80\x02N.N", "1 bytes behind its end"},
	{"(lp0\n.", "write it again with protocol 2"},
	{"\x80\x02cos\nsystem\nU\x02ls\x85R.", `it calls "os.system"`},
	{"\x80\x04\x8c\x02os\x94\x8c\x06system\x94\x93\x8c\x02ls\x85R.", `it calls "os.system"`},
	{"\x80\x04\x8c\x02os\x94\x8c\x06system\x94h\x00h\x01\x93.", `it calls "os.system"`},
	{"\x80\x02carray\n_array_reconstructor\n)R.", `it calls "array._array_reconstructor"`}, // gopickle knows these by itself
	{"\x80\x04\x8c\x05array\x8c\x14_array_reconstructor\x93.", `it calls "array._array_reconstructor"`},
	{"\x80\x02ccopy_reg\n_reconstructor\n)R.", "copy_reg._reconstructor"},
	{"\x80\x04\x8c\x08builtins\x8c\x04eval\x93.", "builtins.eval"},
	{"\x80\x04\x8c\x05numpy\x8c\x05dtype0\x93.", "not a plain string"},       // the top was popped: which string is it?
	{"\x80\x04\x8c\x02os(\x8c\x06systemt\x93.", "not a plain string"},        // from a container
	{"\x80\x02c" + strings.Repeat("a", 200), "a name of more than 128"},      //
	{"\x80\x02cnumpy\ndty\xffpe\n.", `it calls "numpy.dty\xffpe"`},           //
	{"\x80\x02c__main__\nnumpy.dtype\n.", `it calls "__main__.numpy.dtype"`}, //
	{"\x80\x02T\xff\xff\xff\x7fabc.", "a string of 2147483647 bytes, and 4 follow"},
	{"\x80\x02\x8e\xff\xff\xff\xff\xff\xff\xff\xff.", "a string of 18446744073709551615 bytes"},
	{"\x80\x02\x8b\x00\x00\x00\x7f.", "plain data does not need"}, // LONG4
	{"\x80\x02\x8a\x00.", "an integer of 0 bytes"},
	{"\x80\x02P0\n.", "plain data does not need"},
	{"\x80\x02c__builtin__\nbytes\n)\x81.", "plain data does not need"},
	{"\x80\x02(U\x01ad.", "make no sense"},                                  // a key without a value
	{"\x80\x02]q\x00h\x00R.", "REDUCE"},                                     // a call of a list
	{"\x80\x02h\x05.", "memo 5 was never written"},                          //
	{"\x80\x02t.", "-1 containers are open"},                                //
	{"\x80\x02" + strings.Repeat("(", 65) + ".", "65 containers are open"},  //
	{"\x80\x02ccollections\nOrderedDict\n)RC\x01aK\x01s.", "make no sense"}, // bytes cannot be keys of a Go map
	{"\x80\x02cnumpy\ndtype\nU\x02O8\x85R.", `got "O8", want numbers`},
	{"\x80\x02cnumpy\ndtype\nU\x02u3\x85R.", `got "u3", want numbers`},
	{"\x80\x02cnumpy\ndtype\nU\x02u1\x89\x88\x87R(K\x03U\x01|N}NK\x00K\x00K\x00tb.", "fields within elements"},
	{"\x80\x02cnumpy\ndtype\nU\x02u2\x89\x88\x87R(K\x03U\x01!NNNK\x00K\x00K\x00tb.", `byte order: got "!"`},
	{"\x80\x02cnumpy.core.multiarray\n_reconstruct\ncnumpy\ndtype\nK\x00\x85U\x01b\x87R.", "other than ndarray"},
	{"\x80\x02" + array + state("K\x02K\x03\x86", dtypeU1, "U\x05abcde") + ".", "shape [2 3] of |u1: got 5 bytes, want 6"},
	{"\x80\x02" + array + state("K\x02J\xff\xff\xff\xff\x86", dtypeU1, "U\x00") + ".", "impossible shape"},
	{"\x80\x02" + array + state("\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7fK\x02\x86", dtypeU1, "U\x00") + ".", "impossible shape"},
	{"\x80\x02" + array + state("("+strings.Repeat("K\x01", 33)+"t", dtypeU1, "U\x01a") + ".", "at most 32 integers"},
	{"\x80\x02" + array + state("K\x01\x85", "K\x01", "U\x01a") + ".", "want a dtype"},
	{"\x80\x02" + array + state("K\x01\x85", dtypeU1, "K\x01") + ".", "want bytes"},
	{"\x80\x02c_codecs\nencode\nX\x04\x00\x00\x00a\xc4\x80bU\x06latin1\x86R.", "byte 1 of a string is no character of Latin-1"},
	{"\x80\x02c_codecs\nencode\nX\x01\x00\x00\x00aU\x05utf-8\x86R.", "want a string and latin1"},
}

func TestHostile(t *testing.T) {
	for _, c := range hostile {
		v, err := read([]byte(c.pickle))
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), "pickle: ") {
			t.Errorf("%q: got %v, %v; want an error with %q", c.pickle, v, err, c.want)
		}
	}
}

// Long text is turned into bytes once, however often it is asked for.
func TestLatin1Once(t *testing.T) {
	text := strings.Repeat("é", 200)
	length := binary.LittleEndian.AppendUint32(nil, uint32(len(text)))
	call := "c_codecs\nencode\nh\x00X\x06\x00\x00\x00latin1\x86R"
	v, err := read([]byte("\x80\x02X" + string(length) + text + "q\x000" + call + call + "\x86."))
	items, ok := elements(v)
	if err != nil || !ok || len(items) != 2 || items[0] != items[1] {
		t.Fatalf("got %v, %v", v, err)
	}
	if got := content(t, *items[0].(*Bytes)); !bytes.Equal(got, bytes.Repeat([]byte{0xe9}, 200)) {
		t.Errorf("got %x", got)
	}
}

// A list that holds itself is read; nothing here walks into it.
func TestCycle(t *testing.T) {
	v, err := read([]byte("\x80\x02}q\x00U\x01ah\x00sU\x01b]q\x01h\x01as."))
	if err != nil || Get(v, "a") != v {
		t.Fatalf("got %v", err)
	}
	if _, err := Ints(Get(v, "b"), 1<<20); err == nil || !strings.Contains(err.Error(), "entry 0: got *types.List") {
		t.Errorf("got %v", err)
	}
	// A tuple that holds a list that holds the tuple is called: the message quotes it, and ends.
	if _, err := read([]byte("\x80\x02]q\x00h\x00\x85q\x01ah\x01)R.")); err == nil || !strings.Contains(err.Error(), "Callable") {
		t.Errorf("got %v", err)
	}
}

// Opcodes that allocate far more than they are long stop at the limit.
func TestMemory(t *testing.T) {
	const limit = 32 << 20
	numbered := func(n int) []byte {
		b := []byte("\x80\x02N")
		for i := range n {
			b = binary.LittleEndian.AppendUint32(append(b, 'r'), uint32(i))
		}
		return b
	}
	for name, b := range map[string][]byte{
		"lists":  append([]byte("\x80\x02"), bytes.Repeat([]byte("]"), 1<<19)...),
		"dicts":  append([]byte("\x80\x02"), bytes.Repeat([]byte("}"), 1<<19)...),
		"marks":  append([]byte("\x80\x02"), bytes.Repeat([]byte("(t"), 1<<18)...),
		"copies": append([]byte("\x80\x02U\x08abcdefghq\x00"), bytes.Repeat([]byte("h\x00"), 1<<19)...),
		"memo":   numbered(1 << 18),
		"calls":  append([]byte("\x80\x02"), bytes.Repeat([]byte("ccollections\nOrderedDict\n)R"), 1<<17)...),
		"arrays": append([]byte("\x80\x02(K\x01K\x01\x85"+dtypeU1+"\x89U\x01atq\x00"), bytes.Repeat([]byte(array+"h\x00b"), 1<<17)...),
	} {
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		_, err := load(bytes.NewReader(b), int64(len(b)), limit)
		runtime.ReadMemStats(&after)
		if err == nil || !strings.Contains(err.Error(), "more than 32 MiB") {
			t.Errorf("%s: got %v, want the limit", name, err)
		}
		if used := after.TotalAlloc - before.TotalAlloc; used > 2*limit {
			t.Errorf("%s: %d MiB were allocated", name, used>>20)
		}
	}
}

// As much as the limit lets through takes no more than the limit says.
func TestMemoryOfWhatIsRead(t *testing.T) {
	for _, unit := range []string{"K\x01", "]", "}", "(t", "U\x00", "U\x01aq\x00", "C\x01a", "ccollections\nOrderedDict\n)R", dtypeU1, array} {
		one, err := scan(strings.NewReader("\x80\x02"+unit+"."), int64(3+len(unit)), MaxMemory)
		if err != nil {
			t.Fatal(err)
		}
		n := int(MaxMemory / 64 / one.cost)
		b := []byte("\x80\x02(" + strings.Repeat(unit, n) + "l.")
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		v, err := read(b)
		runtime.GC()
		runtime.ReadMemStats(&after)
		if err != nil {
			t.Errorf("%q: %v", unit, err)
		}
		if held := int64(after.HeapAlloc) - int64(before.HeapAlloc) - int64(len(b)); held > MaxMemory/64 {
			t.Errorf("%q: %d of them hold %d bytes, charged %d", unit, n, held, MaxMemory/64)
		}
		runtime.KeepAlive(v)
		runtime.KeepAlive(b)
	}
}

func TestIntegers(t *testing.T) {
	b := []byte{1, 0xff, 2, 0, 0, 0, 0, 0x80}
	for dtype, want := range map[string][]int{
		"|u1": {1, 255, 2, 0, 0, 0, 0, 128}, "|i1": {1, -1, 2, 0, 0, 0, 0, -128}, "<u2": {0xff01, 2, 0, 0x8000}, ">i2": {0x1ff, 0x200, 0, 0x80},
		"<i4": {0x2ff01, -1 << 31}, ">u4": {0x1ff0200, 0x80}, "<i8": {-1<<63 + 0x2ff01}, ">i8": {0x1ff020000000080},
	} {
		if got, err := Integers(dtype, b); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %x, %v; want %x", dtype, got, err, want)
		}
	}
	for _, dtype := range []string{"<u8", "<f4", "u1", "|u3", "", "<i16", "?u1", "|1u"} {
		if got, err := Integers(dtype, b); err == nil {
			t.Errorf("%s: got %v, want an error", dtype, got)
		}
	}
}

func FuzzLoad(f *testing.F) {
	for _, c := range hostile {
		f.Add([]byte(c.pickle))
	}
	for _, name := range []string{"py/batches.meta", "cifar-100-python/meta", "pickles/protocol2", "pickles/protocol4", "pickles/protocol5", "pickles/scalars", "pickles/arrays"} {
		f.Add(golden(f, name))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		v, err := read(b)
		if err != nil {
			return
		}
		for _, key := range []string{"data", "labels", "mean", "label_names"} {
			value := Get(v, key)
			if a, ok := value.(*Array); ok && a.complete {
				size := int64(a.Dtype[2] - '0')
				for _, n := range a.Shape {
					size *= int64(n)
				}
				if got := int64(len(content(t, a.Data))); got != size {
					t.Errorf("%s of %v holds %d bytes", a.Dtype, a.Shape, got)
				}
			}
			_, _ = Ints(value, 1<<20)
			_, _ = Strings(value)
		}
	})
}

func ExampleLoad() {
	file := "\x80\x04}\x8c\x06labels]K\x03as."
	v, err := Load(strings.NewReader(file), int64(len(file)))
	labels, _ := Ints(Get(v, "labels"), 1<<20)
	fmt.Println(labels, err)
	// Output: [3] <nil>
}
