package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"ict/checkpoint"
	"ict/data"
	"ict/internal/rundir"
	"ict/train"
)

// openRun looks whether --out is a run already: then it is locked (unless nothing will be written), and its configuration and its newest
// state are read.
func (r *session) openRun() error {
	if r.out == "" || !exists(r.out) {
		return nil
	}
	if info, err := os.Stat(r.out); err == nil && !info.IsDir() {
		return usagef("--out %s: is a file; a run wants a folder", r.out)
	}
	config := filepath.Join(r.out, "config.yaml")
	states, err := checkpoint.List(filepath.Join(r.out, "states"))
	if err != nil {
		return err
	}
	if !exists(config) && len(states) == 0 {
		return nil
	}
	if !r.c.Bool("dry-run") {
		if err := r.lock(rundir.Create(r.out)); err != nil {
			return err
		}
		for dir, clear := range map[string]func(string) error{r.dir.States(): checkpoint.CleanTemp, r.dir.Snapshots(): checkpoint.CleanTemp, r.dir.Grids(): clearGrids} {
			if err := clear(dir); err != nil {
				r.u.warn("what an earlier start left could not be cleared: %s", message(err))
			}
		}
	}
	if err := r.openState(); err != nil {
		return err
	}
	if info, err := os.Stat(config); err == nil && info.Size() > 0 {
		c, err := readRunConfig(config)
		if err != nil {
			return usage(err)
		}
		r.before, r.described = &c, true
	} else if r.state != nil {
		r.u.warn("%s is missing or empty; the configuration is that of %s", config, r.state.Dir)
		c, err := r.stateConfig()
		if err != nil {
			return err
		}
		r.before = &c
	}
	return nil
}

// stateConfig is the configuration that the state was trained with.
func (r *session) stateConfig() (train.Config, error) {
	c, err := train.DecodeConfig(r.state.Manifest.Config, train.Config{})
	if err != nil {
		return c, withCode(exitDamaged, fmt.Errorf("%s: %w", r.state.Dir, err))
	}
	return c, nil
}

// lock takes the run for this process.
func (r *session) lock(dir *rundir.Dir, err error) error {
	if err != nil {
		return about("--out", r.out, err)
	}
	r.dir, r.out = dir, dir.Path()
	r.closers = append(r.closers, dir.Close)
	if id := checkpoint.NewestRunID(dir.States()); id != "" && !exists(dir.RunJSON()) {
		r.u.warn("%s is missing: a new history begins; by its states this is run %s", dir.RunJSON(), id)
		dir.SetRunID(id)
	}
	unlock, err := dir.Lock()
	if errors.Is(err, rundir.ErrLocked) {
		return usage(err)
	}
	if err != nil {
		return err
	}
	r.closers = append(r.closers, unlock)
	return nil
}

// openState opens the newest whole state.
func (r *session) openState() error {
	s, notes, err := checkpoint.OpenLatest(filepath.Join(r.out, "states"))
	for _, n := range notes {
		if errors.Is(n, checkpoint.ErrDamaged) && r.c.Bool("strict") {
			return errors.Join(n, errors.New("  --strict refuses to use an older state"))
		}
		r.u.warn("%s", message(n))
	}
	if errors.Is(err, checkpoint.ErrNone) {
		return nil
	}
	if errors.Is(err, checkpoint.ErrDamaged) {
		return fmt.Errorf("%w\n  there is nothing to go on from; begin again with another --out, or with --init and a snapshot of %s", err, r.out)
	}
	if err != nil {
		return err
	}
	if len(notes) > 0 {
		r.u.warn("using %s instead", s.Dir)
	}
	r.state = s
	r.closers = append(r.closers, func() error {
		if r.state != nil { // else it was closed when its weights were taken
			return r.state.Close()
		}
		return nil
	})
	return nil
}

// readRunConfig reads config.yaml of a run, which is complete.
func readRunConfig(path string) (train.Config, error) {
	patches, err := readConfig(path)
	if err != nil {
		return train.Config{}, err
	}
	s := &settings{origin: map[string]string{}}
	for _, p := range patches {
		if p.key == "preset" {
			if err := json.Unmarshal(p.json, &s.Preset); err != nil {
				return s.Config, err
			}
		}
	}
	return s.Config, s.apply(patches)
}

// inherit keeps what the run had settled and the command leaves open.
func (r *session) inherit() {
	c, b := &r.s.Config, r.before
	if c.Data.Path == "" {
		c.Data.Path = b.Data.Path
	}
	if c.Train.MicroBatch == 0 && c.Train.Batch == b.Train.Batch {
		c.Train.MicroBatch = b.Train.MicroBatch
	}
	if c.Train.Precision == "auto" {
		c.Train.Precision = b.Train.Precision
	}
}

// dataKey stands for the content of the image set in --allow-change. Its path is free: a set may move.
const dataKey = "data"

// batchKey is never admitted: everything that a run draws is numbered by it.
const batchKey = "train.batch"

// compare refuses a changed configuration, unless --allow-change admits each key, or has admitted the same value at a start that left
// no state.
func (r *session) compare() error {
	var allowed []string
	for _, list := range r.c.StringSlice("allow-change") {
		for key := range strings.SplitSeq(list, ",") {
			key = strings.TrimSpace(key)
			if key != dataKey && !slices.Contains(keys(), key) {
				return usagef("--allow-change: unknown key %s%s", key, suggestKey("", key))
			}
			allowed = append(allowed, key)
		}
	}
	r.allowed = allowed
	if r.before == nil {
		return nil
	}
	changes, earlier, err := r.changes()
	if err != nil {
		return err
	}
	var refused []train.Change
	for _, d := range changes {
		why := ""
		switch {
		case d.Key == batchKey && r.state != nil:
		case slices.Contains(allowed, d.Key):
			why = "--allow-change admits"
		case slices.Contains(earlier, remembered(d)):
			why = "an earlier start admitted"
		}
		if why == "" {
			refused = append(refused, d)
			continue
		}
		r.admitted = append(r.admitted, d)
		r.turned = r.turned || r.state != nil && !slices.Contains(earlier, remembered(d))
		also := ""
		if d.Key == "train.precision" {
			also = "; the loss scale begins anew"
		}
		r.u.warn("%s changes from %s to %s, as %s%s", d.Key, bareJSON(d.Run), bareJSON(d.Now), why, also)
		if d.Key == dataKey {
			if was, now := r.classNames(r.state.Manifest.Classes); was != "" {
				r.u.warn("classes change their names, as %s: %s becomes %s", why, was, now)
			}
		}
	}
	if len(refused) == 0 {
		return nil
	}
	return usage(errors.New(r.refusal(refused)))
}

// changes are the differences between what the state, or without one the run, was trained with and what it is to go on with, and the
// changes that starts from this state on have admitted already.
func (r *session) changes() (list []train.Change, earlier []string, err error) {
	if r.state == nil {
		return train.Changes(*r.before, r.s.Config), nil, nil
	}
	m := r.state.Manifest
	was, err := r.stateConfig()
	if err != nil {
		return nil, nil, err
	}
	list = train.Changes(was, r.s.Config)
	names, _ := r.classNames(m.Classes)
	if m.Data != "" && m.Data != r.data || names != "" {
		list = append(list, train.Change{Key: dataKey, Run: m.Data, Now: r.data})
	}
	dir, err := rundir.Open(r.out)
	if err != nil {
		return nil, nil, err
	}
	h, err := dir.History()
	if err := dir.Close(); err != nil {
		return nil, nil, err
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, nil, err
	}
	for _, s := range h.Starts {
		if s.Step >= m.Step {
			earlier = append(earlier, s.Allowed...)
		}
	}
	return list, earlier, nil
}

// remembered is an admitted change as run.json keeps it.
func remembered(d train.Change) string { return d.Key + "=" + bareJSON(d.Now) }

// classNames are the classes whose names in a file of weights and in the image set differ, with both names; empty if none does, if the
// file does not know them, or if the network has no classes.
func (r *session) classNames(was []string) (before, now string) {
	names := r.ds.ClassNames()
	if r.s.Model.Classes == 0 || len(was) == 0 || len(names) == 0 {
		return "", ""
	}
	const most = 3
	var a, b []string
	for i := range max(len(was), len(names)) {
		if x, y := nameAt(was, i), nameAt(names, i); x != y {
			a, b = append(a, fmt.Sprintf("%d %s", i, x)), append(b, fmt.Sprintf("%d %s", i, y))
		}
	}
	if n := len(a); n > most {
		more := fmt.Sprintf("and %d more", n-most)
		a, b = append(a[:most], more), append(b[:most], more)
	}
	return strings.Join(a, ", "), strings.Join(b, ", ")
}

// nameAt is a class's name for a message.
func nameAt(names []string, i int) string {
	if i >= len(names) {
		return "nothing"
	}
	return data.Printable(names[i])
}

// refusal shows the changes that nobody admitted in two columns.
func (r *session) refusal(refused []train.Change) string {
	wide, wideRun := 0, 0
	var names []string // that may be admitted
	for _, d := range refused {
		wide, wideRun = max(wide, len(d.Key)), max(wideRun, len(bareJSON(d.Run)))
		if d.Key != batchKey || r.state == nil {
			names = append(names, d.Key)
		}
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s was trained with another configuration; not resuming", r.out)
	for _, d := range refused {
		fmt.Fprintf(&b, "\n  %-*s    run %-*s    now %s", wide, d.Key, wideRun, bareJSON(d.Run), bareJSON(d.Now))
	}
	if slices.Contains(names, dataKey) {
		if was, now := r.classNames(r.state.Manifest.Classes); was != "" {
			fmt.Fprintf(&b, "\n  classes have other names: %s was, %s is", was, now)
		}
	}
	if len(names) < len(refused) {
		fmt.Fprintf(&b, "\n  %s stays as it is: the images and all draws are numbered by it; for another one begin a new run, --out and --init with a snapshot of %s",
			batchKey, r.out)
	}
	if len(names) > 0 {
		it := "it"
		if len(names) > 1 {
			it = "them"
		}
		fmt.Fprintf(&b, "\n  to change %s on purpose: --allow-change %s; for a new run choose another --out", it, strings.Join(names, ","))
	}
	return b.String()
}

// checkState refuses, before anything is written, a configuration that the state does not fit.
func (r *session) checkState() error {
	if r.state == nil {
		return nil
	}
	err := r.f.CheckState(r.state)
	if err == nil || errors.Is(err, checkpoint.ErrDamaged) || len(r.admitted) == 0 {
		return err
	}
	return usage(fmt.Errorf("%s\n  the state does not fit with another %s: go on without this change, or begin a new run, --out and --init with a snapshot of %s",
		message(err), strings.Join(r.changedKeys(), ", "), r.out))
}

// changedKeys are those of the changes that were admitted.
func (r *session) changedKeys() (list []string) {
	for _, d := range r.admitted {
		list = append(list, d.Key)
	}
	return list
}

// bareJSON is a value without quotes; nothing where the key is not there.
func bareJSON(s string) string {
	if s == "" {
		return "nothing"
	}
	return strings.Trim(s, `"`)
}

// createRun makes the folder of a new run, or notes in a run's own that it goes on.
func (r *session) createRun() error {
	r.weights = r.weightsText()
	if r.state == nil || r.state.Manifest.Step < r.s.Train.Steps { // else no state will be written
		if err := r.checkRoom(); err != nil {
			return err
		}
	}
	fresh := r.dir == nil
	if fresh {
		dir, err := (*rundir.Dir)(nil), error(nil)
		if r.out == "" {
			dir, err = rundir.Next("runs", r.s.presetName(), r.s.Objective.Kind)
		} else {
			dir, err = rundir.Create(r.out)
		}
		if err := r.lock(dir, err); err != nil {
			return err
		}
		if exists(r.dir.ConfigYAML()) {
			return usagef("%s has just been started by another process; the same command again goes on with it", r.out)
		}
	}
	r.sinks = len(r.u.sinks)
	for name, layout := range map[string]string{"log.txt": "2006-01-02 15:04:05", "log.jsonl": ""} {
		f, err := r.dir.OpenAppend(name)
		if err != nil {
			return err
		}
		r.u.logInto(f, layout)
	}
	r.u.buildLog()
	if r.state != nil {
		r.step = r.state.Manifest.Step
		r.sameBits()
	}
	if r.turned {
		if err := r.setAside(); err != nil {
			return err
		}
	}
	if old := snapshots(r.out); r.state == nil && len(old) > 0 {
		r.u.warn("no state to go on from, but %d snapshot%s in %s: the run begins again and replaces each as it comes by", len(old), plural(len(old)), r.dir.Snapshots())
	}
	hash, _ := buildOf()
	var allowed []string
	for _, d := range r.admitted {
		allowed = append(allowed, remembered(d))
	}
	err := r.dir.AppendStart(rundir.Start{
		Build: hash, Kernels: r.dev.kernels(), Device: r.dev.model(), BLAS: r.dev.blas(), World: 1, MicroBatch: r.f.MicroBatch(), Command: append([]string{"ict"}, os.Args[1:]...),
		Weights: r.weights, Step: r.step, Allowed: allowed,
	})
	if err != nil {
		return err
	}
	// Behind the start that admits it: a changed configuration that nobody remembers would be refused from now on.
	if !r.described || !reflect.DeepEqual(*r.before, r.s.Config) {
		text, err := configYAML(r.s.Config, nil)
		if err != nil {
			return err
		}
		if err := r.dir.WriteFile("config.yaml", text); err != nil {
			return err
		}
	}
	if err := r.dir.TruncateAfter(r.step); err != nil {
		return err
	}
	if r.step == 0 { // of a start that never reached a state
		if err := os.Remove(r.dir.StatsJSONL()); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return r.openBoard(r.step)
}

// setAside moves what the run had made beyond the step from which it goes on with something changed: it would pass for the new run's.
// The grid of its end goes too. Without a change the same files come again.
func (r *session) setAside() error {
	list, err := checkpoint.SnapshotsBeyond(r.dir.Snapshots(), r.dir.RunID(), r.step)
	if err != nil {
		return err
	}
	entries, err := os.ReadDir(r.dir.Grids())
	if err != nil {
		return err
	}
	for _, e := range entries {
		step := 0
		n, err := fmt.Sscanf(e.Name(), "step-%d.png", &step)
		beyond := n == 1 && err == nil && step > r.step && e.Name() == checkpoint.StateName(step)+".png"
		if e.Type().IsRegular() && (beyond || e.Name() == finalGrid) {
			list = append(list, filepath.Join(r.dir.Grids(), e.Name()))
		}
	}
	folder := fmt.Sprintf("beyond-%08d", r.step)
	for i := 2; exists(filepath.Join(r.dir.Snapshots(), folder)) || exists(filepath.Join(r.dir.Grids(), folder)); i++ {
		folder = fmt.Sprintf("beyond-%08d.%d", r.step, i)
	}
	for _, path := range list {
		to := filepath.Join(filepath.Dir(path), folder)
		if err := os.MkdirAll(to, 0o700); err != nil {
			return err
		}
		if err := os.Rename(path, filepath.Join(to, filepath.Base(path))); err != nil {
			return err
		}
	}
	if n := len(list); n > 0 {
		r.u.say("%d file%s of later steps, made before the change, lie%s in snapshots/%[4]s and grids/%[4]s now", n, plural(n), map[bool]string{true: "s"}[n == 1], folder)
	}
	return nil
}

// checkRoom looks for room for two states before anything is trained.
func (r *session) checkRoom() error {
	need, at := 2*r.f.StateBytes(), r.out
	if at == "" {
		at = "runs"
	}
	err := checkpoint.Room(at, need)
	if errors.Is(err, checkpoint.ErrSpace) {
		return fmt.Errorf("%s free under %s, two states need %s; free some, or choose another --out", freeText(at), at, bytesText(need))
	}
	return about("--out", at, err)
}

// sameBits says whether what follows will be what an uninterrupted run would have done.
func (r *session) sameBits() {
	m := r.state.Manifest
	hash, _ := buildOf()
	var differs []string
	for _, k := range []struct {
		what     string
		was, now string
	}{
		{"build", m.Build, hash}, {"kernels", m.Kernels, r.dev.kernels()}, {"device", m.Device, r.dev.model()}, {"BLAS", m.BLAS, r.dev.blas()},
		{"micro-batch", fmt.Sprint(m.MicroBatch), fmt.Sprint(r.f.MicroBatch())}, {"ranks", fmt.Sprint(m.World), "1"},
		{"slice", fmt.Sprint(m.Slice), fmt.Sprint(r.dev.Slice())},
	} {
		if k.was != k.now {
			differs = append(differs, fmt.Sprintf("%s (%s, now %s)", k.what, k.was, k.now))
		}
	}
	others := ""
	if len(differs) > 0 {
		others = "other " + strings.Join(differs, ", ")
	}
	switch {
	case len(r.admitted) > 0:
		r.weights += "; changed: " + strings.Join(r.changedKeys(), ", ")
		if others != "" {
			r.weights += "; " + others
		}
	case others != "":
		r.weights += "; same images and draws, equal up to rounding: " + others
	case !identified(hash):
		r.weights += "; same images and draws; the same bits if the program is the same, which its build, " + hash + ", does not say"
	default:
		r.weights += "; same bits as without the break"
	}
}

// identified reports whether a build's name stands for one program alone.
func identified(hash string) bool { return hash != "unknown" && !strings.HasSuffix(hash, "+changes") }
