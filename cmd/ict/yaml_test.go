package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"ict/train"
)

// What is written is what is read, for every preset, and without its comments it is the same.
func TestConfigYAMLRoundTrip(t *testing.T) {
	for name, p := range train.Presets() {
		want := p.Config
		if want.Model.Resolution == 0 {
			want.Model.Resolution, want.Model.ImageChannels = 32, 3
		}
		want, err := want.Complete()
		if err != nil {
			t.Fatal(err)
		}
		want.Data.Path = "a: b # 'c' \"d\" ü.pack"
		want.Train.Seed = 1<<64 - 1
		b, err := configYAML(want, map[string]string{"train.seed": "--seed", "model.mult": "why not"})
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(b), "seed: 18446744073709551615 # --seed\n") {
			t.Errorf("%s: no comment behind the seed:\n%s", name, b)
		}
		path := filepath.Join(t.TempDir(), "config.yaml")
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := readRunConfig(path)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %+v, %v, want %+v", name, got, err, want)
		}
	}
}

func TestParseConfigRefuses(t *testing.T) {
	for text, want := range map[string]string{
		"train: {batch: 4}\ntrain: {steps: 4}":      "c.yaml:2: train is given twice, first in line 1",
		"objective: {p_mean: -1.1}":                 "c.yaml:1: unknown key objective.p_mean; did you mean objective.mean?",
		"batch: 4":                                  "c.yaml:1: unknown key batch; did you mean train.batch?",
		"model: {zzzzz: 3}":                         "c.yaml:1: unknown key model.zzzzz\n  model has: kind ",
		"modle: {kind: song}":                       "c.yaml:1: unknown key modle; did you mean model?",
		"train:\n  batch: [4]":                      "c.yaml:2: train.batch: got a list, want a whole number",
		"train: {steps: 99999999999999999999}":      "c.yaml:1: train.steps: got \"99999999999999999999\", want at most 9,223,372,036,854,775,807",
		"train: {steps: 1K}":                        "c.yaml:1: train.steps: got \"1K\", want a whole number, like 400000 or 400k or 1.5M",
		"train:\n  batch: 1.5":                      `c.yaml:2: train.batch: got "1.5", want a whole number`,
		"train: 4":                                  `c.yaml:1: train: got "4", want keys: steps stage_min`,
		"train: {steps: }":                          "c.yaml:1: train.steps: got nothing, want a whole number",
		"data: {flip: perhaps}":                     `c.yaml:1: data.flip: got "perhaps", want true or false`,
		"model: {mult: [1, {a: 2}]}":                "c.yaml:1: model.mult: got a list, want whole numbers like [1, 2]",
		"noise: {max: .inf}":                        `c.yaml:1: noise.max: got ".inf", want a number`,
		"objective: {huber_c: -1}":                  `c.yaml:1: objective.huber_c: got "-1", want a positive number or auto`,
		"every: {state: often}":                     `c.yaml:1: every.state: got "often", want steps or a duration like 30m`,
		"train: &t {steps: 4}\nmodel: *t":           "anchors and aliases are not read",
		"model: {<<: {kind: song}}":                 "c.yaml:1: unknown key model.<<",
		"a: [":                                      "c.yaml:1: did not find expected node content; want YAML",
		"preset: tiny\n\n\n\ntrain: {batch: 4":      "c.yaml:5: did not find expected ',' or '}'",
		"\n\n\npreset: tiny\ntrain: {batch: 4\n":    "c.yaml:5: did not find expected ',' or '}'",
		"preset: tiny\nema: [1, 2\n\n":              "c.yaml:2: did not find expected ',' or ']'",
		"preset: tiny\ntrain:\n  steps: 4\n bad: 3": "c.yaml:4: did not find expected key",
		"preset: tiny\ntrain:\n\tbatch: 4":          "c.yaml:3: found character that cannot start any token",
		"\tpreset: tiny":                            "c.yaml:1: found character that cannot start any token",
		"preset: tiny\na: b: c":                     "c.yaml:2: mapping values are not allowed in this context",
		"preset: 'tiny\n\n":                         "c.yaml:1: found unexpected end of stream",
		"preset: tiny\ndata: {path: 'x}\n\n":        "c.yaml:2: found unexpected end of stream",
		"preset: tiny\nema: !x!y 3":                 "c.yaml:2: found undefined tag handle",
		"preset: tiny\nema: *e":                     "c.yaml: unknown anchor 'e' referenced",
		"preset: tiny\nema: \x01":                   "c.yaml: control characters are not allowed",
		"- 1":                                       "c.yaml:1: got a list, want keys: preset data model",
		"train: {seed: 18446744073709551616}":       "c.yaml:1: train.seed: got \"18446744073709551616\", want at most 18,446,744,073,709,551,615",
		"optim: {lr: 1e400}":                        "want a number",
		"ema: [0.9, x]":                             "c.yaml:1: ema: got a list, want numbers",
		"? [a, b]\n: c":                             "c.yaml:1: unknown key ",
		"data: {path: [x]}":                         "c.yaml:1: data.path: got a list, want text",
		"preset: tiny\n---\npreset: mnist":          "",
		"train: {micro_batch: auto, seed: 0x10}":    "want a whole number",
	} {
		_, err := parseConfig("c.yaml", []byte(text))
		if want == "" {
			continue
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %q", text, err, want)
		}
	}
}

func TestParseSet(t *testing.T) {
	for set, want := range map[string]string{
		"model.mult=1,2":             "model.mult=[1,2]",
		"model.mult=[1, 2]":          "model.mult=[1,2]",
		"model.mult=4":               "model.mult=[4]",
		"model.attention=[]":         "model.attention=[]",
		"ema=0.9,0.99":               "ema=[0.9,0.99]",
		"train.steps=10k":            "train.steps=10000",
		"train.micro_batch=auto":     `train.micro_batch="auto"`,
		"objective.huber_c=0.03":     "objective.huber_c=0.03",
		"objective.mean=-1.1":        "objective.mean=-1.1",
		"every.state=30m":            `every.state="30m"`,
		"every.state=2k":             "every.state=2000",
		"every={grid: 5, status: 1}": "every.grid=5 every.status=1",
		"data.path=2024":             `data.path="2024"`,
		"data.path=\"a=b\"":          `data.path="a=b"`,
		"data.flip=false":            "data.flip=false",
	} {
		p, err := parseSet(set, "--set")
		var got []string
		for _, x := range p {
			got = append(got, x.key+"="+string(x.json))
		}
		if err != nil || strings.Join(got, " ") != want {
			t.Errorf("%s: got %v, %v, want %s", set, got, err, want)
		}
	}
	for set, want := range map[string]string{
		"train":                "want key=value",
		"train=4":              `--set: train: got "4", want keys`,
		"train.batch=":         "--set train.batch: no value; want train.batch=a whole number",
		"train.batch.x=4":      "--set: unknown key train.batch.x",
		"objective.p_mean=1":   "did you mean objective.mean?",
		"chanels=3":            "--set: unknown key chanels; did you mean model.channels?",
		"p_mean=1":             "did you mean objective.mean?",
		"modle.channels=1":     "did you mean model.channels?",
		"modle.chanels=1":      "did you mean model.channels?",
		"foo.bar=1":            "--set: unknown key foo.bar\n  there are: preset data model noise objective optim ema train every keep",
		"model.zzzzz=1":        "--set: unknown key model.zzzzz\n  model has: kind ",
		"train.loss_scale.x=1": "--set: unknown key train.loss_scale.x\n  train.loss_scale has: start every",
		"model.Kind=song":      "did you mean model.kind?",
	} {
		if _, err := parseSet(set, "--set"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", set, err, want)
		}
	}
}

// Every key is one that Changes knows, and the other way round.
func TestKeysAreThoseOfTheJSON(t *testing.T) {
	b, err := json.Marshal(train.Config{})
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range keys() {
		part := k[strings.LastIndexByte(k, '.')+1:]
		if !strings.Contains(string(b), `"`+part+`":`) {
			t.Errorf("%s is not in %s", k, b)
		}
	}
	if n := len(keys()); n < 50 {
		t.Errorf("%d keys", n)
	}
}

func FuzzParseConfig(f *testing.F) {
	f.Add([]byte("preset: tiny\ntrain: {steps: 10k, micro_batch: auto}\nevery: {state: 30m}\nema: [0.9]\n"))
	f.Add([]byte("a: &x [*x]"))
	f.Add([]byte("model: {mult: 1,2}"))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := parseConfig("c.yaml", b)
		if err != nil {
			return
		}
		s := &settings{origin: map[string]string{}}
		if err := s.apply(p); err != nil {
			t.Fatalf("%q was read and cannot be applied: %v", b, err)
		}
	})
}
