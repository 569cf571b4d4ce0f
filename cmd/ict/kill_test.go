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
	train := func(run string) *exec.Cmd {
		return ict("train", "--preset", "tiny", "--data", pack, "--out", run, "--quiet",
			"--set", "model.channels=8", "--set", "model.mult=1,1", "--set", "model.dropout=0.1", "--set", "train.batch=8", "--steps", "24",
			"--set", "train.stage_min=8", "--set", "every.state=3", "--set", "every.grid=0", "--set", "every.snapshot=12")
	}
	whole := filepath.Join(dir, "whole")
	begin := time.Now()
	if out, err := train(whole).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	alone := time.Since(begin)

	killed, starts := filepath.Join(dir, "killed"), 0
	for done := false; !done; starts++ {
		cmd := train(killed)
		var out bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &out
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if starts < kills {
			time.Sleep(time.Duration(rng.Int64N(int64(alone))))
			_ = cmd.Process.Signal(syscall.SIGKILL) // it may have ended by itself
		}
		hung := time.AfterFunc(2*time.Minute, func() { _ = cmd.Process.Signal(syscall.SIGQUIT) })
		err := cmd.Wait()
		hung.Stop()
		if err == nil {
			done = starts >= kills // a finished run is killed at its start, too: it must stay finished
		} else if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || !status.Signaled() || status.Signal() != syscall.SIGKILL {
			t.Fatalf("seed %d, start %d: %v\n%s", seed, starts, err, out.String())
		}
	}
	t.Logf("seed %d: %d starts, %d of them killed or finished before", seed, starts, kills)
	for _, f := range []string{"weights.safetensors", "optimizer.safetensors", "ema-0.98.safetensors"} {
		name := fmt.Sprintf("states/step-%08d/%s", 24, f)
		a, err := os.ReadFile(filepath.Join(whole, name))
		if err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(filepath.Join(killed, name))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(a, b) {
			t.Errorf("seed %d: %s differs from the uninterrupted run's", seed, f)
		}
	}
}
