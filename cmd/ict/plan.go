package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"

	"ict/nn"
	"ict/tensor"
	"ict/train"
)

func planCommand() *cli.Command {
	return &cli.Command{
		Name: "plan", Usage: "shows what training a configuration takes: network, memory, operations",
		UsageText: "  ict plan --preset cifar10 --batch 128\n  ict plan --preset tiny --set model.resolution=32 --set model.image_channels=3 --list",
		Description: "Nothing is computed and no memory is taken. Memory is what a run on this machine would take; the arena holds what the network\n" +
			"leaves behind between its layers, shared by whatever is not alive at the same time.",
		Flags: append(configFlags(false, flagsNamed("data", "batch", "micro-batch", "steps")...),
			&cli.BoolFlag{Name: "list", Usage: "each op: path, shape, place in the arena, first and last step of its life, operations"}),
		Action: action(0, 0, planAction),
	}
}

// flagsNamed picks from trainFlags.
func flagsNamed(names ...string) []configFlag {
	var list []configFlag
	for _, n := range names {
		for _, f := range trainFlags {
			if f.flag == n {
				list = append(list, f)
			}
		}
	}
	return list
}

func planAction(c *cli.Context, u *ui) error {
	s, err := fromFlags(c, flagsNamed("data", "batch", "micro-batch", "steps"), nil)
	if err != nil {
		return err
	}
	if err := s.settle(); err != nil {
		return err
	}
	s.settlePrecision(c)
	dev, err := openDevice(c, 0, s.Train.Precision)
	if err != nil {
		return err
	}
	defer dev.Close()
	free := dev.free()
	f, fits := fit(dev, &s.Config, free)
	if f == nil {
		return usage(s.located(fits))
	}
	var ops []opNote
	if c.Bool("list") {
		ops = listPlan(f)
	}
	if u.json {
		r := planReport(s.Config, f, free)
		r.Ops = ops
		return u.printJSON(r)
	}
	if p, ok := train.Presets()[s.Preset]; ok {
		u.result("preset     %s: %s", s.Preset, p.Source)
		u.result("expected   %s", p.Expected)
	}
	for _, l := range forecastLines(s.Config, f) {
		u.result("%s", l)
	}
	if c.Bool("list") {
		printOps(u, ops)
	}
	if fits != nil {
		u.result("verdict    does not fit: needs %s, %s are free", bytesText(f.Total()), bytesText(free))
		return nil
	}
	u.result("verdict    fits: needs %s of %s that are free, micro-batch %s", bytesText(f.Total()), bytesText(free), comma(f.MicroBatch()))
	return nil
}

// fit chooses the micro-batch and forecasts. The error wraps train.ErrMemory if the run does not fit into free bytes; then the forecast is
// there too.
func fit(dev *device, c *train.Config, free int) (*train.Forecast, error) {
	if c.Train.MicroBatch == 0 {
		d, f, err := train.FitMicroBatch(dev, *c, dev.Slice(), dev.share(free))
		if err == nil || f != nil {
			*c = d
		}
		return f, err
	}
	f, err := train.NewForecast(dev, *c)
	if err == nil && f.Total() > free {
		err = train.ErrMemory
	}
	return f, err
}

// memoryAdvice is the message of a run that does not fit.
func memoryAdvice(dev *device, c train.Config, f *train.Forecast, free int) error {
	var b strings.Builder
	fmt.Fprintf(&b, "out of memory on %s: the plan needs %s, %s are free\n", dev.place(), bytesText(f.Total()), bytesText(free))
	fmt.Fprintf(&b, "  arena %s at micro-batch %s · weights, moments, averages %s · gradients %s · staging %s", bytesText(f.Arena), comma(f.MicroBatch()),
		bytesText(f.Weights+f.Moments+f.Averages), bytesText(f.Gradients), bytesText(f.Staging))
	if try := smallerMicroBatch(dev, c, free); try != "" {
		b.WriteString(try)
	} else {
		b.WriteString("\n  one image at a time does not fit; a smaller network might (model.channels, model.mult, model.blocks), or a smaller --batch, which needs fewer sums of gradients")
	}
	return withCode(exitMemory, errors.New(b.String()))
}

// smallerMicroBatch is the line that names a micro-batch whose plan needs at most limit bytes; nothing where there is none.
func smallerMicroBatch(dev *device, c train.Config, limit int) string {
	c.Train.MicroBatch = 0
	d, g, err := train.FitMicroBatch(dev, c, dev.Slice(), limit)
	if err != nil {
		return ""
	}
	return fmt.Sprintf("\n  try   --micro-batch %d   needs %s; same batch of %s in %s parts, same images and draws",
		d.Train.MicroBatch, bytesText(g.Total()), comma(c.Train.Batch), comma(g.Parts()))
}

// forecastLines are the facts of a run before it begins.
func forecastLines(c train.Config, f *train.Forecast) []string {
	student, target := f.Plans()
	macs := float64(f.Net().Tape.MACs()) / float64(f.MicroBatch())
	lines := []string{
		fmt.Sprintf("network    %s, %d×%d×%d, %s parameters, %s an image", c.Model.Kind, c.Model.Resolution, c.Model.Resolution, c.Model.ImageChannels,
			comma(f.Net().Tape.Params()), macText(macs)),
		fmt.Sprintf("step       %s image%s, %s; %s in all", comma(c.Train.Batch), plural(c.Train.Batch), flopText(float64(f.StepFLOPs)), flopText(float64(f.StepFLOPs)*float64(c.Train.Steps))),
		fmt.Sprintf("stages     %s", stagesText(c)),
		fmt.Sprintf("arena      student %s planned, %s unshared, %s at least; teacher %s, %s, %s", bytesText(student.Bytes), bytesText(student.Unshared),
			bytesText(student.Bound), bytesText(target.Bytes), bytesText(target.Unshared), bytesText(target.Bound)),
		fmt.Sprintf("memory     %s: arena %s · weights %s · moments %s · averages %s · gradients %s · staging %s", bytesText(f.Total()), bytesText(f.Arena),
			bytesText(f.Weights), bytesText(f.Moments), bytesText(f.Averages), bytesText(f.Gradients), bytesText(f.Staging)),
	}
	if f.Parts() > 1 {
		lines = append(lines, fmt.Sprintf("parts      micro-batch %s, %s to a step", comma(f.MicroBatch()), comma(f.Parts())))
	}
	return lines
}

// stagesText lists the stages of the curriculum.
func stagesText(c train.Config) string {
	var parts []string
	for _, s := range c.Curriculum().Stages() {
		parts = append(parts, fmt.Sprintf("N %s for %s steps (%s)", comma(s.N), comma(s.Steps), imagesText(uint64(s.Steps)*uint64(c.Train.Batch))))
	}
	if len(parts) > 4 {
		parts = append(parts[:2:2], "…", parts[len(parts)-1])
	}
	return strings.Join(parts, ", ")
}

// planJSON is what --json prints.
type planJSON struct {
	Preset     string         `json:"preset"`
	Source     string         `json:"source,omitempty"`
	Expected   string         `json:"expected,omitempty"`
	Parameters int            `json:"parameters"`
	MACs       int            `json:"macs_per_image"`
	StepFLOPs  int64          `json:"flop_per_step"`
	Steps      int            `json:"steps"`
	Batch      int            `json:"batch"`
	MicroBatch int            `json:"micro_batch"`
	Stages     []stageJSON    `json:"stages"`
	Student    arenaJSON      `json:"student"`
	Teacher    arenaJSON      `json:"teacher"`
	Memory     map[string]int `json:"memory_bytes"`
	Free       int            `json:"free_bytes"`
	Fits       bool           `json:"fits"`
	Ops        []opNote       `json:"ops,omitempty"` // with --list
}

type stageJSON struct {
	First  int `json:"first"`
	Steps  int `json:"steps"`
	N      int `json:"n_grid"`
	Images int `json:"images"`
}

type arenaJSON struct {
	Planned  int `json:"planned_bytes"`
	Unshared int `json:"unshared_bytes"`
	Bound    int `json:"bound_bytes"`
}

func planReport(c train.Config, f *train.Forecast, free int) planJSON {
	arena := func(p *nn.Plan) arenaJSON { return arenaJSON{p.Bytes, p.Unshared, p.Bound} }
	student, teacher := f.Plans()
	p := train.Presets()[c.Preset]
	r := planJSON{
		Preset: c.Preset, Source: p.Source, Expected: p.Expected, Parameters: f.Net().Tape.Params(), MACs: f.Net().Tape.MACs() / f.MicroBatch(),
		StepFLOPs: f.StepFLOPs, Steps: c.Train.Steps, Batch: c.Train.Batch, MicroBatch: f.MicroBatch(), Student: arena(student), Teacher: arena(teacher),
		Memory: map[string]int{"arena": f.Arena, "weights": f.Weights, "moments": f.Moments, "averages": f.Averages, "gradients": f.Gradients,
			"staging": f.Staging, "total": f.Total()},
		Free: free, Fits: f.Total() <= free,
	}
	for _, s := range c.Curriculum().Stages() {
		r.Stages = append(r.Stages, stageJSON{s.First, s.Steps, s.N, s.Steps * c.Train.Batch})
	}
	return r
}

// opNote is an op of the student's program, with the block of its output where it has one of its own in the arena.
type opNote struct {
	Op       string   `json:"op"`
	Output   *opBlock `json:"output,omitempty"`
	Forward  int64    `json:"flop_forward"`
	Backward int64    `json:"flop_backward"`
}

type opBlock struct {
	Shape  tensor.Shape `json:"shape"`
	Offset int          `json:"offset_bytes"`
	Bytes  int          `json:"bytes"`
	First  int          `json:"first"` // step of its life
	Last   int          `json:"last"`
}

// listPlan is the student's program op by op.
func listPlan(f *train.Forecast) []opNote {
	student, _ := f.Plans()
	blocks := map[string]*opBlock{}
	for _, b := range student.Blocks {
		if b.What == "value" {
			blocks[b.Name] = &opBlock{b.Shape, b.Off, b.Bytes, b.First, b.Last}
		}
	}
	var list []opNote
	for i, path := range f.Net().Tape.Paths {
		list = append(list, opNote{path, blocks[path], student.Forward[i].FLOPs, student.Backward[i].FLOPs})
	}
	return list
}

// printOps prints it for people.
func printOps(u *ui, ops []opNote) {
	u.result("%-36s  %-18s  %11s  %11s  %9s  %10s  %10s", "op", "output", "offset", "bytes", "life", "forward", "backward")
	for _, o := range ops {
		shape, offset, size, life := "", "", "", ""
		if b := o.Output; b != nil {
			shape, offset, size, life = b.Shape.String(), comma(b.Offset), comma(b.Bytes), fmt.Sprintf("%d-%d", b.First, b.Last)
		}
		u.result("%-36s  %-18s  %11s  %11s  %9s  %10s  %10s", o.Op, shape, offset, size, life, flopText(float64(o.Forward)), flopText(float64(o.Backward)))
	}
}
