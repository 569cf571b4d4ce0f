package train

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"

	"ict/checkpoint"
	"ict/model"
	"ict/nn"
	"ict/tensor"
)

// Files of a state; see docs/format-checkpoint.md.
const (
	weightsFile   = "weights.safetensors"
	optimizerFile = "optimizer.safetensors"
	firstMoment   = "m."
	secondMoment  = "v."
)

// EMAName is an average's name in files and flags: its decay, as written.
func EMAName(decay float64) string { return strconv.FormatFloat(decay, 'g', -1, 64) }

func emaFile(decay float64) string { return "ema-" + EMAName(decay) + ".safetensors" }

// copied is a private copy of a flat array on the host.
func (t *Trainer) copied(x tensor.Tensor) ([]float32, error) { return t.carrier.floats(x) }

// named turns a flat array into tensors as files hold them: with the parameters' names behind prefix.
func named(l *nn.Layout, flat, buffers []float32, prefix string) []checkpoint.Named {
	var list []checkpoint.Named
	for _, e := range l.Entries {
		from := flat
		if e.Buffer {
			if from = buffers; from == nil {
				continue
			}
		}
		shape, v := model.ToFile(e, from[e.Off:e.Off+e.Shape.Elems()])
		list = append(list, checkpoint.Named{Name: prefix + e.Name, DType: "F32", Shape: shape, Data: checkpoint.Float32Bytes(v)})
	}
	return list
}

// StateJob copies everything a resume needs and returns the job that writes it below dir: weights, moments, averages,
// loss scale, step. base holds what the trainer does not know: run, build, device.
func (t *Trainer) StateJob(dir string, base checkpoint.Manifest) (checkpoint.Job, error) {
	if err := t.Collect(); err != nil {
		return nil, err
	}
	var err error
	get := func(x tensor.Tensor) []float32 {
		v, e := t.copied(x)
		err = errors.Join(err, e)
		return v
	}
	weights, buffers, m, v := get(t.Online.W), get(t.Online.Buffers), get(t.m), get(t.v)
	var ema [][]float32
	for _, e := range t.EMA {
		ema = append(ema, get(e.W))
	}
	scale, e := t.Scale()
	config, e2 := json.Marshal(t.Config)
	if err := errors.Join(err, e, e2); err != nil {
		return nil, fmt.Errorf("train: state: %w", err)
	}
	base.Config, base.Seed = config, t.Config.Train.Seed
	base.Images, base.World, base.MicroBatch = uint64(t.K)*uint64(t.Config.Train.Batch), t.comm.Size(), t.n
	base.LossScale = checkpoint.LossScale{Scale: scale.S, Good: scale.Good, Bad: scale.Bad, Skipped: scale.Skipped, Since: scale.Since}
	step, layout, decays := t.K, t.layout, t.Config.EMA
	return func(ctx context.Context) error {
		files := map[string][]checkpoint.Named{
			weightsFile:   named(layout, weights, buffers, ""),
			optimizerFile: append(named(layout, m, nil, firstMoment), named(layout, v, nil, secondMoment)...),
		}
		for i, d := range decays {
			files[emaFile(d)] = named(layout, ema[i], nil, "")
		}
		return checkpoint.StateJob(dir, step, files, base)(ctx)
	}, nil
}

// SnapshotJob copies average i and returns the job that writes it as the snapshot path of the run with this id, to sample from.
func (t *Trainer) SnapshotJob(path, runID string, i int, classes []string) (checkpoint.Job, error) {
	flat, err := t.copied(t.EMA[i].W)
	buffers, err2 := t.copied(t.Online.Buffers)
	config, err3 := json.Marshal(t.Config)
	noise, err4 := json.Marshal(t.Config.Noise)
	if err := errors.Join(err, err2, err3, err4); err != nil {
		return nil, fmt.Errorf("train: snapshot: %w", err)
	}
	info := checkpoint.SnapshotInfo{
		RunID: runID, Config: config, Step: t.K, Images: uint64(t.K) * uint64(t.Config.Train.Batch), EMA: EMAName(t.Config.EMA[i]),
		Noise: noise, Classes: classes, ByteRule: tensor.Round.String(),
	}
	layout := t.layout
	return func(ctx context.Context) error {
		return checkpoint.SnapshotJob(path, info, named(layout, flat, buffers, ""))(ctx)
	}, nil
}

// SnapshotBytes and StateBytes estimate what a snapshot and a state take on disk.
func (t *Trainer) SnapshotBytes() int64 { return 4*int64(t.layout.Size+t.layout.Buffers) + 1<<20 }
func (t *Trainer) StateBytes() int64    { return int64(3+len(t.EMA)) * t.SnapshotBytes() }

// statePart is a flat array, and the buffers where it has them, and where a state keeps it.
type statePart struct {
	file, prefix  string
	flat, buffers tensor.Tensor
}

// eachPart calls do for each array of the trainer with the file of the state that keeps it, up to the first error.
func (t *Trainer) eachPart(s *checkpoint.State, do func(f *checkpoint.File, p statePart) error) error {
	parts := []statePart{
		{weightsFile, "", t.Online.W, t.Online.Buffers},
		{optimizerFile, firstMoment, t.m, tensor.Tensor{}},
		{optimizerFile, secondMoment, t.v, tensor.Tensor{}},
	}
	for i, d := range t.Config.EMA {
		parts = append(parts, statePart{emaFile(d), "", t.EMA[i].W, tensor.Tensor{}})
	}
	for _, p := range parts {
		f, ok := s.File(p.file)
		if !ok {
			return fmt.Errorf("train: state %s has no %s", s.Dir, p.file)
		}
		if err := do(f, p); err != nil {
			return fmt.Errorf("train: %s: %w", filepath.Join(s.Dir, p.file), err)
		}
	}
	return nil
}

// CheckState says what LoadState would refuse. A Forecast can be asked too.
func (t *Trainer) CheckState(s *checkpoint.State) error {
	return t.eachPart(s, func(f *checkpoint.File, p statePart) error { return t.checkFile(f.Get, p.prefix, !p.buffers.Absent()) })
}

// LoadState brings back what StateJob wrote.
func (t *Trainer) LoadState(s *checkpoint.State) error {
	m := s.Manifest
	if err := t.eachPart(s, func(f *checkpoint.File, p statePart) error { return t.load(f.Get, p.prefix, p.flat, p.buffers) }); err != nil {
		return err
	}
	sc := m.LossScale
	scale := tensor.Scale{S: sc.Scale, Good: sc.Good, Bad: sc.Bad, Skipped: sc.Skipped, Since: sc.Since}
	var was struct{ Train struct{ Precision string } }
	if err := json.Unmarshal(m.Config, &was); err != nil {
		return fmt.Errorf("train: state %s: config: %w", s.Dir, err)
	}
	if was.Train.Precision != t.Config.Train.Precision { // another type begins with its own scale
		scale.S, scale.Good, scale.Bad = t.Config.Train.startScale().S, 0, 0
	}
	t.K, t.Stats = m.Step, Stats{Scale: scale}
	t.results[0].step, t.results[1].step = -1, -1
	t.Online.Refresh(t.dev)
	return errors.Join(t.putScale(scale), t.dev.Err())
}

// load fills a flat array, and the buffers where given, from tensors of a file, which may be cut meanwhile.
func (t *Trainer) load(get func(string) (checkpoint.Named, bool), prefix string, flat, buffers tensor.Tensor) error {
	if err := t.dev.Sync(); err != nil { // uploads overtake what is queued, such as the copies of Init
		return err
	}
	return checkpoint.Guard(func() error {
		for _, e := range t.layout.Entries {
			to := flat
			if e.Buffer {
				if to = buffers; to.Absent() {
					continue
				}
			}
			v, err := values(get, prefix, e)
			if err != nil {
				return err
			}
			if err := t.carrier.up(e.View(to), bytesOf(v)); err != nil {
				return err
			}
		}
		return nil
	})
}

// values are those of an entry in a file.
func values(get func(string) (checkpoint.Named, bool), prefix string, e nn.Entry) ([]float32, error) {
	n, ok := get(prefix + e.Name)
	if !ok {
		return nil, fmt.Errorf("%s is missing", prefix+e.Name)
	}
	if n.DType != checkpoint.F32 {
		return nil, fmt.Errorf("%s: got dtype %s, want F32", n.Name, n.DType)
	}
	return model.FromFile(e, n.Shape, checkpoint.Float32s(n.Data))
}

// CheckInit says what InitFrom would refuse. A Forecast can be asked too.
func (t *Trainer) CheckInit(get func(string) (checkpoint.Named, bool)) error {
	if err := t.checkFile(get, "", true); err != nil {
		return fmt.Errorf("train: %w", err)
	}
	return nil
}

// checkFile says what load would refuse.
func (t *Trainer) checkFile(get func(string) (checkpoint.Named, bool), prefix string, buffers bool) error {
	return checkpoint.Guard(func() error {
		for _, e := range t.layout.Entries {
			if e.Buffer && !buffers {
				continue
			}
			if _, err := values(get, prefix, e); err != nil {
				return err
			}
		}
		return nil
	})
}

// InitFrom begins from the weights of a file, at step 0; the averages start from them.
func (t *Trainer) InitFrom(get func(string) (checkpoint.Named, bool)) error {
	if err := t.load(get, "", t.Online.W, t.Online.Buffers); err != nil {
		return fmt.Errorf("train: %w", err)
	}
	t.StartAverages()
	return t.dev.Err()
}

const hashBytes = 8

// Hash is an order-free hash of the bits of weights, moments and averages: equal on equal runs, and across ranks.
func (t *Trainer) Hash() (uint64, error) {
	var sum uint64
	list := []tensor.Tensor{t.Online.W, t.m, t.v}
	for _, e := range t.EMA {
		list = append(list, e.W)
	}
	var b [hashBytes]byte
	for i, x := range list {
		t.dev.ReduceHash(t.hash, x)
		if err := t.carrier.down(b[:], t.hash); err != nil {
			return 0, err
		}
		sum = (sum + binary.LittleEndian.Uint64(b[:])) * uint64(2*i+3)
	}
	return sum, t.dev.Err()
}
