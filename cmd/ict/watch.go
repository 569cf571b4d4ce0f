package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"time"

	"ict/checkpoint"
	"ict/tensor"
	"ict/train"
)

// watch keeps the world informed while a run trains: progress line, stats.jsonl, status.json, log.
type watch struct {
	*session
	start     time.Time // of this start's first step
	startStep int
	seconds   float64 // of training before this start
	last      time.Time
	tickStep  int
	stored    atomic.Int64 // step of the newest state of this start, or −1
	skipped   uint64       // steps, at the tick before
	warned    bool         // of them
	checks    int          // of the device that were passed
	status    status
	gauges    gauges
}

// status is status.json: the heartbeat.
type status struct {
	State   string    `json:"state"` // training, complete, stopped, diverged, failed
	PID     int       `json:"pid"`
	Host    string    `json:"host"`
	Started time.Time `json:"started"`
	Updated time.Time `json:"updated"`
	Step    int       `json:"step"`
	Steps   int       `json:"steps"`
	Images  uint64    `json:"images"`
	Loss    number    `json:"loss"`
	Rate    number    `json:"img_per_s"`
	Left    float64   `json:"expected_seconds_left"`
	Saved   int       `json:"saved_step"` // of the newest state; -1: none
}

// heartbeat is the longest time between two writes of status.json while steps go on.
const heartbeat = 10 * time.Second

func (r *session) newWatch() *watch {
	now := time.Now()
	w := &watch{session: r, start: now, startStep: r.t.K, tickStep: r.t.K, seconds: lastSeconds(r.dir.StatsJSONL()),
		gauges: gauges{dev: r.dev.gpu, perImage: r.perImage}}
	w.stored.Store(-1)
	w.skipped = r.t.Stats.Scale.Skipped
	if r.t.K > 0 {
		w.stored.Store(int64(r.t.K))
	}
	host, _ := os.Hostname() // for the reader alone
	w.status = status{State: "training", PID: os.Getpid(), Host: host, Started: now.Round(time.Second), Steps: r.s.Train.Steps,
		Images: uint64(r.t.K) * uint64(r.s.Train.Batch)}
	w.beat(true)
	return w
}

// lastSeconds is the training time that the last line of stats.jsonl tells.
func lastSeconds(path string) float64 {
	f, err := os.Open(path)
	if err != nil {
		return 0
	}
	defer f.Close()
	const tail = 1 << 16
	if size, err := f.Seek(0, io.SeekEnd); err == nil {
		f.Seek(max(0, size-tail), io.SeekStart)
	}
	b, _ := io.ReadAll(f)
	lines := bytes.Split(bytes.TrimSpace(b), []byte("\n"))
	var s struct{ Seconds float64 }
	if json.Unmarshal(lines[len(lines)-1], &s) != nil {
		return 0
	}
	return s.Seconds
}

// tick is the loop's news.
func (w *watch) tick(k train.Tick) error {
	k.Epoch = float64(k.Images) / float64(w.ds.Len())
	var left time.Duration
	if done := k.Step - w.startStep; done > 0 {
		left = time.Since(w.start) * time.Duration(w.s.Train.Steps-k.Step) / time.Duration(done)
	}
	w.status.Images, w.status.Loss, w.status.Rate, w.status.Left = k.Images, number(k.Loss), number(k.ImagesPerSecond), left.Seconds()
	w.beat(true)
	if err := w.selfChecked(k.Final); err != nil {
		return err
	}
	if k.Steps == 0 { // right after a start, or the end at a tick: nothing new
		return nil
	}
	sensors := w.gauges.read(k.ImagesPerSecond)
	line := tickLine(k, w.s.Config, left, sensors)
	w.u.files.Info(line)
	if !w.u.quiet {
		w.u.err.progress(line)
	}
	w.warnOfSkips(k)
	stats := statsOf(k, w.s.Config, w.seconds+time.Since(w.start).Seconds(), w.out, sensors)
	err := w.dir.AppendStats(stats)
	if err != nil && isFull(err) {
		w.u.warn("stats.jsonl: %v; going on without", err)
		err = nil
	}
	return errors.Join(err, w.board.scalars(k.Step, stats))
}

// warnOfSkips warns once. In fp16 a skipped step is how the loss scale finds its place, and nothing to warn of until they are many.
func (w *watch) warnOfSkips(k train.Tick) {
	skipped := int(k.Skipped - w.skipped)
	w.skipped = k.Skipped
	switch {
	case skipped == 0 || w.warned:
		return
	case w.s.Config.Train.Act() != tensor.F16:
		w.u.warn("steps were skipped: their gradients were not finite")
	case 10*skipped > k.Steps:
		w.u.warn("%d of the last %d steps skipped, loss %s: gradients near the end of fp16's range; --precision bf16 has a wider one", skipped, k.Steps,
			scaleText(k.Scale.S))
	default:
		return
	}
	w.warned = true
}

// isFull reports whether a disk had no room: the run goes on.
func isFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || errors.Is(err, syscall.EFBIG) || errors.Is(err, checkpoint.ErrSpace)
}

// beat writes the heartbeat, at most every few seconds unless now. A run that is no longer this process's has another heart.
func (w *watch) beat(now bool) {
	if !now && time.Since(w.last) < heartbeat || w.dir.StillLocked() != nil {
		return
	}
	w.last = time.Now()
	w.status.Updated, w.status.Step, w.status.Saved = w.last.Round(time.Second), w.t.K, w.stateAt()
	if err := w.dir.WriteStatus(w.status); err != nil {
		w.u.warn("%v", err)
	}
}

// finish leaves the last status.
func (w *watch) finish(state string) {
	w.status.State, w.status.Left = state, 0
	w.beat(true)
}

// saved is called by the writer of a state or snapshot.
func (w *watch) saved(path string, took time.Duration) {
	var step int64
	if _, err := fmt.Sscanf(filepath.Base(path), "step-%d", &step); err == nil && filepath.Dir(path) == filepath.Clean(w.dir.States()) {
		w.stored.Store(step)
	}
	w.u.log.Infow("saved", "path", path, "took", took.Round(time.Millisecond).String())
}

// stateAt is the step of the newest state, −1: none.
func (w *watch) stateAt() int { return int(w.stored.Load()) }
