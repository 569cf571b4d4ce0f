package parity

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"ict/model"
	"ict/train"
)

// Names of the format.
const (
	formatName = "ict-parity-1"
	layoutName = "NCHW images, OIHW weights, edm names and edm qkv order"
)

// Bounds of what a file may ask for; the largest published file stays far below.
const (
	maxResolution = 512
	maxSteps      = 10_000
	maxFactor     = 1e6
)

// meta is the metadata of a file, checked as far as they go.
type meta struct {
	name, kind string
	tolerance  map[string]map[string]*float64 // precision → group → ceiling; nil: not judged
	model      model.Config
	objective  objective
	optim      train.Optim
	ema        float64
	sampler    sampler
}

// objective is iCT with the grid points N of each step.
type objective struct {
	s0, s1, steps int
	gridPoints    []int
	huberC        float64
}

// sampler is a schedule: levels of multistep, or a number of steps of Heun.
type sampler struct {
	levels []float64
	steps  int
}

func parseMeta(m map[string]string) (meta, error) {
	switch format, ok := m["format"]; {
	case !ok:
		return meta{}, unknown("no parity file: its metadata name no format; want %s", formatName)
	case format != formatName:
		return meta{}, unknown("format %q, want %s", format, formatName)
	}
	r := meta{name: m["name"], kind: m["kind"]}
	kind, ok := kinds[r.kind]
	if !ok {
		return r, unknown("kind %q, want one of %s", r.kind, strings.Join(slices.Sorted(maps.Keys(kinds)), ", "))
	}
	common := []string{"format", "kind", "name", "tolerance", "layout", "reference"}
	for _, k := range slices.Sorted(maps.Keys(m)) {
		if !slices.Contains(common, k) && !slices.Contains(kind.fields, k) {
			return r, unknown("metadata %q, in a file of kind %s", k, r.kind)
		}
	}
	if m["layout"] != layoutName {
		return r, unknown("layout %q, want %q", m["layout"], layoutName)
	}
	if err := r.parseTolerance(m["tolerance"]); err != nil {
		return r, err
	}
	parsers := map[string]func(string) error{
		"model": r.parseModel, "objective": r.parseObjective, "optimizer": r.parseOptimizer, "sampler": r.parseSampler,
	}
	for _, k := range kind.fields {
		if err := parsers[k](m[k]); err != nil {
			return r, err
		}
	}
	return r, nil
}

// object decodes a JSON object that has exactly the wanted fields, spelled so.
func object(what, text string, want map[string]any) error {
	var got map[string]json.RawMessage
	if err := json.Unmarshal([]byte(text), &got); err != nil || got == nil {
		return damaged("%s: got %.40q, want a JSON object", what, text)
	}
	for _, k := range slices.Sorted(maps.Keys(got)) {
		if want[k] == nil {
			return unknown("%s.%s", what, k)
		}
	}
	for _, k := range slices.Sorted(maps.Keys(want)) {
		raw, ok := got[k]
		if !ok {
			return damaged("%s.%s: missing", what, k)
		}
		if err := json.Unmarshal(raw, want[k]); err != nil || string(raw) == "null" {
			return damaged("%s.%s: got %.40s, want %s", what, k, raw, jsonName(want[k]))
		}
	}
	return nil
}

func jsonName(v any) string {
	switch v.(type) {
	case *string:
		return "a string"
	case *int:
		return "an integer"
	case *float64:
		return "a number"
	case *bool:
		return "true or false"
	}
	return "a list of numbers"
}

func (r *meta) parseTolerance(text string) error {
	if err := json.Unmarshal([]byte(text), &r.tolerance); err != nil {
		return damaged("tolerance: got %.40q, want precision → group → number or null", text)
	}
	for _, p := range slices.Sorted(maps.Keys(r.tolerance)) {
		if !slices.Contains(train.Precisions, p) {
			return unknown("tolerance.%s: no precision", p)
		}
		for _, g := range slices.Sorted(maps.Keys(r.tolerance[p])) {
			if !slices.Contains([]string{"out", "loss", "grad", "change", "ema"}, g) {
				return unknown("tolerance.%s.%s: no group", p, g)
			}
			if c := r.tolerance[p][g]; c != nil && !(*c > 0) {
				return damaged("tolerance.%s.%s: got %g, want more than 0", p, g, *c)
			}
		}
	}
	return nil
}

// parseModel turns a network in the terms of [EDM] into ours; recipes and names are those of its two U-Nets.
func (r *meta) parseModel(text string) error {
	const what = "model"
	c := model.Config{MinGroupChannels: 4} // min(32, C/4) groups in both
	var arch, encoder, decoder string
	var out, noiseMult int
	var noiseFactor float64
	fields := map[string]any{
		"arch": &arch, "img_resolution": &c.Resolution, "in_channels": &c.ImageChannels, "out_channels": &out, "label_dim": &c.Classes,
		"model_channels": &c.Channels, "channel_mult": &c.Mult, "num_blocks": &c.Blocks, "attn_resolutions": &c.Attention,
		"noise_factor": &noiseFactor,
	}
	var head struct {
		Arch string `json:"arch"`
	}
	if err := json.Unmarshal([]byte(text), &head); err != nil {
		return damaged("%s: got %.40q, want a JSON object", what, text)
	}
	switch head.Arch {
	case model.Song:
		fields["embedding_type"], fields["fourier_scale"], fields["channel_mult_noise"] = &c.Embedding, &c.FourierScale, &noiseMult
		fields["encoder_type"], fields["decoder_type"], fields["resample_filter"] = &encoder, &decoder, &c.Filter
	case model.ADM:
		fields["channels_per_head"], fields["adaptive_scale"] = &c.HeadChannels, &c.AdaGN
		c.Embedding = model.Positional
	default:
		return unknown("%s.arch %q, want %s or %s", what, head.Arch, model.Song, model.ADM)
	}
	if err := object(what, text, fields); err != nil {
		return err
	}
	c.Kind, c.NoiseScale = arch, 4*noiseFactor // c_noise = noise_factor·ln σ = NoiseScale·¼·ln σ
	if arch == model.Song {
		want := 1 // width of the noise features in units of model_channels
		if c.Embedding == model.Fourier {
			want = 2
		}
		switch {
		case noiseMult != want:
			return unknown("%s.channel_mult_noise %d, want %d with embedding_type %q", what, noiseMult, want, c.Embedding)
		case encoder != "standard" && encoder != "residual":
			return unknown("%s.encoder_type %q, want standard or residual", what, encoder)
		case decoder != "standard":
			return unknown("%s.decoder_type %q, want standard", what, decoder)
		}
		c.Pyramid = encoder == "residual"
	}
	switch {
	case out != c.ImageChannels:
		return unknown("%s.out_channels %d, want in_channels, %d", what, out, c.ImageChannels)
	case c.Resolution > maxResolution:
		return damaged("%s.img_resolution: got %d, want at most %d", what, c.Resolution, maxResolution)
	case !(noiseFactor <= maxFactor):
		return damaged("%s.noise_factor: got %g, want at most %g", what, noiseFactor, maxFactor)
	}
	if err := c.Check(); err != nil {
		return damaged("%v", err)
	}
	r.model = c
	return nil
}

func (r *meta) parseObjective(text string) error {
	const what = "objective"
	o := &r.objective
	var kind string
	var dropout float64
	var points int
	fields := map[string]any{"kind": &kind, "huber_c": &o.huberC, "dropout": &dropout}
	if r.kind == "step" {
		fields["grid_points"] = &points
	} else {
		fields["grid_points"], fields["s0"], fields["s1"], fields["steps"] = &o.gridPoints, &o.s0, &o.s1, &o.steps
	}
	if err := object(what, text, fields); err != nil {
		return err
	}
	if r.kind == "step" { // the one grid of a curriculum that stands still
		o.s0, o.s1, o.steps, o.gridPoints = points-1, points-1, 1, []int{points}
	}
	switch {
	case kind != "ict":
		return unknown("%s.kind %q, want ict", what, kind)
	case dropout != 0:
		return unknown("%s.dropout %g, want 0", what, dropout)
	case !(o.huberC > 0):
		return damaged("%s.huber_c: got %g, want more than 0", what, o.huberC)
	case o.steps < 1 || o.steps > maxSteps:
		return damaged("%s.steps: got %d, want 1 … %d", what, o.steps, maxSteps)
	case len(o.gridPoints) != o.steps:
		return damaged("%s.grid_points: got %d, want one for each of %d steps", what, len(o.gridPoints), o.steps)
	}
	return nil
}

func (r *meta) parseOptimizer(text string) error {
	const what = "optimizer"
	o := &r.optim
	err := object(what, text, map[string]any{"kind": &o.Kind, "lr": &o.LR, "beta1": &o.Beta1, "beta2": &o.Beta2, "eps": &o.Eps, "ema": &r.ema})
	if err != nil {
		return err
	}
	if o.Kind != "radam" {
		return unknown("%s.kind %q, want radam", what, o.Kind)
	}
	rate := func(v float64) bool { return v >= 0 && v < 1 }
	if !rate(o.Beta1) || !rate(o.Beta2) || !rate(r.ema) || !(o.Eps > 0 && o.Eps <= 1) || !(o.LR >= 0 && o.LR <= 1e3) {
		return damaged("%s: got %.120s, want rates from 0 to below 1, 0 < eps ≤ 1, 0 ≤ lr ≤ 1000", what, text)
	}
	return nil
}

func (r *meta) parseSampler(text string) error {
	const what = "sampler"
	var kind string
	var head struct {
		Kind string `json:"kind"`
	}
	if err := json.Unmarshal([]byte(text), &head); err != nil {
		return damaged("%s: got %.40q, want a JSON object", what, text)
	}
	switch head.Kind {
	case "multistep":
		return object(what, text, map[string]any{"kind": &kind, "levels": &r.sampler.levels})
	case "edm-heun":
		if err := object(what, text, map[string]any{"kind": &kind, "steps": &r.sampler.steps}); err != nil {
			return err
		}
		if s := r.sampler.steps; s < 2 || s > maxSteps {
			return damaged("%s.steps: got %d, want 2 … %d", what, s, maxSteps)
		}
		return nil
	}
	return unknown("%s.kind %q, want multistep or edm-heun", what, head.Kind)
}
