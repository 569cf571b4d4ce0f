package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// What was to be printed and could not be is a failure with a word; a reader that has enough is none.
func TestLostResults(t *testing.T) {
	ict, dir := program(t), t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "tiny.yaml"), []byte(benchYAML), 0o644))
	for _, args := range []string{"data make shapes --n 16 --size 8 --out s.pack", "train --config tiny.yaml --out a --quiet --steps 10 --set objective.s1=auto"} {
		cmd, _, stderr := ictIn(ict, dir, nil, words(args)...)
		if err := cmd.Run(); err != nil {
			t.Fatalf("ict %s: %v\n%s", args, err, stderr)
		}
	}
	const lost = "ict: stdout: no space left on device; what was to be printed is lost in part"
	for _, args := range []string{
		"--help", "version", "version --json", "doctor", "plan --preset mnist", "plan --preset mnist --list", "completion bash", "completion fish",
		"data stats s.pack", "data verify s.pack", "data make shapes --n 8 --size 8 --out x.pack", "ckpt ls a", "ckpt show a", "ckpt verify a",
		"bench data s.pack --n 4 --batch 4 --repeats 1", "sample a --n 1 --out x.png", "train --config tiny.yaml --out b --dry-run", "train --out a",
	} {
		t.Run(args, func(t *testing.T) {
			full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
			must(t, err)
			defer full.Close()
			cmd, _, stderr := ictIn(ict, dir, nil, words(args)...)
			cmd.Stdout = full
			var exit *exec.ExitError
			if err := cmd.Run(); !errors.As(err, &exit) || exit.ExitCode() != exitFailed || !strings.Contains(stderr.String(), lost) {
				t.Errorf("full disk: got %v, %s", err, stderr)
			}
			cmd, _, stderr = ictIn(ict, dir, nil, words(args)...)
			cmd.Stdout = leftPipe(t)
			if err := cmd.Run(); !errors.As(err, &exit) || exit.ExitCode() != 128+13 || strings.Contains(stderr.String(), "ict: ") {
				t.Errorf("no reader: got %v, %s", err, stderr)
			}
		})
	}
}

// leftPipe is the end to write to of a pipe whose reader has left.
func leftPipe(t *testing.T) *os.File {
	r, w, err := os.Pipe()
	must(t, err)
	must(t, r.Close())
	t.Cleanup(func() { w.Close() })
	return w
}

// Who reads the progress of a run may leave: the run goes on to its end, saves, and writes down how it ended.
func TestRunWithoutReader(t *testing.T) {
	f := newFaulty(t, "", "--steps", "30")
	cmd := exec.Command(f.ict, f.trainArgs()...)
	cmd.Stderr = leftPipe(t)
	hung := time.AfterFunc(time.Minute, func() { _ = cmd.Process.Kill() })
	out, err := cmd.Output()
	hung.Stop()
	if err != nil || strings.TrimSpace(string(out)) != f.run {
		t.Errorf("got %q, %v", out, err)
	}
	if b, err := os.ReadFile(filepath.Join(f.run, "states", "latest")); err != nil || !strings.Contains(string(b), "step-00000030") {
		t.Errorf("the newest state is %q, %v", b, err)
	}
	if b, err := os.ReadFile(filepath.Join(f.run, "run.json")); err != nil || !strings.Contains(string(b), `"reason": "complete"`) {
		t.Errorf("run.json says %s, %v", b, err)
	}
}
