package checkpoint

import (
	"context"
	"errors"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
)

func TestSaver(t *testing.T) {
	dir := t.TempDir()
	var s Saver
	if s.Busy() || s.Wait() != nil {
		t.Error("a new Saver is busy")
	}
	s.Abort() // nothing runs: nothing happens
	for step := 1; step <= 4; step++ {
		job := StateJob(dir, step, stateFiles(step), testManifest()).Then(func() error {
			_, err := Prune(dir, 1<<30, 2, Owned(dir, "run-1"))
			return err
		})
		if err := s.Save(job); err != nil {
			t.Error(err)
		}
	}
	path := filepath.Join(dir, SnapshotName(4, ""))
	if err := s.Save(SnapshotJob(path, testInfo(), samples())); err != nil {
		t.Error(err)
	}
	if err := s.Wait(); err != nil || s.Busy() {
		t.Error(err)
	}
	wantLatest(t, dir, 4, 0)
	if list, _ := List(dir); len(list) != 2 {
		t.Errorf("%d states, want 2", len(list))
	}
	if _, err := Verify(path); err != nil {
		t.Error(err)
	}
}

// An error waits until somebody asks, and is told once; Then stops at it.
func TestSaverErrors(t *testing.T) {
	var s Saver
	bad, worse := errors.New("bad"), errors.New("worse")
	after := false
	fail := func(err error) Job { return func(context.Context) error { return err } }
	s.Save(fail(bad).Then(func() error { after = true; return nil }))
	if err := s.Save(fail(nil).Then(func() error { return worse })); err != bad {
		t.Errorf("got %v, want %v", err, bad)
	}
	if err := s.Wait(); err != worse {
		t.Errorf("got %v, want %v", err, worse)
	}
	if err := s.Wait(); err != nil || after {
		t.Errorf("got %v, %v", err, after)
	}
}

// However many save at once, one job runs at a time, and all run.
func TestSaverOneAtATime(t *testing.T) {
	var s Saver
	var running, ran atomic.Int32
	var group sync.WaitGroup
	for range 50 {
		group.Go(func() {
			s.Save(func(context.Context) error {
				if running.Add(1) != 1 {
					t.Error("two jobs at once")
				}
				ran.Add(1)
				running.Add(-1)
				return nil
			})
			s.Busy()
		})
	}
	group.Wait()
	if s.Wait(); ran.Load() != 50 {
		t.Errorf("%d jobs ran, want 50", ran.Load())
	}
}

// An aborted save leaves the state before it, and no half of its own.
func TestSaverAbort(t *testing.T) {
	dir := t.TempDir()
	mustWrite(t, dir, 1)
	var s Saver
	started := make(chan struct{})
	s.Save(func(ctx context.Context) error {
		close(started)
		<-ctx.Done()
		return StateJob(dir, 2, stateFiles(2), testManifest())(ctx)
	})
	<-started
	if !s.Busy() {
		t.Error("not busy")
	}
	s.Abort()
	if err := s.Wait(); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want %v", err, context.Canceled)
	}
	wantLatest(t, dir, 1, 0)
	if got := names(t, dir); len(got) != 2 {
		t.Errorf("left %q", got)
	}
	s.Save(StateJob(dir, 2, stateFiles(2), testManifest())) // the next one runs
	if err := s.Wait(); err != nil {
		t.Error(err)
	}
	wantLatest(t, dir, 2, 0)
}
