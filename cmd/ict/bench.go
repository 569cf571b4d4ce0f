package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"time"

	"github.com/urfave/cli/v2"

	"ict/data"
	"ict/tensor"
	"ict/train"
)

func benchCommand() *cli.Command {
	return &cli.Command{
		Name: "bench", Usage: "measures speed",
		UsageText: "  ict bench step --preset mnist --batch 32\n  ict bench data photos/ --size 64 --crop dhariwal",
		Subcommands: []*cli.Command{{
			Name: "step", Usage: "times whole training steps: upload, teacher, student, backward, update",
			UsageText: "  ict bench step --preset mnist --batch 32\n  ict bench step --preset cifar10 --batch 8 --steps 5 --json\n" +
				"  ict bench step --preset cifar10 --device cuda --precision bf16",
			Description: "Images and labels are random; nothing is read or written. A run's steps take the same time, but for the reading of images.\n" +
				"GFLOP/s counts the multiplications and additions of convolutions, linear layers and attention, nothing else.",
			Flags: append(configFlags(false, flagsNamed(benchFlags...)...),
				&cli.GenericFlag{Name: "steps", Value: count("20", 1), Usage: "measure `N` steps"},
				&cli.GenericFlag{Name: "warmup", Value: count("3", 0), Usage: "after `N` that are not counted"},
				&cli.GenericFlag{Name: "threads", Value: count("", 1), Usage: "compute with `N` threads; without: one per core"}),
			Action: action(0, 0, benchStepAction),
		}, benchDataCommand()},
	}
}

// benchFlags are the keys of the configuration with a flag of their own.
var benchFlags = []string{"data", "batch", "micro-batch", "precision"}

// stepBench is a measurement of training steps.
type stepBench struct {
	Preset     string     `json:"preset"`
	Resolution int        `json:"resolution"`
	Parameters int        `json:"parameters"`
	Batch      int        `json:"batch"`
	MicroBatch int        `json:"micro_batch"`
	Precision  string     `json:"precision"`
	Steps      int        `json:"steps"`
	Warmup     int        `json:"warmup"`
	Median     float64    `json:"ms_median"`
	Quartiles  [2]float64 `json:"ms_quartiles"`
	Range      [2]float64 `json:"ms_range"`
	Rate       float64    `json:"img_per_s"`
	StepFLOPs  int64      `json:"flop_per_step"`
	GFLOPs     float64    `json:"gflop_per_s"`
	MFU        float64    `json:"mfu,omitempty"`
	Loss       float64    `json:"loss"`
	Device     string     `json:"device"`
	Processor  string     `json:"processor"`
	Threads    int        `json:"threads"`
	BLAS       string     `json:"blas"`
	Build      string     `json:"build"`
}

func benchStepAction(c *cli.Context, u *ui) error {
	s, err := fromFlags(c, flagsNamed(benchFlags...), nil)
	if err != nil {
		return err
	}
	steps, warmup := val[int](c, "steps"), val[int](c, "warmup")
	if n, most := optional(c, "threads"), max(runtime.NumCPU(), runtime.GOMAXPROCS(0)); n > most {
		return usagef("--threads: got %s, want at most %d, this machine's cores", comma(n), most)
	}
	if err := s.settle(); err != nil {
		return err
	}
	s.settlePrecision(c)
	dev, err := openDevice(c, optional(c, "threads"), s.Train.Precision)
	if err != nil {
		return err
	}
	defer dev.Close()
	if dev.simulated() {
		return usagef("bench: %s is the %s: its times say nothing about any device", dev.place(), dev.model())
	}
	if w := dev.warning(); w != "" {
		u.warn("%s", w)
	}
	free := dev.free()
	f, err := fit(dev, &s.Config, free)
	if errors.Is(err, train.ErrMemory) {
		return memoryAdvice(dev, s.Config, f, free)
	}
	if err != nil {
		return usage(s.located(err))
	}
	t, err := train.New(dev, tensor.Alone{}, s.Config)
	if err != nil {
		return err
	}
	if err := t.Init(); err != nil {
		return err
	}
	ctx, end := interruptible(u)
	defer end()
	b := randomBatch(s.Config)
	var ms []float64
	for i := range warmup + steps {
		if ctx.Err() != nil {
			return cause(ctx, ctx.Err())
		}
		b.First = uint64(t.K) * uint64(s.Train.Batch)
		begin := time.Now()
		if err := errors.Join(t.Step(b), dev.Sync()); err != nil {
			return err
		}
		if i >= warmup {
			took := time.Since(begin)
			ms = append(ms, took.Seconds()*1e3)
			if u.err.tty && !u.quiet {
				u.err.progress(fmt.Sprintf("step %d/%d  %s", i+1-warmup, steps, took.Round(time.Millisecond/10)))
			}
		}
	}
	u.err.clear()
	if err := t.Collect(); err != nil {
		return err
	}
	loss, _ := t.Stats.Mean()
	slices.Sort(ms)
	at := func(share float64) float64 { return quantile(ms, share) }
	hash, _ := buildOf()
	r := stepBench{
		Preset: s.Preset, Resolution: s.Model.Resolution, Parameters: t.Net().Tape.Params(), Batch: s.Train.Batch, MicroBatch: t.MicroBatch(),
		Precision: s.Train.Precision, Steps: steps, Warmup: warmup, Median: at(0.5), Quartiles: [2]float64{at(0.25), at(0.75)}, Range: [2]float64{at(0), at(1)},
		StepFLOPs: f.StepFLOPs, Loss: loss, Device: dev.kind(), Processor: dev.model(), Threads: dev.threads(), BLAS: dev.blas(), Build: hash,
	}
	r.Rate, r.GFLOPs = float64(r.Batch)/r.Median*1e3, float64(r.StepFLOPs)/r.Median/1e6
	if peak := peakFLOPs(r.Processor, r.Precision); peak > 0 {
		r.MFU = r.GFLOPs * 1e9 / peak
	}
	if u.json {
		return u.printJSON(r)
	}
	u.result("step       %s, %d×%d, %s parameters, batch %s in %s, %s", r.Preset, r.Resolution, r.Resolution, comma(r.Parameters), comma(r.Batch), comma(t.Parts()), r.Precision)
	u.result("time       %.1f ms, the median of %d after %d; quartiles %.1f and %.1f, range %.1f to %.1f", r.Median, steps, warmup, r.Quartiles[0], r.Quartiles[1], r.Range[0], r.Range[1])
	mfu := ""
	if r.MFU > 0 {
		mfu = fmt.Sprintf(", MFU %.1f %%", 100*r.MFU)
	}
	u.result("speed      %s, %.1f GFLOP/s%s at %s a step; mean loss %.4g", rateText(r.Rate), r.GFLOPs, mfu, flopText(float64(r.StepFLOPs)), r.Loss)
	u.result("with       %s; %s; build %s", dev.text(), r.Processor, r.Build)
	return nil
}

// quantile is the value below which a share of the sorted values lies; between two of them, in proportion.
func quantile(sorted []float64, share float64) float64 {
	at := share * float64(len(sorted)-1)
	i := min(int(at), max(len(sorted)-2, 0))
	j := min(i+1, len(sorted)-1)
	return sorted[i] + (at-float64(i))*(sorted[j]-sorted[i])
}

// randomBatch is a batch of noise, the same every time.
func randomBatch(c train.Config) data.Batch {
	r := rand.New(rand.NewPCG(1, 2))
	b := data.Batch{Images: make([]byte, c.Train.Batch*c.Model.Pixels()), Labels: make([]int32, c.Train.Batch), Flip: make([]bool, c.Train.Batch)}
	for i := range b.Images {
		b.Images[i] = byte(r.Uint32())
	}
	for i := range b.Labels {
		b.Labels[i] = -1
		if c.Model.Classes > 0 {
			b.Labels[i] = int32(r.IntN(c.Model.Classes))
		}
	}
	return b
}
