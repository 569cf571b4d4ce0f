package main

import (
	"bytes"
	"testing"
	"testing/synctest"
	"time"
)

func TestProgressText(t *testing.T) {
	got := progressText("import", 12000, 60000, 2000, 20*time.Second)
	if want := "import 12,000 of 60,000, 500/s, 1m36s left"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// Where no terminal is, progress is a line now and then, not one for each image; with --quiet, none.
func TestBarElsewhere(t *testing.T) {
	var b bytes.Buffer
	u := &ui{err: newScreen(&b)}
	u.buildLog()
	progress, end := u.bar("import")
	for i := range 100 {
		progress(i+1, 100)
	}
	end()
	if b.Len() > 0 {
		t.Errorf("got %q within a moment", b.String())
	}
	synctest.Test(t, func(t *testing.T) { // the rate is from the start on, not from the first image on
		progress, end := u.bar("import")
		time.Sleep(40 * time.Second)
		progress(1, 3)
		end()
		if want := "import 1 of 3, 0.025/s, 1m20s left\n"; b.String() != want {
			t.Errorf("got %q, want %q", b.String(), want)
		}
	})
	u.quiet = true
	if progress, _ := u.bar("import"); progress != nil {
		t.Error("--quiet: progress is wanted")
	}
}
