//go:build cuda

package gpu

import (
	"context"
	"errors"
	"testing"

	"ict/cpu"
	"ict/data"
	"ict/tensor"
	"ict/train"
)

// The start-up check of a run: the device agrees with the CPU in every precision, and computes the same bits with a check and without.
func TestSelfCheck(t *testing.T) {
	for _, precision := range train.Precisions {
		c := toy(t)
		c.Train.Precision, c.Train.LossScale.Start = precision, 1<<10
		run := func(check bool) uint64 {
			tr, err := train.New(opened(t, Options{TF32: precision == "tf32"}), tensor.Alone{}, c)
			if err == nil {
				err = tr.Init()
			}
			if err != nil {
				t.Fatal(err)
			}
			l := data.NewLoader(dots{}, data.LoaderOptions{Seed: c.Train.Seed, Batch: c.Train.Batch, World: 1, Flip: c.Data.Flip})
			defer l.Close()
			for k := range 2 {
				if check {
					ref, err := cpu.Open(cpu.Options{TF32: precision == "tf32"})
					if err := errors.Join(err, tr.CheckAgainst(ref)); err != nil {
						t.Fatal(err)
					}
				}
				b, err := l.Next(context.Background())
				if err == nil {
					err = tr.Step(b)
				}
				if err != nil {
					t.Fatal(err)
				}
				if done, err := tr.Checked(true); done != check || err != nil {
					t.Errorf("%s, step %d: done %v, %v", precision, k, done, err)
				}
			}
			h, err := tr.Hash()
			if err != nil {
				t.Fatal(err)
			}
			return h
		}
		if with := run(true); precision == "fp16" {
			if without := run(false); with != without {
				t.Errorf("%s: hash %#x with a check, %#x without", precision, with, without)
			}
		}
	}
}
