package data

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime"
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
		wantError(t, err, src+"/0/005.jpg: not a PNG", "\n  to leave such files out: --bad-images skip (at most 0.1 % may be bad)")
		if !errors.Is(err, ErrDamaged) {
			t.Errorf("%v is no ErrDamaged", err)
		}
	}
	opt.BadImages = BadSkip
	opt.MaxBad = 0.049
	_, err := Import(context.Background(), src, dst, opt, nil)
	wantError(t, err, src+": 2 bad images of 40, at most 4.9 % may be bad; the first: "+src+"/0/005.jpg")
	equal(t, "nothing left behind", contents(t, out), []string(nil))

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
		`got "keep", want fail or skip`: {BadImages: "keep"}, "got 1.1, want 0 to 1": {MaxBad: 1.1}, "limit: got -1": {Limit: -1}, `crop: got "zoom"`: {Crop: "zoom"},
	} {
		_, err := Import(context.Background(), src, out+"/b.pack", bad, nil)
		wantError(t, err, want)
	}
	equal(t, "nothing left behind", contents(t, out), []string{"a.pack", "a.pack.import.json"})
}

// An import that is stopped leaves the old file and nothing else, and no goroutine.
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
		if at < 40 && err != context.Canceled || !errors.Is(err, context.Canceled) {
			t.Errorf("stopped at %d: got %v", at, err)
		}
	}
	equal(t, "files", contents(t, out), []string{"a.pack"})
	equal(t, "old file", must[[]byte](t)(os.ReadFile(dst)), []byte("old"))
	for range 100 {
		if runtime.NumGoroutine() <= before {
			return
		}
		time.Sleep(time.Millisecond)
	}
	t.Errorf("%d goroutines, %d before", runtime.NumGoroutine(), before)
}

// What a killed import left is written over; what a living one writes is not.
func TestImportTemporary(t *testing.T) {
	src, dst := photos(t, 5), t.TempDir()+"/a.pack"
	writeFile(t, dst+".tmp", bytes.Repeat([]byte("left"), 1<<20))
	must[Report](t)(Import(context.Background(), src, dst, ImportOptions{Size: 8, Crop: "fit"}, nil))
	info := must[os.FileInfo](t)(os.Stat(dst))
	equal(t, "size", info.Size(), int64(packHeader+5*8*8*3+5*8+3*5))

	other := must[*packWriter](t)(newPackWriter(dst, 1, 1, 1, nil))
	_, err := Import(context.Background(), src, dst, ImportOptions{Size: 8, Crop: "fit"}, nil)
	wantError(t, err, dst+".tmp: another import is writing it")
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
