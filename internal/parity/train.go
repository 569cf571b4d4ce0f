package parity

import (
	"fmt"
	"slices"

	"ict/data"
	"ict/model"
	"ict/nn"
	"ict/noise"
	"ict/tensor"
	"ict/train"
)

// batches are the given images, normals, pairs and labels of steps of n images each.
type batches struct {
	n, pixels int
	x, z      []float32
	i         []int
	labels    []int32 // nil: none
}

// loadBatches reads what the steps of an objective are given; lead is (steps) or, for a single step, nothing.
func (f *file) loadBatches(lead ...int) (b batches, err error) {
	shape := append(slices.Clone(lead), anySize)
	x, full, err := f.images("in/x", shape...)
	if err != nil {
		return b, err
	}
	b.x, b.n, b.pixels = x, full[len(lead)], f.model.Pixels()
	shape[len(lead)] = b.n
	if b.z, _, err = f.images("in/z", shape...); err != nil {
		return b, err
	}
	if b.i, err = f.pairs(f.objective.gridPoints, b.n, shape...); err != nil {
		return b, err
	}
	b.labels, err = f.labels(shape...)
	return b, err
}

// step gives trainer t the numbers of step k, and takes it.
func (b batches) step(t *train.Trainer, k int) error {
	image := func(v []float32) []float32 { return v[k*b.n*b.pixels : (k+1)*b.n*b.pixels] }
	t.Given = &train.Given{X: image(b.x), Z: image(b.z), I: b.i[k*b.n : (k+1)*b.n]}
	batch := data.Batch{First: uint64(k * b.n)}
	if b.labels != nil {
		batch.Labels = b.labels[k*b.n : (k+1)*b.n]
	}
	return t.Step(batch)
}

// lossScale is where fp16 starts: gradients of so few images would end the usual start of 2^20 in skipped steps.
const lossScale = 1 << 10

// trainConfig is the run that a file describes. What no file says (how often a run saves, where it stops) does not matter here.
func (m meta) trainConfig(batch int, precision string) (train.Config, error) {
	c := train.Presets()["tiny"].Config
	l := noise.Default()
	c.Model, c.Noise = m.model, train.Noise{Min: l.Min, Max: l.Max, Data: l.Data, Rho: l.Rho}
	c.Objective.S0, c.Objective.S1, c.Objective.HuberC = m.objective.s0, train.Auto(m.objective.s1), train.AutoF(m.objective.huberC)
	c.Train.Steps, c.Train.Batch, c.Train.Precision = m.objective.steps, batch, precision
	c.Train.LossScale.Start = lossScale
	if m.optim.Kind != "" { // a single step is judged before its update
		c.Optim, c.EMA = m.optim, []float64{m.ema}
	}
	if c.Objective.S1 < 1 {
		return c, damaged("objective: got grids from %d to %d intervals, want at least 1", c.Objective.S0, m.objective.s1)
	}
	if err := c.Check(); err != nil {
		return c, damaged("%v", err)
	}
	return c, nil
}

// newTrainer makes the trainer of a file's run with its weights.
func newTrainer(dev tensor.Backend, c train.Config, p *params) (*train.Trainer, error) {
	if err := fits(dev, p.net.Tape, nn.Want{Grad: true, Train: true}, 6); err != nil {
		return nil, err
	}
	t, err := train.New(dev, tensor.Alone{}, c)
	if err != nil {
		return nil, err
	}
	return t, t.InitFrom(p.find)
}

// loadStep reads one step of iCT: outputs, losses and gradients before the update.
func loadStep(f *file) (job, error) {
	b, err := f.loadBatches()
	if err != nil {
		return nil, err
	}
	c, err := f.trainConfig(b.n, f.precision)
	if err != nil {
		return nil, err
	}
	p, err := f.params(b.n, model.Options{})
	if err != nil {
		return nil, err
	}
	student, _, err := f.images("out/student", b.n)
	if err != nil {
		return nil, err
	}
	teacher, _, err := f.images("out/teacher", b.n)
	if err != nil {
		return nil, err
	}
	loss, _, err := f.floats("out/loss", []int{b.n})
	if err != nil {
		return nil, err
	}
	grads, err := f.all("grad/", p.trained())
	if err != nil {
		return nil, err
	}
	return func(dev tensor.Backend, m measures) error {
		t, err := newTrainer(dev, c, p)
		if err != nil {
			return err
		}
		scale, err := t.Scale()
		if err != nil {
			return err
		}
		if err := b.step(t, 0); err != nil {
			return err
		}
		stage := t.Stage()
		for _, o := range []struct {
			name string
			x    tensor.Tensor
			ref  []float32
		}{{"out/student", stage.Out, student}, {"out/teacher", stage.Want, teacher}} {
			got, err := read(dev, o.x)
			if err != nil {
				return err
			}
			m.add("out", o.name, got, o.ref)
		}
		got, err := read(dev, stage.Losses)
		if err != nil {
			return err
		}
		m.addLosses("out/loss", got, loss)
		ref := map[string][]float32{}
		for i, e := range p.trained() {
			ref[e.Name] = grads[i]
		}
		for _, e := range t.Layout().Entries {
			if e.Buffer {
				continue
			}
			got, err := read(dev, t.Gradient(e))
			if err != nil {
				return err
			}
			for i := range got {
				got[i] /= scale.S
			}
			m.add("grad", "grad/"+e.Name, got, ref[e.Name])
		}
		return nil
	}, nil
}

// loadTrain reads a short training: the loss of each step, weights and average at the end.
func loadTrain(f *file) (job, error) {
	b, err := f.loadBatches(f.objective.steps)
	if err != nil {
		return nil, err
	}
	c, err := f.trainConfig(b.n, f.precision)
	if err != nil {
		return nil, err
	}
	p, err := f.params(b.n, model.Options{})
	if err != nil {
		return nil, err
	}
	loss, _, err := f.floats("out/loss", []int{f.objective.steps})
	if err != nil {
		return nil, err
	}
	start, err := f.all("param/", p.entries)
	if err != nil {
		return nil, err
	}
	end, err := f.all("out/param/", p.entries)
	if err != nil {
		return nil, err
	}
	average, err := f.all("out/ema/", p.entries)
	if err != nil {
		return nil, err
	}
	return func(dev tensor.Backend, m measures) error {
		for k, want := range f.objective.gridPoints {
			if n := c.Curriculum().N(k); n != want {
				return fmt.Errorf("objective.grid_points: step %d: got %d levels from this build's curriculum, the file has %d", k, n, want)
			}
		}
		t, err := newTrainer(dev, c, p)
		if err != nil {
			return err
		}
		var losses []float32
		for k := range f.objective.steps {
			if err := b.step(t, k); err != nil {
				return err
			}
			if err := t.Collect(); err != nil {
				return err
			}
			losses = append(losses, float32(t.Stats.LastLoss))
		}
		m.addLosses("out/loss", losses, loss)
		if err := m.addAll("change", "out/param/*", dev, t.Online, p.entries, end, start); err != nil {
			return err
		}
		return m.addAll("ema", "out/ema/*", dev, t.EMA[0], p.entries, average, nil)
	}, nil
}

// addAll measures the entries of w together, relative to ‖ref − start‖, or without start to ‖ref‖. What ref lacks stays out.
func (m measures) addAll(group, name string, dev tensor.Backend, w *nn.Weights, entries []nn.Entry, ref, start [][]float32) error {
	at := map[string]nn.Entry{}
	for _, e := range w.Layout.Entries {
		at[e.Name] = e
	}
	var s sums
	for i, e := range entries {
		if ref[i] == nil {
			continue
		}
		got, err := read(dev, w.Tensor(at[e.Name]))
		if err != nil {
			return err
		}
		var from []float32
		if start != nil {
			from = start[i]
		}
		s.add(got, ref[i], from)
	}
	m.take(group, name, s.relative())
	return nil
}
