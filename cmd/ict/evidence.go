package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"ict/checkpoint"
	"ict/data"
	"ict/tensor"
	"ict/train"
)

// evidence is what a diverged run leaves to look at.
type evidence struct {
	Step        int         `json:"step"`           // at which it was seen
	FirstBad    int         `json:"first_bad_step"` // of the row of skipped steps
	LossScale   float32     `json:"loss_scale"`
	Images      [2]uint64   `json:"image_numbers"`   // first and end, of the first bad step
	DataIndices []int       `json:"data_indices"`    // entries of the set, of those images
	Levels      []levelNote `json:"levels"`          // of the same images
	Norms       []normNote  `json:"gradient_norms"`  // of the newest step
	BadValue    string      `json:"first_bad_value"` // op and direction, by a rerun of the first bad step
	LastState   string      `json:"last_good_state"`
}

type levelNote struct {
	T      float64 `json:"t"`
	R      float64 `json:"r"`
	Weight float64 `json:"weight"`
}

type normNote struct {
	Name      string  `json:"name"`
	Norm      float64 `json:"norm"`
	NonFinite int     `json:"non_finite"`
}

// blame reruns the first bad step of a divergence, which can be done because skipped steps have moved nothing, and says what was
// the first value that is not finite.
func (r *session) blame(d *train.Diverged) string {
	rerun := fmt.Sprintf("(rerun of step %s with --check)", comma(d.Since))
	l := data.NewLoader(r.ds, data.LoaderOptions{Seed: r.s.Train.Seed, Batch: r.s.Train.Batch, Flip: r.s.Data.Flip, First: d.Images[0]})
	defer l.Close()
	b, err := l.Next(context.Background())
	if err != nil {
		return fmt.Sprintf("not found: %s %s", message(err), rerun)
	}
	bad, err := r.t.Blame(d.Since, b)
	switch {
	case err != nil:
		return fmt.Sprintf("not found: %s %s", message(err), rerun)
	case bad == nil:
		return fmt.Sprintf("none in the ops; it came up later, in the sums over the batch %s", rerun)
	}
	return fmt.Sprintf("%v %s", bad, rerun)
}

// divergence writes the evidence below folder and makes the message of it; blame is what was bad first.
func divergence(d *train.Diverged, blame string, c train.Config, ds data.Dataset, folder, states string) error {
	e := evidence{
		Step: d.Step, FirstBad: d.Since, LossScale: d.Scale.S, Images: d.Images, BadValue: blame,
		DataIndices: data.Order(c.Train.Seed, ds.Len(), d.Images[0], int(d.Images[1]-d.Images[0])),
	}
	for _, r := range d.Rows {
		e.Levels = append(e.Levels, levelNote{r.T, r.R, r.Weight})
	}
	bad, first := 0, ""
	for _, n := range d.Norms {
		e.Norms = append(e.Norms, normNote(n))
		if n.NonFinite > 0 {
			if bad++; first == "" {
				first = n.Name
			}
		}
	}
	e.LastState = "none"
	if path, _, err := checkpoint.Latest(states); err == nil {
		e.LastState = path
	}
	dir := filepath.Join(folder, checkpoint.StateName(d.Step))
	b, err := json.MarshalIndent(e, "", "  ")
	if err == nil {
		err = os.MkdirAll(dir, 0o700)
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "evidence.json"), append(b, '\n'), 0o600)
	}
	var m strings.Builder
	fmt.Fprintf(&m, "diverged: gradient not finite from step %s on, %d in a row with the loss scale at its floor, %g", comma(d.Since), d.Scale.Bad, d.Scale.S)
	fmt.Fprintf(&m, "\n  first bad value: %s", blame)
	if bad > 0 {
		fmt.Fprintf(&m, "\n  not finite: the gradients of %d of %d parameters, the first %s", bad, len(d.Norms), first)
	}
	if err != nil {
		fmt.Fprintf(&m, "\n  the evidence could not be written: %v", err)
	} else {
		fmt.Fprintf(&m, "\n  evidence %s · last good state %s", dir, e.LastState)
	}
	m.WriteString("\n  usual causes: learning rate too high for this batch; damaged data (ict data verify)")
	if c.Train.Act() == tensor.F16 {
		m.WriteString("; values beyond fp16: go on with --precision bf16 --allow-change train.precision")
	}
	return withCode(exitDiverged, fmt.Errorf("%s", m.String()))
}
