package gpu

import (
	"errors"
	"strings"
	"syscall"
	"testing"

	"ict/tensor"
)

func TestNotBuilt(t *testing.T) {
	if Built {
		t.Skip("this is the build with CUDA")
	}
	if d, err := Open(Options{}); d != nil || !errors.Is(err, ErrNotBuilt) {
		t.Errorf("open: got %v, %v, want ErrNotBuilt", d, err)
	}
	if list, err := Devices(); list != nil || !errors.Is(err, ErrNotBuilt) {
		t.Errorf("devices: got %v, %v, want ErrNotBuilt", list, err)
	}
}

func TestErrorText(t *testing.T) {
	e := &Error{Op: "conv2d_fprop", Code: codeErrShape, Text: "sizes break a need of the kernel", Shapes: []tensor.Shape{{1, 2}, nil, {3}}, Detail: "more"}
	if got, want := e.Error(), "gpu: conv2d_fprop: sizes break a need of the kernel (code -1), shapes (1,2) () (3); more"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if !errors.Is(e, ErrShape) || errors.Is(e, ErrOutOfMemory) {
		t.Error("code -1 is not ErrShape alone")
	}
	if e := (&Error{Code: codeOutOfMemory}); !errors.Is(e, ErrOutOfMemory) || !errors.Is(e, syscall.ENOMEM) {
		t.Error("code 2 is not ErrOutOfMemory and ENOMEM")
	}
}

func TestNoKernelText(t *testing.T) {
	err := noKernel(75, "80 90a ptx80")
	if want := "no kernel for this device (sm_75): sm_80 or newer is needed; built for sm_80, sm_90a and PTX"; !errors.Is(err, ErrArch) || !strings.HasSuffix(err.Error(), want) {
		t.Errorf("got %q, want …%q", err, want)
	}
	if got := noKernel(75, "sim").Error(); !strings.HasSuffix(got, "built for sim") {
		t.Errorf("got %q", got)
	}
}

func TestInfoText(t *testing.T) {
	if got, want := (Info{Device: 1, Name: "X", SM: 90, Memory: 85 << 30}).String(), "cuda:1 X (sm_90, 85.0 GiB)"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
