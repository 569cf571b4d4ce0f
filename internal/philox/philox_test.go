package philox

import (
	"bufio"
	"encoding/binary"
	"hash/fnv"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// Known answers published with the generator.
func TestBlockPublished(t *testing.T) {
	const ones = 0xffffffff
	for _, c := range []struct {
		key       [2]uint32
		ctr, want [4]uint32
	}{
		{want: [4]uint32{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
		{[2]uint32{ones, ones}, [4]uint32{ones, ones, ones, ones}, [4]uint32{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
		{[2]uint32{0xa4093822, 0x299f31d0}, [4]uint32{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, [4]uint32{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
	} {
		if got := Block(c.key, c.ctr); got != c.want {
			t.Errorf("key %x counter %x: got %x, want %x", c.key, c.ctr, got, c.want)
		}
	}
}

// The table of counters of the package comment, field by field.
func TestStreamCounter(t *testing.T) {
	s := Stream{Seed: 0x1122334455667788, Step: 0x9abcdef01234, Image: 0x55aa55aa, Purpose: 0x0017}
	const first = 4*0x89abcdef + 2
	var got [1]uint32
	s.Words(got[:], first)
	want := Block([2]uint32{0x55667788, 0x11223344}, [4]uint32{0x89abcdef, 0x55aa55aa, 0xdef01234, 0x00179abc})
	if got[0] != want[2] {
		t.Errorf("got %08x, want %08x", got[0], want[2])
	}
}

func parse[T any](t *testing.T, fields []string, one func(string) (T, error)) []T {
	t.Helper()
	values := make([]T, len(fields))
	for i, f := range fields {
		v, err := one(f)
		if err != nil {
			t.Fatal(err)
		}
		values[i] = v
	}
	return values
}

func hex64(s string) (uint64, error)     { return strconv.ParseUint(s, 16, 64) }
func decimal64(s string) (uint64, error) { return strconv.ParseUint(s, 10, 64) }

// Every line of the pinned file.
func TestPinned(t *testing.T) {
	f, err := os.Open("testdata/draws.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	lines := 0
	for in := bufio.NewScanner(f); in.Scan(); {
		line := in.Text()
		if strings.HasPrefix(line, "#") {
			continue
		}
		lines++
		left, right, ok := strings.Cut(line, " : ")
		if !ok {
			t.Fatalf("no colon in %q", line)
		}
		args, values := strings.Fields(left), strings.Fields(right)
		kind, args := args[0], args[1:]
		var got, want []uint64
		switch kind {
		case "permutation":
			want = parse(t, values, decimal64)
			a := parse(t, args, decimal64)
			for _, v := range Permutation(a[0], a[1], int(a[2])) {
				got = append(got, uint64(v))
			}
		case "namestep":
			want = parse(t, values, hex64)
			name, err := strconv.Unquote(args[0])
			if err != nil {
				t.Fatal(err)
			}
			got = []uint64{NameStep(name)}
		case "threshold":
			want = parse(t, values, hex64)
			p := parse(t, args, hex64)[0]
			got = []uint64{uint64(Threshold(math.Float32frombits(uint32(p))))}
		default:
			want = parse(t, values, hex64)
			a := parse(t, args, decimal64)
			s := Stream{Seed: a[0], Step: a[1], Image: uint32(a[2]), Purpose: Purpose(a[3])}
			if kind == "normals-fnv" {
				got = []uint64{normalsSum(s, int(a[4]))}
			} else {
				got = pinnedDraws(t, kind, s, a[4], len(want))
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: got %x, want %x", left, got, want)
		}
	}
	if lines < 40 {
		t.Errorf("pinned file: got %d lines, want at least 40", lines)
	}
}

func normalsSum(s Stream, n int) uint64 {
	normals := make([]float32, n)
	s.Normals(normals, 0)
	h := fnv.New64a()
	for _, v := range normals {
		h.Write(binary.LittleEndian.AppendUint32(nil, math.Float32bits(v)))
	}
	return h.Sum64()
}

func pinnedDraws(t *testing.T, kind string, s Stream, first uint64, n int) []uint64 {
	got := make([]uint64, n)
	floats := make([]float32, n)
	switch kind {
	case "words":
		w := make([]uint32, n)
		s.Words(w, first)
		for i := range got {
			got[i] = uint64(w[i])
		}
	case "uniforms", "normals":
		if kind == "uniforms" {
			s.Uniforms(floats, first)
		} else {
			s.Normals(floats, first)
		}
		for i := range got {
			got[i] = uint64(math.Float32bits(floats[i]))
		}
	case "float64":
		for i := range got {
			got[i] = math.Float64bits(s.Float64(first + uint64(i)))
		}
	case "coins":
		for i := range got {
			if s.Coin(first + uint64(i)) {
				got[i] = 1
			}
		}
	default:
		t.Fatalf("unknown kind %q", kind)
	}
	return got
}

// Any part of a range holds the same draws as the whole, and nothing is written outside it.
func TestPartialRanges(t *testing.T) {
	const n = 3*chunk + 7
	rapid.Check(t, func(t *rapid.T) {
		s := Stream{
			Seed: rapid.Uint64().Draw(t, "seed"), Step: rapid.Uint64Range(0, 1<<48-1).Draw(t, "step"),
			Image: rapid.Uint32().Draw(t, "image"), Purpose: Purpose(rapid.Uint16().Draw(t, "purpose")),
		}
		base := rapid.Uint64Range(0, 1<<34-n).Draw(t, "base")
		from := rapid.IntRange(0, n).Draw(t, "from")
		to := rapid.IntRange(from, n).Draw(t, "to")
		samePart(t, "words", s.Words, base, from, to, n)
		samePart(t, "uniforms", s.Uniforms, base, from, to, n)
		samePart(t, "normals", s.Normals, base, from, to, n)
	})
}

func samePart[T comparable](t *rapid.T, name string, draw func([]T, uint64), base uint64, from, to, n int) {
	whole, part := make([]T, n), make([]T, n)
	draw(whole, base)
	draw(part[from:to], base+uint64(from))
	if !slices.Equal(part[from:to], whole[from:to]) {
		t.Fatalf("%s: elements %d to %d from %d differ from the whole", name, from, to, base)
	}
	var zero T
	for i, v := range part {
		if (i < from || i >= to) && v != zero {
			t.Fatalf("%s: element %d written outside %d to %d", name, i, from, to)
		}
	}
}

func TestUniformsOfWords(t *testing.T) {
	s := Stream{Seed: 3, Purpose: Class}
	words, uniforms := make([]uint32, 1000), make([]float32, 1000)
	s.Words(words, 5)
	s.Uniforms(uniforms, 5)
	for i, w := range words {
		if want := float64(w>>8) / (1 << 24); float64(uniforms[i]) != want {
			t.Fatalf("uniform %d of word %08x: got %v, want %v", i, w, uniforms[i], want)
		}
		if got := s.Coin(5 + uint64(i)); got != (w < 0x80000000) {
			t.Fatalf("coin of word %08x: got %v", w, got)
		}
	}
}

// Streams that differ in one field share no block; the step's high bits and the purpose stay apart in one counter word.
func TestStreamsApart(t *testing.T) {
	base := Stream{Seed: 1, Step: 1, Image: 1, Purpose: Order}
	streams := []Stream{base}
	for _, p := range []Purpose{Flip, Level, Noise, SampleNoise, Init, Class, Dropout, Dropout + 1, Dropout + 99} {
		s := base
		s.Purpose = p
		streams = append(streams, s)
	}
	for bit := range 48 {
		s := base
		s.Step ^= 1 << bit
		streams = append(streams, s)
	}
	for bit := range 32 {
		s := base
		s.Image ^= 1 << bit
		streams = append(streams, s)
	}
	for bit := range 64 {
		s := base
		s.Seed ^= 1 << bit
		streams = append(streams, s)
	}
	seen := map[[4]uint32]Stream{}
	for _, s := range streams {
		words := make([]uint32, 256)
		s.Words(words, 0)
		for b := range slices.Chunk(words, 4) {
			if other, ok := seen[[4]uint32(b)]; ok {
				t.Fatalf("%+v and %+v share block %x", s, other, b)
			}
			seen[[4]uint32(b)] = s
		}
	}
}

func TestPermutation(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(0, 5*chunk).Draw(t, "n")
		order := Permutation(rapid.Uint64().Draw(t, "seed"), rapid.Uint64Range(0, 1<<48-1).Draw(t, "epoch"), n)
		slices.Sort(order)
		if len(order) != n {
			t.Fatalf("got %d entries, want %d", len(order), n)
		}
		for i, v := range order {
			if int(v) != i {
				t.Fatalf("sorted entry %d is %d", i, v)
			}
		}
	})
}

// All 24 orders of four are equally likely: chi-square with 23 degrees of freedom, 1 in 10^6 above 71.
func TestPermutationUniform(t *testing.T) {
	const epochs = 24000
	count := map[[4]uint32]int{}
	for e := range uint64(epochs) {
		count[[4]uint32(Permutation(5, e, 4))]++
	}
	if len(count) != 24 {
		t.Fatalf("got %d orders, want 24", len(count))
	}
	var chi float64
	for _, c := range count {
		d := float64(c) - epochs/24
		chi += d * d / (epochs / 24)
	}
	if chi > 71 {
		t.Errorf("chi-square: got %.1f, want below 71", chi)
	}
}

func mustPanic(t *testing.T, want string, f func()) {
	t.Helper()
	defer func() {
		t.Helper()
		if got, _ := recover().(string); !strings.Contains(got, want) {
			t.Errorf("panic: got %q, want it to contain %q", got, want)
		}
	}()
	f()
}

func TestMisuse(t *testing.T) {
	one := make([]float32, 1)
	mustPanic(t, "philox: step:", func() { Stream{Step: 1 << 48}.Normals(one, 0) })
	mustPanic(t, "philox: elements:", func() { Stream{}.Uniforms(one, 1<<34) })
	mustPanic(t, "philox: elements:", func() { Stream{}.Float64(1 << 33) })
	mustPanic(t, "philox: elements:", func() { Stream{}.Float64(1 << 63) })
	for _, p := range []float32{-1e-9, 1, float32(math.NaN())} {
		mustPanic(t, "philox: probability:", func() { Threshold(p) })
	}
	mustPanic(t, "philox: permutation:", func() { Permutation(0, 0, -1) })
	Stream{}.Uniforms(one, 1<<34-1)
}

func TestNoAllocation(t *testing.T) {
	s := Stream{Seed: 1, Purpose: Noise}
	words, floats := make([]uint32, 301), make([]float32, 301)
	n := testing.AllocsPerRun(10, func() {
		s.Words(words, 1)
		s.Uniforms(floats, 1)
		s.Normals(floats, 1)
		s.Float64(1)
		s.Coin(1)
	})
	if n != 0 {
		t.Errorf("got %v allocations, want none", n)
	}
}
