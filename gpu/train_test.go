//go:build cuda

package gpu

import (
	"context"
	"math"
	"testing"

	"ict/cpu"
	"ict/data"
	"ict/internal/optest"
	"ict/tensor"
	"ict/train"
)

// toy trains in a fraction of a second a step on the simulator: 8×8 colour images, three classes, dropout, attention.
func toy(t *testing.T) train.Config {
	c := train.Presets()["tiny"].Config
	c.Model.Resolution, c.Model.ImageChannels, c.Model.Channels, c.Model.Classes = 8, 3, 8, 3
	c.Model.Attention, c.Model.Dropout = []int{4}, 0.2
	c.Train.Steps, c.Train.Batch, c.Train.StageMin = 20, 4, 2
	c, err := c.Complete()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

type dots struct{}

func (dots) Len() int             { return 20 }
func (dots) Shape() (h, w, c int) { return 8, 8, 3 }
func (dots) Classes() int         { return 3 }
func (dots) ClassNames() []string { return []string{"a", "b", "c"} }
func (dots) Close() error         { return nil }
func (dots) Image(dst []byte, i int) (int, error) {
	for p := range dst {
		dst[p] = byte(13*p + 40*i + p*p*i%50)
	}
	return i % 3, nil
}

type trained struct {
	losses, norms []float64
	weights       optest.Host
	hash          uint64
}

func trainToy(t *testing.T, dev tensor.Backend, c train.Config, steps int) trained {
	t.Helper()
	tr, err := train.New(dev, tensor.Alone{}, c)
	if err != nil {
		t.Fatal(err)
	}
	if err := tr.Init(); err != nil {
		t.Fatal(err)
	}
	l := data.NewLoader(dots{}, data.LoaderOptions{Seed: c.Train.Seed, Batch: c.Train.Batch, World: 1, Flip: c.Data.Flip})
	defer l.Close()
	var r trained
	for range steps {
		b, err := l.Next(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		if err := tr.Step(b); err != nil {
			t.Fatal(err)
		}
		if err := tr.Collect(); err != nil {
			t.Fatal(err)
		}
		r.losses, r.norms = append(r.losses, tr.Stats.LastLoss), append(r.norms, tr.Stats.GradNorm)
	}
	if r.hash, err = tr.Hash(); err != nil {
		t.Fatal(err)
	}
	r.weights = optest.Get(t, dev, tr.Online.W)
	return r
}

// A whole training step, against the CPU: losses and gradients to rounding; graph and eager to the bit.
func TestTraining(t *testing.T) {
	c := toy(t)
	const steps = 4
	ref, err := cpu.Open(cpu.Options{Exact: true})
	if err != nil {
		t.Fatal(err)
	}
	want := trainToy(t, ref, c, steps)
	timings(t, func(t *testing.T) {
		eager := trainToy(t, opened(t, Options{NoGraph: true}), c, steps)
		graph := trainToy(t, opened(t, Options{}), c, steps)
		if graph.hash != eager.hash {
			t.Errorf("hash of weights and moments: replayed %#x, eager %#x", graph.hash, eager.hash)
		}
		for k := range steps {
			for _, v := range [][2]float64{{graph.losses[k], want.losses[k]}, {graph.norms[k], want.norms[k]}} {
				if !(math.Abs(v[0]-v[1]) <= 1e-3*math.Abs(v[1])) {
					t.Errorf("step %d: loss and norm of the gradient: got %v, %v, the CPU has %v, %v", k, graph.losses[k], graph.norms[k], want.losses[k], want.norms[k])
					break
				}
			}
		}
		optest.Near(t, "weights", graph.weights, want.weights, 1e-3)
	})
}

// Bits of a step do not depend on the poison: nothing is read before it is written.
func TestTrainingPoisoned(t *testing.T) {
	c := toy(t)
	clean := trainToy(t, opened(t, Options{}), c, 2)
	t.Setenv("ICT_POISON", "1")
	if got := trainToy(t, opened(t, Options{}), c, 2); got.hash != clean.hash {
		t.Errorf("hash of weights and moments: poisoned %#x, clean %#x", got.hash, clean.hash)
	}
}
