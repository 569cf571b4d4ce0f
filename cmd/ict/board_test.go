package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ict/internal/events"
)

// What TensorBoard is shown of a run that was killed and went on is what stats.jsonl and grids/ hold, no more and no less.
func TestBoardSaysWhatStatsSay(t *testing.T) {
	f := newFaulty(t, "", "--steps", "20", "--set", "every.state=6", "--set", "every.grid=5")
	f.ends(f.train("--stop-at", "15"), 10)
	if err := os.RemoveAll(filepath.Join(f.run, "states", "step-00000015")); err != nil { // as if killed before it was there
		t.Fatal(err)
	}
	f.ends(f.train(), 0, "step 12")

	type point struct {
		step int
		tag  string
	}
	want, got := map[point]float32{}, map[point]float32{}
	for line := range strings.Lines(f.read("stats.jsonl")) {
		var at struct{ Step int }
		var row any
		if err := errors.Join(json.Unmarshal([]byte(line), &at), json.Unmarshal([]byte(line), &row)); err != nil {
			t.Fatal(err)
		}
		list, err := scalarsOf(row)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range list {
			want[point{at.Step, s.Tag}] = s.Value
		}
	}
	pictures := map[point][]byte{}
	files, err := filepath.Glob(filepath.Join(f.run, "tb", "*"))
	if err != nil || len(files) != 2 {
		t.Fatalf("%q, %v: want a file for each start", files, err)
	}
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for r := events.NewReader(bytes.NewReader(b)); ; {
			e, err := r.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			for _, s := range e.Scalars {
				p := point{int(e.Step), s.Tag}
				if _, twice := got[p]; twice {
					t.Errorf("%v is there twice", p)
				}
				got[p] = s.Value
			}
			for _, i := range e.Images {
				pictures[point{int(e.Step), i.Tag}] = i.PNG
			}
		}
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if len(got) < 20*10 {
		t.Errorf("only %d numbers", len(got))
	}
	for p, name := range map[point]string{
		{0, "data"}: "data", {0, "grid"}: "init", {5, "grid"}: "step-00000005", {10, "grid"}: "step-00000010", {15, "grid"}: "step-00000015", {20, "grid"}: "final",
	} {
		if f.read("grids/"+name+".png") != string(pictures[p]) {
			t.Errorf("%v is not grids/%s.png", p, name)
		}
	}
	if len(pictures) != 6 {
		t.Errorf("%d pictures, want 6", len(pictures))
	}
}

func TestScalarsOf(t *testing.T) {
	got, err := scalarsOf(map[string]any{"step": 3, "b": true, "a": 0.5, "none": nil, "list": []any{1, nil, 3}, "text": "x"})
	want := []events.Scalar{{Tag: "a", Value: 0.5}, {Tag: "b", Value: 1}, {Tag: "list/0", Value: 1}, {Tag: "list/2", Value: 3}}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("got %v, %v", got, err)
	}
	if got, err := scalarsOf(map[string]any{"no": false}); err != nil || len(got) != 1 || got[0].Value != 0 {
		t.Errorf("got %v, %v", got, err)
	}
}
