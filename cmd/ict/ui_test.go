package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
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

// A warning that comes over and over is said once, counted, and in the log at 1, 10, 100.
func TestWarningsAreCounted(t *testing.T) {
	var b bytes.Buffer
	path := filepath.Join(t.TempDir(), "log.jsonl")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	u := &ui{out: &results{}, err: newScreen(&b)}
	u.logInto(f, "")
	u.buildLog()
	for range 120 {
		u.warn("disk full")
	}
	u.warn("other")
	if err := u.finish(nil); err != nil {
		t.Fatal(err)
	}
	const want = "warning: disk full\nwarning: other\n2 warnings:\n  1  disk full (120 times)\n  2  other\n"
	if b.String() != want {
		t.Errorf("got %q, want %q", b.String(), want)
	}
	log, _ := os.ReadFile(path)
	for text, n := range map[string]int{"disk full": 3, "(10 times)": 1, "(100 times)": 1, "other": 1} {
		if got := strings.Count(string(log), text); got != n {
			t.Errorf("%q: %d times in the log, want %d", text, got, n)
		}
	}
}

// A log file that cannot be written is told once.
func TestLogOnFullDisk(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip("no /dev/full: ", err)
	}
	var b bytes.Buffer
	u := &ui{err: newScreen(&b)}
	u.logInto(full, "15:04:05")
	u.buildLog()
	for range 3 {
		u.say("step")
	}
	if got := b.String(); strings.Count(got, "step") != 3 || strings.Count(got, "no space left on device") != 1 || !strings.Contains(got, "warning: the log lacks lines from here on: ") {
		t.Errorf("got %q", got)
	}
}

// The last line of a log says why the command failed, and with which code.
func TestErrorIsLogged(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log.jsonl")
	var out, b bytes.Buffer
	if code := run([]string{"ict", "sample", "nothing", "--log-file", path}, &out, &b); code != exitFailed {
		t.Fatalf("code %d, %s", code, b.String())
	}
	log, _ := os.ReadFile(path)
	for _, want := range []string{`"level":"error"`, `"msg":"nothing: no such file or directory`, `"code":1`} {
		if !strings.Contains(string(log), want) {
			t.Errorf("no %s in %q", want, log)
		}
	}
}
