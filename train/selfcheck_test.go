package train

import (
	"errors"
	"testing"

	"ict/cpu"
	"ict/tensor"
)

// A device that computes as it should agrees with the second computation in every precision, at the first step and later, and its
// bits do not depend on being checked.
func TestSelfCheckAgrees(t *testing.T) {
	for _, precision := range Precisions {
		c := toy(40, 8)
		c.Train.Precision, c.Train.LossScale.Start, c.Train.MicroBatch = precision, 1<<10, 4
		run := func(check bool) uint64 {
			dev, err := cpu.Open(cpu.Options{Slice: 2, TF32: precision == "tf32"})
			if err != nil {
				t.Fatal(err)
			}
			tr, err := New(dev, tensor.Alone{}, c)
			if err != nil {
				t.Fatal(err)
			}
			if err := tr.Init(); err != nil {
				t.Fatal(err)
			}
			if done, err := tr.Checked(true); done || err != nil {
				t.Errorf("a check that nobody asked for: %v, %v", done, err)
			}
			for _, n := range []int{1, 4, 1} {
				if check {
					ref, err := cpu.Open(cpu.Options{Exact: true, TF32: precision == "tf32"})
					if err := errors.Join(err, tr.CheckAgainst(ref)); err != nil {
						t.Fatal(err)
					}
				}
				steps(t, tr, n)
				if done, err := tr.Checked(true); err != nil || done != check {
					t.Errorf("%s after step %d: done %v, %v", precision, tr.K, done, err)
				}
			}
			return hash(t, tr)
		}
		if with, without := run(true), run(false); with != without {
			t.Errorf("%s: hash %x with a check, %x without", precision, with, without)
		}
	}
}

// faulty is a device with one broken kernel.
type faulty struct {
	tensor.Backend
	broken string
}

func (f faulty) GroupNormForward(y, mean, rstd, x0, x1, gamma, beta, scaleShift, step tensor.Tensor, p tensor.GroupNorm) {
	if f.broken == "groupnorm_forward" {
		p.Eps += 0.5
	}
	f.Backend.GroupNormForward(y, mean, rstd, x0, x1, gamma, beta, scaleShift, step, p)
}

func (f faulty) Conv2dFprop(y, x0, x1, w tensor.Tensor, ep tensor.Epilogue, p tensor.Conv2d) {
	if f.broken != "conv2d_fprop" { // else nothing is launched
		f.Backend.Conv2dFprop(y, x0, x1, w, ep, p)
	}
}

// A broken kernel is found at the first step, in the coarsest precision, too, and the error says by how much.
func TestSelfCheckFinds(t *testing.T) {
	for _, broken := range []string{"groupnorm_forward", "conv2d_fprop"} {
		for _, precision := range []string{"fp32", "bf16"} {
			c := toy(40, 8)
			c.Train.Precision = precision
			tr, err := New(faulty{open(t), broken}, tensor.Alone{}, c)
			if err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(tr.Init(), tr.CheckAgainst(open(t))); err != nil {
				t.Fatal(err)
			}
			steps(t, tr, 1)
			done, err := tr.Checked(true)
			var d *Disagreement
			if !done || !errors.As(err, &d) || d.Step != 0 || !(d.Differ > 2*d.Limit) || !d.Finite {
				t.Errorf("%s, %s: got %v, %v, want a clear disagreement", broken, precision, done, err)
			}
			if done, err := tr.Checked(true); done || err != nil {
				t.Errorf("told twice: %v, %v", done, err)
			}
		}
	}
}
