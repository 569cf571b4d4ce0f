package gpu

import "fmt"

// Options of Open. The zero value is device 0 with graphs.
type Options struct {
	Device  int  // ordinal, as CUDA counts
	NoGraph bool // Capture returns the step itself
	TF32    bool // F32 tensors are multiplied on tensor cores, their operands rounded to tf32
}

// Info is what Devices tells of a device.
type Info struct {
	Device    int
	Name      string
	SM        int // compute capability × 10: 80, 90, …
	Memory    int // bytes
	Usable    bool
	Simulated bool // the stand-in driver of the tests, not a GPU
}

// minSM is the oldest compute capability × 10 that kernels are compiled for.
const minSM = 80

// String is cuda:0 NVIDIA H100 (sm_90, 79.2 GiB).
func (i Info) String() string {
	return fmt.Sprintf("cuda:%d %s (sm_%d, %s)", i.Device, i.Name, i.SM, gib(i.Memory))
}

// gib writes a size, in MiB below one GiB.
func gib(bytes int) string {
	if bytes < 1<<30 {
		return fmt.Sprintf("%.1f MiB", float64(bytes)/(1<<20))
	}
	return fmt.Sprintf("%.1f GiB", float64(bytes)/(1<<30))
}
