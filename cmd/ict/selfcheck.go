package main

import (
	"errors"
	"fmt"
	"runtime"

	"ict/cpu"
	"ict/train"
)

// selfChecks is how many steps of a start are checked: the first, and the one after the first tick, because a network begins with layers
// that are nearly zero, which hides what its other layers compute.
const selfChecks = 2

// checkAgainstCPU has the CPU compute two images of the next step, too.
func (r *session) checkAgainstCPU() error {
	d, err := cpu.Open(cpu.Options{Threads: max(1, runtime.GOMAXPROCS(0)/2), TF32: r.s.Train.Precision == "tf32"})
	if err != nil {
		return err
	}
	return r.t.CheckAgainst(d)
}

// selfChecked looks what came of the check, at a tick. A device that computes something else than the CPU ends the run.
func (w *watch) selfChecked(final bool) error {
	done, err := w.t.Checked(final)
	var d *train.Disagreement
	if errors.As(err, &d) {
		return withCode(exitFailed, errors.New(disagreement(d, w.dev.text(), w.s.Train.Precision)))
	}
	if err != nil {
		w.u.warn("the device was not checked against the CPU: %s", message(err))
		return w.dev.Err()
	}
	if !done {
		return nil
	}
	w.u.files.Infow("self-check", "text", "two images of a step agree with the CPU")
	if w.checks++; w.checks < selfChecks && !final {
		return w.checkAgainstCPU()
	}
	return nil
}

// disagreement is the message of a device that cannot be trusted.
func disagreement(d *train.Disagreement, device, precision string) string {
	s := fmt.Sprintf("the device computes something else than the CPU: outputs for two images of step %s differ by %.2g of their size, %s allows %g\n  device %s",
		comma(d.Step), d.Differ, precision, d.Limit, device)
	s += "\n  usual causes: a broken driver or GPU; kernels of another build, or compiled for another GPU (make cuda makes them anew)"
	if !d.Finite && precision == "fp16" {
		s += "; values beyond fp16: --precision bf16"
	}
	return s + "\n  nothing that this start has saved is to be trusted; --device cpu computes without the device"
}
