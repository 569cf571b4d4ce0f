package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"ict/data"
	"ict/train"
)

// configFlag is a flag that sets one key of the configuration.
type configFlag struct{ flag, key, usage string }

// trainFlags are those of `ict train`; other commands take the ones they need.
var trainFlags = []configFlag{
	{"data", "data.path", "train on the image set `PATH`: a .pack file, a folder of images, or MNIST, CIFAR, npz and others as in ict data import --help"},
	{"steps", "train.steps", "train for `N` steps; the curriculum depends on it (400k is 400,000)"},
	{"batch", "train.batch", "`N` images a step"},
	{"micro-batch", "train.micro_batch", "`N` images at a time, a divisor of the batch, or auto: as many as fit"},
	{"precision", "train.precision", "arithmetic in `TYPE`: auto, fp32, tf32, bf16 or fp16; auto is fp16 on cuda and fp32 on cpu"},
	{"seed", "train.seed", "begin all draws from seed `N`"},
	{"init", "train.init", "start from the weights of `FILE`, at step 0; random: from the seed"},
}

// configFlags are --preset, --config, --set and the given ones, with environment variables if env.
func configFlags(env bool, list ...configFlag) []cli.Flag {
	vars := func(name string) []string {
		if env {
			return []string{envName(name)}
		}
		return nil
	}
	flags := []cli.Flag{
		&cli.StringFlag{Name: "preset", Usage: "start from the recipe `NAME`: " + orList(presetNames()), EnvVars: vars("preset")},
		&cli.StringFlag{Name: "config", Usage: "take values from the YAML `FILE`", EnvVars: vars("config")},
		&cli.StringSliceFlag{Name: "set", Usage: "set one value of the configuration, `KEY=VALUE`, like model.mult=1,2; may be repeated", EnvVars: vars("set")},
	}
	for _, f := range list {
		flags = append(flags, &cli.StringFlag{Name: f.flag, Usage: f.usage, EnvVars: vars(f.flag)})
	}
	return flags
}

func presetNames() []string { return slices.Sorted(maps.Keys(train.Presets())) }

// settings is a configuration with where its values come from.
type settings struct {
	train.Config
	origin map[string]string // by key; none: the base's
	base   string            // what the rest comes from, for messages
	bare   bool              // base is a file, and nothing stands below it
}

// fromFlags builds the configuration: flag > environment > file > preset. base, unless nil, stands in for a preset where none is
// named: the configuration of the run that is resumed.
func fromFlags(c *cli.Context, list []configFlag, base *settings) (*settings, error) {
	var file, env, flags []patch
	for _, f := range list {
		if !given(c, f.flag) && c.String(f.flag) == "" { // an empty variable is none
			continue
		}
		to, origin := &env, "$"+envName(f.flag)
		if given(c, f.flag) {
			to, origin = &flags, "--"+f.flag
		}
		p, err := parseSet(f.key+"="+quoteScalar(c.String(f.flag)), origin)
		if err != nil {
			return nil, usage(errors.New(strings.Replace(err.Error(), origin+": "+f.key+": ", origin+": ", 1)))
		}
		*to = append(*to, p...)
	}
	set := func(to *[]patch, origin string, list []string) error {
		for _, s := range list {
			p, err := parseSet(s, origin)
			if err != nil {
				return usage(err)
			}
			for _, x := range p {
				for _, y := range *to {
					if x.key == y.key && string(x.json) != string(y.json) {
						return usagef("%s is given twice: %s by %s and %s by %s", x.key, y.json, y.origin, x.json, x.origin)
					}
				}
			}
			*to = append(*to, p...)
		}
		return nil
	}
	flagSets, envSets := c.StringSlice("set"), []string(nil)
	if !given(c, "set") {
		flagSets, envSets = nil, flagSets
	} else if v := os.Getenv(envName("set")); v != "" && readsVariable(c, "set") { // the parser drops it where the flag is given; its key may be another
		envSets = []string{v}
	}
	if err := set(&env, "$"+envName("set"), envSets); err != nil {
		return nil, err
	}
	if err := set(&flags, "--set", flagSets); err != nil {
		return nil, err
	}
	if path := c.String("config"); path != "" {
		var err error
		if file, err = readConfig(path); err != nil {
			if _, ok := err.(*fs.PathError); ok {
				err = about("--config", path, err)
			}
			return nil, usage(err)
		}
	}
	s, err := baseOf(c, file, base)
	if err != nil {
		return nil, err
	}
	if err := s.apply(slices.Concat(file, env, flags)); err != nil {
		return nil, usage(err)
	}
	s.shortenCurriculum()
	return s, nil
}

// readsVariable reports whether a flag of the command has a variable.
func readsVariable(c *cli.Context, flag string) bool {
	return slices.ContainsFunc(c.Command.Flags, func(f cli.Flag) bool {
		return f.Names()[0] == flag && len(f.(cli.DocGenerationFlag).GetEnvVars()) > 0
	})
}

// quoteScalar keeps a flag's text one scalar in YAML.
func quoteScalar(s string) string {
	b, _ := json.Marshal(s)
	return string(b)
}

// baseOf finds what the flags and the file build on.
func baseOf(c *cli.Context, file []patch, base *settings) (*settings, error) {
	name, origin := c.String("preset"), "--preset"
	if !given(c, "preset") {
		origin = "$" + envName("preset")
	}
	for _, p := range file {
		if p.key == "preset" && name == "" {
			if err := json.Unmarshal(p.json, &name); err != nil {
				return nil, err
			}
			origin = p.origin
		}
	}
	if name == "" {
		switch {
		case base != nil && len(file) == 0:
			return &settings{Config: base.Config, origin: maps.Clone(base.origin), base: base.base}, nil
		case len(file) > 0:
			return &settings{origin: map[string]string{}, base: c.String("config"), bare: true}, nil
		}
		if path := c.String("config"); path != "" {
			return nil, usagef("%s is empty, and there is no preset: name one, --preset %s", path, orList(presetNames()))
		}
		where := ""
		if out := c.String("out"); c.Command.Name == "train" && out != "" {
			where = fmt.Sprintf("\n  there is no run in %s to go on with", out)
		}
		return nil, usagef("no preset: name one, --preset %s, or a file, --config FILE%s", orList(presetNames()), where)
	}
	p, ok := train.Presets()[name]
	if !ok {
		return nil, usagef("%s: unknown preset %s%s\n  there are: %s", origin, name, didYouMean(name, presetNames(), ""), strings.Join(presetNames(), ", "))
	}
	return &settings{Config: p.Config, origin: map[string]string{"preset": origin}, base: "preset " + name}, nil
}

// apply puts patches on top, later ones over earlier ones. The preset's name has been read already.
func (s *settings) apply(patches []patch) error {
	for _, p := range patches {
		if p.key == "preset" {
			continue
		}
		b := []byte(p.json)
		parts := strings.Split(p.key, ".")
		for _, part := range slices.Backward(parts) {
			b = fmt.Appendf(nil, "{%q:%s}", part, b)
		}
		var err error
		if s.Config, err = train.DecodeConfig(b, s.Config); err != nil {
			return fmt.Errorf("%s: %s: %w", p.origin, p.key, err)
		}
		s.origin[p.key] = p.origin
	}
	return nil
}

// shortenCurriculum lets s1 follow the run's length where that is not the preset's.
func (s *settings) shortenCurriculum() {
	p, ok := train.Presets()[s.Preset]
	if _, set := s.origin["objective.s1"]; set || !ok || !strings.HasPrefix(s.base, "preset ") {
		return
	}
	if s.Train.Steps != p.Train.Steps && s.Objective.S1 != 0 {
		s.Objective.S1 = 0
		s.origin["objective.s1"] = fmt.Sprintf("auto: train.steps is not the preset's %s", comma(p.Train.Steps))
	}
}

// resolve completes the configuration with what follows from the data set, and from the run's length.
func (s *settings) resolve(h, w, c, classes int) error {
	before := s.Config
	var err error
	if s.Config, err = s.Config.Resolve(h, w, c, classes); err != nil {
		return usage(s.located(err))
	}
	s.follow(before, "from the data set")
	return nil
}

// complete does the same where no data set is at hand.
func (s *settings) complete() error {
	before := s.Config
	if s.Model.Resolution == 0 || s.Model.ImageChannels == 0 {
		return usagef("the size of the images is the data set's: name one with --data, or set model.resolution and model.image_channels")
	}
	var err error
	if s.Config, err = s.Config.Complete(); err != nil {
		return usage(s.located(err))
	}
	s.follow(before, "")
	return nil
}

// settle resolves by the data set where one is named, else by the configuration alone.
func (s *settings) settle() error {
	if s.Data.Path == "" {
		return s.complete()
	}
	ds, err := s.openData()
	if err != nil {
		return err
	}
	defer ds.Close()
	h, w, c := ds.Shape()
	return s.resolve(h, w, c, ds.Classes())
}

// settlePrecision puts in the place of auto what the device computes in then.
func (s *settings) settlePrecision(c *cli.Context) {
	if s.Train.Precision != "auto" {
		return
	}
	s.Train.Precision, s.origin["train.precision"] = "fp32", "auto: fp32 on cpu"
	if onGPU(c) {
		s.Train.Precision, s.origin["train.precision"] = "fp16", "auto: fp16 on cuda"
	}
}

// noSet adds to the error of an image set that is not there what it may be.
func noSet(path string, err error) error {
	var p *fs.PathError
	if errors.Is(err, fs.ErrNotExist) && errors.As(err, &p) && p.Path == path {
		return fmt.Errorf("%w; want an image set: ict data import --help lists the forms", about("", path, p))
	}
	return err
}

// openData opens the data set that the configuration names.
func (s *settings) openData() (data.Dataset, error) {
	ds, err := data.Open(s.Data.Path, data.Options{})
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w; --data PATH names the image set", about("data.path", s.Data.Path, err))
	}
	return ds, err
}

// follow notes where values come from that were filled in.
func (s *settings) follow(before train.Config, set string) {
	if before.Model.Resolution == 0 {
		s.origin["model.resolution"] = set
	}
	if before.Model.ImageChannels == 0 {
		s.origin["model.image_channels"] = set
	}
	if before.Objective.S1 == 0 {
		why := s.origin["objective.s1"]
		if !strings.HasPrefix(why, "auto") {
			why = "auto"
		}
		s.origin["objective.s1"] = why
	}
	if before.Objective.HuberC == 0 {
		s.origin["objective.huber_c"] = "auto: 0.00054·√(scalars of an image)"
	}
}

// located puts in front of each refused key the place it was set at. What a file without a preset lacks is refused by one cause, not by
// twenty consequences.
func (s *settings) located(err error) error {
	lines := strings.Split(err.Error(), "\n")
	const few = 4
	if n := len(lines) - few; s.bare && n > 0 {
		lines = append([]string{fmt.Sprintf("%s: no preset, so every key must be there; name one, by preset: NAME in it or by --preset %s", s.base, orList(presetNames()))},
			lines[:few]...)
		lines = append(lines, fmt.Sprintf("and %d more", n))
	}
	for i, l := range lines {
		l = strings.TrimPrefix(l, "train: ")
		key, _, _ := strings.Cut(l, ":")
		if o := s.origin[key]; strings.HasPrefix(o, "-") || strings.HasPrefix(o, "$") || strings.Contains(o, ":") {
			l = o + ": " + l
		}
		lines[i] = strings.TrimSpace(l)
	}
	return errors.New(strings.Join(lines, "\n  "))
}

// comments are the origins worth a word behind a value.
func (s *settings) comments() map[string]string {
	m := map[string]string{}
	for k, o := range s.origin {
		if o != "" && k != "preset" {
			m[k] = o
		}
	}
	return m
}

// strayVariables warns of ICT_ variables that no flag of any command reads: a misspelt one would be ignored without a word.
func strayVariables(u *ui, commands []*cli.Command) {
	known := []string{"BLAS", "SYNC", "POISON", "APART"}
	for _, c := range leaves(commands) {
		for _, f := range c.Flags {
			for _, v := range f.(cli.DocGenerationFlag).GetEnvVars() {
				known = append(known, strings.TrimPrefix(v, "ICT_"))
			}
		}
	}
	for _, e := range os.Environ() {
		variable, _, _ := strings.Cut(e, "=")
		name, ours := strings.CutPrefix(variable, "ICT_")
		if ours && !strings.HasPrefix(name, "SIM") && !slices.Contains(known, name) {
			u.warn("$%s is set, and no flag reads it%s", variable, didYouMean(name, known, "$ICT_"))
		}
	}
}
