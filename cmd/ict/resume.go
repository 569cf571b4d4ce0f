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
		if err := errors.Join(checkpoint.CleanTemp(r.dir.States()), checkpoint.CleanTemp(r.dir.Snapshots())); err != nil {
			return err
		}
	}
	if err := r.openState(); err != nil {
		return err
	}
	if exists(config) {
		c, err := readRunConfig(config)
		if err != nil {
			return usage(err)
		}
		r.before = &c
	} else if r.state != nil {
		c, err := train.DecodeConfig(r.state.Manifest.Config, train.Config{})
		if err != nil {
			return withCode(exitDamaged, fmt.Errorf("%s: %w", r.state.Dir, err))
		}
		r.before = &c
	}
	return nil
}

// lock takes the run for this process.
func (r *session) lock(dir *rundir.Dir, err error) error {
	if err != nil {
		return about("--out", r.out, err)
	}
	r.dir, r.out = dir, dir.Path()
	r.closers = append(r.closers, dir.Close)
	dir.SetRunID(checkpoint.NewestRunID(dir.States())) // if run.json is gone
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

// compare refuses a changed configuration, unless --allow-change admits each key.
func (r *session) compare() error {
	for _, list := range r.c.StringSlice("allow-change") {
		for key := range strings.SplitSeq(list, ",") {
			key = strings.TrimSpace(key)
			if key != dataKey && !slices.Contains(keys(), key) {
				return usagef("--allow-change: unknown key %s%s", key, suggestKey("", key))
			}
			r.allowed = append(r.allowed, key)
		}
	}
	if r.before == nil {
		return nil
	}
	was := *r.before
	if r.state != nil {
		var err error
		if was, err = train.DecodeConfig(r.state.Manifest.Config, train.Config{}); err != nil {
			return withCode(exitDamaged, fmt.Errorf("%s: %w", r.state.Dir, err))
		}
	}
	var refused []train.Change
	var admitted []string
	changes := train.Changes(was, r.s.Config)
	if r.state != nil && r.state.Manifest.Data != "" && r.state.Manifest.Data != r.data {
		changes = append(changes, train.Change{Key: dataKey, Run: r.state.Manifest.Data, Now: r.data})
	}
	for _, d := range changes {
		if slices.Contains(r.allowed, d.Key) {
			admitted = append(admitted, d.Key)
			also := ""
			if d.Key == "train.precision" {
				also = "; the loss scale begins anew"
			}
			r.u.warn("%s changes from %s to %s, as --allow-change admits%s", d.Key, bareJSON(d.Run), bareJSON(d.Now), also)
		} else {
			refused = append(refused, d)
		}
	}
	r.allowed = admitted
	if len(refused) == 0 {
		return nil
	}
	wide, wideRun := 0, 0
	var names []string
	for _, d := range refused {
		wide, wideRun = max(wide, len(d.Key)), max(wideRun, len(bareJSON(d.Run)))
		names = append(names, d.Key)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s was trained with another configuration; not resuming\n", r.out)
	for _, d := range refused {
		fmt.Fprintf(&b, "  %-*s    run %-*s    now %s\n", wide, d.Key, wideRun, bareJSON(d.Run), bareJSON(d.Now))
	}
	it := "it"
	if len(refused) > 1 {
		it = "them"
	}
	fmt.Fprintf(&b, "  to change %s on purpose: --allow-change %s; for a new run choose another --out", it, strings.Join(names, ","))
	return usage(errors.New(b.String()))
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
	r.weights = r.weightsText()
	if err := r.checkRoom(); err != nil {
		return err
	}
	if fresh || r.before == nil || !reflect.DeepEqual(*r.before, r.s.Config) {
		text, err := configYAML(r.s.Config, nil)
		if err != nil {
			return err
		}
		if err := r.dir.WriteFile("config.yaml", text); err != nil {
			return err
		}
	}
	for name, layout := range map[string]string{"log.txt": "2006-01-02 15:04:05", "log.jsonl": ""} {
		f, err := r.dir.OpenAppend(name)
		if err != nil {
			return err
		}
		r.u.logInto(f, layout)
	}
	r.u.buildLog()
	step := 0
	if r.state != nil {
		step = r.state.Manifest.Step
		r.sameBits()
	}
	if err := r.dir.TruncateAfter(step); err != nil {
		return err
	}
	if step == 0 { // of a start that never reached a state
		if err := os.Remove(r.dir.StatsJSONL()); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if err := r.openBoard(step); err != nil {
		return err
	}
	hash, _ := buildOf()
	return r.dir.AppendStart(rundir.Start{
		Build: hash, Kernels: r.dev.kernels(), Device: r.dev.model(), BLAS: r.dev.blas(), World: 1, MicroBatch: r.f.MicroBatch(), Command: append([]string{"ict"}, os.Args[1:]...),
		Weights: r.weights, Step: step, Allowed: r.allowed,
	})
}

// checkRoom looks for room for two states before anything is trained.
func (r *session) checkRoom() error {
	need := 2 * r.f.StateBytes()
	err := checkpoint.Room(r.out, need)
	if errors.Is(err, checkpoint.ErrSpace) {
		return fmt.Errorf("%s free under %s, two states need %s; free some, or choose another --out", freeText(r.out), r.out, bytesText(need))
	}
	return err
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
	if len(differs) == 0 {
		r.weights += "; same bits as without the break"
		return
	}
	r.weights += "; same images and draws, equal up to rounding: other " + strings.Join(differs, ", ")
}
