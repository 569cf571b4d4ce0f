package rundir

import (
	"cmp"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"
)

const maxJSON = 64 << 20 // bytes of run.json and status.json

// History is run.json: who the run is, and every start and stop.
type History struct {
	RunID   string    `json:"run_id"` // 16 hexadecimal digits; in the manifest of every state of the run
	Created time.Time `json:"created"`
	Starts  []Start   `json:"starts"`
}

// Start is one start of the trainer. AppendStart fills Time, Host and PID where they are zero.
type Start struct {
	Time       time.Time `json:"time"`
	Host       string    `json:"host"`
	PID        int       `json:"pid"`
	Build      string    `json:"build"`
	Kernels    string    `json:"kernels,omitempty"`
	Device     string    `json:"device"`
	BLAS       string    `json:"blas,omitempty"`
	NCCL       string    `json:"nccl,omitempty"`
	World      int       `json:"world"`
	MicroBatch int       `json:"micro_batch"`
	Command    []string  `json:"command"`
	Weights    string    `json:"weights"` // where they came from: random, a file, a state
	Step       int       `json:"step"`    // steps done at the start
	Allowed    []string  `json:"allowed,omitempty"`
	Stop       *Stop     `json:"stop,omitempty"` // nil: running, or killed
}

// Stop is how a start ended.
type Stop struct {
	Time   time.Time `json:"time"`
	Step   int       `json:"step"` // steps done
	Code   int       `json:"code"` // exit code
	Reason string    `json:"reason"`
}

// RunID identifies the run in its states. It is empty before Lock, unless SetRunID gave one.
func (d *Dir) RunID() string { return d.id }

// SetRunID says, before Lock, by which identity the states of the run know it. Lock takes it if run.json is missing: with a
// new one, the run would find its own states to be those of another. Empty: not known.
func (d *Dir) SetRunID(id string) { d.id = id }

// identify reads the run's identity, or makes one. The caller holds the lock.
func (d *Dir) identify() error {
	h, err := d.history()
	if errors.Is(err, fs.ErrNotExist) {
		h = History{RunID: cmp.Or(d.id, newID()), Created: time.Now().Round(time.Second), Starts: []Start{}}
		err = d.putHistory(h)
	}
	d.id = h.RunID
	return err
}

func newID() string {
	var id [8]byte
	rand.Read(id[:])
	return hex.EncodeToString(id[:])
}

// History reads run.json.
func (d *Dir) History() (History, error) {
	h, err := d.history()
	if err != nil {
		return h, fmt.Errorf("rundir: %s: %w", d.path, err)
	}
	return h, nil
}

func (d *Dir) history() (h History, err error) {
	b, err := d.read("run.json", maxJSON)
	if err != nil {
		return h, fmt.Errorf("run.json: %w", err)
	}
	if err := json.Unmarshal(b, &h); err != nil {
		return h, fmt.Errorf("run.json: %w; without the file the run begins a new history", err)
	}
	if h.RunID == "" {
		return h, errors.New("run.json: no run_id; without the file the run begins a new history")
	}
	return h, nil
}

func (d *Dir) putHistory(h History) error {
	b, err := json.MarshalIndent(h, "", "  ")
	if err != nil {
		return err
	}
	return d.put("run.json", append(b, '\n'), true)
}

// AppendStart adds a start to run.json. The lock must be held.
func (d *Dir) AppendStart(s Start) error {
	if s.Time.IsZero() {
		s.Time = time.Now().Round(time.Second)
	}
	if s.Host == "" {
		s.Host, _ = os.Hostname() // for the reader alone
	}
	if s.PID == 0 {
		s.PID = os.Getpid()
	}
	return d.change(func(h *History) error {
		h.Starts = append(h.Starts, s)
		return nil
	})
}

// AppendStop notes how the last start ended. The lock must be held.
func (d *Dir) AppendStop(s Stop) error {
	if s.Time.IsZero() {
		s.Time = time.Now().Round(time.Second)
	}
	return d.change(func(h *History) error {
		if len(h.Starts) == 0 || h.Starts[len(h.Starts)-1].Stop != nil {
			return errors.New("run.json: a stop without a start")
		}
		h.Starts[len(h.Starts)-1].Stop = &s
		return nil
	})
}

func (d *Dir) change(f func(*History) error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	h, err := d.history()
	if err == nil {
		err = f(&h)
	}
	if err == nil {
		err = d.putHistory(h)
	}
	if err != nil {
		return fmt.Errorf("rundir: %s: %w", d.path, err)
	}
	return nil
}

// WriteStatus puts the JSON of v in place of status.json, the heartbeat. It does not wait for the disk: after a power
// failure the heart has stopped anyway.
func (d *Dir) WriteStatus(v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("rundir: status.json: %w", err)
	}
	return d.replace("status.json", append(b, '\n'), false)
}

// ReadStatus reads status.json into v.
func (d *Dir) ReadStatus(v any) error {
	b, err := d.read("status.json", maxJSON)
	if err == nil {
		err = json.Unmarshal(b, v)
	}
	if err != nil {
		return fmt.Errorf("rundir: %s: status.json: %w", d.path, err)
	}
	return nil
}
