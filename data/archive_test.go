package data

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// packed is a member of an archive that a test makes.
type packed struct {
	name    string
	content []byte
}

// zipFile makes a zip; change, unless nil, looks at each header.
func zipFile(t testing.TB, method uint16, members []packed, change func(*zip.FileHeader)) []byte {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for _, m := range members {
		h := &zip.FileHeader{Name: m.name, Method: method}
		if change != nil {
			change(h)
		}
		w := must[io.Writer](t)(z.CreateHeader(h))
		must[int](t)(w.Write(m.content))
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func tarFile(t testing.TB, members []packed, change func(*tar.Header)) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, m := range members {
		h := &tar.Header{Typeflag: tar.TypeReg, Name: m.name, Mode: 0o644, Size: int64(len(m.content))}
		if strings.HasSuffix(m.name, "/") {
			h.Typeflag = tar.TypeDir
		}
		if change != nil {
			change(h)
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		must[int](t)(w.Write(m.content))
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// animals is a tree whose plain order of names is not that of a walk.
func animals(t testing.TB) []packed {
	return []packed{
		{"dog/9.PNG", plain(t, 3, 2, gray(5))}, {"cat-b/x.png", plain(t, 3, 2, gray(3))}, {"cat/a.png", plain(t, 3, 2, gray(1))},
		{"notes.txt", []byte("text")}, {"cat/deep/er/b.png", plain(t, 3, 2, gray(2))}, {"dog/10.png", plain(t, 3, 2, gray(4))},
		{"dog/._10.png", []byte("hidden")}, {".git/a.png", []byte("hidden")},
	}
}

// in puts members below a folder.
func in(folder string, members []packed) (list []packed) {
	for _, m := range members {
		list = append(list, packed{folder + m.name, m.content})
	}
	return list
}

// Every form of a tree is the same set.
func TestArchiveForms(t *testing.T) {
	dir := t.TempDir()
	members := animals(t)
	for _, m := range members {
		writeFile(t, dir+"/folder/"+m.name, m.content)
	}
	writeFile(t, dir+"/stored.zip", zipFile(t, zip.Store, members, nil))
	writeFile(t, dir+"/deflated.zip", zipFile(t, zip.Deflate, members, nil))
	writeFile(t, dir+"/tree.tar", tarFile(t, members, nil))
	writeFile(t, dir+"/tree.tar.gz", zipped(tarFile(t, members, nil)))
	writeFile(t, dir+"/tree.TGZ", zipped(tarFile(t, in("./", members), nil)))
	writeFile(t, dir+"/inside.tar", tarFile(t, append([]packed{{"photos/", nil}}, in("photos/", append(members[:3:3], members[4:]...))...), nil))
	per := map[string][]packed{}
	for _, m := range members {
		if class, rest, deep := strings.Cut(m.name, "/"); deep {
			per[class] = append(per[class], packed{rest, m.content})
		}
	}
	var tars []packed
	for class, list := range per {
		tars = append(tars, packed{class + ".tar", tarFile(t, list, nil)})
		writeFile(t, dir+"/tars/"+class+".tar", tarFile(t, list, nil))
	}
	writeFile(t, dir+"/nested.tar", tarFile(t, tars, nil))

	wantImgs, wantLabels := images(t, open(t, dir+"/folder", Options{}))
	equal(t, "order", firsts(wantImgs), []int{1, 2, 3, 4, 5})
	for _, form := range []string{"stored.zip", "deflated.zip", "tree.tar", "tree.tar.gz", "tree.TGZ", "inside.tar", "tars", "nested.tar"} {
		ds := must[Dataset](t)(Open(dir+"/"+form, Options{}))
		imgs, labels := images(t, ds)
		equal(t, form, []any{firsts(imgs), labels, ds.ClassNames(), imgs}, []any{firsts(wantImgs), wantLabels, []string{"cat", "cat-b", "dog"}, wantImgs})
		if ignored := ds.(*tree).ignored; ignored != map[bool]int{true: 1}[strings.Contains(form, "tree") || strings.Contains(form, "zip")] {
			t.Errorf("%s: %d ignored", form, ignored)
		}
		if err := ds.Close(); err != nil {
			t.Error(err)
		}
	}
	must[Dataset](t)(Open(dir+"/tree.tar", Options{Labels: "none", Size: 2, Crop: "fit", Gray: true})).Close()
	_, labels := images(t, open(t, dir+"/inside.tar", Options{Labels: "none"}))
	equal(t, "no labels", labels, []int{-1, -1, -1, -1, -1})
}

// What unpacking left behind is gone at once.
func TestArchiveTemporary(t *testing.T) {
	dir, tmp := t.TempDir(), t.TempDir()
	t.Setenv("TMPDIR", tmp)
	writeFile(t, dir+"/tree.tar.gz", zipped(tarFile(t, animals(t), nil)))
	ds := open(t, dir+"/tree.tar.gz", Options{})
	equal(t, "temporary files", contents(t, tmp), []string(nil))
	equal(t, "length", ds.Len(), 5)
	t.Setenv("TMPDIR", tmp+"/missing")
	_, err := Open(dir+"/tree.tar.gz", Options{})
	wantError(t, err, "no such file")
}

// cancelling ends a context when it is read.
type cancelling struct {
	io.Reader
	cancel func()
}

func (c cancelling) Read(b []byte) (int, error) {
	c.cancel()
	return c.Reader.Read(b)
}

// Unpacking a compressed tar, which may take minutes, is given up when the import is.
func TestUnpackingStopped(t *testing.T) {
	noise := make([]byte, 4<<20)
	rand.NewChaCha8([32]byte{}).Read(noise)
	gz := zipped(noise)
	ctx, cancel := context.WithCancel(context.Background())
	r := bytes.NewReader(gz)
	_, err := unpackGzip(ctx, cancelling{r, cancel}, int64(len(gz)))
	if err != context.Canceled || r.Len() < len(gz)/2 {
		t.Errorf("got %v, %d of %d bytes not read; want context.Canceled at once", err, r.Len(), len(gz))
	}
	path := t.TempDir() + "/a.tar.gz"
	writeFile(t, path, gz[:len(gz)-9])
	if _, err = Import(ctx, path, path+".pack", ImportOptions{}, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("import: got %v, want context.Canceled", err)
	}
}

func TestEDMZip(t *testing.T) {
	dir := t.TempDir()
	members := []packed{
		{"00000/img00000001.png", plain(t, 2, 2, gray(8))}, {"00000/img00000000.png", plain(t, 2, 2, gray(7))}, {"00000/img00000002.png", plain(t, 2, 2, gray(9))},
	}
	table := func(json string) []packed { return append(members[:3:3], packed{"dataset.json", []byte(json)}) }
	labels := `{"labels": [["00000/img00000000.png", 3], ["00000/img00000001.png", 0], ["00000/img00000002.png", 3]]}`
	for _, method := range []uint16{zip.Store, zip.Deflate} {
		writeFile(t, dir+"/a.zip", zipFile(t, method, table(labels), nil))
		ds := open(t, dir+"/a.zip", Options{})
		imgs, got := images(t, ds)
		equal(t, "images", []any{firsts(imgs), got, ds.ClassNames()}, []any{[]int{7, 8, 9}, []int{3, 0, 3}, []string{"0", "1", "2", "3"}})
		equal(t, "ignored", ds.(*tree).ignored, 0)
	}
	for _, m := range table(labels) {
		writeFile(t, dir+"/folder/"+m.name, m.content)
	}
	_, got := images(t, open(t, dir+"/folder", Options{}))
	equal(t, "folder", got, []int{3, 0, 3})

	// Packed with its folder: the table lies there, its paths begin there.
	flat := []packed{{"1.png", plain(t, 2, 2, gray(1))}, {"2.png", plain(t, 2, 2, gray(2))}, {"dataset.json", []byte(`{"labels": [["1.png", 1], ["2.png", 0]]}`)}}
	for name, file := range map[string][]byte{
		"below.zip": zipFile(t, zip.Store, in("edm/", table(labels)), nil), "below.tar": tarFile(t, in("edm/", table(labels)), nil),
		"flat.tar": tarFile(t, in("edm/", flat), nil),
	} {
		writeFile(t, dir+"/"+name, file)
		ds := open(t, dir+"/"+name, Options{})
		_, got := images(t, ds)
		want := map[bool][]int{true: {1, 0}, false: {3, 0, 3}}[name == "flat.tar"]
		equal(t, name, []any{got, ds.(*tree).ignored}, []any{want, 0})
	}
	writeFile(t, dir+"/beside.zip", zipFile(t, zip.Store, append(in("edm/", table(labels)), in("more/", members)...), nil))
	ds := open(t, dir+"/beside.zip", Options{})
	equal(t, "two folders", []any{ds.ClassNames(), ds.(*tree).ignored}, []any{[]string{"edm", "more"}, 1})
	writeFile(t, dir+"/wrong.zip", zipFile(t, zip.Store, in("edm/", table(`{"labels": [["edm/00000/img00000000.png", 3]]}`)), nil))
	_, err := Open(dir+"/wrong.zip", Options{})
	wantError(t, err, dir+"/wrong.zip/edm/dataset.json: 3 of 3 images have no entry: 00000/img00000000.png")

	writeFile(t, dir+"/null.zip", zipFile(t, zip.Store, table(`{"labels": null}`), nil))
	ds = open(t, dir+"/null.zip", Options{})
	equal(t, "null", []int{ds.Classes(), ds.Len()}, []int{0, 3})

	writeFile(t, dir+"/short.zip", zipFile(t, zip.Store, table(`{"labels": [["00000/img00000000.png", 3]]}`), nil))
	_, err = Open(dir+"/short.zip", Options{})
	wantError(t, err, dir+"/short.zip/dataset.json: 2 of 3 images have no entry: 00000/img00000001.png, 00000/img00000002.png\n  to go by folders, take the file away")
	open(t, dir+"/short.zip", Options{Labels: "none"})
}

func TestArchiveRefuses(t *testing.T) {
	dir := t.TempDir()
	picture := plain(t, 3, 2, gray(1))
	refuse := func(name string, file []byte, words ...string) {
		t.Helper()
		path := filepath.Join(dir, name)
		writeFile(t, path, file)
		ds, err := Open(path, Options{})
		if err == nil {
			ds.Close()
		}
		wantError(t, err, append(words, dir+"/"+name)...)
	}
	for _, name := range []string{"../a.png", "/a.png", "a/../../b.png", "a/../b.png", `a\b.png`, "..", "x/..", "a\x00.png"} {
		members := []packed{{"ok.png", picture}, {name, picture}}
		refuse("bad.zip", zipFile(t, zip.Store, members, nil), "its name leaves the archive")
		if !strings.Contains(name, "\x00") {
			refuse("bad.tar", tarFile(t, members, nil), "its name leaves the archive")
		}
	}
	twice := []packed{{"a.png", picture}, {"./a.png", picture}}
	refuse("twice.tar", tarFile(t, twice, nil), "member a.png: two of this name")
	refuse("twice.zip", zipFile(t, zip.Store, []packed{twice[0], twice[0]}, nil), "member a.png: two of this name")
	refuse("none.zip", zipFile(t, zip.Store, []packed{{"a.txt", nil}, {"a.tar", nil}}, nil), "no PNG, JPEG")
	refuse("none.tar", tarFile(t, nil, nil), "no PNG, JPEG")
	refuse("deep.tar", tarFile(t, []packed{{"a.tar", tarFile(t, []packed{{"b.tar", nil}}, nil)}}, nil), "no PNG, JPEG")
	refuse("broken.tar", []byte(strings.Repeat("x", 2048)), "header")
	refuse("broken.tar.gz", []byte("x"), "EOF")
	refuse("inner.tar", tarFile(t, []packed{{"n01.tar", []byte(strings.Repeat("x", 2048))}}, nil), "inner.tar/n01.tar: ")
	refuse("link.zip", zipFile(t, zip.Store, twice[:1], func(h *zip.FileHeader) { h.SetMode(os.ModeSymlink | 0o777) }), "member a.png: a link or a device")
	refuse("secret.zip", zipFile(t, zip.Store, twice[:1], func(h *zip.FileHeader) { h.Flags |= 1 }), "member a.png: encrypted")
	for _, kind := range []byte{tar.TypeSymlink, tar.TypeLink, tar.TypeChar, tar.TypeFifo} {
		refuse("link.tar", tarFile(t, []packed{{"a.png", nil}}, func(h *tar.Header) { h.Typeflag, h.Linkname = kind, "b" }), "member a.png: a link, a device")
	}

	whole := zipFile(t, zip.Store, animals(t), nil)
	refuse("cut.zip", whole[:len(whole)-30], "a zip that was cut")
	wholeTar := tarFile(t, []packed{{"a.png", make([]byte, 5000)}}, nil)
	refuse("cut.tar", wholeTar[:3000], "cut.tar: ")
	gz := zipped(tarFile(t, animals(t), nil))
	refuse("cut.tar.gz", gz[:len(gz)-9], "unpacking: ")

	// Bombs: one that is unpacked, one member, and one that is the sum of members.
	zeros := make([]byte, 30<<20)
	refuse("bomb.tar.gz", zipped(tarFile(t, []packed{{"a.png", zeros}}, nil)), "at most 200 times as much is believed")
	refuse("bomb.zip", zipFile(t, zip.Deflate, []packed{{"a.png", zeros}}, nil), "at most 200 times as much is believed")

	// Damage to a member is the member's, whatever its method.
	for _, method := range []uint16{zip.Store, zip.Deflate} {
		file := zipFile(t, method, []packed{{"a.png", picture}, {"b.png", bytes.Repeat([]byte("0123456789"), 20)}}, nil)
		file[bytes.Index(file, []byte("b.png"))+5+8] ^= 0x20
		writeFile(t, dir+"/damaged.zip", file)
		ds := open(t, dir+"/damaged.zip", Options{})
		must[int](t)(ds.Image(make([]byte, 18), 0))
		_, err := ds.Image(make([]byte, 18), 1)
		wantError(t, err, "damaged.zip/b.png: ", "zip")
		if !errors.Is(err, ErrDamaged) {
			t.Errorf("%v is no ErrDamaged", err)
		}
	}
}

func TestBudget(t *testing.T) {
	b := budget{packed: 1 << 40, names: map[string]bool{}}
	if err := b.take("a", maxUnpack); err != nil {
		t.Error(err)
	}
	wantError(t, b.take("b", 1), "more than 4,398,046,511,104 bytes")
	wantError(t, b.take("c", -1), "impossible size")
	b.n = maxMembers
	wantError(t, b.take("d", 0), "more than 16,777,216 members")
}

// fuzzTree opens what a fuzzer made of an archive and reads all of it.
func fuzzTree(t *testing.T, add func(l *listing) error) {
	l := &listing{archive: true}
	if err := add(l); err != nil {
		if !errors.Is(err, ErrDamaged) && !strings.Contains(err.Error(), "encrypted") {
			t.Errorf("%v is no ErrDamaged", err)
		}
		return
	}
	l.sort()
	if !slices.IsSortedFunc(l.images, func(a, b entry) int {
		return slices.Compare(strings.Split(a.name, "/"), strings.Split(b.name, "/"))
	}) {
		t.Error("not sorted")
	}
	for _, e := range l.images {
		if !filepath.IsLocal(e.name) || strings.Contains(e.name, "..") && strings.Contains("/"+e.name+"/", "/../") {
			t.Errorf("name %q", e.name)
		}
		if b, err := e.read(); err != nil && !errors.Is(err, ErrDamaged) || len(b) > maxFile {
			t.Errorf("%s: %d bytes, %v", e.name, len(b), err)
		}
	}
}

func FuzzZip(f *testing.F) {
	small := []packed{{"a/1.png", []byte("one")}, {"b/2.png", bytes.Repeat([]byte("two"), 30)}, {"dataset.json", []byte("{}")}}
	f.Add(zipFile(f, zip.Store, small, nil))
	f.Add(zipFile(f, zip.Deflate, small, nil))
	f.Add([]byte("PK\x05\x06"))
	f.Fuzz(func(t *testing.T, file []byte) {
		fuzzTree(t, func(l *listing) error { return l.addZip(bytes.NewReader(file), int64(len(file))) })
	})
}

func FuzzTar(f *testing.F) {
	small := []packed{{"a/1.png", []byte("one")}, {"b/", nil}, {"b/2.png", bytes.Repeat([]byte("two"), 300)}}
	f.Add(tarFile(f, small, nil))
	f.Add(tarFile(f, []packed{{fmt.Sprintf("%0200d.png", 1), []byte("long")}, {"n1.tar", tarFile(f, small, nil)}}, nil))
	f.Add(tarFile(f, []packed{{"a.png", nil}}, func(h *tar.Header) { h.Typeflag, h.Linkname = tar.TypeSymlink, "x" }))
	f.Fuzz(func(t *testing.T, file []byte) {
		fuzzTree(t, func(l *listing) error {
			if err := l.addTar(bytes.NewReader(file), int64(len(file)), ""); err != nil {
				return err
			}
			return l.expand("")
		})
	})
}
