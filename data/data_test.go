package data

import (
	"bytes"
	"encoding/json"
	"errors"
	"image"
	"image/color"
	"image/png"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// must returns v, or ends the test.
func must[T any](t testing.TB) func(v T, err error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// golden reads testdata/<name>.json, which dev/golden/data.py makes.
func golden[T any](t testing.TB, name string) (cases []T) {
	t.Helper()
	if err := json.Unmarshal(must[[]byte](t)(os.ReadFile(filepath.Join("testdata", name+".json"))), &cases); err != nil {
		t.Fatal(err)
	}
	if len(cases) == 0 {
		t.Fatalf("%s: no cases", name)
	}
	return cases
}

func writeFile(t testing.TB, path string, content []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, content, 0o644); err != nil {
		t.Fatal(err)
	}
}

func pngFile(t testing.TB, img image.Image) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := png.Encode(&b, img); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// plain is a w×h PNG of one colour.
func plain(t testing.TB, w, h int, c color.Color) []byte {
	t.Helper()
	img := image.NewNRGBA(image.Rect(0, 0, w, h))
	for i := range w * h {
		img.Set(i%w, i/w, c)
	}
	return pngFile(t, img)
}

func gray(v uint8) color.Color { return color.Gray{Y: v} }

// images reads all of a set.
func images(t testing.TB, ds Dataset) (imgs [][]byte, labels []int) {
	t.Helper()
	h, w, c := ds.Shape()
	for i := range ds.Len() {
		img := make([]byte, h*w*c)
		labels = append(labels, must[int](t)(ds.Image(img, i)))
		imgs = append(imgs, img)
	}
	return imgs, labels
}

// open opens a set that the test closes.
func open(t testing.TB, path string, opt Options) Dataset {
	t.Helper()
	ds := must[Dataset](t)(Open(path, opt))
	t.Cleanup(func() {
		if err := ds.Close(); err != nil {
			t.Error(err)
		}
	})
	return ds
}

func equal(t testing.TB, what string, got, want any) {
	t.Helper()
	if d := cmp.Diff(want, got, cmp.AllowUnexported(raster{})); d != "" {
		t.Errorf("%s (-want +got):\n%s", what, d)
	}
}

// wantError demands an error that holds all of the words.
func wantError(t testing.TB, err error, words ...string) {
	t.Helper()
	if err == nil {
		t.Errorf("got no error, want one with %q", words)
		return
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("got error %q, want %q in it", err, w)
		}
	}
}

// wantPanic demands a panic that says what.
func wantPanic(t testing.TB, what string, f func()) {
	t.Helper()
	defer func() {
		t.Helper()
		if r, _ := recover().(string); !strings.Contains(r, what) {
			t.Errorf("got panic %q, want %q in it", r, what)
		}
	}()
	f()
}

func TestOptions(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, dir+"/a.png", plain(t, 4, 4, gray(1)))
	for _, c := range []struct {
		opt  Options
		want string
	}{
		{Options{Size: 4, Crop: "zoom"}, "dhariwal, center, fit or none"},
		{Options{Labels: "tags"}, "folders, prefix, none, or a table"},
		{Options{Crop: "center"}, "needs a size"},
		{Options{Size: -1}, "want 1 to 8192"},
		{Options{Size: 8193, Crop: "fit"}, "want 1 to 8192"},
	} {
		_, err := Open(dir, c.opt)
		wantError(t, err, c.want)
	}
	writeFile(t, dir+"/x.txt", []byte("some text"))
	_, err := Open(dir+"/x.txt", Options{})
	wantError(t, err, "x.txt: not a known image set", ".pack", "idx", "folder")
	if _, err := Open(dir+"/missing", Options{}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v, want not exist", err)
	}
}

func TestImageMisuse(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, dir+"/a.png", plain(t, 4, 4, gray(1)))
	ds := open(t, dir, Options{})
	wantPanic(t, "got 1, want 0 to 0", func() { ds.Image(make([]byte, 48), 1) })
	wantPanic(t, "got -1, want 0 to 0", func() { ds.Image(make([]byte, 48), -1) })
	wantPanic(t, "room for 47 bytes, want 48", func() { ds.Image(make([]byte, 47), 0) })
}

func TestComma(t *testing.T) {
	for n, want := range map[int]string{0: "0", 999: "999", 1000: "1,000", 96466944: "96,466,944", -1234: "-1,234", -123: "-123"} {
		equal(t, "comma", comma(n), want)
	}
}

func TestPrintable(t *testing.T) {
	equal(t, "plain", Printable("photos/süß 1.jpg"), "photos/süß 1.jpg")
	equal(t, "escaped", Printable("a\x1b[31m.jpg"), `"a\x1b[31m.jpg"`)
}
