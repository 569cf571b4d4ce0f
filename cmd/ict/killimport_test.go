package main

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"ict/data"
)

// An import that is killed at random moments, with SIGKILL and now and then with SIGINT, and started again each time ends
// with the bytes of the one that nobody disturbed. ICT_TEST_FULL=1 kills 100 times.
func TestKilledImportsEndWithTheSameBytes(t *testing.T) {
	if os.Getenv("ICT_KILLED") != "" {
		t.Fatal("the test binary ran its tests instead of the program: TestMain does not know the name ict")
	}
	t.Setenv("ICT_KILLED", "1")
	kills := 8
	if os.Getenv("ICT_TEST_FULL") != "" {
		kills = 100
	}
	seed := uint64(time.Now().UnixNano())
	rng := rand.New(rand.NewPCG(seed, 0))
	dir := t.TempDir()
	path := program(t)
	source := filepath.Join(dir, "shapes.pack")
	if err := data.MakeShapes(source, 3000, 16, 1); err != nil {
		t.Fatal(err)
	}
	command := func(out string) *exec.Cmd {
		return exec.Command(path, "data", "import", source, "--size", "96", "--crop", "dhariwal", "--out", filepath.Join(dir, out))
	}
	begin := time.Now()
	if out, err := command("whole.pack").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	alone := time.Since(begin)

	resumed, starts := 0, 0
	for done := false; !done; starts++ {
		cmd := command("killed.pack")
		var out bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &out
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		signal := syscall.SIGKILL
		if starts%4 == 3 {
			signal = syscall.SIGINT
		}
		if starts < kills {
			time.Sleep(time.Duration(rng.Int64N(int64(alone) / 4)))
			_ = cmd.Process.Signal(signal) // it may have ended by itself
		}
		hung := time.AfterFunc(2*time.Minute, func() { _ = cmd.Process.Signal(syscall.SIGQUIT) })
		err := cmd.Wait()
		hung.Stop()
		if strings.Contains(out.String(), "are there and whole") {
			resumed++
		}
		status, _ := cmd.ProcessState.Sys().(syscall.WaitStatus)
		kept := status.ExitStatus() == exitStopped && strings.Contains(out.String(), "killed.pack.partial; the same command goes on there")
		early := status.ExitStatus() == 130 || status.Signaled() && status.Signal() == signal // before there was anything to keep
		switch {
		case err == nil:
			done = true
		case starts >= kills, signal == syscall.SIGKILL && !early, signal == syscall.SIGINT && !kept && !early:
			t.Fatalf("seed %d, start %d: %v\n%s", seed, starts, err, out.String())
		}
		if _, err := os.Stat(filepath.Join(dir, "killed.pack")); done != (err == nil) {
			t.Fatalf("seed %d, start %d: done %v, but the file: %v", seed, starts, done, err)
		}
	}
	t.Logf("seed %d: %d starts, %d went on with what was there", seed, starts, resumed)
	if resumed == 0 {
		t.Errorf("seed %d: all %d kills came before there was anything to go on with", seed, kills)
	}
	for _, suffix := range []string{"", ".import.json"} {
		want, err := os.ReadFile(filepath.Join(dir, "whole.pack"+suffix))
		got, err2 := os.ReadFile(filepath.Join(dir, "killed.pack"+suffix))
		if e := errors.Join(err, err2); e != nil {
			t.Fatal(e)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("seed %d: killed.pack%s differs from the undisturbed import's", seed, suffix)
		}
	}
}
