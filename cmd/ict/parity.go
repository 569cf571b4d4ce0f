package main

import (
	"errors"
	"fmt"
	"math"
	"strings"

	"github.com/urfave/cli/v2"

	"ict/internal/parity"
	"ict/tensor"
	"ict/train"
)

func parityCommand() *cli.Command {
	return &cli.Command{
		Name: "parity", Usage: "checks this build against numbers of another implementation", ArgsUsage: "FILE...",
		UsageText: "  ict parity numbers/*.safetensors\n  ict parity --json network-ncsnpp.safetensors",
		Description: "Each file holds weights, inputs and results: of a network and its gradients, a training step, the optimiser, a short training\n" +
			"or a sampler. Printed is the worst relative error of each group, ‖got − ref‖ / ‖ref‖, with the tensor that has it and the file's\n" +
			"tolerance. Exit code 1: past a tolerance; 2: a file asks for what this build does not know; 14: a file is damaged.",
		Flags: []cli.Flag{
			&cli.GenericFlag{Name: "precision", Value: oneOf(parity.FP32, train.Precisions...), Usage: "compute in `PRECISION`, judge by its tolerances"},
		},
		Action: action(1, math.MaxInt, parityAction),
	}
}

// parityNote is a file as ict parity prints it.
type parityNote struct {
	parity.Report
	Fault string `json:"fault,omitempty"` // why it could not be run
}

// paritySummary is what ict parity prints.
type paritySummary struct {
	Device string       `json:"device"`
	Files  []parityNote `json:"files"`
	Passed int          `json:"passed"`
	Failed int          `json:"failed"`
	NotRun int          `json:"not_run"`
}

func (s paritySummary) String() string {
	files := "files"
	if len(s.Files) == 1 {
		files = "file"
	}
	text := fmt.Sprintf("%d %s: %d passed, %d failed", len(s.Files), files, s.Passed, s.Failed)
	if s.NotRun > 0 {
		text += fmt.Sprintf(", %d not run", s.NotRun)
	}
	return text
}

func parityAction(c *cli.Context, u *ui) error {
	if err := checkDevice(c); err != nil {
		return err
	}
	s, precision := paritySummary{Files: []parityNote{}}, val[string](c, "precision")
	open := func() (tensor.Backend, error) {
		d, err := openDevice(c, 0, precision)
		if err != nil {
			return nil, err
		}
		s.Device = d.text()
		if w := d.warning(); w != "" {
			u.warn("%s", w)
		}
		return d, nil
	}
	ctx, end := interruptible(u)
	defer end()
	var first error // of the files that could not be run
	for _, path := range c.Args().Slice() {
		if ctx.Err() != nil {
			return cause(ctx, ctx.Err())
		}
		r, err := parity.Run(open, precision, path)
		n := parityNote{Report: r}
		switch {
		case err != nil:
			n.File, n.Groups = path, []parity.Group{}
			n.Fault = strings.TrimPrefix(strings.TrimPrefix(message(err), "parity: "), path+": ")
			s.NotRun++
			if first == nil {
				first = err
			}
		case r.Pass:
			s.Passed++
		default:
			s.Failed++
		}
		s.Files = append(s.Files, n)
		if !u.json {
			printParity(u, n)
		}
	}
	if u.json {
		if err := u.printJSON(s); err != nil {
			return err
		}
	} else {
		if s.Device != "" {
			u.say("computed on %s", s.Device)
		}
		u.result("%s", s)
	}
	code := exitCode(first)
	if errors.Is(first, parity.ErrUnknown) {
		code = exitUsage
	}
	switch {
	case first != nil:
		return withCode(code, fmt.Errorf("%d of %d files could not be run; the first: %s", s.NotRun, len(s.Files), strings.TrimPrefix(message(first), "parity: ")))
	case s.Failed > 0:
		return fmt.Errorf("%d of %d files past a tolerance", s.Failed, len(s.Files))
	}
	return nil
}

// printParity writes the block of one file.
func printParity(u *ui, n parityNote) {
	if n.Fault != "" {
		u.result("%s  NOT RUN", n.File)
		u.result("  %s", n.Fault)
		return
	}
	verdict := "ok"
	if !n.Pass {
		verdict = "FAIL"
	}
	u.result("%s  %s, %s  %s", n.File, n.Kind, n.Precision, verdict)
	for _, g := range n.Groups {
		tolerance, verdict := "          ", "not judged"
		if g.Tolerance != nil {
			tolerance, verdict = fmt.Sprintf("of %-7.0e", *g.Tolerance), "ok"
		}
		if !g.Pass {
			verdict = "FAIL"
		}
		u.result("  %-9s  %7.1e %s  %-10s  %s", g.Name, float64(g.Error), tolerance, verdict, g.Tensor)
	}
}
