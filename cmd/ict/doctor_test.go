package main

import (
	"strings"
	"testing"

	"ict/cpu"
	"ict/tensor"
)

// doubling is a device that computes something else.
type doubling struct{ tensor.Backend }

func (d doubling) Conv2dFprop(y, x0, x1, w tensor.Tensor, ep tensor.Epilogue, p tensor.Conv2d) {
	p.Scale = 2
	d.Backend.Conv2dFprop(y, x0, x1, w, ep, p)
}

func TestRightConvolution(t *testing.T) {
	d, err := cpu.Open(cpu.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if err := rightConvolution(d); err != nil {
		t.Errorf("cpu: %v", err)
	}
	if err := rightConvolution(doubling{d}); err == nil || !strings.Contains(err.Error(), "want") {
		t.Errorf("a device that doubles: got %v", err)
	}
}

// A problem anywhere is the verdict; notes are counted.
func TestVerdict(t *testing.T) {
	d := doctor{device: "auto", used: "cpu"}
	d.ok("a", "fine")
	d.note("b", "remedy", "slow")
	if e := d.verdict(); e.Verdict != stateOK || e.Device != "cpu" || e.text != "works here, on cpu; 1 note" {
		t.Errorf("got %+v", e)
	}
	d.wrong("c", "", "of a GPU that nobody asked for")
	if e := d.verdict(); e.Verdict != stateOK {
		t.Errorf("got %+v", e)
	}
	d.gpu = true
	d.wrong("c", "", "of the GPU that is asked for")
	if e := d.verdict(); e.Verdict != stateProblem || e.Device != "" || !strings.HasSuffix(e.text, "see c") {
		t.Errorf("got %+v", e)
	}
}
