package gpu

import (
	"fmt"
	"strconv"
	"strings"
)

// System is what a machine offers this program, as far as it shows without opening a device.
type System struct {
	DriverCUDA int    // newest CUDA that the driver knows: 13000 is 13.0; 0: no driver
	DriverText string // release, such as 580.95.05; empty: not known
	BuiltCUDA  int    // CUDA that the kernels and the runtime were built with; 0: built without
	NoDriver   error  // why there is no driver
	Stale      error  // ErrStaleKernels, or nil
	NVML, NCCL Library
}

// Library is one that is opened while the program runs, if it is there.
type Library struct {
	Name    string // file
	Version string // empty: the library is there and does not say
	Err     error  // why it is not to be had
}

// Sensors are what a GPU tells of itself. A number that is not known is negative.
type Sensors struct {
	Watts       float64
	Celsius     int
	Megahertz   int // of the multiprocessors
	Utilization int // percent of the last sample period in which something ran
	Used, Total int // bytes of memory, whoever took them
	// Throttled lists what holds the clocks back: "power cap", "heat", "power brake", "hardware". Nil: not known; empty: nothing.
	Throttled []string
}

// noSensors is what is known without NVML.
var noSensors = Sensors{Watts: -1, Celsius: -1, Megahertz: -1, Utilization: -1, Used: -1, Total: -1}

// CUDAText is 13.0 of 13000, the form in which CUDA gives versions.
func CUDAText(version int) string { return fmt.Sprintf("%d.%d", version/1000, version%1000/10) }

// DriverRelease is the oldest release of NVIDIA's driver that runs programs built with a CUDA version, by its major number;
// 0: not known here. Source: CUDA Compatibility, "Minor Version Compatibility".
func DriverRelease(cuda int) int {
	return map[int]int{11: 450, 12: 525, 13: 580}[cuda/1000]
}

// KernelCode says which code of the kernel library a device runs: "sm_90a", "PTX", "simulator"; empty: none. archs is what
// KernelsArchs lists. Machine code runs on devices of its major version that are as new; with an a behind it on that one
// alone; PTX, compiled by the driver at first load, on everything newer.
func KernelCode(sm int, archs string) string {
	best, code := -1, ""
	for _, a := range strings.Fields(archs) {
		number, ptx := strings.CutPrefix(a, "ptx")
		number, exact := strings.CutSuffix(number, "a")
		n, err := strconv.Atoi(number)
		switch {
		case a == "sim":
			return "simulator"
		case err != nil || n > sm || exact && n != sm:
		case ptx && best < 0:
			code = "PTX"
		case !ptx && n/10 == sm/10 && n > best:
			best, code = n, "sm_"+a
		}
	}
	return code
}

// nvmlName is the library that knows temperatures; it comes with the driver.
const nvmlName = "libnvidia-ml.so.1"

// throttleReasons are the bits of nvmlClocksThrottleReasons that mean less speed than the clocks that were set; idling and
// settings are none.
var throttleReasons = []struct {
	bits uint64
	name string
}{
	{0x04, "power cap"},
	{0x20 | 0x40, "heat"}, // in software, in hardware
	{0x80, "power brake"},
}

// hardwareSlowdown is set together with heat or power brake, or alone.
const hardwareSlowdown = 0x08

// throttled names the bits.
func throttled(bits uint64) []string {
	list := []string{}
	for _, r := range throttleReasons {
		if bits&r.bits != 0 {
			list = append(list, r.name)
		}
	}
	if bits&hardwareSlowdown != 0 && bits&(0x40|0x80) == 0 {
		list = append(list, "hardware")
	}
	return list
}
