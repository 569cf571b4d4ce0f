//go:build cuda

package gpu

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"ict/checkpoint"
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

func newToy(t *testing.T, dev tensor.Backend, c train.Config) *train.Trainer {
	t.Helper()
	tr, err := train.New(dev, tensor.Alone{}, c)
	if err != nil {
		t.Fatal(err)
	}
	if err := tr.Init(); err != nil {
		t.Fatal(err)
	}
	return tr
}

// steps trains; after is called behind every step, with Stats up to date.
func steps(t *testing.T, tr *train.Trainer, n int, after func()) {
	t.Helper()
	c := tr.Config
	l := data.NewLoader(dots{}, data.LoaderOptions{Seed: c.Train.Seed, Batch: c.Train.Batch, World: 1, Flip: c.Data.Flip, First: uint64(tr.K * c.Train.Batch)})
	defer l.Close()
	for range n {
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
		after()
	}
}

func hashOf(t *testing.T, tr *train.Trainer) uint64 {
	t.Helper()
	h, err := tr.Hash()
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func trainToy(t *testing.T, dev tensor.Backend, c train.Config, n int) trained {
	t.Helper()
	tr := newToy(t, dev, c)
	var r trained
	steps(t, tr, n, func() { r.losses, r.norms = append(r.losses, tr.Stats.LastLoss), append(r.norms, tr.Stats.GradNorm) })
	r.hash = hashOf(t, tr)
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

// Nor on where tensors lie. With AddressSanitizer this is the test of overruns in whole programs.
func TestTrainingApart(t *testing.T) {
	c := toy(t)
	t.Setenv("ICT_APART", "")
	together := trainToy(t, opened(t, Options{}), c, 1)
	t.Setenv("ICT_APART", "1")
	d := opened(t, Options{})
	before := len(d.blocks)
	tr := newToy(t, d, c)
	student, _ := tr.Plans()
	if n := len(d.blocks) - before; n < len(student.Blocks) {
		t.Errorf("%d allocations for %d blocks", n, len(student.Blocks))
	}
	steps(t, tr, 1, func() {})
	if got := hashOf(t, tr); got != together.hash {
		t.Errorf("hash of weights and moments: apart %#x, in one arena %#x", got, together.hash)
	}
}

// half is toy in fp16.
func half(t *testing.T) train.Config {
	c := toy(t)
	c.Train.Precision = "fp16"
	return c
}

// The order of blocks, fibers and streams, and the number of threads, change no bit. Kernels take the seed once for all, so
// each has a process.
func TestSeeds(t *testing.T) {
	simulated(t)
	bits := func(env ...string) string {
		for l := range strings.Lines(child(t, "TestChildBits", env...)) {
			if s, ok := strings.CutPrefix(l, "bits "); ok {
				return s
			}
		}
		t.Fatalf("%v: no bits", env)
		return ""
	}
	one := bits("ICT_SIM_SEED=1", "ICT_SIM_THREADS=1", "ICT_SIM_TIMING=late")
	for _, env := range [][]string{{"ICT_SIM_SEED=2", "ICT_SIM_THREADS=3", "ICT_SIM_TIMING=late"}, {"ICT_SIM_SEED=0", "ICT_SIM_TIMING=early"}} {
		if got := bits(env...); got != one {
			t.Errorf("%v: %s with seed 1: %s", env, got, one)
		}
	}
}

func TestChildBits(t *testing.T) {
	isChild(t)
	full := trainToy(t, opened(t, Options{}), toy(t), 1)
	small := trainToy(t, opened(t, Options{}), half(t), 1)
	fmt.Printf("\nbits %#x %#x\n", full.hash, small.hash)
}

// Devices of compute capability 9.0 run too; while they have no kernels of their own, to the same bits.
func TestSM90(t *testing.T) {
	simulated(t)
	var hashes [2]uint64
	for i, sm := range []string{"80", "90"} {
		t.Setenv("ICT_SIM_SM", sm)
		d := opened(t, Options{})
		if got := fmt.Sprint(d.exec.sm); got != sm {
			t.Fatalf("launchers are told sm %s, want %s", got, sm)
		}
		hashes[i] = trainToy(t, d, half(t), 1).hash
	}
	if hashes[0] != hashes[1] {
		t.Errorf("hash of weights and moments: sm 90 %#x, sm 80 %#x", hashes[1], hashes[0])
	}
}

// overflowing starts at a loss scale at which fp16 cannot hold the gradients, and tries larger ones soon.
func overflowing(t *testing.T) train.Config {
	c := half(t)
	c.Train.LossScale = train.LossScale{Start: 1 << 24, Every: 2}
	return c
}

// scaled is what fp16 does to a step.
type scaled struct {
	skipped bool
	scale   tensor.Scale
}

// trainScaled trains tr until it has done n steps. A skipped step must change no bit of the weights and moments, another one must.
func trainScaled(t *testing.T, tr *train.Trainer, n int) (list []scaled) {
	t.Helper()
	before := hashOf(t, tr)
	steps(t, tr, n-tr.K, func() {
		s := scaled{tr.Stats.Skipped > 0, tr.Stats.Scale}
		now := hashOf(t, tr)
		if (now == before) != s.skipped {
			t.Errorf("step %d: skipped %v, state changed %v", tr.K-1, s.skipped, now != before)
		}
		before = now
		tr.Stats.Reset()
		list = append(list, s)
	})
	return list
}

// Overflow in fp16: steps are skipped and the loss scale halves exactly as on the CPU, and a run that is stopped among them
// goes on to the bits of one that is not.
func TestOverflow(t *testing.T) {
	c := overflowing(t)
	const whole, stop = 7, 5 // the first gradients are small: the network begins at zero
	ref, err := cpu.Open(cpu.Options{Exact: true})
	if err != nil {
		t.Fatal(err)
	}
	want := trainScaled(t, newToy(t, ref, c), whole)
	skipped := 0
	for i, s := range want {
		scale := float32(1 << 24)
		if i > 0 {
			scale = want[i-1].scale.S
		}
		if s.skipped {
			skipped++
			if s.scale.S != scale/2 {
				t.Errorf("step %d: skipped, loss scale %v after %v", i, s.scale.S, scale)
			}
		}
	}
	if !want[stop-1].skipped || skipped < 2 {
		t.Fatalf("want an overflow just before the stop, and more after it: %v", want)
	}
	var hashes []uint64
	for _, o := range []Options{{}, {NoGraph: true}} {
		tr := newToy(t, opened(t, o), c)
		got := trainScaled(t, tr, stop)
		dir := t.TempDir()
		job, err := tr.StateJob(dir, checkpoint.Manifest{RunID: "test"})
		if err != nil {
			t.Fatal(err)
		}
		if err := job(context.Background()); err != nil {
			t.Fatal(err)
		}
		got = append(got, trainScaled(t, tr, whole)...)
		if !slices.Equal(got, want) {
			t.Errorf("%+v: verdicts and loss scales\n got %v\nwant %v", o, got, want)
		}

		s, _, err := checkpoint.OpenLatest(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		again := newToy(t, opened(t, o), c)
		if err := again.LoadState(s); err != nil {
			t.Fatal(err)
		}
		if rest := trainScaled(t, again, whole); !slices.Equal(rest, want[stop:]) {
			t.Errorf("%+v, resumed: verdicts and loss scales\n got %v\nwant %v", o, rest, want[stop:])
		}
		hashes = append(hashes, hashOf(t, tr), hashOf(t, again))
	}
	for _, h := range hashes {
		if h != hashes[0] {
			t.Errorf("hashes of weights and moments: replayed, resumed; eager, resumed: %#x", hashes)
			break
		}
	}
}
