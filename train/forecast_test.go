package train

import (
	"errors"
	"testing"

	"ict/tensor"
)

// tally counts what a real trainer allocates.
type tally struct {
	tensor.Backend
	bytes int
}

func (t *tally) Alloc(n int) (tensor.Memory, error) {
	t.bytes += n
	return t.Backend.Alloc(n)
}

func (t *tally) Pinned(n int) ([]byte, error) {
	t.bytes += n
	return t.Backend.Pinned(n)
}

func TestForecastIsWhatIsAllocated(t *testing.T) {
	for _, micro := range []Auto{0, 4, 1} {
		c := toy(6, 8)
		c.Train.MicroBatch, c.EMA = micro, []float64{0.9, 0.99}
		f, err := NewForecast(open(t), c)
		if err != nil {
			t.Fatal(err)
		}
		real := &tally{Backend: open(t)}
		if _, err := New(real, tensor.Alone{}, c); err != nil {
			t.Fatal(err)
		}
		if f.Total() != real.bytes || f.Staging <= 0 {
			t.Errorf("micro-batch %v: forecast %d bytes (staging %d), allocated %d", micro, f.Total(), f.Staging, real.bytes)
		}
	}
}

func TestFitMicroBatch(t *testing.T) {
	c := toy(6, 24)
	c.Train.MicroBatch = 0
	need := func(micro int) int {
		d := c
		d.Train.MicroBatch = Auto(micro)
		f, err := NewForecast(open(t), d)
		if err != nil {
			t.Fatal(err)
		}
		return f.Total()
	}
	for _, k := range []struct{ limit, want int }{
		{need(24), 24}, {need(24) - 1, 8}, {need(12), 8}, {need(8) - 1, 6},
	} {
		got, f, err := FitMicroBatch(open(t), c, 8, k.limit)
		if err != nil || int(got.Train.MicroBatch) != k.want || f.Total() > k.limit {
			t.Errorf("limit %d: micro-batch %v, %v, want %d", k.limit, got.Train.MicroBatch, err, k.want)
		}
	}
	if _, f, err := FitMicroBatch(open(t), c, 8, 1<<10); !errors.Is(err, ErrMemory) || f.MicroBatch() != 1 {
		t.Errorf("nothing fits: %v", err)
	}
}

func TestForecastCountsTheStep(t *testing.T) {
	c := toy(6, 8)
	f, err := NewForecast(open(t), c)
	if err != nil {
		t.Fatal(err)
	}
	macs := int64(f.Net().Tape.MACs()) // of a batch; the backward pass multiplies about twice as often
	if lo, hi := 2*4*macs*9/10, 2*4*macs*11/10; f.StepFLOPs < lo || f.StepFLOPs > hi {
		t.Errorf("step: %d FLOP, want within a tenth of 8·%d", f.StepFLOPs, macs)
	}
	c.Train.MicroBatch = 2
	if g, err := NewForecast(open(t), c); err != nil || g.StepFLOPs != f.StepFLOPs {
		t.Errorf("in parts: %d FLOP, %v, want %d", g.StepFLOPs, err, f.StepFLOPs)
	}
}
