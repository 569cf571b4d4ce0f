package checkpoint

import (
	"context"
	"sync"
)

// A Job writes something and gives up when its context is done, leaving nothing that looks complete. What it writes must
// not change until it is over.
type Job func(context.Context) error

// StateJob is [WriteState] as a job.
func StateJob(statesDir string, step int, files map[string][]Named, m Manifest) Job {
	return func(ctx context.Context) error { return writeState(ctx, statesDir, step, files, m) }
}

// SnapshotJob is [WriteSnapshot] as a job.
func SnapshotJob(path string, info SnapshotInfo, tensors []Named) Job {
	return func(ctx context.Context) error { return writeSnapshot(ctx, path, info, tensors) }
}

// Then is the job followed by next, unless the job fails or is aborted: retention after a save.
func (j Job) Then(next func() error) Job {
	return func(ctx context.Context) error {
		if err := j(ctx); err != nil {
			return err
		}
		return next()
	}
}

// A Saver runs one job at a time in the background. The zero value is ready. Any goroutine may call any method.
type Saver struct {
	turn sync.Mutex // held by Save from waiting to starting
	mu   sync.Mutex // guards the rest
	run  *running
	err  error // of a finished job, until someone asks
}

type running struct {
	cancel context.CancelFunc
	done   chan struct{}
}

// Save waits for the job before, starts this one and returns the error of the one before, if nobody has asked for it yet.
// The new job runs in any case.
func (s *Saver) Save(job Job) error {
	s.turn.Lock()
	defer s.turn.Unlock()
	before := s.Wait()
	ctx, cancel := context.WithCancel(context.Background())
	r := &running{cancel, make(chan struct{})}
	s.mu.Lock()
	s.run = r
	s.mu.Unlock()
	go func() {
		err := job(ctx)
		cancel()
		s.mu.Lock()
		s.run, s.err = nil, err
		s.mu.Unlock()
		close(r.done)
	}()
	return before
}

// Busy reports whether a job is running.
func (s *Saver) Busy() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.run != nil
}

// Wait waits for the running job and returns its error, or that of the last one if none is running and nobody has asked
// for it yet. An aborted job returns context.Canceled.
func (s *Saver) Wait() error {
	s.mu.Lock()
	r := s.run
	s.mu.Unlock()
	if r != nil {
		<-r.done
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	err := s.err
	s.err = nil
	return err
}

// Abort tells the running job to give up and returns at once. The process may leave without waiting: what stands then has
// a temporary name. If the job had just put its work in place, that stands instead.
func (s *Saver) Abort() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.run != nil {
		s.run.cancel()
	}
}
