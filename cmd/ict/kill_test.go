package main

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// A run that is killed with SIGKILL at random moments, during saves too, and started again each time ends with the bits of
// the run that nobody disturbed. ICT_TEST_FULL=1 kills 200 times.
func TestKilledRunsResumeToTheSameBits(t *testing.T) {
	if os.Getenv("ICT_KILLED") != "" {
		t.Fatal("the test binary ran its tests instead of the program: TestMain does not know the name ict")
	}
	t.Setenv("ICT_KILLED", "1")
	kills := 10
	if os.Getenv("ICT_TEST_FULL") != "" {
		kills = 200
	} else if testing.Short() {
		kills = 3
	}
	seed := uint64(time.Now().UnixNano())
	rng := rand.New(rand.NewPCG(seed, 0))
	dir := t.TempDir()
	pack := filepath.Join(dir, "shapes.pack")
	path := program(t)
	ict := func(args ...string) *exec.Cmd { return exec.Command(path, args...) }
	if out, err := ict("data", "make", "shapes", "--n", "64", "--size", "16", "--out", pack).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	train := func(run string) *exec.Cmd { // a state at every step: much of the time goes into saves
		return ict("train", "--preset", "tiny", "--data", pack, "--out", run, "--quiet",
			"--set", "model.channels=8", "--set", "model.mult=1,1", "--set", "model.dropout=0.1", "--set", "train.batch=8", "--steps", "24",
			"--set", "train.stage_min=8", "--set", "ema=[0.98,0.9]", "--set", "every.state=1", "--set", "every.grid=0", "--set", "every.snapshot=12",
			"--set", "keep.snapshots=last 1")
	}
	whole := filepath.Join(dir, "whole")
	begin := time.Now()
	if out, err := train(whole).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	alone := time.Since(begin)

	files := []string{"weights.safetensors", "optimizer.safetensors", "ema-0.98.safetensors", "ema-0.9.safetensors"}
	killed, saving, runs := 0, 0, 0
	for killed < kills {
		run := filepath.Join(dir, fmt.Sprint("killed", runs))
		runs++
		for done := false; !done; {
			cmd := train(run)
			var out bytes.Buffer
			cmd.Stdout, cmd.Stderr = &out, &out
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			if killed < kills {
				moment := time.Now().Add(time.Duration(rng.Int64N(int64(alone))))
				inSave := rng.IntN(3) == 0 // then the first save from that moment on
				for time.Now().Before(moment) || inSave && !saves(run) && time.Since(moment) < alone {
					time.Sleep(time.Millisecond / 2)
				}
				_ = cmd.Process.Signal(syscall.SIGKILL) // it may have ended by itself
			}
			hung := time.AfterFunc(2*time.Minute, func() { _ = cmd.Process.Signal(syscall.SIGQUIT) })
			err := cmd.Wait()
			hung.Stop()
			status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus)
			switch {
			case err == nil:
				done = true
			case ok && status.Signaled() && status.Signal() == syscall.SIGKILL:
				killed++
				if saves(run) {
					saving++
				}
			default:
				t.Fatalf("seed %d, after %d kills: %v\n%s", seed, killed, err, out.String())
			}
		}
		for _, f := range files {
			name := fmt.Sprintf("states/step-%08d/%s", 24, f)
			a, err := os.ReadFile(filepath.Join(whole, name))
			if err != nil {
				t.Fatal(err)
			}
			b, err := os.ReadFile(filepath.Join(run, name))
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(a, b) {
				t.Errorf("seed %d: run %d, after %d kills: %s differs from the uninterrupted run's", seed, runs, killed, f)
			}
		}
		if saves(run) {
			t.Errorf("seed %d: run %d: something half-written is left", seed, runs)
		}
	}
	t.Logf("seed %d: %d kills of %d runs, %d of them during a save; no run lost, every one ended with the same bits", seed, killed, runs, saving)
	if kills > 100 && saving == 0 {
		t.Error("no kill met a save")
	}
}

// saves tells whether a state or a snapshot of the run is half-written.
func saves(run string) bool {
	for _, pattern := range []string{"states/*.tmp", "snapshots/.step-*"} {
		if m, _ := filepath.Glob(filepath.Join(run, pattern)); len(m) > 0 {
			return true
		}
	}
	return false
}
