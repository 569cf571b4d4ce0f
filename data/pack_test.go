package data

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"os"
	"strings"
	"testing"
)

// writePack writes a packed file of random-looking images.
func writePack(t testing.TB, path string, n, h, w, c int, classes ...string) {
	t.Helper()
	p := must[*packWriter](t)(newPackWriter(path, h, w, c, classes))
	for i := range n {
		label := -1
		if len(classes) > 0 {
			label = i % len(classes)
		}
		if err := p.add(packImage(i, h*w*c), label); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(p.complete(context.Background()), p.publish()); err != nil {
		t.Fatal(err)
	}
}

func packImage(i, size int) []byte {
	b := make([]byte, size)
	for j := range b {
		b[j] = byte(i*31 + j*j*7)
	}
	return b
}

func TestPack(t *testing.T) {
	path := t.TempDir() + "/a.pack"
	for _, classes := range [][]string{nil, {"größe", "", "c"}} {
		writePack(t, path, 7, 3, 2, 3, classes...)
		ds := open(t, path, Options{})
		h, w, c := ds.Shape()
		equal(t, "shape", []int{ds.Len(), h, w, c, ds.Classes()}, []int{7, 3, 2, 3, len(classes)})
		equal(t, "names", ds.ClassNames(), classes)
		imgs, labels := images(t, ds)
		for i := range imgs {
			want := -1
			if classes != nil {
				want = i % 3
			}
			if !bytes.Equal(imgs[i], packImage(i, 18)) || labels[i] != want {
				t.Errorf("image %d: label %d, %v", i, labels[i], imgs[i])
			}
		}
		equal(t, "no labels", open(t, path, Options{Labels: "none"}).ClassNames(), []string(nil))
	}
}

// Whatever bit of a file is flipped, opening or reading it says so.
func TestPackFlippedBit(t *testing.T) {
	path := t.TempDir() + "/a.pack"
	writePack(t, path, 5, 2, 2, 3, "a", "b")
	file := must[[]byte](t)(os.ReadFile(path))
	if err := readAll(file); err != nil {
		t.Fatal(err)
	}
	for i := range 8 * len(file) {
		file[i/8] ^= 1 << (i % 8)
		if readAll(file) == nil {
			t.Errorf("bit %d of byte %d flipped: not seen", i%8, i/8)
		}
		file[i/8] ^= 1 << (i % 8)
	}
	for n := range len(file) {
		if readAll(file[:n]) == nil {
			t.Errorf("cut to %d of %d bytes: not seen", n, len(file))
		}
	}
	if readAll(append(file, 0)) == nil {
		t.Error("a byte more: not seen")
	}
}

// readAll parses a file in memory and reads every image.
func readAll(file []byte) error {
	p, err := parsePack("a.pack", file)
	if err != nil {
		return err
	}
	img := make([]byte, p.size())
	for i := range p.n {
		if _, err := p.Image(img, i); err != nil {
			return err
		}
	}
	return nil
}

// sealed changes a file and repairs the checksums of header and manifest, as a hostile writer would.
func sealed(file []byte, change func(b []byte)) []byte {
	b := bytes.Clone(file)
	change(b)
	n := binary.LittleEndian.Uint64(b[atImages:])
	size := uint64(1)
	for _, at := range []int{atHeight, atWidth, atChannels} {
		size *= uint64(binary.LittleEndian.Uint32(b[at:]))
	}
	if at := packHeader + n*size; at <= uint64(len(b)) {
		binary.LittleEndian.PutUint32(b[atManifest:], crc32.Checksum(b[at:], castagnoli))
	}
	binary.LittleEndian.PutUint32(b[atCheck:], crc32.Checksum(b[:atCheck], castagnoli))
	return b
}

// hostilePacks are changes whose checksums are right.
var hostilePacks = []struct {
	want   string
	change func(b []byte)
}{
	{"pack version 2, this program reads version 1", func(b []byte) { b[atVersion] = 2 }},
	{"impossible image shape (0,2,3)", func(b []byte) { b[atHeight] = 0 }},
	{"impossible image shape (2,2,4)", func(b []byte) { b[atChannels] = 4 }},
	{"impossible image shape", func(b []byte) { copy(b[atHeight:], "\xff\xff\xff\xff\xff\xff\xff\xff") }},
	{"impossible number of images, 0", func(b []byte) { b[atImages] = 0 }},
	{"impossible number of images", func(b []byte) { b[atImages+7] = 0x80 }},
	{"impossible number of images", func(b []byte) { b[atImages+4] = 1 }},
	{"impossible classes", func(b []byte) { b[atClasses+3] = 1 }},
	{"impossible classes", func(b []byte) { b[atNames+3] = 255 }},
	{"bytes, want", func(b []byte) { b[atImages] = 6 }},
	{"bytes, want", func(b []byte) { b[atNames]++ }},
	{"class names end early", func(b []byte) { b[atClasses] = 3 }},
	{"behind the class names", func(b []byte) { b[atClasses] = 1 }},
	{"class names end early", func(b []byte) { b[len(b)-10] = 200 }},
	{"not UTF-8", func(b []byte) { b[len(b)-1] = 0xff }},
	{"label of image 1: got 2, want below 2", func(b []byte) { b[packHeader+5*12+4] = 2 }},
	{"label of image 0: got -1", func(b []byte) { copy(b[packHeader+5*12:], "\xff\xff\xff\xff") }},
	{"label of image 0: got -2", func(b []byte) { copy(b[packHeader+5*12:], "\xfe\xff\xff\xff") }},
}

func hostileBase(t testing.TB) []byte {
	path := t.TempDir() + "/a.pack"
	writePack(t, path, 5, 2, 2, 3, "a", "b")
	return must[[]byte](t)(os.ReadFile(path))
}

func TestPackHostile(t *testing.T) {
	base := hostileBase(t)
	if err := readAll(sealed(base, func([]byte) {})); err != nil {
		t.Fatal(err)
	}
	for _, c := range hostilePacks {
		wantError(t, readAll(sealed(base, c.change)), "a.pack: ", c.want, "import again")
	}
	path := t.TempDir() + "/a.pack"
	writePack(t, path, 1, 1, 1, 1)
	unlabelled := sealed(must[[]byte](t)(os.ReadFile(path)), func(b []byte) { b[packHeader+1] = 0xfe })
	wantError(t, readAll(unlabelled), "label of image 0: got -2")
}

func TestPackDamageMessage(t *testing.T) {
	path := t.TempDir() + "/a.pack"
	writePack(t, path, 2000, 2, 2, 3)
	file := must[[]byte](t)(os.ReadFile(path))
	file[packHeader+1234*12] ^= 0xff
	writeFile(t, path, file)
	ds := open(t, path, Options{})
	img := make([]byte, 12)
	must[int](t)(ds.Image(img, 1233))
	_, err := ds.Image(img, 1234)
	wantError(t, err, path+": image 1,234 of 2,000: checksum ", ", manifest says ", " (offset 18,904)\n  the file changed after import; run  ict data verify "+path+"  or import again")
	if !errors.Is(err, ErrDamaged) {
		t.Errorf("%v is no ErrDamaged", err)
	}
	got := must[[]BadImage](t)(Verify(context.Background(), ds, nil))
	if len(got) != 1 || got[0].Index != 1234 || got[0].Error != err.Error() {
		t.Errorf("verify: got %v", got)
	}
}

// A file that is cut while it is mapped gives an error, not a crash.
func TestPackCutWhileOpen(t *testing.T) {
	path := t.TempDir() + "/a.pack"
	writePack(t, path, 100, 32, 32, 3)
	ds := open(t, path, Options{})
	img := make([]byte, 3072)
	must[int](t)(ds.Image(img, 99))
	if err := os.Truncate(path, packHeader); err != nil {
		t.Fatal(err)
	}
	_, err := ds.Image(img, 99)
	wantError(t, err, path, "cannot be read")
	if !errors.Is(err, ErrDamaged) {
		t.Errorf("%v is no ErrDamaged", err)
	}
}

func TestPackShort(t *testing.T) {
	path := t.TempDir() + "/a.pack"
	writeFile(t, path, []byte(packMagic))
	_, err := Open(path, Options{})
	wantError(t, err, "8 bytes are no packed file")
}

func TestPackWriterMisuse(t *testing.T) {
	p := must[*packWriter](t)(newPackWriter(t.TempDir()+"/a.pack", 1, 1, 1, []string{"a"}))
	defer p.abort()
	wantPanic(t, "image of 2 bytes", func() { p.add(make([]byte, 2), 0) })
	wantPanic(t, "label 1", func() { p.add(make([]byte, 1), 1) })
	wantPanic(t, "label -1", func() { p.add(make([]byte, 1), -1) })
}

// FuzzPack works on files without the zeros of the header, whose checksums it repairs, so that changes get past them.
func FuzzPack(f *testing.F) {
	const fields = atManifest + 4
	base := hostileBase(f)
	f.Add(base[:fields], base[packHeader:])
	for _, c := range hostilePacks {
		file := sealed(base, c.change)
		f.Add(file[:fields], file[packHeader:])
	}
	f.Fuzz(func(t *testing.T, head, rest []byte) {
		file := append(make([]byte, packHeader), rest...)
		copy(file[:fields], head)
		p, err := parsePack("a.pack", sealed(file, func([]byte) {}))
		if err != nil {
			if !strings.HasPrefix(err.Error(), "a.pack: ") {
				t.Errorf("error without the name: %v", err)
			}
			return
		}
		img := make([]byte, p.size())
		for i := range p.n {
			if label, err := p.Image(img, i); err == nil && (label >= p.Classes() || label < 0 && p.Classes() > 0) {
				t.Errorf("label %d of %d", label, p.Classes())
			}
		}
	})
}
