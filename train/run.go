package train

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"ict/checkpoint"
	"ict/data"
	"ict/tensor"
)

// ErrStopped: the run was asked to stop; its state is saved and it can be resumed.
var ErrStopped = errors.New("stopped on request")

// Hooks are how the loop speaks to the outside. Each may be nil. They run on the loop's goroutine, between steps.
type Hooks struct {
	Tick  func(Tick) error
	Grid  func(step int) error
	Saved func(path string, took time.Duration) // from the goroutine that wrote
	Warn  func(string)
	Lost  func() error // asked before a tick, a grid, a save: its error ends the run, which writes no more
}

// Options of Run.
type Options struct {
	Hooks
	StopAt    int                 // leave at this step as if asked to; 0: no
	States    string              // folder of the states
	Snapshots string              // folder of the snapshots
	Manifest  checkpoint.Manifest // what every state says of run, build and device
	Classes   []string            // names, for the snapshots
	Stop      func() bool         // asked before every step: a signal or switch file wants the run to leave
	Save      func() bool         // asked before every step: a state is wanted now
	Writes    bool                // this rank writes files
	Check     bool                // look after each op of each step, see Trainer.Check; what is found goes to Warn
}

// Tick is the news of some steps, over all ranks.
type Tick struct {
	Step            int // steps done
	Images          uint64
	Epoch           float64 // passes over the data set; set by the outside, which knows its size
	Stage, Grid     int     // stage of the curriculum, from 0; its number of levels
	Loss, LossStd   float64 // mean and deviation of an image's weighted loss
	ByLevel         [LevelBins]float64
	GradNorm        float64
	Skipped         uint64 // steps skipped in the whole run
	Scale           tensor.Scale
	Elapsed         time.Duration // since the tick before
	Steps           int           // since the tick before
	DataWait        time.Duration // of it, waiting for the loader
	LR              float64
	SinceState      time.Duration // age of the newest complete state; 0: none yet
	ImagesPerSecond float64
	Final           bool
}

// Diverged is the error of a run whose gradient stays not finite; the weights stand as they were before.
type Diverged struct {
	Step   int // the step at which it was seen
	Since  int // first of the row of skipped steps
	Scale  tensor.Scale
	Images [2]uint64 // image numbers [first, end) of the first bad step
	Rows   []Row     // levels of the first bad step on this rank
	Norms  []Norm    // of the newest step's gradient, by parameter
}

// Norm is an L2 norm of one parameter's gradient, over its finite values, and how many are not.
type Norm struct {
	Name      string
	Norm      float64
	NonFinite int
}

func (d *Diverged) Error() string {
	return fmt.Sprintf("diverged: gradient not finite from step %d on, %d in a row with the loss scale at its floor, %g", d.Since, d.Scale.Bad, d.Scale.S)
}

// Source gives batches: data.Loader.
type Source interface {
	Next(context.Context) (data.Batch, error)
	WaitTime() time.Duration
}

// loop is the state of Run between steps.
type loop struct {
	*Trainer
	o     Options
	src   Source
	saver checkpoint.Saver

	start, lastTick, lastState, lastGrid, lastSnap time.Time
	tickStep                                       int
	waited                                         time.Duration
	stateAt                                        int                       // step of the newest state that was begun, −1: none
	whole                                          atomic.Pointer[time.Time] // when the newest state that is complete was taken
	blamed                                         map[BadValue]bool
	lost                                           bool // Hooks.Lost has given an error
}

// Run trains until the configured number of steps, a vote to stop, or an error. It returns nil, ErrStopped with the state
// saved, a *Diverged, or what went wrong. A cancelled context is a wish to stop.
func Run(ctx context.Context, t *Trainer, src Source, o Options) error {
	now := time.Now()
	l := &loop{Trainer: t, o: o, src: src, start: now, lastTick: now, lastState: now, lastGrid: now, lastSnap: now, tickStep: t.K, stateAt: -1}
	if t.K > 0 {
		l.stateAt = t.K // it was resumed from there
		l.whole.Store(&now)
	}
	if o.Writes {
		for _, dir := range []string{o.States, o.Snapshots} {
			if err := os.MkdirAll(dir, 0o700); err != nil {
				return fmt.Errorf("train: %w", err)
			}
		}
	}
	if o.Check {
		l.blamed = map[BadValue]bool{}
		if err := t.Check(); err != nil {
			return err
		}
	}
	err := l.run(ctx)
	if l.lost { // what is being saved is not to be put in place; that this fails is no news
		l.saver.Abort()
		_ = l.saver.Wait()
		return err
	}
	return errors.Join(err, l.background(l.saver.Wait()))
}

func (l *loop) run(ctx context.Context) error {
	c := l.Config
	for {
		finished := l.K >= c.Train.Steps
		votes := l.takeAgreed()
		done := finished || votes.Stop > 0 || l.o.StopAt > 0 && l.K >= l.o.StopAt
		if bad := l.Stats.Scale.Bad; bad >= int32(c.Train.MaxSkips) {
			return l.diverged()
		}
		if !l.saver.Busy() { // what became of the last save is told now, not at the next
			if err := l.background(l.saver.Wait()); err != nil {
				return err
			}
		}
		if done || l.due(c.Every.Status, votes.Tick) {
			if err := l.tick(done); err != nil {
				return err
			}
		}
		if finished || l.due(c.Every.Grid, votes.Grid) {
			l.lastGrid = time.Now()
			if l.o.Grid != nil {
				if err := l.mayWrite(); err != nil {
					return err
				}
				if err := l.o.Grid(l.K); err != nil {
					return err
				}
			}
		}
		if finished || l.due(c.Every.Snapshot, votes.Snapshot) {
			l.lastSnap = time.Now()
			if err := l.snapshot(); err != nil {
				return err
			}
		}
		if done || l.due(c.Every.State, votes.Save) {
			if err := l.state(); err != nil {
				return err
			}
		}
		if done {
			if err := l.Collect(); err != nil {
				return err
			}
			if l.Stats.Scale.Bad >= int32(c.Train.MaxSkips) {
				return l.diverged()
			}
			if finished {
				return nil
			}
			return ErrStopped
		}
		l.vote(ctx)
		b, err := l.src.Next(context.WithoutCancel(ctx))
		if err != nil {
			return err
		}
		if err := l.Step(b); err != nil {
			return err
		}
		if l.o.Check {
			if err := l.blame(); err != nil {
				return err
			}
		}
	}
}

// blame tells of the first value of the last step that is not finite, once for each op.
func (l *loop) blame() error {
	bad, err := l.TakeBad()
	if err != nil || bad == nil || l.blamed[*bad] {
		return err
	}
	l.blamed[*bad] = true
	l.warn("first bad value: %v (step %d)", bad, l.K-1)
	return nil
}

// due reports whether an interval has come round: in steps by the step, in time by the ranks' votes.
func (l *loop) due(every Interval, voted float32) bool {
	return every.Steps > 0 && l.K > 0 && l.K%every.Steps == 0 || voted > 0
}

// vote writes this rank's wishes for the next step. Clocks are rank 0's alone.
func (l *loop) vote(ctx context.Context) {
	v := &l.votes
	if ctx.Err() != nil || l.o.Stop != nil && l.o.Stop() {
		v.Stop = 1
	}
	if l.o.Save != nil && l.o.Save() {
		v.Save = 1
	}
	if l.comm.Rank() != 0 {
		return
	}
	every := l.Config.Every
	for _, w := range []struct {
		i    Interval
		last *time.Time
		vote *float32
	}{{every.State, &l.lastState, &v.Save}, {every.Status, &l.lastTick, &v.Tick}, {every.Grid, &l.lastGrid, &v.Grid}, {every.Snapshot, &l.lastSnap, &v.Snapshot}} {
		if w.i.Wall > 0 && time.Since(*w.last) >= w.i.Wall {
			*w.vote = 1
			*w.last = time.Now() // one vote a turn; it is obeyed two steps later
		}
	}
}

// takeAgreed is what the ranks agreed on since it was last asked.
func (t *Trainer) takeAgreed() Votes {
	v := t.agreed
	t.agreed = Votes{}
	return v
}

func (l *loop) tick(final bool) error {
	if err := l.Collect(); err != nil {
		return err
	}
	now := time.Now()
	sum, err := l.reduced()
	if err != nil {
		return err
	}
	mean, std := sum.Mean()
	k := Tick{
		Step: l.K, Images: uint64(l.K) * uint64(l.Config.Train.Batch), Loss: mean, LossStd: std, GradNorm: sum.GradNorm,
		Skipped: sum.Scale.Skipped, Scale: sum.Scale, Elapsed: now.Sub(l.lastTick), Steps: l.K - l.tickStep,
		DataWait: l.src.WaitTime() - l.waited, LR: l.optim.LR, Final: final,
	}
	for i := range k.ByLevel {
		k.ByLevel[i] = math.NaN()
		if sum.InLevel[i] > 0 {
			k.ByLevel[i] = sum.ByLevel[i] / float64(sum.InLevel[i])
		}
	}
	for i, s := range l.Config.Curriculum().Stages() {
		if s.First <= max(l.K-1, 0) {
			k.Stage, k.Grid = i, s.N
		}
	}
	if k.Elapsed > 0 {
		k.ImagesPerSecond = float64(k.Steps*l.Config.Train.Batch) / k.Elapsed.Seconds()
	}
	if taken := l.whole.Load(); taken != nil {
		k.SinceState = now.Sub(*taken)
	}
	l.lastTick, l.tickStep, l.waited = now, l.K, l.src.WaitTime()
	l.Stats.Reset()
	if l.o.Tick == nil {
		return nil
	}
	if err := l.mayWrite(); err != nil {
		return err
	}
	return l.o.Tick(k)
}

// sumFloats are those of reduced.
const sumFloats = 3 + 2*LevelBins

// reduced is Stats summed over the ranks.
func (l *loop) reduced() (Stats, error) {
	s := l.Stats
	if l.comm.Size() == 1 {
		return s, nil
	}
	x := l.sums
	v := make([]float32, sumFloats)
	v[0], v[1], v[2] = float32(s.Images), float32(s.Loss), float32(s.Loss2)
	for i := range LevelBins {
		v[3+i], v[3+LevelBins+i] = float32(s.ByLevel[i]), float32(s.InLevel[i])
	}
	if err := l.carrier.up(x, bytesOf(v)); err != nil {
		return s, err
	}
	l.comm.AllReduce(x)
	l.comm.Join()
	if err := errors.Join(l.carrier.down(bytesOf(v), x), l.comm.Err()); err != nil {
		return s, err
	}
	s.Images, s.Loss, s.Loss2 = int(v[0]), float64(v[1]), float64(v[2])
	for i := range LevelBins {
		s.ByLevel[i], s.InLevel[i] = float64(v[3+i]), int(v[3+LevelBins+i])
	}
	return s, nil
}

// save hands a job to the saver, unless the disk has no room for it: then the run goes on and says so.
func (l *loop) save(path string, need int64, job checkpoint.Job, warn string) error {
	if err := l.mayWrite(); err != nil {
		return err
	}
	err := checkpoint.Room(filepath.Dir(path), need)
	if errors.Is(err, checkpoint.ErrSpace) {
		l.warn("%s: %v", warn, err)
		return nil
	}
	if err != nil {
		return err
	}
	begin := time.Now()
	return l.background(l.saver.Save(func(ctx context.Context) error {
		err := job(ctx)
		if (err == nil || errors.Is(err, checkpoint.ErrKept)) && l.o.Saved != nil {
			l.o.Saved(path, time.Since(begin))
		}
		return err
	}))
}

// undeleted is the error of retention after a save.
func undeleted(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("an old %s %w: %w", what, checkpoint.ErrKept, err)
}

// background takes the error of a save: one that a full disk dropped, or that left something old, is told, and the run goes on.
func (l *loop) background(err error) error {
	if errors.Is(err, checkpoint.ErrKept) {
		l.warn("%v", err)
		return nil
	}
	if errors.Is(err, checkpoint.ErrSpace) {
		l.warn("a save was dropped: %v", err)
		return nil
	}
	return err
}

// mayWrite asks whether the run is still this process's.
func (l *loop) mayWrite() error {
	if l.o.Lost == nil {
		return nil
	}
	err := l.o.Lost()
	l.lost = err != nil
	return err
}

func (l *loop) warn(format string, a ...any) {
	if l.o.Warn != nil {
		l.o.Warn(fmt.Sprintf(format, a...))
	}
}

// state saves what a resume needs, and retires older ones once it is complete.
func (l *loop) state() error {
	l.lastState = time.Now()
	if !l.o.Writes || l.stateAt == l.K {
		return nil
	}
	job, err := l.StateJob(l.o.States, l.o.Manifest)
	if err != nil {
		return err
	}
	keep, id, dir, step, taken := l.Config.Keep.States, l.o.Manifest.RunID, l.o.States, l.K, l.lastState
	job = job.Then(func() error {
		l.whole.Store(&taken)
		_, err := checkpoint.Prune(dir, step, keep, checkpoint.Owned(dir, id))
		return undeleted("state", err)
	})
	l.stateAt = l.K
	return l.save(filepath.Join(dir, checkpoint.StateName(l.K)), 2*l.StateBytes(), job, "the state was not saved")
}

// snapshot saves every average to sample from, and retires older ones once all are there.
func (l *loop) snapshot() error {
	if !l.o.Writes {
		return nil
	}
	var all checkpoint.Job
	path := ""
	for i, d := range l.Config.EMA {
		rate := EMAName(d)
		if i == 0 {
			rate = ""
		}
		p := filepath.Join(l.o.Snapshots, checkpoint.SnapshotName(l.K, rate))
		job, err := l.SnapshotJob(p, l.o.Manifest.RunID, i, l.o.Classes)
		if err != nil {
			return err
		}
		if i == 0 {
			all, path = job, p
			continue
		}
		before := all
		all = func(ctx context.Context) error {
			if err := before(ctx); err != nil {
				return err
			}
			return job(ctx)
		}
	}
	keep, err := checkpoint.ParseRetention(l.Config.Keep.Snapshots)
	if err != nil {
		return fmt.Errorf("train: keep.snapshots: %w", err)
	}
	dir, id, step := l.o.Snapshots, l.o.Manifest.RunID, l.K
	all = all.Then(func() error {
		_, err := checkpoint.PruneSnapshots(dir, id, step, keep, false)
		return undeleted("snapshot", err)
	})
	return l.save(path, int64(len(l.Config.EMA))*l.SnapshotBytes(), all, "the snapshot was not saved")
}

// diverged collects evidence.
func (l *loop) diverged() error {
	s := l.Stats.Scale
	d := &Diverged{Step: l.K, Since: int(s.Since), Scale: s}
	d.Images[0] = uint64(d.Since) * uint64(l.Config.Train.Batch)
	d.Images[1] = d.Images[0] + uint64(l.Config.Train.Batch)
	d.Rows = l.rows(d.Since)
	for _, e := range l.layout.Entries {
		if e.Buffer {
			continue
		}
		v, err := l.copied(l.Gradient(e))
		if err != nil {
			return err
		}
		n := Norm{Name: e.Name}
		for _, x := range v {
			if f := float64(x); math.IsNaN(f) || math.IsInf(f, 0) {
				n.NonFinite++
			} else {
				n.Norm += f * f
			}
		}
		n.Norm = math.Sqrt(n.Norm) / float64(s.S)
		d.Norms = append(d.Norms, n)
	}
	return d
}
