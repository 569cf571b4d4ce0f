package train

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ict/checkpoint"
	"ict/internal/optest"
	"ict/nn"
	"ict/tensor"
)

// saved is a state of tr, written and opened.
func saved(t *testing.T, tr *Trainer) *checkpoint.State {
	t.Helper()
	dir := t.TempDir()
	job, err := tr.StateJob(dir, checkpoint.Manifest{RunID: "test"})
	if err != nil {
		t.Fatal(err)
	}
	if err := job(context.Background()); err != nil {
		t.Fatal(err)
	}
	s, notes, err := checkpoint.OpenLatest(dir)
	if err != nil || len(notes) > 0 {
		t.Fatal(err, notes)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// A state brings everything back: the same steps give the same bits, at another micro-batch too.
func TestResumeSameBits(t *testing.T) {
	whole := fresh(t, toy(10, 8))
	steps(t, whole, 6)
	want := hash(t, whole)

	first := fresh(t, toy(10, 8))
	steps(t, first, 3)
	s := saved(t, first)
	c := toy(10, 8)
	c.Train.MicroBatch = 4
	second := fresh(t, c)
	steps(t, second, 1) // what is there is overwritten
	if err := second.LoadState(s); err != nil {
		t.Fatal(err)
	}
	if second.K != 3 {
		t.Fatalf("resumed at step %d, want 3", second.K)
	}
	steps(t, second, 3)
	if got := hash(t, second); got != want {
		t.Errorf("resumed: hash %x, uninterrupted %x", got, want)
	}
}

// A file that is cut between being checked and being read is damage, not a crash.
func TestStateCutWhileOpen(t *testing.T) {
	tr := fresh(t, toy(10, 8))
	s := saved(t, tr)
	path := filepath.Join(s.Dir, weightsFile)
	if err := os.Truncate(path, 0); err != nil {
		t.Fatal(err)
	}
	if err := tr.LoadState(s); !errors.Is(err, checkpoint.ErrDamaged) || !strings.Contains(err.Error(), path) {
		t.Errorf("state: got %v, want damage of %s", err, path)
	}
	f, _ := s.File(weightsFile)
	if err := tr.CheckInit(f.Get); !errors.Is(err, checkpoint.ErrDamaged) {
		t.Errorf("initial weights: got %v, want damage", err)
	}
}

// fp16 with a loss scale that overflows and grows again resumes to the same bits, scale and counters included; the 16-bit
// copy is the rounded weights. Another precision begins with its own scale.
func TestLossScaleResumes(t *testing.T) {
	config := func(precision string) Config {
		c := toy(40, 8)
		c.Train.Precision, c.Train.LossScale = precision, LossScale{Start: maxScale, Every: 3}
		return c
	}
	start := func(c Config) *Trainer {
		tr := fresh(t, c)
		tr.objective = heavy{tr.objective}
		return tr
	}
	whole := start(config("fp16"))
	steps(t, whole, 24)
	first := start(config("fp16"))
	steps(t, first, 12)
	s := saved(t, first)
	middle := first.Stats.Scale
	if middle.Skipped == 0 || middle.Skipped == 12 {
		t.Fatalf("after 12 steps %+v, want some skipped, not all", middle)
	}
	c := config("fp16")
	c.Train.MicroBatch = 4
	second := start(c)
	if err := second.LoadState(s); err != nil {
		t.Fatal(err)
	}
	steps(t, second, 12)
	if got, want := hash(t, second), hash(t, whole); got != want {
		t.Errorf("resumed: hash %x, uninterrupted %x", got, want)
	}
	if got, want := second.Stats.Scale, whole.Stats.Scale; got != want || want.Skipped <= middle.Skipped || want.S < 2 {
		t.Errorf("resumed: scale %+v, uninterrupted %+v, in the middle %+v", got, want, middle)
	}
	copied := optest.GetAs(t, whole.dev, whole.Online.W16)
	optest.Same(t, "the 16-bit copy", copied, optest.Get(t, whole.dev, whole.Online.W).Rounded(tensor.F16))

	for precision, want := range map[string]float32{"bf16": 1, "tf32": 1, "fp16": middle.S} {
		tr := start(config(precision))
		if err := tr.LoadState(s); err != nil {
			t.Fatal(err)
		}
		if got, err := tr.Scale(); err != nil || got.S != want || got.Skipped != middle.Skipped {
			t.Errorf("%s goes on with %+v, %v; want S = %v", precision, got, err, want)
		}
		if precision == "bf16" {
			steps(t, tr, 4)
			if tr.Stats.Scale.S != 1 || tr.Stats.Skipped != 0 {
				t.Errorf("bf16: %+v", tr.Stats.Scale)
			}
		}
	}
}

// A state is looked at before anything is done with it: what LoadState would refuse, a forecast says.
func TestCheckState(t *testing.T) {
	c := toy(12, 4)
	tr := fresh(t, c)
	steps(t, tr, 1)
	s := saved(t, tr)
	for _, x := range []struct {
		change func(*Config)
		want   string
	}{
		{func(c *Config) { c.Optim.LR = 7 }, ""},
		{func(c *Config) { c.EMA = append(c.EMA[:1:1], 0.9) }, "has no ema-0.9.safetensors"},
		{func(c *Config) { c.Model.Channels = 16 }, "weights.safetensors"},
		{func(c *Config) { c.Model.Classes = 0 }, ""},
	} {
		now := c
		x.change(&now)
		f, err := NewForecast(open(t), now)
		if err != nil {
			t.Fatal(err)
		}
		got := f.CheckState(s)
		if (got == nil) != (x.want == "") || got != nil && !strings.Contains(got.Error(), x.want) {
			t.Errorf("got %v, want %q in it", got, x.want)
		}
		if got != nil && strings.Contains(got.Error(), "\n") {
			t.Errorf("more than one error: %v", got)
		}
	}
}

// Weights of one file are another run's start, at step 0; the averages start from them.
func TestInitFrom(t *testing.T) {
	a := fresh(t, toy(8, 4))
	steps(t, a, 3)
	dir := t.TempDir()
	job, err := a.SnapshotJob(dir+"/s.safetensors", "", 0, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := job(context.Background()); err != nil {
		t.Fatal(err)
	}
	snap, err := checkpoint.OpenSnapshot(dir + "/s.safetensors")
	if err != nil {
		t.Fatal(err)
	}
	defer snap.Close()
	b := fresh(t, toy(8, 4))
	if err := b.InitFrom(snap.Get); err != nil {
		t.Fatal(err)
	}
	for _, w := range []*nn.Weights{b.Online, b.EMA[0]} {
		optest.Same(t, "weights", optest.Get(t, b.dev, w.W), optest.Get(t, a.dev, a.EMA[0].W))
	}
	if b.K != 0 {
		t.Errorf("step %d, want 0", b.K)
	}
	other := toy(8, 4)
	other.Model.Channels = 16
	if err := fresh(t, other).InitFrom(snap.Get); err == nil || !strings.Contains(err.Error(), "want") {
		t.Errorf("weights of another width: %v", err)
	}
}
