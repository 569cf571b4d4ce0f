package data

import (
	"errors"
	"os"
	"strings"
	"testing"
)

// striped is a set without checksums: image i is full of bytes i, except where changed says so.
type striped struct {
	n       int
	names   []string
	changed map[int]byte
	label   map[int]int
	fail    error
}

func (s striped) Len() int             { return s.n }
func (s striped) Shape() (h, w, c int) { return 1, 2, 3 }
func (s striped) Classes() int         { return len(s.names) }
func (s striped) ClassNames() []string { return s.names }
func (s striped) Close() error         { return nil }
func (s striped) Image(dst []byte, i int) (int, error) {
	for j := range dst {
		dst[j] = byte(i) + s.changed[i]
	}
	return s.label[i], s.fail
}

func TestFingerprint(t *testing.T) {
	of := func(s striped) string { return must[string](t)(Fingerprint(s)) }
	base := striped{n: 1000, names: []string{"a", "b"}}
	want := of(base)
	if !strings.HasPrefix(want, "1,000 images, ") || want != of(base) {
		t.Errorf("got %q, %q", want, of(base))
	}
	for what, s := range map[string]striped{
		"other number":  {n: 999, names: base.names},
		"other names":   {n: 1000, names: []string{"a", "c"}},
		"no names":      {n: 1000},
		"first image":   {n: 1000, names: base.names, changed: map[int]byte{0: 1}},
		"last image":    {n: 1000, names: base.names, changed: map[int]byte{999: 1}},
		"a label":       {n: 1000, names: base.names, label: map[int]int{0: 1}},
		"all the order": {n: 1000, names: base.names, changed: map[int]byte{999: 100, 15: 1}},
	} {
		if of(s) == want {
			t.Errorf("%s: not told apart", what)
		}
	}
	small := of(striped{n: 3})
	for i := range 3 {
		if of(striped{n: 3, changed: map[int]byte{i: 1}}) == small {
			t.Errorf("image %d of 3 is not looked at", i)
		}
	}
	of(striped{n: 1})
	if _, err := Fingerprint(striped{n: 5, fail: os.ErrNotExist}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}

// A packed file is told apart by what its checksums cover, so by every image.
func TestFingerprintOfPack(t *testing.T) {
	a, b, c := t.TempDir()+"/a.pack", t.TempDir()+"/b.pack", t.TempDir()+"/c.pack"
	writePack(t, a, 200, 2, 2, 3, "x", "y")
	writePack(t, b, 200, 2, 2, 3, "x", "y")
	p := must[*packWriter](t)(newPackWriter(c, 2, 2, 3, []string{"x", "y"}))
	for i := range 200 {
		img := packImage(i, 12)
		if i == 1 { // none of the images that stand for a set without checksums
			img[5]++
		}
		if err := p.add(img, i%2); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(p.complete(t.Context()), p.publish()); err != nil {
		t.Fatal(err)
	}
	of := func(path string) string { return must[string](t)(Fingerprint(open(t, path, Options{}))) }
	if of(a) != of(b) || of(a) == of(c) {
		t.Errorf("got %q, %q, %q, want two alike and one other", of(a), of(b), of(c))
	}
	if gray := must[string](t)(Fingerprint(open(t, a, Options{Gray: true}))); gray == of(a) {
		t.Error("another look at the set has its fingerprint")
	}
}
