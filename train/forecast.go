package train

import (
	"errors"
	"fmt"
	"slices"

	"ict/nn"
	"ict/tensor"
)

// A Forecast is what training will take: a trainer built on a backend that gives out no memory, so it cannot differ from the real one.
// Sizes are bytes.
type Forecast struct {
	*Trainer // without memory: its tape, plans and layout are there, Step is not to be called

	Arena     int // the larger of the two programs' arenas, which share it
	Weights   int // with buffers and the copies that dgrad reads
	Moments   int
	Averages  int
	Gradients int // with those of finished micro-batches
	Staging   int // inputs, outputs, losses, pinned memory: all the rest
	StepFLOPs int64
}

// Total is the memory of a run.
func (f *Forecast) Total() int {
	return f.Arena + f.Weights + f.Moments + f.Averages + f.Gradients + f.Staging
}

// NewForecast plans training of config (resolved) with one rank on dev, and allocates nothing of size.
func NewForecast(dev tensor.Backend, c Config) (*Forecast, error) {
	all := &promises{Backend: dev}
	t, err := New(all, tensor.Alone{}, c)
	if err != nil {
		return nil, err
	}
	weights := &promises{Backend: dev}
	if _, err := t.layout.NewWeights(weights, tensor.Tensor{}, true); err != nil {
		return nil, err
	}
	flat := 4 * t.layout.Size
	f := &Forecast{
		Trainer: t, Arena: max(t.plans[0].Bytes, t.plans[1].Bytes), Weights: weights.bytes, Moments: 2 * flat,
		Averages: len(c.EMA) * flat, Gradients: flat*(1+len(t.spare)) + 4*nn.VoteFloats,
	}
	f.Staging = all.bytes - f.Total()
	f.StepFLOPs = int64(t.parts) * stepFLOPs(t.plans)
	return f, nil
}

// stepFLOPs are those of one micro-batch: the teacher forward, the student forward and backward.
func stepFLOPs(plans [2]*nn.Plan) int64 {
	var n int64
	for _, p := range plans {
		forward, backward := p.Cost()
		n += forward.FLOPs + backward.FLOPs
	}
	return n
}

// ErrMemory is wrapped by the error of a run that does not fit.
var ErrMemory = errors.New("out of memory")

// FitMicroBatch sets an automatic micro-batch: the whole batch if its plan fits into limit bytes, else its largest divisor that does,
// whole slices before others. Without one that fits, the error wraps ErrMemory, and the forecast is that of one image at a time.
func FitMicroBatch(dev tensor.Backend, c Config, slice, limit int) (Config, *Forecast, error) {
	var divisors []int
	for n := c.Train.Batch; n > 0; n-- {
		if c.Train.Batch%n == 0 {
			divisors = append(divisors, n)
		}
	}
	whole := func(n int) int {
		if n == c.Train.Batch || n%slice == 0 {
			return 0
		}
		return 1
	}
	slices.SortStableFunc(divisors, func(a, b int) int { return whole(a) - whole(b) })
	var f *Forecast
	for _, n := range divisors {
		c.Train.MicroBatch = Auto(n)
		var err error
		if f, err = NewForecast(dev, c); err != nil {
			return c, nil, err
		}
		if f.Total() <= limit {
			return c, f, nil
		}
	}
	return c, f, fmt.Errorf("train: %w: one image at a time needs %d bytes, %d are there", ErrMemory, f.Total(), limit)
}

// promises is a backend that counts what it is asked for and gives nothing.
type promises struct {
	tensor.Backend
	bytes int
}

type promised int

func (p promised) Bytes() int { return int(p) }
func (promised) Base() uint64 { return 0 }

func (p *promises) Alloc(n int) (tensor.Memory, error) {
	p.bytes += n
	return promised(n), nil
}

func (p *promises) Pinned(n int) ([]byte, error) {
	p.bytes += n
	if n > 1<<12 { // nobody looks into staging before the first step
		return nil, nil
	}
	return make([]byte, n), nil
}

func (*promises) Upload(tensor.Tensor, []byte) tensor.Ticket { return kept{} }

// kept is the ticket of an upload to nowhere.
type kept struct{}

func (kept) Done() bool  { return true }
func (kept) Wait() error { return nil }
