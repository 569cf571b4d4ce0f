package main

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"errors"
	"flag"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/urfave/cli/v2"
)

func TestMain(m *testing.M) {
	commit = "0123456789ab" // a resume promises the same bits if the build is known; go test tells a test none
	testscript.Main(m, map[string]func(){"ict": main})
}

// TestScripts runs one script per command; they are what a user types.
func TestScripts(t *testing.T) {
	numbers, err := filepath.Abs("../../internal/parity/testdata")
	if err != nil {
		t.Fatal(err)
	}
	sets, err := filepath.Abs("../../data/testdata/sets")
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir: "testdata", RequireExplicitExec: true,
		Setup: func(e *testscript.Env) error {
			e.Setenv("ICT_BLAS", "gonum") // one less thing that differs from machine to machine
			e.Setenv("GOMAXPROCS", "2")
			e.Setenv("PARITY", numbers)
			e.Setenv("SETS", sets)
			return nil
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"exits": exits, "damage": damage, "waitfor": waitFor, "waitlonger": waitLonger, "archive": archive,
		},
	})
}

// exits CODE PROGRAM ARGS... runs a program that must leave with the code.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits code program args...")
	}
	want, err := strconv.Atoi(args[0])
	if err != nil {
		ts.Fatalf("exits: %v", err)
	}
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		var e *exec.ExitError
		if !errors.As(err, &e) {
			ts.Fatalf("%v", err)
		}
		got = e.ExitCode()
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

// damage FILE changes a byte in the middle of a file.
func damage(ts *testscript.TestScript, neg bool, args []string) {
	path := ts.MkAbs(args[0])
	b, err := os.ReadFile(path)
	ts.Check(err)
	b[len(b)/2] ^= 0x40
	ts.Check(os.WriteFile(path, b, 0o644))
}

// archive FILE FOLDER packs a folder as a zip or a tar.
func archive(ts *testscript.TestScript, neg bool, args []string) {
	f, err := os.Create(ts.MkAbs(args[0]))
	ts.Check(err)
	defer f.Close()
	var w interface {
		AddFS(fs.FS) error
		Close() error
	} = tar.NewWriter(f)
	if filepath.Ext(args[0]) == ".zip" {
		w = zip.NewWriter(f)
	}
	ts.Check(w.AddFS(os.DirFS(ts.MkAbs(args[1]))))
	ts.Check(w.Close())
}

// waitFor FILE [TEXT] waits until a file is there, with the text in it.
func waitFor(ts *testscript.TestScript, neg bool, args []string) {
	text := strings.Join(args[1:], " ")
	await(ts, args[0], func() bool {
		b, err := os.ReadFile(ts.MkAbs(args[0]))
		return err == nil && strings.Contains(string(b), text)
	})
}

// waitLonger FILE waits until a file is longer than it was.
func waitLonger(ts *testscript.TestScript, neg bool, args []string) {
	size := func() int64 {
		info, err := os.Stat(ts.MkAbs(args[0]))
		ts.Check(err)
		return info.Size()
	}
	before := size()
	await(ts, args[0], func() bool { return size() > before })
}

func await(ts *testscript.TestScript, what string, done func() bool) {
	for end := time.Now().Add(time.Minute); !done(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			ts.Fatalf("%s: nothing came of it in a minute", what)
		}
	}
}

var update = flag.Bool("update", false, "write docs/help and docs/bad-inputs.md anew")

// TestHelp compares the help of every command with docs/help.
func TestHelp(t *testing.T) {
	dir := filepath.Join("..", "..", "docs", "help")
	app := newApp(nil, nil)
	want := map[string][]string{"ict.txt": nil}
	var walk func(commands []*cli.Command, path []string)
	walk = func(commands []*cli.Command, path []string) {
		for _, c := range commands {
			p := append(path[:len(path):len(path)], c.Name)
			want["ict-"+strings.Join(p, "-")+".txt"] = p
			walk(c.Subcommands, p)
		}
	}
	walk(app.Commands, nil)
	if *update {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, path := range want {
		var out, err bytes.Buffer
		if code := run(append(append([]string{"ict"}, path...), "--help"), &out, &err); code != 0 || err.Len() > 0 {
			t.Errorf("%v --help: code %d, %s", path, code, err.String())
		}
		text := out.String()
		if !strings.HasPrefix(text, "  ict ") {
			t.Errorf("%v --help does not open with an example:\n%s", path, text)
		}
		for i, l := range strings.Split(text, "\n") {
			if n := len([]rune(l)); n > 140 {
				t.Errorf("%s:%d: %d columns", name, i+1, n)
			}
		}
		file := filepath.Join(dir, name)
		if *update {
			if err := os.WriteFile(file, out.Bytes(), 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		kept, e := os.ReadFile(file)
		if e != nil || string(kept) != text {
			t.Errorf("%s is not what --help prints (%v); make help-docs writes it anew", file, e)
		}
	}
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if _, ok := want[f.Name()]; !ok {
			if *update {
				os.Remove(filepath.Join(dir, f.Name()))
				continue
			}
			t.Errorf("%s is of no command", f.Name())
		}
	}
}
