package train

import (
	"encoding/json"
	"math"
	"testing"

	"ict/noise"
)

// Whatever JSON a checkpoint holds as its configuration: what Complete accepts can be planned by, and written and read again.
func FuzzConfig(f *testing.F) {
	for _, p := range Presets() {
		c := p.Config
		c.Model.Resolution, c.Model.ImageChannels = 16, 3
		b, err := json.Marshal(c)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	base := Presets()["tiny"].Config
	base.Model.Resolution, base.Model.ImageChannels = 16, 3
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := DecodeConfig(b, base)
		if err != nil {
			return
		}
		if c, err = c.Complete(); err != nil {
			return
		}
		total := 0
		for _, s := range c.Curriculum().Stages() {
			total += s.Steps
			if s.N > 1<<12 {
				continue // the same law, only slower
			}
			noise.LogNormal{Mean: c.Objective.Mean, Std: c.Objective.Std}.Proposal(c.Noise.Levels().Grid(s.N))
		}
		if total != c.Train.Steps {
			t.Errorf("stages of %d steps in all, want %d", total, c.Train.Steps)
		}
		for _, d := range c.EMA {
			if math.IsNaN(d) || EMAName(d) == "" {
				t.Errorf("average %v", d)
			}
		}
		c.Warnings()
		again, err := json.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		d, err := DecodeConfig(again, Config{})
		if err != nil {
			t.Fatalf("%s: %v", again, err)
		}
		if ch := Changes(c, d); len(ch) > 0 {
			t.Errorf("read back: %v", ch)
		}
	})
}
