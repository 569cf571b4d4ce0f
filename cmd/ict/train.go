package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"

	"ict/checkpoint"
	"ict/data"
	"ict/internal/rundir"
	"ict/sample"
	"ict/tensor"
	"ict/train"
)

func trainCommand() *cli.Command {
	env := func(name string) []string { return []string{envName(name)} }
	return &cli.Command{
		Name: "train", Usage: "trains a consistency model, or goes on with a run",
		UsageText: "  ict train --preset tiny --data shapes.pack --out runs/a --dry-run\n  ict train --preset tiny --data shapes.pack --out runs/a\n" +
			"  ict train --out runs/a                   # goes on where it was",
		Description: "The same command again is the resume. Values come from flags, then $ICT_ variables, then --config, then the preset; --dry-run prints\n" +
			"them with their origin. SIGINT, SIGTERM or a file RUN/STOP stop the run with its state saved (code 10); SIGUSR2 or RUN/SAVE save a state.",
		Flags: append(configFlags(true, trainFlags...),
			&cli.StringFlag{Name: "out", Usage: "keep the run in the folder `RUN`; without: runs/NNNN-preset-objective", EnvVars: env("out")},
			&cli.GenericFlag{Name: "stop-at", Value: count("", 1), Usage: "stop at step `N` as if asked to, with the state saved", EnvVars: env("stop-at")},
			&cli.BoolFlag{Name: "dry-run", Usage: "say what would happen, and stop", EnvVars: env("dry-run")},
			&cli.BoolFlag{Name: "check", Usage: "look for values that are not finite after each op, and name the first; many times slower", EnvVars: env("check")},
			&cli.StringSliceFlag{Name: "allow-change", Usage: "go on although `KEY,...` differ from the run's configuration", EnvVars: env("allow-change")},
			&cli.BoolFlag{Name: "no-graph", Usage: "on a GPU launch kernels one by one instead of replaying a step; same bits, slower", EnvVars: env("no-graph")},
			&cli.BoolFlag{Name: "strict", Usage: "refuse to fall back from a damaged state to the one before", EnvVars: env("strict")}),
		Action: action(0, 0, func(c *cli.Context, u *ui) error {
			r := &session{c: c, u: u, out: c.String("out")}
			err := r.run()
			if err := r.close(); err != nil {
				u.warn("%v", err)
			}
			return err
		}),
	}
}

// getter finds a tensor of a file, or of several.
type getter = func(name string) (checkpoint.Named, bool)

// finalGrid is the picture of a run's end.
const finalGrid = "final.png"

// session is one start of `ict train`.
type session struct {
	c   *cli.Context
	u   *ui
	out string

	s        *settings
	before   *train.Config // of the run that is resumed
	step     int           // from which it goes on
	ds       data.Dataset
	data     string // fingerprint of ds
	dev      *device
	f        *train.Forecast
	need     int     // bytes, as f says
	perImage float64 // MFU of one image per second; 0: not known
	dir      *rundir.Dir
	board    *board
	state    *checkpoint.State // to resume from
	init     getter            // weights of a new run; nil: random, or of the state
	t        *train.Trainer

	allowed   []string       // keys of --allow-change
	admitted  []train.Change // from what the state was trained with
	turned    bool           // one of them is new
	sinks     int            // of the log, but for those in the run
	described bool           // the run's config.yaml is there
	lost      bool           // the run is no longer this process's
	weights   string         // where they came from
	begin     time.Time
	closers   []func() error
}

func (r *session) close() error {
	var errs []error
	for i := len(r.closers) - 1; i >= 0; i-- {
		errs = append(errs, r.closers[i]())
	}
	return errors.Join(errs...)
}

func (r *session) run() error {
	r.begin = time.Now()
	if err := checkDevice(r.c); err != nil {
		return err
	}
	if err := r.openRun(); err != nil {
		return err
	}
	if err := r.configure(); err != nil {
		return err
	}
	if err := r.plan(); err != nil {
		return err
	}
	if err := r.checkState(); err != nil {
		return err
	}
	if r.c.Bool("dry-run") {
		return r.outOfMemory(r.dryRun())
	}
	if err := r.openInit(); err != nil {
		return err
	}
	if r.state != nil {
		if done, err := r.nothingToDo(r.state.Manifest.Step); done || err != nil {
			return err
		}
	}
	if err := r.createRun(); err != nil {
		return err
	}
	r.header()
	if err := r.buildTrainer(); err != nil {
		return r.outOfMemory(r.failed(err))
	}
	return r.outOfMemory(r.train())
}

// nothingToDo says so of a run that is complete, and refuses a stop that lies behind the state: whoever repeats it would never get on.
func (r *session) nothingToDo(step int) (done bool, err error) {
	if stop := optional(r.c, "stop-at"); step < r.s.Train.Steps {
		if stop > 0 && step >= stop {
			return false, usagef("--stop-at %d: %s is at step %s already; name a later step, or leave the flag away", stop, r.out, comma(step))
		}
		return false, nil
	}
	if missing := r.missing(step); len(missing) > 0 {
		r.u.say("%s is complete, but lacks %s; making what is missing", r.out, strings.Join(missing, ", "))
		return false, nil
	}
	r.u.say("%s is complete: %s of %s steps", r.out, comma(step), comma(r.s.Train.Steps))
	return true, r.results(step, "complete")
}

// missing are the last grid and the last snapshots of a complete run that are not there.
func (r *session) missing(step int) (list []string) {
	want := []string{filepath.Join(r.out, "grids", finalGrid)}
	for i, d := range r.s.EMA {
		rate := train.EMAName(d)
		if i == 0 {
			rate = ""
		}
		want = append(want, filepath.Join(r.out, "snapshots", checkpoint.SnapshotName(step, rate)))
	}
	return slices.DeleteFunc(want, exists)
}

// taken reports whether the run is another process's by now: what becomes of it is for that one to write down.
func (r *session) taken() bool {
	if !r.lost && r.dir.StillLocked() == nil {
		return false
	}
	r.u.sinks = r.u.sinks[:r.sinks]
	r.u.buildLog()
	return true
}

// failed writes down what kept a start from its first step.
func (r *session) failed(err error) error {
	if r.taken() {
		return err
	}
	if e := r.dir.AppendStop(rundir.Stop{Step: r.step, Code: exitCode(err), Reason: message(err)}); e != nil {
		r.u.warn("%v", e)
	}
	return err
}

// outOfMemory makes the message of memory that could not be had although the plan fitted; any other error stays what it is.
func (r *session) outOfMemory(err error) error {
	if !errors.Is(err, syscall.ENOMEM) {
		return err
	}
	text := fmt.Sprintf("out of memory on %s: %s\n  the plan needs %s; what else runs there, its driver and the pictures of the run need some, too",
		r.dev.place(), message(err), bytesText(r.need))
	return withCode(exitMemory, errors.New(text+smallerMicroBatch(r.dev, r.s.Config, r.need/4*3)))
}

// configure builds the configuration and completes it with the data set's facts.
func (r *session) configure() error {
	var base *settings
	if r.before != nil {
		base = &settings{Config: *r.before, origin: map[string]string{}, base: "run " + r.out}
	}
	var err error
	if r.s, err = fromFlags(r.c, trainFlags, base); err != nil {
		return err
	}
	if r.before != nil {
		r.inherit()
	}
	if r.s.Data.Path == "" {
		return usagef("no data: --data PATH names an image set\n  ict data make shapes --out shapes.pack makes one; ict data import makes one of your images")
	}
	if r.ds, err = r.s.openData(); err != nil {
		return err
	}
	r.closers = append(r.closers, r.ds.Close)
	sayNotes(r.u, r.s.Data.Path, data.Notes(r.ds))
	if r.data, err = data.Fingerprint(r.ds); err != nil {
		return err
	}
	h, w, ch := r.ds.Shape()
	if b := r.before; b != nil && (b.Model.Resolution != h || b.Model.Resolution != w || b.Model.ImageChannels != ch) {
		return usagef("%s was trained on %d×%d×%d images, %s has %d×%d×%d\n  name a set of such images with --data, or for a new run another --out",
			r.out, b.Model.Resolution, b.Model.Resolution, b.Model.ImageChannels, r.s.Data.Path, h, w, ch)
	}
	if err := r.s.resolve(h, w, ch, r.ds.Classes()); err != nil {
		return err
	}
	r.s.settlePrecision(r.c)
	if err := r.compare(); err != nil {
		return err
	}
	if !twoStepFits(r.s.Config) {
		return usagef("noise.min, noise.max: got %g, %g, want the grids' second level between them, %g", r.s.Noise.Min, r.s.Noise.Max, r.s.TwoStepLevel())
	}
	for _, w := range r.s.Warnings() {
		r.u.warn("%s", w)
	}
	if n := r.ds.Len(); n < r.s.Train.Batch {
		r.u.warn("a batch of %d shows each of the set's %d images more than once", r.s.Train.Batch, n)
	}
	return nil
}

// plan opens the device and settles the micro-batch.
func (r *session) plan() error {
	var err error
	if r.dev, err = openDevice(r.c, 0, r.s.Train.Precision); err != nil {
		return err
	}
	r.closers = append(r.closers, r.dev.Close)
	if w := r.dev.warning(); w != "" {
		r.u.warn("%s", w)
	}
	auto := r.s.Train.MicroBatch == 0
	free := r.dev.free()
	r.f, err = fit(r.dev, &r.s.Config, free)
	if errors.Is(err, train.ErrMemory) {
		return memoryAdvice(r.dev, r.s.Config, r.f, free)
	}
	if err != nil {
		return usage(r.s.located(err))
	}
	if auto {
		r.s.origin["train.micro_batch"] = "auto: what fits into half of the free memory"
		if r.dev.gpu != nil {
			r.s.origin["train.micro_batch"] = "auto: what fits into three quarters of the device's free memory"
		}
	}
	r.need = r.f.Total()
	if peak := peakFLOPs(r.dev.model(), r.s.Train.Precision); peak > 0 {
		r.perImage = float64(r.f.StepFLOPs) / float64(r.s.Train.Batch) / peak
	}
	return nil
}

// header says what is about to happen.
func (r *session) header() {
	say := r.u.say
	if r.dev.simulated() {
		say("run        %s, on the %s", r.out, r.dev.model())
	} else {
		say("run        %s", r.out)
	}
	say("data       %s: %s", r.s.Data.Path, setText(r.ds))
	for _, l := range forecastLines(r.s.Config, r.f) {
		say("%s", l)
	}
	say("precision  %s on %s", r.s.Train.Precision, r.dev.text())
	say("weights    %s", r.weights)
	say("disk       %s free", freeText(r.out))
}

// dryRun prints what would happen.
func (r *session) dryRun() error {
	r.weights = r.weightsText()
	text, err := configYAML(r.s.Config, r.s.comments())
	if err != nil {
		return err
	}
	expected, measured := time.Duration(0), 0
	if r.f.StepFLOPs < 1e12 {
		const steps = 3
		if expected, err = r.measure(steps); err != nil {
			return err
		}
		measured = steps
	}
	if r.u.json {
		config, err := json.Marshal(r.s.Config)
		if err != nil {
			return err
		}
		return r.u.printJSON(map[string]any{
			"config": json.RawMessage(config), "origin": r.s.comments(), "base": r.s.base, "plan": planReport(r.s.Config, r.f, r.dev.free()),
			"weights": r.weights, "expected_seconds": expected.Seconds(),
		})
	}
	fmt.Fprintf(r.u.out, "# values without a remark are those of %s\n%s", r.s.base, text)
	if r.out == "" {
		r.out = filepath.Join("runs", fmt.Sprintf("NNNN-%s-%s", r.s.presetName(), r.s.Objective.Kind))
	}
	r.u.result("")
	r.u.result("run        %s", r.out)
	r.u.result("data       %s: %s", r.s.Data.Path, setText(r.ds))
	for _, l := range forecastLines(r.s.Config, r.f) {
		r.u.result("%s", l)
	}
	r.u.result("precision  %s on %s", r.s.Train.Precision, r.dev.text())
	r.u.result("weights    %s", r.weights)
	if measured > 0 {
		r.u.result("time       about %s for the steps that are left, by %d measured ones; saving and grids not counted", spanText(expected), measured)
	}
	return nil
}

// measure times a few steps and says what the rest of the run will take.
func (r *session) measure(steps int) (time.Duration, error) {
	t, err := train.New(r.dev, tensor.Alone{}, r.s.Config)
	if err != nil {
		return 0, err
	}
	if err := t.Init(); err != nil {
		return 0, err
	}
	b := randomBatch(r.s.Config)
	if err := t.Step(b); err != nil { // the first is slower
		return 0, err
	}
	begin := time.Now()
	for range steps {
		b.First = uint64(t.K) * uint64(r.s.Train.Batch)
		if err := t.Step(b); err != nil {
			return 0, err
		}
	}
	left := r.s.Train.Steps
	if r.state != nil {
		left = max(0, left-r.state.Manifest.Step)
	}
	return time.Since(begin) * time.Duration(left) / time.Duration(steps), r.dev.Sync()
}

// weightsText says where the weights come from.
func (r *session) weightsText() string {
	switch {
	case r.state != nil:
		return fmt.Sprintf("resumed from %s, step %s", r.state.Dir, comma(r.state.Manifest.Step))
	case r.s.Train.Init != "random":
		return "from " + r.s.Train.Init
	default:
		return fmt.Sprintf("random, seed %d", r.s.Train.Seed)
	}
}

// buildTrainer allocates everything and fills the weights.
func (r *session) buildTrainer() error {
	var err error
	if r.t, err = train.New(r.dev, tensor.Alone{}, r.s.Config); err != nil {
		return err
	}
	r.f = nil
	switch {
	case r.state != nil:
		err = r.t.LoadState(r.state)
		err = errors.Join(err, r.state.Close())
		r.state = nil
	case r.init != nil:
		err = r.t.InitFrom(r.init)
	default:
		err = r.t.Init()
	}
	return err
}

// openInit opens the file of weights that a new run starts from: a snapshot, a state, a run, or any file of ours. It is looked at before
// anything is written.
func (r *session) openInit() error {
	path := r.s.Train.Init
	if r.state != nil || path == "random" {
		return nil
	}
	w, err := openWeights(path, "")
	switch {
	case err == nil:
		r.closers = append(r.closers, w.close)
		r.init = w.get
		if err := r.compareNames(path, w.classes); err != nil {
			return err
		}
	case errors.Is(err, checkpoint.ErrDamaged) || errors.Is(err, fs.ErrNotExist):
		return about("--init", path, err)
	default:
		f, err := checkpoint.OpenSafetensors(path)
		if err != nil {
			return about("--init", path, err)
		}
		r.closers = append(r.closers, f.Close)
		r.init = f.Get
	}
	if err := r.f.CheckInit(r.init); errors.Is(err, checkpoint.ErrDamaged) {
		return about("--init", path, err)
	} else if err != nil {
		return usage(fmt.Errorf("--init %s: %s\n  the network must be the file's: ict ckpt show %[1]s prints its configuration", path, message(err)))
	}
	return nil
}

// compareNames refuses classes that the file of --init knows by other names, unless --allow-change data admits it.
func (r *session) compareNames(path string, names []string) error {
	was, now := r.classNames(names)
	if was == "" {
		return nil
	}
	if slices.Contains(r.allowed, dataKey) {
		r.u.warn("classes change their names, as --allow-change admits: %s becomes %s", was, now)
		return nil
	}
	return usagef("--init %s: it knows classes by other names than the set %s: %s there, %s here\n"+
		"  what it learnt of a class goes to the one of the same number; to have that on purpose: --allow-change %s", path, r.s.Data.Path, was, now, dataKey)
}

// train runs the loop and says how it ended.
func (r *session) train() error {
	wish := listen(r.u, func(code int) {
		r.u.err.clear()
		fmt.Fprintln(r.u.err, "leaving at once; the last complete state stands")
		os.Exit(code)
	})
	defer wish.end()
	g := &grids{folder: r.dir.Grids(), config: r.s.Config, classes: r.ds.ClassNames(), dev: r.dev, t: r.t, board: r.board}
	if r.t.K == 0 {
		path := filepath.Join(r.dir.Grids(), "data.png")
		err := drawData(path, r.ds, r.s.Config)
		if err == nil {
			err = r.board.image(0, "data", path)
		}
		if err := errors.Join(r.spare("data", err), r.spare("init", g.draw("init"))); err != nil {
			return r.failed(err)
		}
	}
	if r.dev.gpu != nil {
		if err := r.checkAgainstCPU(); err != nil {
			return r.failed(err)
		}
	}
	loader := data.NewLoader(r.ds, data.LoaderOptions{Seed: r.s.Train.Seed, Batch: r.s.Train.Batch, Flip: r.s.Data.Flip, First: uint64(r.t.K) * uint64(r.s.Train.Batch)})
	defer loader.Close()
	w := r.newWatch()
	hash, _ := buildOf()
	err := train.Run(context.Background(), r.t, loader, train.Options{
		Hooks: train.Hooks{
			Tick: w.tick,
			Grid: func(step int) error {
				name := checkpoint.StateName(step)
				if step >= r.s.Train.Steps {
					name = strings.TrimSuffix(finalGrid, ".png")
				}
				if step == r.step && exists(filepath.Join(r.dir.Grids(), name+".png")) { // of the start before
					return nil
				}
				return r.spare(name, g.draw(name))
			},
			Saved: func(path string, took time.Duration) { w.saved(path, took) },
			Warn:  func(s string) { r.u.warn("%s", s) },
			Lost: func() error {
				err := r.dir.StillLocked()
				r.lost = err != nil
				return err
			},
		},
		StopAt: optional(r.c, "stop-at"), States: r.dir.States(), Snapshots: r.dir.Snapshots(), Classes: r.ds.ClassNames(), Writes: true, Check: r.c.Bool("check"),
		Manifest: checkpoint.Manifest{RunID: r.dir.RunID(), Data: r.data, Classes: r.ds.ClassNames(), Slice: r.dev.Slice(), Build: hash, Device: r.dev.model(),
			BLAS: r.dev.blas(), Kernels: r.dev.kernels()},
		Stop: func() bool {
			w.beat(false)
			if r.dir.TakeStop() && !wish.stop.Swap(true) {
				r.u.say("STOP: stopping after this step, with a state saved")
			}
			return wish.stop.Load()
		},
		Save: func() bool {
			if r.dir.TakeSave() {
				wish.save.Store(true)
				r.u.say("SAVE: saving a state")
			}
			return wish.save.Swap(false)
		},
	})
	r.u.err.clear()
	return r.ended(err, w)
}

// spare takes the error of a grid that could not be drawn: a full disk, or numbers that are none, are no reason to end a run.
func (r *session) spare(name string, err error) error {
	if errors.Is(err, sample.ErrNotFinite) || isFull(err) {
		r.u.warn("the grid %s.png was not drawn: %s", name, message(err))
		return nil
	}
	return err
}

// ended writes down how the run ended and prints where the results are.
func (r *session) ended(err error, w *watch) error {
	if r.taken() {
		return err
	}
	step := r.t.K
	var diverged *train.Diverged
	reason := "complete"
	switch {
	case err == nil && w.stateAt() != step:
		err, reason = withCode(exitFailed, fmt.Errorf("%s is complete, but its last state could not be saved; free space, and the same command makes the rest again", r.out)), "failed"
	case err == nil:
	case errors.As(err, &diverged):
		err = divergence(diverged, r.blame(diverged), r.s.Config, r.ds, r.dir.Evidence(), r.dir.States())
		reason = "diverged"
	case errors.Is(err, train.ErrStopped) && w.stateAt() == step:
		err, reason = withCode(exitStopped, errors.New("")), "stopped"
	case errors.Is(err, train.ErrStopped):
		err, reason = withCode(exitFailed, fmt.Errorf("stopped at step %s, and its state could not be saved; the last good one stands: %w", comma(step), err)), "failed"
	default:
		reason = "failed"
	}
	text := reason
	if err != nil && err.Error() != "" {
		text = message(err)
	}
	w.finish(reason)
	log := r.u.files.Infow
	if reason == "diverged" || reason == "failed" {
		log = r.u.files.Errorw
	}
	log("end", "reason", reason, "code", exitCode(err)) // the error itself follows
	if e := r.dir.AppendStop(rundir.Stop{Step: step, Code: exitCode(err), Reason: text}); e != nil {
		r.u.warn("%v", e)
	}
	if reason == "diverged" || reason == "failed" {
		return err
	}
	what := "done"
	if reason == "stopped" {
		what = "stopped on request; the same command goes on"
	}
	r.u.say("%s: step %s of %s, %s in this start", what, comma(step), comma(r.s.Train.Steps), spanText(time.Since(r.begin)))
	return errors.Join(err, r.results(step, reason))
}

// results prints where everything lies.
func (r *session) results(step int, reason string) error {
	state, _, err := checkpoint.Latest(filepath.Join(r.out, "states"))
	if err != nil {
		state = ""
	}
	snapshot, grid := "", ""
	for _, s := range snapshots(r.out) {
		if s.ema == "" && s.step <= step {
			snapshot = s.path
		}
	}
	names := []string{checkpoint.StateName(step/max(1, r.s.Every.Grid.Steps)*r.s.Every.Grid.Steps) + ".png", "init.png"}
	if step >= r.s.Train.Steps {
		names = append([]string{finalGrid}, names...)
	}
	for _, name := range names {
		if path := filepath.Join(r.out, "grids", name); exists(path) && grid == "" {
			grid = path
		}
	}
	r.u.repeat(1)
	if r.u.json {
		return r.u.printJSON(map[string]any{"run": r.out, "step": step, "reason": reason, "state": state, "snapshot": snapshot, "grid": grid,
			"seconds": time.Since(r.begin).Seconds()})
	}
	for _, l := range []struct{ what, path string }{{"state", state}, {"snapshot", snapshot}, {"grid", grid}} {
		if l.path != "" {
			r.u.say("%-9s  %s", l.what, l.path)
		}
	}
	r.u.result("%s", r.out)
	return nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// presetName is the preset's name, or custom.
func (s *settings) presetName() string {
	if s.Preset == "" {
		return "custom"
	}
	return strings.ToLower(s.Preset)
}
