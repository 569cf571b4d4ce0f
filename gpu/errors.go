package gpu

import (
	"errors"
	"fmt"
	"strings"
	"syscall"

	"ict/tensor"
)

// Errors of Open and Devices.
var (
	ErrNotBuilt     = errors.New("gpu: this ict was built without CUDA; use the image, or: make cuda")
	ErrNoDriver     = errors.New("gpu: no CUDA driver")
	ErrNoDevice     = errors.New("gpu: no such device")
	ErrStaleKernels = errors.New("gpu: the kernel library is not the one this ict was built with; run make cuda")
)

// What an Error unwraps to.
var (
	ErrShape       = errors.New("gpu: sizes break a need of the launcher")
	ErrDType       = errors.New("gpu: no kernel for this dtype")
	ErrAlign       = errors.New("gpu: a pointer is not aligned as the launcher needs it")
	ErrWorkspace   = errors.New("gpu: scratch is absent or too small")
	ErrArch        = errors.New("gpu: no kernel for this device")
	ErrNull        = errors.New("gpu: a tensor that must be given is absent")
	ErrOutOfMemory = errors.New("gpu: out of device memory")
)

// Codes that this package tells apart: CUDA's own, which driver and runtime share, and those of kernels.h.
const (
	codeOutOfMemory  = 2
	codeErrShape     = -1
	codeErrDType     = -2
	codeErrAlign     = -3
	codeErrWorkspace = -4
	codeErrArch      = -5
	codeErrNull      = -6
)

var sentinels = map[int][]error{
	codeOutOfMemory: {ErrOutOfMemory, syscall.ENOMEM}, codeErrShape: {ErrShape}, codeErrDType: {ErrDType}, codeErrAlign: {ErrAlign},
	codeErrWorkspace: {ErrWorkspace}, codeErrArch: {ErrArch}, codeErrNull: {ErrNull},
}

// Error is a call of the device that failed. errors.Is finds ErrShape, ErrOutOfMemory and so on in it.
type Error struct {
	Op     string         // "conv2d_fprop", "upload", "alloc"
	Code   int            // > 0: CUDA's; < 0: ICT_ERR_… of kernels.h
	Text   string         // what the driver or the kernel library says about Code
	Shapes []tensor.Shape // of the arguments, outputs first; absent ones are empty
	Detail string         // more, such as how much memory is free
}

// Error prints gpu: conv2d_fprop: sizes break a stated need (code -1), shapes (8,16,16,64) (8,16,16,65) (64,3,3,65).
func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "gpu: %s: %s (code %d)", e.Op, e.Text, e.Code)
	if len(e.Shapes) > 0 {
		b.WriteString(", shapes")
		for _, s := range e.Shapes {
			b.WriteString(" " + s.String())
		}
	}
	if e.Detail != "" {
		b.WriteString("; " + e.Detail)
	}
	return b.String()
}

// Unwrap gives the sentinels of e.Code.
func (e *Error) Unwrap() []error { return sentinels[e.Code] }

// noKernel is the refusal of a device that no kernel was compiled for. archs is what the library says of itself: "80 90a ptx80".
func noKernel(sm int, archs string) error {
	var list []string
	for _, a := range strings.Fields(archs) {
		switch {
		case strings.HasPrefix(a, "ptx"):
			a = "PTX"
		case a[0] >= '0' && a[0] <= '9':
			a = "sm_" + a
		}
		list = append(list, a)
	}
	built := strings.Join(list, ", ")
	if n := len(list); n > 1 {
		built = strings.Join(list[:n-1], ", ") + " and " + list[n-1]
	}
	return fmt.Errorf("%w (sm_%d): sm_%d or newer is needed; built for %s", ErrArch, sm, minSM, built)
}
