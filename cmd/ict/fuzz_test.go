package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Whatever the words are: help, wrong use, or a command with its flags in front; never a panic, and no word is lost.
func FuzzArrange(f *testing.F) {
	for _, s := range []string{"train --preset tiny --data s.pack", "data import photos --out x --size 8", "sample -- --odd", "help", "--", "-", "ckpt", "train --set=a=1 --set b=2", "--json train"} {
		f.Add(s)
	}
	app := newApp(nil, nil)
	f.Fuzz(func(t *testing.T, text string) {
		list := append([]string{"ict"}, strings.Fields(text)...)
		l, err := arrange(app, list)
		if err != nil {
			if exitCode(err) != exitUsage {
				t.Errorf("%v: code %d", err, exitCode(err))
			}
			return
		}
		if l.help || l.command == nil {
			return
		}
		if len(l.args) < 2 || find(app.Commands, l.args[0]) == nil {
			t.Errorf("%q: %q", text, l.args)
		}
		if got, had := strings.Join(l.args, ""), strings.Join(list[1:], ""); len(got) < len(had) {
			t.Errorf("%q became %q", had, got)
		}
	})
}

// Values of flags are read or refused with what is wanted.
func FuzzValues(f *testing.F) {
	for _, s := range []string{"400k", "1.5M", "-1", "1e3", "NaN", "8x8", "3×2", "0.1%", "80,0.821", "cuda:1", "", "9223372036854775808", "0x10", "1_000"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		_, err1 := parseCount(s)
		levels, err2 := parseLevels(s)
		rows, cols, err3 := parseGrid(s)
		share, err4 := parseShare(s)
		_, err5 := parseDevice(s)
		for _, err := range []error{err1, err2, err3, err4, err5} {
			if err != nil && !strings.Contains(err.Error(), "want") {
				t.Errorf("%q: %v", s, err)
			}
		}
		if err2 == nil && len(levels) == 0 || err3 == nil && (rows < 1 || cols < 1) || err4 == nil && !(share >= 0 && share <= 1) {
			t.Errorf("%q: %v, %d×%d, %v", s, levels, rows, cols, share)
		}
	})
}

// --set reads YAML of one key; what it reads can be applied.
func FuzzParseSet(f *testing.F) {
	for _, s := range []string{"train.batch=64", "model.mult=1,2", "objective={s0: 1, s1: 2}", "ema=[0.9]", "every.state=30m", "a", "=", "train=", "data.path=&x y"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := parseSet(s, "--set")
		if err != nil {
			if !strings.HasPrefix(err.Error(), "--set") {
				t.Errorf("%q: %v", s, err)
			}
			return
		}
		c := &settings{origin: map[string]string{}}
		if err := c.apply(p); err != nil {
			t.Fatalf("%q was read and cannot be applied: %v", s, err)
		}
	})
}

// The training time of a run is read from the end of stats.jsonl, whatever a crash left there.
func FuzzLastSeconds(f *testing.F) {
	for _, s := range []string{"", "\n", "{\"seconds\":1.5}\n", "{\"seconds\":1.5}\n{\"sec", "{\"seconds\":\"x\"}\n", "[]\n"} {
		f.Add([]byte(s))
	}
	path := filepath.Join(f.TempDir(), "stats.jsonl")
	f.Fuzz(func(t *testing.T, b []byte) {
		if err := os.WriteFile(path, b, 0o644); err != nil {
			t.Fatal(err)
		}
		if s := lastSeconds(path); s != 0 && !bytes.Contains(bytes.ToLower(b), []byte("s")) {
			t.Errorf("%v seconds from %q", s, b)
		}
	})
}
