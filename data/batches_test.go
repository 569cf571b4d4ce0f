package data

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"
)

// set is what dev/golden/sets.py expects of a path.
type set struct {
	Path   string
	Shape  [4]int // (N,H,W,C)
	Labels []int
	Names  []string
	SHA256 string
}

const sets = "testdata/sets/"

func TestSets(t *testing.T) {
	for _, want := range golden[set](t, "sets/expected") {
		for _, path := range []string{sets + want.Path, imported(t, sets+want.Path)} {
			ds := open(t, path, Options{})
			h, w, c := ds.Shape()
			equal(t, path+": shape", [4]int{ds.Len(), h, w, c}, want.Shape)
			equal(t, path+": names", ds.ClassNames(), want.Names)
			imgs, labels := images(t, ds)
			equal(t, path+": labels", labels, want.Labels)
			sum := sha256.Sum256(bytes.Join(imgs, nil))
			equal(t, path+": images", hex.EncodeToString(sum[:]), want.SHA256)
			bad, err := Verify(context.Background(), ds, nil)
			if err != nil || bad != nil {
				t.Errorf("%s: verify: %v, %v", path, bad, err)
			}
		}
	}
}

// imported packs a set.
func imported(t *testing.T, src string) string {
	dst := t.TempDir() + "/x.pack"
	must[Report](t)(Import(context.Background(), src, dst, ImportOptions{}, nil))
	return dst
}

func TestSetsOptions(t *testing.T) {
	for _, path := range []string{"cifar-10-binary.tar.gz", "cifar-100-python", "pickles/protocol3", "imagenet-npz", "stored.npz", "images.npy"} {
		ds := open(t, sets+path, Options{Size: 4, Crop: "fit", Gray: true, Labels: "none"})
		h, w, c := ds.Shape()
		equal(t, path, []int{h, w, c, ds.Classes()}, []int{4, 4, 1, 0})
		_, labels := images(t, ds)
		equal(t, path, labels[0], -1)
		equal(t, path, len(Notes(ds)) > 0, path == "imagenet-npz")
		_, err := Open(sets+path, Options{Labels: "prefix"})
		wantError(t, err, "labels by prefix or from a table are for a folder or an archive of images")
	}
}

func TestNotes(t *testing.T) {
	const fromOne = "labels 1 to 5 count from 1, as in the downsampled ImageNet; class 0 is the one called 1"
	equal(t, "one batch", Notes(open(t, sets+"pickles/protocol4", Options{})), []string{fromOne})
	equal(t, "folder", Notes(open(t, sets+"imagenet-pickle", Options{Size: 4, Crop: "fit"})), []string{fromOne, "batches: 3; the whole downsampled ImageNet has 10"})
	for _, path := range []string{"stored.npz", "cifar-10-python.tar.gz", "cifar-100-binary/test.bin", "py/test_batch"} {
		equal(t, path, Notes(open(t, sets+path, Options{})), []string(nil))
	}
	pixels := npyOf("|u1", "False", "(2, 2, 2, 3)", count(24))
	numbers := func(a, b byte) []byte {
		return npyOf("<i8", "False", "(2,)", append([]byte{a, 7: 0, 8: b}, make([]byte, 7)...))
	}
	dir := put(t, map[string][]byte{
		"data.npz": npz(t, zip.Store, "data.npy", pixels, "labels.npy", numbers(1, 3)),
		"zero.npz": npz(t, zip.Store, "data.npy", pixels, "labels.npy", numbers(0, 3)),
		"arr.npz":  npz(t, zip.Store, "arr_0.npy", pixels, "arr_1.npy", numbers(1, 3)), // samples of one class may be all of class 1
	})
	for name, want := range map[string]struct {
		notes   []string
		classes []string
		labels  []int
	}{
		"data.npz": {[]string{"labels 1 to 3 count from 1, as in the downsampled ImageNet; class 0 is the one called 1"}, []string{"1", "2", "3"}, []int{0, 2}},
		"zero.npz": {nil, []string{"0", "1", "2", "3"}, []int{0, 3}},
		"arr.npz":  {nil, []string{"0", "1", "2", "3"}, []int{1, 3}},
	} {
		ds := open(t, dir+"/"+name, Options{})
		_, labels := images(t, ds)
		equal(t, name, []any{Notes(ds), ds.ClassNames(), labels}, []any{want.notes, want.classes, want.labels})
	}
	dst := t.TempDir() + "/x.pack"
	r := must[Report](t)(Import(context.Background(), sets+"pickles/protocol4", dst, ImportOptions{Gray: true}, nil))
	equal(t, "report", r.Notes, []string{fromOne})
}

// put writes files under names with slashes into a new folder.
func put(t testing.TB, content map[string][]byte) string {
	dir := t.TempDir()
	for name, b := range content {
		writeFile(t, dir+"/"+name, b)
	}
	return dir
}

// records are n of CIFAR's records after lead bytes of label.
func records(lead, n int, label byte) []byte {
	one := append(bytes.Repeat([]byte{label}, lead), count(3072)...)
	return bytes.Repeat(one, n)
}

// refused is content whose path, below a folder, Open must refuse.
type refused struct {
	files map[string][]byte
	path  string
	want  string
}

func (c refused) check(t *testing.T) {
	t.Helper()
	dir := put(t, c.files)
	_, err := Open(dir+"/"+c.path, Options{})
	wantError(t, err, dir+"/", c.want)
}

func TestCifarRefuses(t *testing.T) {
	file := func(name string) []byte { return must[[]byte](t)(os.ReadFile(sets + name)) }
	five := func() map[string][]byte {
		m := map[string][]byte{}
		for _, name := range cifars[1].train {
			m[name] = records(1, 2, 3)
		}
		return m
	}
	with := func(name string, b []byte) map[string][]byte {
		m := five()
		if m[name] = b; b == nil {
			delete(m, name)
		}
		return m
	}
	for _, c := range []refused{
		{with("data_batch_4.bin", nil), "", "data_batch_4.bin: missing"},
		{with("data_batch_4.bin", records(1, 2, 10)), "", "data_batch_4.bin: image 0 of 2: label 10, want 0 to 9"},
		{with("data_batch_4.bin", cut(records(1, 2, 3), 1)), "", "data_batch_4.bin: 6,145 bytes, want records of 3,073; 3,072 are left over"},
		{with("data_batch_4.bin", []byte{}), "", "data_batch_4.bin: 0 bytes"},
		{with("batches.meta.txt", []byte("cat\ndog\n")), "", "batches.meta.txt: 2 names of classes, want 10"},
		{with("batches.meta.txt", []byte(strings.Repeat("\xff\n", 10))), "", `class name "\xff" is not UTF-8`},
		{with("batches.meta.txt", bytes.Repeat([]byte("a"), 70000)), "", "want at most 65,536"},
		{map[string][]byte{"test.bin": records(2, 1, 100)}, "test.bin", "label 100, want 0 to 99"},
		{map[string][]byte{"test_batch": file("py/batches.meta")}, "test_batch", "got <nil> under data"},
		{map[string][]byte{"test_batch": file("cifar-100-python/train")}, "test_batch", "nothing under labels"},
		{map[string][]byte{"test_batch": file("pickles/protocol3")}, "test_batch", "images of 8×8×3, CIFAR's have 32×32×3"},
		{map[string][]byte{"test_batch": cut(file("py/test_batch"), 9000)}, "test_batch", "pickle: a string of 9216 bytes, and"},
		{map[string][]byte{"test_batch": file("py/test_batch"), "batches.meta": file("cifar-100-python/meta")}, "test_batch", "batches.meta: label_names: got <nil>"},
		{map[string][]byte{"x.tar.gz": tarGz(t, tarred("a/readme", 0, []byte("hello")))}, "x.tar.gz", "no PNG, JPEG, GIF, BMP, TIFF or WebP images in it"},
		{map[string][]byte{"x.tar.gz": tarGz(t, tarred("a/data_batch_1.bin", 0, records(1, 1, 0)))}, "x.tar.gz", "no a/data_batch_2.bin in it"},
		{map[string][]byte{"x.tar.gz": cut(file("cifar-10-binary.tar.gz"), 5)}, "x.tar.gz", "unexpected EOF"},
		{map[string][]byte{"x.tar.gz": flip(file("cifar-10-binary.tar.gz"), -8)}, "x.tar.gz", "checksum"},
	} {
		c.check(t)
	}
}

// tarEntry is a member of an archive.
type tarEntry struct {
	header  tar.Header
	content []byte
}

func tarred(name string, kind byte, content []byte) tarEntry {
	return tarEntry{tar.Header{Name: name, Typeflag: kind, Size: int64(len(content)), Mode: 0o644}, content}
}

func tarGz(t testing.TB, entries ...tarEntry) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	for _, e := range entries {
		if e.header.Typeflag == tar.TypeSymlink {
			e.header.Linkname = "/etc/passwd"
		}
		if err := w.WriteHeader(&e.header); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(e.content); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(w.Close(), z.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// npyOf is an npy file.
// sparse is an archive with a file that has a hole. The library does not write one, so an extended header is made of a file.
func sparse(t *testing.T) []byte {
	records := ""
	for _, r := range []string{"GNU.sparse.major=0", "GNU.sparse.minor=1", "GNU.sparse.size=512", "GNU.sparse.numblocks=1", "GNU.sparse.map=509,3"} {
		records += fmt.Sprintf("%d %s\n", len(r)+4, r)
	}
	raw := unzipped(t, tarGz(t, tarred("x", 0, []byte(records)), tarred("a/data_batch_1", 0, []byte("abc"))))
	sum := 8 * int(' ') // the checksum's own place
	raw[156] = tar.TypeXHeader
	for i, b := range raw[:512] {
		if i < 148 || i >= 156 {
			sum += int(b)
		}
	}
	copy(raw[148:], fmt.Sprintf("%06o\x00 ", sum))
	return raw
}

func TestSparseTar(t *testing.T) {
	refused{map[string][]byte{"x.tar": sparse(t)}, "x.tar", "member a/data_batch_1: a file with holes"}.check(t)
}

func npyOf(dtype, order, shape string, content []byte) []byte {
	head := "{'descr': '" + dtype + "', 'fortran_order': " + order + ", 'shape': " + shape + ", }\n"
	b := append([]byte("\x93NUMPY\x01\x00"), byte(len(head)), byte(len(head)>>8))
	return append(append(b, head...), content...)
}

// npz is an archive of stored members.
func npz(t testing.TB, method uint16, members ...any) []byte {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for i := 0; i < len(members); i += 2 {
		w := must[interface{ Write([]byte) (int, error) }](t)(z.CreateHeader(&zip.FileHeader{Name: members[i].(string), Method: method}))
		w.Write(members[i+1].([]byte))
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestNumpyRefuses(t *testing.T) {
	good := npyOf("|u1", "False", "(2, 2, 2, 3)", count(24))
	labels := npyOf("<i8", "False", "(2,)", make([]byte, 16))
	planes := npyOf("|u1", "False", "(2, 12)", count(24))
	one := func(name string, b []byte) map[string][]byte { return map[string][]byte{name: b} }
	for _, c := range []refused{
		{one("x.npy", npyOf("<f4", "False", "(1, 1, 2, 3)", count(24))), "x.npy", "images of type <f4, want uint8"},
		{one("x.npy", npyOf("<i8", "False", "(1, 1, 1, 3)", count(24))), "x.npy", "images of type <i8, want uint8"},
		{one("x.npy", npyOf("|u1", "True", "(2, 2, 2, 3)", count(24))), "x.npy", "Fortran order; write numpy.ascontiguousarray"},
		{one("x.npy", npyOf("|u1", "False", "(2, 3, 2, 2)", count(24))), "x.npy", "shape [2 3 2 2], want (N,H,W,C) with 1 or 3 channels behind"},
		{one("x.npy", npyOf("|u1", "False", "(2, 2, 2)", count(8))), "x.npy", "want (N,H,W,C)"},
		{one("x.npy", npyOf("|u1", "False", "(2, 12)", count(24))), "x.npy", "shape [2 12], want (N,H,W,C) with 1 or 3"},
		{one("x.npz", npz(t, zip.Store, "arr_0.npy", planes)), "x.npz", "shape [2 12], want (N,H,W,C) with 1 or 3"},
		{one("x.npz", npz(t, zip.Store, "data.npy", npyOf("|u1", "False", "(2, 10)", count(20)))), "x.npz", "want (N, 3·S·S)"},
		{one("x.npz", npz(t, zip.Store, "data.npy", npyOf("|u1", "False", "(2, 2, 2)", count(8)))), "x.npz", "pixels, or (N, 3·S·S)"},
		{one("x.npy", npyOf("|u1", "False", "(0, 2, 2, 3)", nil)), "x.npy", "impossible shape"},
		{one("x.npy", npyOf("|u1", "False", "(-1, 2, 2, 3)", nil)), "x.npy", "impossible shape"},
		{one("x.npy", npyOf("|u1", "False", "(2147483647, 2147483647, 2147483647, 3)", nil)), "x.npy", "want at most 67,108,864"},
		{one("x.npy", npyOf("|u1", "False", "(9000000000, 1, 1, 3)", nil)), "x.npy", "impossible shape"},
		{one("x.npy", cut(good, 1)), "x.npy", "23 bytes of images, want 2·12 for shape [2 2 2 3]"},
		{one("x.npy", append(good[:len(good):len(good)], 0)), "x.npy", "25 bytes of images, want 2·12"},
		{one("x.npy", good[:30]), "x.npy", "not a NumPy file"},
		{one("x.npy", good[:9]), "x.npy", "shorter than its header"},
		{one("x.npy", []byte("\x93NUMPY\x02\x00\xff\xff\xff\xff{")), "x.npy", "a header of 4294967295 bytes"},
		{one("x.npy", bytes.ReplaceAll(good, []byte("\n"), []byte(" "))), "x.npy", "its header cannot be read"},
		{one("x.npy", bytes.Replace(good, []byte("}"), []byte("{"), 1)), "x.npy", "its header cannot be read"},
		{one("x.npz", npz(t, zip.Store, "images.npy", good)), "x.npz", "neither an array arr_0 in it nor one called data"},
		{one("x.npz", npz(t, zip.Store, "arr_0.npy", good, "arr_0.npy", good)), "x.npz", "arr_0.npy: there are two of it"},
		{one("x.npz", npz(t, zip.Store, "data.npy", planes)), "x.npz", "no array labels in it; add it, or take no labels"},
		{one("x.npz", npz(t, zip.Store, "arr_0.npy", good, "arr_1.npy", good)), "x.npz", "arr_1.npy: got labels of shape [2 2 2 3], want (2)"},
		{one("x.npz", npz(t, zip.Store, "arr_0.npy", good, "arr_1.npy", npyOf("<f4", "False", "(2,)", make([]byte, 8)))), "x.npz", "labels: type: got <f4, want integers"},
		{one("x.npz", npz(t, zip.Store, "arr_0.npy", good, "arr_1.npy", cut(labels, 8))), "x.npz", "got 1 labels, want 2"},
		{one("x.npz", npz(t, zip.Deflate, "arr_0.npy", good, "arr_1.npy", npyOf("<i8", "False", "(2,)", make([]byte, 1<<22)))), "x.npz", "got 4,194,304 bytes for 2 labels"},
		{one("x.npz", npz(t, zip.Store, "arr_0.npy", good, "arr_1.npy", npyOf("|u1", "False", "(2,)", make([]byte, 9)))), "x.npz", "got 9 labels, want 2"},
		{one("x.npz", npz(t, zip.Store, "arr_0.npy", good, "arr_1.npy", npyOf("|i1", "False", "(2,)", []byte{0, 0xff}))), "x.npz", "x.npz: arr_1.npy: image 1 of 2: label -1, want 0 to"},
		{one("x.npz", npz(t, zip.Store, "arr_0.npy", good, "arr_1.npy", npyOf("<i8", "False", "(2,)", bytes.Repeat([]byte{0x7f}, 16)))), "x.npz", "label 9187201950435737471, want 0 to"},
		{one("x.npz", npz(t, zip.Deflate, "arr_0.npy", cut(good, 1))), "x.npz", "arr_0.npy: 23 bytes of images"},
		{one("x.npz", flip(npz(t, zip.Deflate, "arr_0.npy", good), 60)), "x.npz", "arr_0.npy"},
		{one("x.npz", crowd(t)), "x.npz", "too many files in it"},
		{one("x.npz", cut(npz(t, zip.Store, "arr_0.npy", good), 1)), "x.npz", "zip"},
		{one("x.pkl", []byte("\x80\x04cos\nsystem\n")), "x.pkl", `it calls "os.system"`},
		{one("x.pkl", []byte("\x80\x04N.")), "x.pkl", "got <nil> under data"},
		{one("train_data_batch_2.npz", npz(t, zip.Store, "data.npy", planes)), "", "/train_data_batch_1: missing; there are batches up to 2"},
		{map[string][]byte{
			"train_data_batch_1.npz": npz(t, zip.Store, "data.npy", planes, "labels.npy", labels),
			"train_data_batch_2.npz": npz(t, zip.Store, "data.npy", npyOf("|u1", "False", "(2, 27)", count(54)), "labels.npy", labels),
		}, "", "train_data_batch_2.npz: data.npy: images of 3×3×3, those of"},
		{map[string][]byte{
			"train_data_batch_1.npz": npz(t, zip.Store, "arr_0.npy", good),
			"train_data_batch_2.npz": npz(t, zip.Store, "data.npy", planes, "labels.npy", labels),
		}, "", "labels in one of it and"},
	} {
		c.check(t)
	}
}

// crowd is an archive of very many files.
func crowd(t testing.TB) []byte {
	var members []any
	for range 20000 {
		members = append(members, strings.Repeat("x", 60), []byte(nil))
	}
	return npz(t, zip.Store, members...)
}

// Members that lie about their sizes are refused before anything is made for them.
func TestNpzLies(t *testing.T) {
	good := npz(t, zip.Deflate, "arr_0.npy", npyOf("|u1", "False", "(2, 2, 2, 3)", count(24)))
	dir := bytes.LastIndex(good, []byte("PK\x01\x02"))
	for want, change := range map[string]struct {
		at int
		to []byte
	}{
		"4,294,967,294 bytes from": {dir + 24, []byte{0xfe, 0xff, 0xff, 0xff}}, // uncompressed
		"method 12":                {dir + 10, []byte{12, 0}},
		"flags 9":                  {dir + 8, []byte{9, 0}}, // encrypted
	} {
		b := bytes.Clone(good)
		copy(b[change.at:], change.to)
		_, err := Open(put(t, map[string][]byte{"x.npz": b})+"/x.npz", Options{})
		wantError(t, err, "x.npz: arr_0.npy: ", want)
	}
}

// A stored array is read where it lies, so verify and import alone compare its checksum; a deflated one is compared at once.
func TestNpzChecksum(t *testing.T) {
	good := npz(t, zip.Store, "arr_0.npy", npyOf("|u1", "False", "(2, 2, 2, 3)", count(24)))
	at := bytes.Index(good, count(24))
	path := put(t, map[string][]byte{"x.npz": flip(good, at+3)}) + "/x.npz"
	bad := must[[]BadImage](t)(Verify(context.Background(), open(t, path, Options{}), nil))
	if len(bad) != 1 || bad[0].Index != 0 || !strings.Contains(bad[0].Error, "x.npz: arr_0.npy: checksum of its 2 images") {
		t.Errorf("got %v", bad)
	}
	out := t.TempDir()
	for _, o := range []ImportOptions{{}, {Size: 1, Crop: "fit"}, {BadImages: BadSkip, MaxBad: 1}} {
		_, err := Import(context.Background(), path, out+"/x.pack", o, nil)
		wantError(t, err, "x.npz: arr_0.npy: checksum of its 2 images")
		if !errors.Is(err, ErrDamaged) {
			t.Errorf("%v is no ErrDamaged", err)
		}
	}
	equal(t, "imported", contents(t, out), []string(nil))
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := open(t, path, Options{}).(*batches).checkSums(ctx); err != context.Canceled {
		t.Errorf("stopped: got %v", err)
	}
	packed := npz(t, zip.Deflate, "arr_0.npy", npyOf("|u1", "False", "(2, 2, 2, 3)", count(24)))
	sum := bytes.LastIndex(packed, []byte("PK\x01\x02")) + 16
	_, err := Open(put(t, map[string][]byte{"x.npz": flip(packed, sum)})+"/x.npz", Options{})
	wantError(t, err, "x.npz: arr_0.npy: zip: checksum error")
}

// Deflated arrays that do not fit are read one after the other by an import, and refused elsewhere.
func TestInflated(t *testing.T) {
	files := map[string][]byte{}
	var want []byte
	for _, name := range []string{"a.npz", "b.npz", "c.npz"} {
		pix := count(24)
		pix[0] = name[0]
		want = append(want, pix...)
		files[name] = npz(t, zip.Deflate, "arr_0.npy", npyOf("|u1", "False", "(2, 2, 2, 3)", pix))
	}
	dir := put(t, files)
	names := []string{dir + "/a.npz", dir + "/b.npz", dir + "/c.npz"}
	size := int64(len(npyOf("|u1", "False", "(2, 2, 2, 3)", count(24))))
	for room, inOrder := range map[int64]bool{3 * size: false, 3*size - 1: true, size: true} {
		b, err := openBatches(dir, names, Options{inOrder: inOrder}, room)
		if err != nil {
			t.Fatal(err)
		}
		for range 2 { // and back to the beginning
			imgs, _ := images(t, b)
			equal(t, "images", bytes.Join(imgs, nil), want)
		}
		pool := b.parts[0].r.(*deflated).pool
		held := int64(0)
		for _, d := range pool.all {
			held += int64(len(d.data))
		}
		equal(t, "held", []int64{held, pool.held}, []int64{room / size * size, room / size * size})
		b.Close()
	}
	_, err := openBatches(dir, names, Options{}, 3*size-1)
	wantError(t, err, dir+": ", "bytes when decompressed, and at most", "\n  make a packed set of it, which is read in place: ict data import "+dir)
	_, err = openBatches(dir, names, Options{inOrder: true}, size-1)
	wantError(t, err, "a.npz: arr_0.npy: ", "write it with numpy.savez")
}

// A file that is cut while it is open is named.
func TestCutWhileOpen(t *testing.T) {
	path := put(t, map[string][]byte{"test_batch.bin": records(1, 3, 1)}) + "/test_batch.bin"
	ds := open(t, path, Options{})
	if err := os.Truncate(path, 3073*2+100); err != nil {
		t.Fatal(err)
	}
	img := make([]byte, 3072)
	must[int](t)(ds.Image(img, 1))
	_, err := ds.Image(img, 2)
	wantError(t, err, path+": image 2 of 3: the file was cut after it was opened")
	if !errors.Is(err, ErrDamaged) {
		t.Errorf("%v is no ErrDamaged", err)
	}
}

// fuzzOpen opens files under a name, as they are and without labels, and reads what can be read.
func fuzzOpen(t *testing.T, name string, file []byte) {
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, file, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, labels := range []string{"", "none"} {
		ds, err := Open(path, Options{Labels: labels})
		if err != nil {
			continue
		}
		h, w, c := ds.Shape()
		img := make([]byte, h*w*c)
		for i := range min(ds.Len(), 10) {
			if label, err := ds.Image(img, i); err != nil || label >= ds.Classes() || label < 0 && ds.Classes() > 0 {
				t.Errorf("image %d: label %d of %d, %v", i, label, ds.Classes(), err)
			}
		}
		if err := ds.Close(); err != nil {
			t.Error(err)
		}
	}
}

func FuzzNpz(f *testing.F) {
	for _, name := range []string{"stored.npz", "deflated.npz", "gray.npz", "imagenet-npz/train_data_batch_2.npz"} {
		f.Add(must[[]byte](f)(os.ReadFile(sets + name)))
	}
	f.Fuzz(func(t *testing.T, file []byte) { fuzzOpen(t, "x.npz", file) })
}

func FuzzNpy(f *testing.F) {
	f.Add(must[[]byte](f)(os.ReadFile(sets + "images.npy")))
	f.Add(npyOf("|u1", "False", "(2, 12)", count(24)))
	f.Add(npyOf("|u1", "True", "(2, 12)", count(24)))
	f.Fuzz(func(t *testing.T, file []byte) { fuzzOpen(t, "x.npy", file) })
}

func FuzzPickledBatch(f *testing.F) {
	for _, name := range []string{"pickles/protocol2", "pickles/protocol4", "pickles/protocol5", "pickles/arrays"} {
		f.Add(must[[]byte](f)(os.ReadFile(sets + name)))
	}
	f.Fuzz(func(t *testing.T, file []byte) { fuzzOpen(t, "x", file) })
}

func FuzzCifarTar(f *testing.F) {
	for _, name := range []string{"cifar-10-binary.tar.gz", "cifar-10-python.tar.gz"} {
		f.Add(unzipped(f, must[[]byte](f)(os.ReadFile(sets+name))))
	}
	f.Add(unzipped(f, tarGz(f, tarred("a/data_batch_1", tar.TypeSymlink, nil))))
	f.Fuzz(func(t *testing.T, file []byte) { fuzzOpen(t, "x.tar", file) })
}

func unzipped(t testing.TB, b []byte) []byte {
	z := must[*gzip.Reader](t)(gzip.NewReader(bytes.NewReader(b)))
	var out bytes.Buffer
	if _, err := out.ReadFrom(z); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func FuzzCifarRecords(f *testing.F) {
	f.Add(records(1, 1, 3))
	f.Add(records(1, 2, 10))
	f.Add([]byte{1, 2, 3})
	f.Fuzz(func(t *testing.T, file []byte) { fuzzOpen(t, "test_batch.bin", file) })
}
