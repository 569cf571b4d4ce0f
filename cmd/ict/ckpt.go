package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/urfave/cli/v2"

	"ict/checkpoint"
	"ict/internal/rundir"
	"ict/train"
)

func ckptCommand() *cli.Command {
	return &cli.Command{
		Name: "ckpt", Usage: "looks after states and snapshots",
		UsageText: "  ict ckpt ls runs/a\n  ict ckpt verify runs/a",
		Subcommands: []*cli.Command{
			{
				Name: "ls", Usage: "lists the states and snapshots of a run", ArgsUsage: "RUN",
				UsageText: "  ict ckpt ls runs/a", Action: action(1, 1, ckptLsAction),
			},
			{
				Name: "show", Usage: "prints configuration, step, parameters and norms of a state, a snapshot or the newest of a run", ArgsUsage: "RUN|FILE",
				UsageText: "  ict ckpt show runs/a\n  ict ckpt show runs/a/snapshots/step-00000600.safetensors --list",
				Flags:     []cli.Flag{&cli.BoolFlag{Name: "list", Usage: "each tensor: shape, type, norm"}},
				Action:    action(1, 1, ckptShowAction),
			},
			{
				Name: "verify", Usage: "recomputes every checksum of a run, a state or a snapshot", ArgsUsage: "RUN|FILE",
				UsageText: "  ict ckpt verify runs/a", Action: action(1, 1, ckptVerifyAction),
			},
			{
				Name: "prune", Usage: "deletes old states and snapshots of a run that nobody trains", ArgsUsage: "RUN",
				UsageText: "  ict ckpt prune runs/a --keep 1 --every 50k --dry-run",
				Description: "Only what this run wrote goes, never the newest. States count among those to keep if every checksum of theirs is right;\n" +
					"damaged ones stay. A run that is being trained is refused: keep.states and keep.snapshots are for it.",
				Flags: []cli.Flag{
					&cli.GenericFlag{Name: "keep", Value: count("", 1), Usage: "of the states, keep the newest `N`; without: all"},
					&cli.GenericFlag{Name: "every", Value: count("", 1), Usage: "of the snapshots, keep those of every `N`-th step; without: all"},
					&cli.BoolFlag{Name: "dry-run", Usage: "say what would go, and delete nothing"},
				},
				Action: action(1, 1, ckptPruneAction),
			},
		},
	}
}

// ckptEntry is a state or a snapshot in a listing.
type ckptEntry struct {
	Kind   string `json:"kind"`
	Step   int    `json:"step"`
	Images uint64 `json:"images"`
	Bytes  int64  `json:"bytes"`
	EMA    string `json:"ema,omitempty"`
	Path   string `json:"path"`
	Fault  string `json:"fault,omitempty"`
}

func ckptLsAction(c *cli.Context, u *ui) error {
	path := c.Args().First()
	if _, err := os.Stat(path); err != nil {
		return fmt.Errorf("%w; want a run's folder", about("", path, err))
	}
	states, err := checkpoint.List(filepath.Join(path, "states"))
	if err != nil {
		return err
	}
	list := []ckptEntry{}
	for _, s := range states {
		e := ckptEntry{Kind: "state", Step: s.Step, Images: s.Manifest.Images, Bytes: s.Bytes, Path: s.Path}
		if s.Err != nil {
			e.Fault = s.Err.Error()
		}
		list = append(list, e)
	}
	for _, file := range snapshots(path) {
		e := ckptEntry{Kind: "snapshot", Step: file.step, EMA: file.ema, Path: file.path}
		if s, size, err := checkpoint.SnapshotHeader(file.path); err != nil { // ckpt verify reads the rest
			e.Fault = err.Error()
		} else {
			e.Images, e.Bytes, e.EMA = s.Images, size, s.EMA
		}
		list = append(list, e)
	}
	if u.json {
		return u.printJSON(list)
	}
	if len(list) == 0 {
		u.result("%s: no states, no snapshots", path)
	}
	for _, e := range list {
		what := imagesText(e.Images) + "  " + bytesText(e.Bytes)
		if e.Fault != "" {
			what = message(errors.New(e.Fault))
		}
		if e.EMA != "" {
			what += "  average " + e.EMA
		}
		u.result("%-8s  step %9s  %s  %s", e.Kind, comma(e.Step), e.Path, what)
	}
	return nil
}

// tensorNote is a tensor as ckpt show prints it.
type tensorNote struct {
	File      string  `json:"file,omitempty"`
	Name      string  `json:"name"`
	DType     string  `json:"dtype"`
	Shape     []int   `json:"shape"`
	Norm      float64 `json:"norm"`
	NonFinite int     `json:"non_finite"`
}

// ckptNote is what ckpt show prints.
type ckptNote struct {
	Path    string          `json:"path"`
	Kind    string          `json:"kind"`
	Step    int             `json:"step"`
	Images  uint64          `json:"images"`
	EMA     string          `json:"ema,omitempty"`
	Classes []string        `json:"classes,omitempty"`
	Config  json.RawMessage `json:"config"`
	Files   []fileNote      `json:"files"`
	Tensors []tensorNote    `json:"tensors,omitempty"`
}

type fileNote struct {
	Name     string  `json:"name"`
	Tensors  int     `json:"tensors"`
	Elements int     `json:"elements"`
	Norm     float64 `json:"norm"`
}

func ckptShowAction(c *cli.Context, u *ui) error {
	w, err := openWeights(c.Args().First(), "")
	if err != nil {
		return err
	}
	defer w.close()
	note := ckptNote{Path: w.path, Kind: w.kind, Step: w.step, Images: w.images, EMA: w.ema, Classes: w.classes, Config: w.json}
	for _, f := range w.files {
		n := fileNote{Name: f.name}
		var sum float64
		for _, name := range f.Names() {
			t, _ := f.Get(name)
			k := tensorNote{File: f.name, Name: name, DType: t.DType, Shape: t.Shape}
			if t.DType == checkpoint.F32 {
				if err := checkpoint.Guard(func() error {
					k.Norm, k.NonFinite = norm(checkpoint.Float32s(t.Data))
					return nil
				}); err != nil {
					return fmt.Errorf("%s: %s: %w", f.name, name, err)
				}
				n.Elements += len(t.Data) / 4
				sum += k.Norm * k.Norm
			}
			n.Tensors++
			note.Tensors = append(note.Tensors, k)
		}
		n.Norm = math.Sqrt(sum)
		note.Files = append(note.Files, n)
	}
	if !c.Bool("list") {
		note.Tensors = nil
	}
	if u.json {
		return u.printJSON(note)
	}
	text, err := configYAML(w.config, nil)
	if err != nil {
		return err
	}
	u.result("# %s %s", w.kind, w.path)
	fmt.Fprintf(u.out, "%s", text)
	u.result("# step %s, %s", comma(note.Step), imagesText(note.Images))
	for _, f := range note.Files {
		u.result("# %s: %d tensors, %s numbers, norm %.6g", f.Name, f.Tensors, comma(f.Elements), f.Norm)
	}
	for _, t := range note.Tensors {
		bad := ""
		if t.NonFinite > 0 {
			bad = fmt.Sprintf(", %s not finite", comma(t.NonFinite))
		}
		u.result("#   %-44s %s %v norm %.6g%s", t.Name, t.DType, t.Shape, t.Norm, bad)
	}
	return nil
}

// norm is the L2 norm of the finite values, and how many are not.
func norm(v []float32) (sum float64, bad int) {
	for _, x := range v {
		if f := float64(x); math.IsNaN(f) || math.IsInf(f, 0) {
			bad++
		} else {
			sum += f * f
		}
	}
	return math.Sqrt(sum), bad
}

func ckptVerifyAction(c *cli.Context, u *ui) error {
	path := c.Args().First()
	if _, err := os.Stat(path); err != nil {
		return fmt.Errorf("%w; want a run's folder, a state or a snapshot", about("", path, err))
	}
	r, err := checkpoint.Verify(path)
	if err != nil && !errors.Is(err, checkpoint.ErrDamaged) {
		return err
	}
	if u.json {
		if e := u.printJSON(r); e != nil {
			return e
		}
		return err
	}
	for _, i := range r.Items {
		verdict := "whole"
		if len(i.Faults) > 0 {
			verdict = "DAMAGED"
		}
		u.result("%-8s %-11s %s  %d tensors, %s", verdict, i.Kind, i.Path, i.Tensors, bytesText(i.Bytes))
		for _, f := range i.Faults {
			u.result("           %s", f)
		}
	}
	if err == nil {
		u.result("%s: %d checked, all whole", r.Path, len(r.Items))
		return nil
	}
	for _, i := range r.Items {
		if len(i.Faults) > 0 {
			return fmt.Errorf("%w, the first: %s: %s", err, i.Path, i.Faults[0])
		}
	}
	return err
}

// pruned is what ckpt prune prints.
type pruned struct {
	Run       string   `json:"run"`
	DryRun    bool     `json:"dry_run"`
	States    []string `json:"states"`    // deleted, or that would be
	Snapshots []string `json:"snapshots"` // the same
	Bytes     int64    `json:"bytes"`
}

func ckptPruneAction(c *cli.Context, u *ui) (err error) {
	keep, every := optional(c, "keep"), optional(c, "every")
	if keep == 0 && every == 0 {
		return usagef("nothing to do: --keep N retires states, --every N snapshots")
	}
	path := c.Args().First()
	dir, err := rundir.Open(path)
	if err != nil {
		return err
	}
	defer dir.Close()
	history, err := dir.History()
	if errors.Is(err, os.ErrNotExist) {
		return usagef("%s is no run: it has no run.json", path)
	}
	if err != nil {
		return err
	}
	p := pruned{Run: path, DryRun: c.Bool("dry-run"), States: []string{}, Snapshots: []string{}}
	if !p.DryRun {
		unlock, e := dir.Lock()
		if errors.Is(e, rundir.ErrLocked) {
			return usage(e)
		}
		if e != nil {
			return e
		}
		defer func() { err = errors.Join(err, unlock()) }()
	}
	sizes, err := sizesOf(path)
	if err != nil {
		return err
	}
	if keep > 0 {
		list, e := checkpoint.PruneChecked(dir.States(), keep, checkpoint.Owned(dir.States(), history.RunID), p.DryRun)
		p.States, err = append(p.States, list...), e
	}
	if every > 0 && err == nil {
		list, e := checkpoint.PruneSnapshots(dir.Snapshots(), history.RunID, math.MaxInt, checkpoint.Retention{Every: every}, p.DryRun)
		p.Snapshots, err = append(p.Snapshots, list...), e
	}
	for _, l := range slices.Concat(p.States, p.Snapshots) {
		p.Bytes += sizes[l]
	}
	if u.json {
		return errors.Join(err, u.printJSON(p))
	}
	what := "deleted"
	if p.DryRun {
		what = "would delete"
	}
	for _, l := range slices.Concat(p.States, p.Snapshots) {
		u.result("%s  %s  %s", what, l, bytesText(sizes[l]))
	}
	u.result("%s: %s %d state%s and %d snapshot%s, %s", path, what, len(p.States), plural(len(p.States)), len(p.Snapshots), plural(len(p.Snapshots)),
		bytesText(p.Bytes))
	return err
}

// sizesOf is the bytes of each state and snapshot of a run, by path.
func sizesOf(run string) (map[string]int64, error) {
	states, err := checkpoint.List(filepath.Join(run, "states"))
	if err != nil {
		return nil, err
	}
	sizes := map[string]int64{}
	for _, s := range states {
		sizes[s.Path] = s.Bytes
	}
	for _, s := range snapshots(run) {
		if info, err := os.Stat(s.path); err == nil {
			sizes[s.path] = info.Size()
		}
	}
	return sizes, nil
}

// snapshotFile is a snapshot by its name.
type snapshotFile struct {
	path, ema string
	step      int
}

// snapshots lists those of a run, oldest first.
func snapshots(run string) []snapshotFile {
	matches, _ := filepath.Glob(filepath.Join(globQuote(run), "snapshots", "step-*.safetensors"))
	var list []snapshotFile
	for _, path := range matches {
		f := snapshotFile{path: path}
		stem := strings.TrimSuffix(filepath.Base(path), ".safetensors")
		stem, f.ema, _ = strings.Cut(stem, ".ema-")
		if n, err := fmt.Sscanf(stem, "step-%d", &f.step); n == 1 && err == nil && checkpoint.SnapshotName(f.step, f.ema) == filepath.Base(path) {
			list = append(list, f)
		}
	}
	return list
}

// globQuote keeps a path's own signs from being a pattern.
func globQuote(s string) string {
	return strings.NewReplacer(`\`, `\\`, "*", `\*`, "?", `\?`, "[", `\[`).Replace(s)
}

// weights is an open snapshot or state, and what it says of itself.
type weights struct {
	path, kind string
	step       int
	images     uint64
	ema        string // rate of the average in file; empty: the weights themselves
	classes    []string
	json       json.RawMessage
	config     train.Config
	file       *checkpoint.File // to sample from
	online     *checkpoint.File // of a state: the weights beside the averages
	files      []namedFile
	close      func() error
}

type namedFile struct {
	name string
	*checkpoint.File
}

// openWeights opens a snapshot, a state, or the newest of a run's; ema asks for one average, "" for the first.
func openWeights(path, ema string) (*weights, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("%w; want a run's folder, a state or a snapshot", about("", path, err))
	}
	if !info.IsDir() {
		return openSnapshot(path, ema)
	}
	if _, err := os.Stat(filepath.Join(path, "manifest.json")); err == nil {
		return openState(path, ema)
	}
	newest := snapshotFile{step: -1}
	for _, s := range snapshots(path) {
		if s.step > newest.step || s.step == newest.step && s.ema == ema {
			newest = s
		}
		if s.step == newest.step && ema == "" && s.ema == "" {
			newest = s
		}
	}
	states, err := checkpoint.List(filepath.Join(path, "states"))
	if err != nil {
		return nil, err
	}
	for i := len(states) - 1; i >= 0 && states[i].Step > newest.step; i-- {
		if states[i].Err == nil {
			return openState(states[i].Path, ema)
		}
	}
	if newest.step < 0 {
		return nil, usagef("%s: neither a run with a state or a snapshot nor one of these\n  ict ckpt ls %s lists what is there", path, path)
	}
	w, err := openSnapshot(newest.path, ema)
	if errors.Is(err, checkpoint.ErrDamaged) {
		err = fmt.Errorf("%w\n  older ones may be whole: ict ckpt verify %s", err, path)
	}
	return w, err
}

func openSnapshot(path, ema string) (*weights, error) {
	s, err := checkpoint.OpenSnapshot(path)
	if errors.Is(err, checkpoint.ErrDamaged) || errors.Is(err, checkpoint.ErrVersion) || errors.As(err, new(syscall.Errno)) {
		return nil, err
	}
	if err != nil { // a file of tensors, but not ours
		return nil, usage(err)
	}
	w := &weights{path: path, kind: "snapshot", step: s.Step, images: s.Images, ema: s.EMA, classes: s.Classes, json: s.Config,
		file: s.File, files: []namedFile{{filepath.Base(path), s.File}}, close: s.Close}
	if err = w.readConfig(); err == nil && ema != "" && ema != s.EMA {
		other := filepath.Join(filepath.Dir(path), checkpoint.SnapshotName(s.Step, ema))
		if rate := train.EMAName(w.config.EMA[0]); ema == rate {
			other = filepath.Join(filepath.Dir(path), checkpoint.SnapshotName(s.Step, ""))
		}
		if _, err = os.Stat(other); err == nil && other != path {
			return openSnapshot(other, "")
		}
		err = usagef("%s: no average %s beside it; the run keeps %s", path, ema, rates(w.config.EMA))
	}
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return w, nil
}

func openState(path, ema string) (*weights, error) {
	s, err := checkpoint.OpenState(path)
	if err != nil {
		return nil, err
	}
	m := s.Manifest
	w := &weights{path: path, kind: "state", step: m.Step, images: m.Images, classes: m.Classes, json: m.Config, close: s.Close}
	for _, f := range m.Files {
		file, _ := s.File(f.Name)
		w.files = append(w.files, namedFile{f.Name, file})
	}
	if err := w.readConfig(); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	if ema == "" {
		ema = train.EMAName(w.config.EMA[0])
	}
	file, ok := s.File("ema-" + ema + ".safetensors")
	if !ok {
		return nil, errors.Join(usagef("%s: no average %s; the run keeps %s", path, ema, rates(w.config.EMA)), s.Close())
	}
	w.file, w.ema = file, ema
	w.online, _ = s.File("weights.safetensors")
	return w, nil
}

// readConfig reads the configuration in the file, which anybody may have written, and the types of its tensors.
func (w *weights) readConfig() error {
	var err error
	if w.config, err = train.DecodeConfig(w.json, train.Config{}); err != nil {
		return withCode(exitDamaged, fmt.Errorf("%s: %s; a newer ict may have written it", w.path, message(err)))
	}
	if err := w.config.Check(); err != nil {
		return withCode(exitDamaged, fmt.Errorf("%s: its configuration: %s", w.path, message(err)))
	}
	for _, f := range w.files {
		for _, name := range f.Names() {
			if t, _ := f.Get(name); t.DType != checkpoint.F32 {
				return withCode(exitDamaged, fmt.Errorf("%s: %s: got type %s, want F32", w.path, name, t.DType))
			}
		}
	}
	return nil
}

// emaRate is a rate as files are named by it, however it was written; "" stays.
func emaRate(s string) (string, error) {
	if s == "" {
		return "", nil
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil || !(f >= 0 && f < 1) {
		return "", fmt.Errorf("got %q, want the rate of an average, like 0.9999", s)
	}
	return train.EMAName(f), nil
}

func rates(decays []float64) string {
	var s []string
	for _, d := range decays {
		s = append(s, train.EMAName(d))
	}
	return strings.Join(s, ", ")
}
