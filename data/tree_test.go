package data

import (
	"errors"
	"image/color"
	"os"
	"testing"
)

// firsts is the first byte of each image.
func firsts(imgs [][]byte) (v []int) {
	for _, img := range imgs {
		v = append(v, int(img[0]))
	}
	return v
}

func TestTree(t *testing.T) {
	dir := t.TempDir()
	for name, v := range map[string]uint8{"dog/10.png": 4, "dog/9.PNG": 5, "cat-b/x.png": 3, "cat/deep/er/b.png": 2, "cat/a.png": 1} {
		writeFile(t, dir+"/"+name, plain(t, 3, 2, gray(v)))
	}
	writeFile(t, dir+"/readme.txt", []byte("text"))
	writeFile(t, dir+"/dog/.hidden.png", []byte("no image"))
	writeFile(t, dir+"/.git/a.png", []byte("no image"))
	ds := open(t, dir, Options{})
	h, w, c := ds.Shape()
	equal(t, "shape", []int{ds.Len(), h, w, c}, []int{5, 2, 3, 3})
	equal(t, "classes", ds.ClassNames(), []string{"cat", "cat-b", "dog"})
	imgs, labels := images(t, ds)
	equal(t, "order", firsts(imgs), []int{1, 2, 3, 4, 5})
	equal(t, "labels", labels, []int{0, 0, 1, 2, 2})
	equal(t, "ignored", ds.(*tree).ignored, 1)

	ds = open(t, dir+"/", Options{Labels: "none", Gray: true})
	h, w, c = ds.Shape()
	equal(t, "gray shape", []int{h, w, c, ds.Classes()}, []int{2, 3, 1, 0})
	_, labels = images(t, ds)
	equal(t, "no labels", labels, []int{-1, -1, -1, -1, -1})

	// A flat folder has no labels; it may be a link, and hold links.
	flat := t.TempDir()
	for link, target := range map[string]string{flat + "/in/b.png": dir + "/cat/a.png", flat + "/link": flat + "/in"} {
		os.MkdirAll(flat+"/in", 0o755)
		if err := os.Symlink(target, link); err != nil {
			t.Fatal(err)
		}
	}
	ds = open(t, flat+"/link", Options{})
	imgs, labels = images(t, ds)
	equal(t, "flat", []any{firsts(imgs), labels, ds.Classes()}, []any{[]int{1}, []int{-1}, 0})
}

func TestTreePrefix(t *testing.T) {
	dir := t.TempDir()
	for name, v := range map[string]uint8{"sub/b_1.png": 3, "a_0.png": 1, "b_0_x.png": 2} {
		writeFile(t, dir+"/"+name, plain(t, 2, 2, gray(v)))
	}
	ds := open(t, dir, Options{Labels: "prefix"})
	imgs, labels := images(t, ds)
	equal(t, "prefix", []any{firsts(imgs), labels, ds.ClassNames()}, []any{[]int{1, 2, 3}, []int{0, 1, 1}, []string{"a", "b"}})
	writeFile(t, dir+"/c.png", plain(t, 2, 2, gray(0)))
	_, err := Open(dir, Options{Labels: "prefix"})
	wantError(t, err, dir+"/c.png", "nothing before a _")
}

func TestTreeRefuses(t *testing.T) {
	dir := t.TempDir()
	_, err := Open(dir, Options{})
	wantError(t, err, dir+": no PNG, JPEG")

	writeFile(t, dir+"/a/1.png", plain(t, 2, 2, gray(0)))
	writeFile(t, dir+"/empty/notes.txt", nil)
	_, err = Open(dir, Options{})
	wantError(t, err, dir+"/empty: a folder without images")
	open(t, dir, Options{Labels: "none"})
	os.RemoveAll(dir + "/empty")

	writeFile(t, dir+"/b.png", plain(t, 2, 2, gray(0)))
	_, err = Open(dir, Options{})
	wantError(t, err, dir+"/b.png: lies beside folders")
	os.Remove(dir + "/b.png")

	writeFile(t, dir+"/b\xff/1.png", plain(t, 2, 2, gray(0)))
	_, err = Open(dir, Options{})
	wantError(t, err, "not UTF-8")
	os.RemoveAll(dir + "/b\xff")

	if err := os.Symlink(dir+"/a", dir+"/link"); err != nil {
		t.Fatal(err)
	}
	_, err = Open(dir, Options{})
	wantError(t, err, dir+"/link: a link to a folder")
	os.Remove(dir + "/link")

	os.Mkdir(dir+"/a/folder.png", 0o755)
	open(t, dir, Options{})
	if err := os.Symlink("/dev/null", dir+"/a/null.png"); err != nil {
		t.Fatal(err)
	}
	_, err = Open(dir, Options{})
	wantError(t, err, dir+"/a/null.png: neither a file nor a link to one")
}

func TestTreeImages(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, dir+"/0.png", []byte("broken"))
	writeFile(t, dir+"/1.png", plain(t, 4, 2, color.NRGBA{10, 20, 30, 255}))
	writeFile(t, dir+"/2.png", plain(t, 2, 4, gray(9)))
	writeFile(t, dir+"/3\n.png", nil)
	huge := dir + "/4.png"
	writeFile(t, huge, nil)
	if err := os.Truncate(huge, maxFile+1); err != nil {
		t.Fatal(err)
	}
	ds := open(t, dir, Options{}) // the first readable image says the size
	img := make([]byte, 24)
	for i, want := range []string{dir + "/0.png: not a PNG", "", dir + "/2.png: 2×4 pixels, the first image has 4×2", `/3\n.png": not a PNG`, "268,435,457 bytes, want at most"} {
		_, err := ds.Image(img, i)
		if want != "" {
			wantError(t, err, want)
		} else if err != nil {
			t.Error(err)
		}
		if i != 1 && i != 2 && !errors.Is(err, ErrDamaged) {
			t.Errorf("%v is no ErrDamaged", err)
		}
	}
	ds = open(t, dir, Options{Size: 2, Crop: "center", Gray: true})
	img = make([]byte, 4)
	must[int](t)(ds.Image(img, 1))
	equal(t, "luma", img, []byte{18, 18, 18, 18})
	must[int](t)(ds.Image(img, 2))
	equal(t, "gray", img, []byte{9, 9, 9, 9})

	os.Remove(dir + "/1.png")
	os.Remove(dir + "/2.png")
	_, err := Open(dir, Options{})
	wantError(t, err, "0.png: not a PNG")
}
