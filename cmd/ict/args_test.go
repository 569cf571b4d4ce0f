package main

import (
	"strings"
	"testing"
)

func TestArrange(t *testing.T) {
	app := newApp(nil, nil)
	for _, k := range []struct{ line, want string }{
		{"sample a --n 4", "sample --n=4 -- a"},
		{"sample --n 4 a --json", "sample --n=4 --json -- a"},
		{"sample a --n=4 -out x.png", "sample --n=4 --out=x.png -- a"},
		{"--json sample a", "sample --json -- a"},
		{"--device cpu sample a", "sample --device=cpu -- a"},
		{"sample -- --n", "sample -- --n"},
		{"sample a -- b --json", "sample -- a b --json"},
		{"data --quiet import src --out x --gray", "data import --quiet --out=x --gray -- src"},
		{"train --set a=1,2 --set b=-1", "train --set=a=1,2 --set=b=-1 --"},
		{"train --seed -1", "train --seed=-1 --"},
	} {
		l, err := arrange(app, strings.Fields("ict "+k.line))
		if got := strings.Join(l.args, " "); err != nil || got != k.want {
			t.Errorf("%s: got %q, %v, want %q", k.line, got, err, k.want)
		}
	}
	for _, k := range []struct{ line, want string }{
		{"sample a --nn 4", "sample: unknown flag --nn; did you mean --n?"},
		{"sample a --n", "--n wants a value"},
		{"sample a --out --json", "--out wants a value"},
		{"sample a --n 4 --n 5", "sample: flag --n is given twice"},
		{"samples a", "unknown command samples; did you mean sample?"},
		{"data imp", "data: unknown command imp; did you mean import?"},
		{"qqqqqqqq", "unknown command qqqqqqqq\n"},
		{"train --micro_batch 4", "did you mean --micro-batch?"},
	} {
		_, err := arrange(app, strings.Fields("ict "+k.line))
		if err == nil || !strings.Contains(err.Error(), k.want) || exitCode(err) != exitUsage {
			t.Errorf("%s: got %v (code %d), want %q", k.line, err, exitCode(err), k.want)
		}
	}
}

// The parser itself sees every flag of every command: a flag must not mean one thing here and another there.
func TestFlagsAreOneTable(t *testing.T) {
	takes := map[string]bool{}
	for _, c := range leaves(newApp(nil, nil).Commands) {
		seen := map[string]bool{}
		for _, f := range c.Flags {
			n := f.Names()[0]
			if have, ok := takes[n]; ok && have != flagTakesValue(f) {
				t.Errorf("--%s takes a value in one command and none in another", n)
			}
			if seen[n] {
				t.Errorf("%s has --%s twice", c.Name, n)
			}
			takes[n], seen[n] = flagTakesValue(f), true
		}
	}
}

// A name that is too far is no suggestion.
func TestNearest(t *testing.T) {
	commands := []string{"train", "sample", "data", "ckpt", "plan", "bench", "version"}
	for _, k := range []struct {
		got   string
		known []string
		want  string
	}{
		{"trian", commands, "train"}, {"versoin", commands, "version"}, {"samp", commands, "sample"}, {"benhc", commands, "bench"},
		{"launch", commands, ""}, {"eval", commands, ""}, {"frob", []string{"crop"}, ""}, {"a", []string{"ema", "attention"}, ""},
		{"p_mean", []string{"mean"}, "mean"}, {"lr_", []string{"lr"}, "lr"},
	} {
		if n := nearest(k.got, k.known); n != k.want {
			t.Errorf("%s: got %q, want %q", k.got, n, k.want)
		}
	}
}

func TestEdits(t *testing.T) {
	for _, k := range []struct {
		a, b string
		want int
	}{{"", "abc", 3}, {"train", "train", 0}, {"trian", "train", 1}, {"p_mean", "mean", 2}, {"kitten", "sitting", 3}, {"ab", "ba", 1}} {
		if got := edits(k.a, k.b); got != k.want {
			t.Errorf("edits(%q, %q) = %d, want %d", k.a, k.b, got, k.want)
		}
	}
}
