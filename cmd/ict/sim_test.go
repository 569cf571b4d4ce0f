package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"image/png"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestSimulator runs the scripts of testdata/sim with the CUDA build on the simulator.
func TestSimulator(t *testing.T) {
	sim := os.Getenv("ICT_SIM")
	if sim == "" {
		t.Skip("needs $ICT_SIM, the path of build/sim/ict; make test-sim says it")
	}
	if _, err := os.Stat(sim); err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir: filepath.Join("testdata", "sim"), RequireExplicitExec: true,
		Setup: func(e *testscript.Env) error {
			e.Setenv("ICT_BLAS", "gonum")
			e.Setenv("GOMAXPROCS", "2")
			e.Setenv("SIM", sim)
			e.Setenv("SIMDIR", filepath.Dir(sim))
			return nil
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){"exits": exits, "follows": follows, "alike": alike},
	})
}

// follows STATS REFERENCE SHARE demands that the losses of two stats.jsonl, over the same steps, differ by at most a share of them.
func follows(ts *testscript.TestScript, neg bool, args []string) {
	read := func(path string) (steps []int, losses []float64) {
		lines := bufio.NewScanner(bytes.NewReader([]byte(ts.ReadFile(path))))
		for lines.Scan() {
			var s struct {
				Step int
				Loss float64
			}
			ts.Check(json.Unmarshal(lines.Bytes(), &s))
			steps, losses = append(steps, s.Step), append(losses, s.Loss)
		}
		return steps, losses
	}
	share, err := strconv.ParseFloat(args[2], 64)
	ts.Check(err)
	steps, got := read(args[0])
	wantSteps, want := read(args[1])
	if len(got) != len(want) || len(got) == 0 {
		ts.Fatalf("%s has %d lines, %s %d", args[0], len(got), args[1], len(want))
	}
	same := true
	for i := range want {
		same = same && got[i] == want[i]
		if steps[i] != wantSteps[i] || !(want[i] > 0) || !(math.Abs(got[i]/want[i]-1) <= share) {
			ts.Fatalf("step %d: loss %v, at step %d of the reference %v; want at most %v between them", steps[i], got[i], wantSteps[i], want[i], share)
		}
	}
	if same {
		ts.Fatalf("the losses are the same to the bit; was it another device at all?")
	}
}

// alike A.png B.png N demands pictures of one size whose bytes differ by at most N, and that show something.
func alike(ts *testscript.TestScript, neg bool, args []string) {
	most, err := strconv.Atoi(args[2])
	ts.Check(err)
	a, err := png.Decode(bytes.NewReader([]byte(ts.ReadFile(args[0]))))
	ts.Check(err)
	b, err := png.Decode(bytes.NewReader([]byte(ts.ReadFile(args[1]))))
	ts.Check(err)
	if a.Bounds() != b.Bounds() {
		ts.Fatalf("%v and %v", a.Bounds(), b.Bounds())
	}
	seen := map[uint32]bool{}
	for y := range a.Bounds().Dy() {
		for x := range a.Bounds().Dx() {
			ar, ag, ab, _ := a.At(x, y).RGBA()
			br, bg, bb, _ := b.At(x, y).RGBA()
			seen[ar] = true
			for _, d := range [][2]uint32{{ar, br}, {ag, bg}, {ab, bb}} {
				if diff := int(d[0]>>8) - int(d[1]>>8); diff > most || -diff > most {
					ts.Fatalf("pixel %d,%d: %v and %v", x, y, a.At(x, y), b.At(x, y))
				}
			}
		}
	}
	if len(seen) < 20 {
		ts.Fatalf("the picture has %d shades of red: it shows nothing", len(seen))
	}
}
