package data

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

// photos is a folder of n JPEGs in three classes; those in bad are broken.
func photos(t testing.TB, n int, bad ...int) string {
	t.Helper()
	dir := t.TempDir()
	for i := range n {
		writeFile(t, fmt.Sprintf("%s/%d/%03d.jpg", dir, 3*i/n, i), jpegFile(t, 20+i%7, 30-i%5))
	}
	for _, i := range bad {
		writeFile(t, fmt.Sprintf("%s/%d/%03d.jpg", dir, 3*i/n, i), []byte("broken"))
	}
	return dir
}

// contents are the names in a folder.
func contents(t testing.TB, dir string) (names []string) {
	t.Helper()
	for _, e := range must[[]os.DirEntry](t)(os.ReadDir(dir)) {
		names = append(names, e.Name())
	}
	return names
}

func TestImport(t *testing.T) {
	src, out := photos(t, 40), t.TempDir()
	var first []byte
	for _, workers := range []int{1, 3, 16} {
		dst := fmt.Sprintf("%s/%d.pack", out, workers)
		var calls []int
		r := must[Report](t)(Import(context.Background(), src, dst, ImportOptions{Size: 8, Crop: "dhariwal", Workers: workers},
			func(done, total int) { calls = append(calls, done, total) }))
		want := Report{
			Source: src, Size: 8, Crop: "dhariwal", Labels: "folders", Shape: [3]int{8, 8, 3}, Images: 40,
			Classes: []string{"0", "1", "2"}, Bad: []BadImage{},
		}
		equal(t, "report", r, want)
		equal(t, "progress", []int{calls[0], calls[1], calls[78], calls[79], len(calls)}, []int{1, 40, 40, 40, 80})
		var kept Report
		if err := json.Unmarshal(must[[]byte](t)(os.ReadFile(dst+".import.json")), &kept); err != nil {
			t.Fatal(err)
		}
		equal(t, "kept report", kept, want)
		file := must[[]byte](t)(os.ReadFile(dst))
		if first == nil {
			first = file
		}
		if !bytes.Equal(file, first) {
			t.Errorf("%d workers: another file than with one", workers)
		}
	}
	equal(t, "files", contents(t, out), []string{"1.pack", "1.pack.import.json", "16.pack", "16.pack.import.json", "3.pack", "3.pack.import.json"})

	wantImgs, wantLabels := images(t, open(t, src, Options{Size: 8, Crop: "dhariwal"}))
	gotImgs, gotLabels := images(t, open(t, out+"/3.pack", Options{}))
	equal(t, "images", gotImgs, wantImgs)
	equal(t, "labels", gotLabels, wantLabels)

	// From one packed file to another, some of the images.
	r := must[Report](t)(Import(context.Background(), out+"/3.pack", out+"/4.pack", ImportOptions{Limit: 3, Labels: "none", Gray: true}, nil))
	equal(t, "limited", []any{r.Images, r.Shape, r.Classes}, []any{3, [3]int{8, 8, 1}, []string(nil)})
	got, _ := images(t, open(t, out+"/4.pack", Options{}))
	for j, i := range []int{0, 13, 26} {
		equal(t, "limited image", got[j], raster{8, 8, 3, wantImgs[i]}.channels(1).pix)
	}
}

func TestImportBadImages(t *testing.T) {
	src, out := photos(t, 40, 5, 39), t.TempDir()
	dst := out + "/a.pack"
	opt := ImportOptions{Size: 8, Crop: "fit", MaxBad: 0.001}
	for range 5 { // whichever reader is first
		_, err := Import(context.Background(), src, dst, opt, nil)
		wantError(t, err, src+"/0/005.jpg: not a PNG", "\n  to leave such files out: --bad-images skip (at most 0.1 % may be bad)",
			".partial; with --bad-images skip, or a larger --max-bad, the same command goes on there; once files or other options change it begins anew")
		if !errors.Is(err, ErrDamaged) {
			t.Errorf("%v is no ErrDamaged", err)
		}
	}
	opt.BadImages = BadSkip
	opt.MaxBad = 0.049
	_, err := Import(context.Background(), src, dst, opt, nil)
	wantError(t, err, src+": 2 bad images of 40, at most 4.9 % may be bad; the first: "+src+"/0/005.jpg", ".partial; with --bad-images skip, or a larger --max-bad, the same command")
	equal(t, "what can be gone on with", contents(t, out), []string{"a.pack.partial", "a.pack.partial.journal"})

	opt.MaxBad = 0.05
	r := must[Report](t)(Import(context.Background(), src, dst, opt, nil))
	equal(t, "bad", []any{r.Images, len(r.Bad), r.Bad[0].Index, r.Bad[1].Index}, []any{38, 2, 5, 39})
	wantError(t, errors.New(r.Bad[1].Error), src+"/2/039.jpg")
	all, labels := images(t, open(t, dst, Options{}))
	equal(t, "images", []int{len(all), labels[0], labels[37]}, []int{38, 0, 2})

	for i := range 40 {
		writeFile(t, fmt.Sprintf("%s/%d/%03d.jpg", src, 3*i/40, i), []byte("broken"))
	}
	opt.MaxBad = 1
	_, err = Import(context.Background(), src, out+"/b.pack", opt, nil)
	wantError(t, err, "no image left")

	for want, bad := range map[string]ImportOptions{
		`got "keep", want fail or skip`: {BadImages: "keep"}, "got 1.1, want 0 to 1": {MaxBad: 1.1}, "limit: got -1": {Limit: -1}, "workers: got 1025, want 1 to 1,024": {Workers: 1025}, `crop: got "zoom"`: {Crop: "zoom"},
	} {
		_, err := Import(context.Background(), src, out+"/b.pack", bad, nil)
		wantError(t, err, want)
	}
	equal(t, "nothing left behind", contents(t, out), []string{"a.pack", "a.pack.import.json"})
}

// An import that is stopped leaves the old file, what can be gone on with, and no goroutine.
func TestImportStopped(t *testing.T) {
	src, out := photos(t, 40), t.TempDir()
	dst := out + "/a.pack"
	writeFile(t, dst, []byte("old"))
	before := runtime.NumGoroutine()
	for _, at := range []int{1, 20, 40} {
		ctx, cancel := context.WithCancel(context.Background())
		_, err := Import(ctx, src, dst, ImportOptions{Size: 8, Crop: "fit"}, func(done, _ int) {
			if done == at {
				cancel()
			}
		})
		var u *Unfinished
		if !errors.Is(err, context.Canceled) || !errors.As(err, &u) || u.Done != at {
			t.Errorf("stopped at %d: got %v", at, err)
		}
		wantError(t, err, fmt.Sprintf("\n  %d of 40 images are in %s.partial; the same command goes on there", u.Done, dst))
	}
	equal(t, "files", contents(t, out), []string{"a.pack", "a.pack.partial", "a.pack.partial.journal"})
	equal(t, "old file", must[[]byte](t)(os.ReadFile(dst)), []byte("old"))
	for range 100 {
		if runtime.NumGoroutine() <= before {
			return
		}
		time.Sleep(time.Millisecond)
	}
	t.Errorf("%d goroutines, %d before", runtime.NumGoroutine(), before)
}

// Labels in a file beside the images are part of the source, too.
func TestImportGoesOnWithOtherLabels(t *testing.T) {
	dir := t.TempDir()
	src, beside, dst := dir+"/train-images-idx3-ubyte", dir+"/train-labels-idx1-ubyte", dir+"/a.pack"
	labels := append(make([]byte, 19), 1)
	writeFile(t, src, idxFile(make([]byte, 20*4), 20, 2, 2))
	writeFile(t, beside, idxFile(labels, 20))
	stop(t, src, dst, ImportOptions{}, 15)
	labels[4] = 1 // not among those that are read again
	writeFile(t, beside, idxFile(labels, 20))
	var said []string
	must[Report](t)(Import(context.Background(), src, dst, ImportOptions{Say: func(s string) { said = append(said, s) }}, nil))
	if _, got := images(t, open(t, dst, Options{})); got[4] != 1 || len(said) != 1 || !strings.Contains(said[0], "anew") {
		t.Errorf("label 4: got %d, want 1; said %q", got[4], said)
	}
}

// stop ends an import after n images.
func stop(t *testing.T, src, dst string, o ImportOptions, n int) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	_, err := Import(ctx, src, dst, o, func(done, _ int) {
		if done >= n {
			cancel()
		}
	})
	if !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
}

// Whatever happens to the files of an import that was stopped, the next one ends with the bytes of one that was not,
// and takes over what is whole.
func TestImportResumes(t *testing.T) {
	src, out := photos(t, 40, 3, 17), t.TempDir()
	dst, opt := out+"/a.pack", ImportOptions{Size: 8, Crop: "fit", BadImages: BadSkip, MaxBad: 0.1}
	must[Report](t)(Import(context.Background(), src, out+"/whole.pack", opt, nil))
	want := [2][]byte{must[[]byte](t)(os.ReadFile(out + "/whole.pack")), must[[]byte](t)(os.ReadFile(out + "/whole.pack.import.json"))}
	partial, journal := dst+".partial", dst+".partial.journal"
	const image, recorded = 8 * 8 * 3, recordHead + 4
	change := func(path string, at int64, with string) {
		f := must[*os.File](t)(os.OpenFile(path, os.O_WRONLY, 0))
		must[int](t)(f.WriteAt([]byte(with), at))
		f.Close()
	}
	cut := func(path string, to int64) {
		if err := os.Truncate(path, to); err != nil {
			t.Fatal(err)
		}
	}
	for what, c := range map[string]struct {
		disturb func()
		said    string
		first   int // image that is done again
	}{
		"nothing":          {func() {}, "going on with " + partial + ": 30 of 40 images are there and whole", 30},
		"image":            {func() { change(partial, packHeader+2*image+5, "?") }, ": 2 of 40", 2},
		"fewer images":     {func() { cut(partial, packHeader+8*image+1) }, ": 9 of 40", 9}, // image 3 is bad
		"no images":        {func() { cut(partial, 0) }, "", 0},
		"more images":      {func() { cut(partial, packHeader+50*image) }, ": 30 of 40", 30},
		"record":           {func() { change(journal, journalHeader+4+recorded+5, "?") }, ": 1 of 40", 1},
		"shorter journal":  {func() { cut(journal, journalHeader+4+recorded+7) }, ": 1 of 40", 1},
		"no journal":       {func() { os.Remove(journal) }, "has no journal; beginning anew", 0},
		"half a header":    {func() { cut(journal, 20) }, "has no journal; beginning anew", 0},
		"another identity": {func() { change(journal, 9, "???") }, "has no journal", 0},
		"no partial":       {func() { os.Remove(partial) }, "", 0},
	} {
		stop(t, src, dst, opt, 30)
		c.disturb()
		var said []string
		opt.Say = func(line string) { said = append(said, line) }
		first := -1
		must[Report](t)(Import(context.Background(), src, dst, opt, func(done, _ int) {
			if first < 0 {
				first = done
			}
		}))
		if c.said == "" && said != nil || c.said != "" && (len(said) != 1 || !strings.Contains(said[0], c.said)) {
			t.Errorf("%s: said %q, want %q", what, said, c.said)
		}
		equal(t, what+": first", first, max(c.first, 1))
		got := [2][]byte{must[[]byte](t)(os.ReadFile(dst)), must[[]byte](t)(os.ReadFile(dst + ".import.json"))}
		if !bytes.Equal(got[0], want[0]) || !bytes.Equal(got[1], want[1]) {
			t.Errorf("%s: not the bytes of an import that nobody disturbed", what)
		}
		equal(t, what+": files", contents(t, out), []string{"a.pack", "a.pack.import.json", "whole.pack", "whole.pack.import.json"})
	}
}

// Another source, or other options, is another import.
func TestImportIdentity(t *testing.T) {
	src, dst := photos(t, 20), t.TempDir()+"/a.pack"
	table := src + "/../labels.csv"
	var rows strings.Builder
	for i := range 20 {
		fmt.Fprintf(&rows, "%d/%03d.jpg,%d\n", 3*i/20, i, i%2)
	}
	writeFile(t, table, []byte(rows.String()))
	base := ImportOptions{Size: 8, Crop: "fit", Labels: table, Workers: 2, BadImages: BadSkip}
	name := src + "/0/000.jpg"
	old, info := must[[]byte](t)(os.ReadFile(name)), must[os.FileInfo](t)(os.Stat(name))
	again := func(what, word string, change func(o *ImportOptions)) {
		t.Helper()
		os.Remove(dst + ".partial.journal")
		stop(t, src, dst, base, 10)
		o, said := base, ""
		change(&o)
		o.Say = func(line string) { said += line }
		must[Report](t)(Import(context.Background(), src, dst, o, nil))
		if !strings.Contains(said, word) {
			t.Errorf("%s: said %q, want %q", what, said, word)
		}
	}
	again("workers and bad images", "10 of 20 images are there and whole", func(o *ImportOptions) { o.Workers, o.BadImages = 1, BadFail })
	other := "of another source or of other options; beginning anew"
	again("size", other, func(o *ImportOptions) { o.Size = 9 })
	again("crop", other, func(o *ImportOptions) { o.Crop = "center" })
	again("gray", other, func(o *ImportOptions) { o.Gray = true })
	again("labels", other, func(o *ImportOptions) { o.Labels = "none" })
	again("limit", other, func(o *ImportOptions) { o.Limit = 19 })
	again("table", other, func(*ImportOptions) { writeFile(t, table, []byte("path,label\n"+rows.String())) })
	again("file", other, func(*ImportOptions) { writeFile(t, name, append(old, 0)) })
	writeFile(t, name, old)
	again("contents alone", "does not hold what the source holds now; beginning anew", func(*ImportOptions) {
		changed := bytes.Clone(old)
		changed[len(changed)-40] ^= 0xff // in the scan
		writeFile(t, name, old)
		if err := os.Chtimes(name, time.Time{}, info.ModTime()); err != nil {
			t.Fatal(err)
		}
		stop(t, src, dst, base, 10)
		writeFile(t, name, changed)
		if err := os.Chtimes(name, time.Time{}, info.ModTime()); err != nil {
			t.Fatal(err)
		}
	})

	// A source whose name is the result's.
	namesake := t.TempDir() + "/a.pack"
	must[Report](t)(Import(context.Background(), src, namesake, ImportOptions{Size: 8, Crop: "fit"}, nil))
	stop(t, namesake, dst, ImportOptions{}, 10)
	must[Report](t)(Import(context.Background(), src, namesake, ImportOptions{Size: 8, Crop: "center"}, nil))
	said := ""
	must[Report](t)(Import(context.Background(), namesake, dst, ImportOptions{Say: func(line string) { said += line }}, nil))
	if !strings.Contains(said, other) {
		t.Errorf("namesake: said %q", said)
	}

	// Into the folder that is imported.
	writeFile(t, name, old)
	inside := src + "/a.pack"
	stop(t, src, inside, base, 10)
	said = ""
	base.Say = func(line string) { said += line }
	must[Report](t)(Import(context.Background(), src, inside, base, nil))
	if !strings.Contains(said, "10 of 20") {
		t.Errorf("inside: said %q", said)
	}
}

// What a folder of images leaves out says nothing about it either: hidden files, whatever they are, and what the import makes there.
func TestImportIdentityFiles(t *testing.T) {
	src := photos(t, 20)
	opt, dst := ImportOptions{Size: 8, Crop: "fit"}, src+"/0/000"
	stop(t, src, dst, opt, 10)
	if err := os.Symlink("nowhere", src+"/.#lock"); err != nil {
		t.Fatal(err)
	}
	os.Mkdir(src+"/.Trash", 0o700)
	writeFile(t, src+"/.Trash/x", nil)
	said := ""
	opt.Say = func(line string) { said += line }
	stop(t, src, dst, opt, 12)
	if !strings.Contains(said, "10 of 20") {
		t.Errorf("hidden files: said %q", said)
	}
	old := must[[]byte](t)(os.ReadFile(src + "/0/000.jpg")) // a source file that begins as the result does
	writeFile(t, src+"/0/000.jpg", append(old, 0))
	said = ""
	must[Report](t)(Import(context.Background(), src, dst, opt, nil))
	if !strings.Contains(said, "of another source") {
		t.Errorf("a changed image: said %q", said)
	}
}

// An import does not write through links, nor wait for pipes.
func TestImportLinks(t *testing.T) {
	src, out := photos(t, 4), t.TempDir()
	precious, dst := out+"/precious", out+"/a.pack"
	for _, end := range []string{".partial", ".partial.journal", ".import.json", ".import.json.tmp"} {
		writeFile(t, precious, []byte("precious"))
		if err := os.Symlink("precious", dst+end); err != nil {
			t.Fatal(err)
		}
		_, err := Import(context.Background(), src, dst, ImportOptions{Size: 8, Crop: "fit"}, nil)
		if strings.HasPrefix(end, ".partial") {
			wantError(t, err, dst+end+": a link, which an import does not write through; remove it")
		} else if err != nil {
			t.Error(err)
		}
		equal(t, end, string(must[[]byte](t)(os.ReadFile(precious))), "precious")
		os.Remove(dst + end)
	}
	pipe := out + "/labels.csv"
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Open(src, Options{Labels: pipe})
	wantError(t, err, pipe+": neither a file nor a link to one")
}

// fullDisk takes so many bytes.
type fullDisk struct{ left int }

func (d *fullDisk) Write(p []byte) (int, error) {
	if d.left -= len(p); d.left < 0 {
		return 0, &os.PathError{Op: "write", Path: "a.pack.partial", Err: syscall.ENOSPC}
	}
	return len(p), nil
}

func TestImportFullDisk(t *testing.T) {
	src, dst := photos(t, 20), t.TempDir()+"/a.pack"
	opt := ImportOptions{Size: 8, Crop: "fit"}
	stop(t, src, dst, opt, 10)
	ds := open(t, src, Options{Size: 8, Crop: "fit"})
	p := must[*packWriter](t)(openPackWriter(dst, 8, 8, 3, ds.ClassNames()))
	m := importing{ImportOptions: opt, ds: ds, p: p, n: 20, r: &Report{}}
	id := must[[32]byte](t)(identify(src, dst, Options{Size: 8, Crop: "fit", Labels: "folders"}, ds, 20))
	if err := m.resume(context.Background(), id); err != nil {
		t.Fatal(err)
	}
	equal(t, "resumed", m.done, 10)
	p.buf = bufio.NewWriterSize(&fullDisk{300}, 16)
	err := m.unfinished(m.copy(context.Background(), nil))
	wantError(t, err, "the disk is full: write a.pack.partial: no space left on device\n  at least 10 of 20 images are in "+dst+".partial; the same command goes on there")
	said := ""
	opt.Say = func(line string) { said = line }
	must[Report](t)(Import(context.Background(), src, dst, opt, nil))
	if !strings.Contains(said, "10 of 20") {
		t.Errorf("said %q", said)
	}
}

// What has no room is not begun.
func TestImportRoom(t *testing.T) {
	p := must[*packWriter](t)(newPackWriter(t.TempDir()+"/a.pack", 64, 64, 3, nil))
	m := importing{p: p, n: 1 << 44, done: 5}
	wantError(t, m.room(), "a.pack: 216,313,519,602,077,656 bytes are still to be written, ", " are free")
	m.n = 6
	if err := m.room(); err != nil {
		t.Error(err)
	}
	p.abort()
}

func FuzzJournal(f *testing.F) {
	write := func(n int) []byte {
		var b bytes.Buffer
		j := journal{buf: bufio.NewWriter(&b)}
		j.seal(append([]byte(journalMagic), make([]byte, 32)...))
		for i := range n {
			if i%3 == 2 {
				j.bad("broken")
			} else {
				j.good(i, uint32(i))
			}
		}
		j.buf.Flush()
		return b.Bytes()
	}
	f.Add(write(0))
	f.Add(write(5))
	f.Fuzz(func(t *testing.T, b []byte) {
		j, _, ok := readJournal(bytes.NewReader(b))
		if !ok {
			return
		}
		w := bytes.NewBuffer(nil)
		again := journal{buf: bufio.NewWriter(w)}
		again.seal(b[:journalHeader])
		for {
			r, ok := j.next()
			if !ok {
				break
			}
			again.write(r.label, r.sum, r.text)
		}
		again.buf.Flush()
		if !bytes.Equal(w.Bytes(), b[:j.read]) || again.sum != j.sum {
			t.Error("what was read is not what is written")
		}
	})
}

// What a killed import left without a journal is written over; what a living one writes is not.
func TestImportTemporary(t *testing.T) {
	src, dst := photos(t, 5), t.TempDir()+"/a.pack"
	writeFile(t, dst+".partial", bytes.Repeat([]byte("left"), 1<<20))
	must[Report](t)(Import(context.Background(), src, dst, ImportOptions{Size: 8, Crop: "fit"}, nil))
	info := must[os.FileInfo](t)(os.Stat(dst))
	equal(t, "size", info.Size(), int64(packHeader+5*8*8*3+5*8+3*5))

	other := must[*packWriter](t)(newPackWriter(dst, 1, 1, 1, nil))
	_, err := Import(context.Background(), src, dst, ImportOptions{Size: 8, Crop: "fit"}, nil)
	wantError(t, err, dst+".partial: another import is writing it")
	if err := errors.Join(other.add([]byte{1}, -1), other.complete(context.Background()), other.publish()); err != nil {
		t.Fatal(err)
	}
	equal(t, "the other's file", open(t, dst, Options{}).Len(), 1)
}

// A write that did not reach the file is found before the file gets its name.
func TestImportReadsBack(t *testing.T) {
	dst := t.TempDir() + "/a.pack"
	p := must[*packWriter](t)(newPackWriter(dst, 1, 1, 1, nil))
	if err := errors.Join(p.add([]byte{1}, -1), p.add([]byte{2}, -1), p.buf.Flush()); err != nil {
		t.Fatal(err)
	}
	p.f.WriteAt([]byte{9}, packHeader+1)
	wantError(t, p.complete(context.Background()), "reading back", "image 1 of 2")
	p.abort()
}
