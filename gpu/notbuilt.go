//go:build !cuda

package gpu

import "ict/tensor"

// Built reports whether this program has the CUDA backend.
const Built = false

// A Device cannot be made in this build. It has the methods of the real one so that callers need no build tags.
type Device struct{ tensor.Backend }

// Open returns ErrNotBuilt.
func Open(Options) (*Device, error) { return nil, ErrNotBuilt }

// Devices returns ErrNotBuilt.
func Devices() ([]Info, error) { return nil, ErrNotBuilt }

// Info is never called: there is no Device.
func (d *Device) Info() Info { return Info{} }

// FreeMemory is never called: there is no Device.
func (d *Device) FreeMemory() (int, error) { return 0, ErrNotBuilt }

// KernelsSHA is empty: there are no kernels in this build.
func KernelsSHA() string { return "" }

// KernelsArchs is empty: there are no kernels in this build.
func KernelsArchs() string { return "" }

var _ tensor.Backend = (*Device)(nil)
