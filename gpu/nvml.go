//go:build cuda

package gpu

/*
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

// NVML as nvml.h declares it: opaque handles, 0 is success. Its library comes with the driver and is opened here: a program
// linked to it would not start without.
typedef struct nvml_device *nvml_device;
typedef struct { unsigned gpu, memory; } nvml_utilization;            // percent
typedef struct { unsigned long long total, free, used; } nvml_memory; // bytes
enum { NVML_TEMPERATURE_GPU = 0, NVML_CLOCK_SM = 1 };

static struct {
	int (*init)(void);
	int (*driver)(char *, unsigned);
	int (*version)(char *, unsigned);
	int (*byBus)(const char *, nvml_device *);
	int (*power)(nvml_device, unsigned *);
	int (*temperature)(nvml_device, unsigned, unsigned *);
	int (*clock)(nvml_device, unsigned, unsigned *);
	int (*reasons)(nvml_device, unsigned long long *);
	int (*utilization)(nvml_device, nvml_utilization *);
	int (*memory)(nvml_device, nvml_memory *);
} nvml;

// nvmlOpen returns null, or why there is no NVML. It stays open.
static const char *nvmlOpen(const char *name) {
	static char text[64];
	void *lib = dlopen(name, RTLD_NOW | RTLD_LOCAL);
	if (!lib)
		return dlerror();
	*(void **)&nvml.init = dlsym(lib, "nvmlInit_v2");
	*(void **)&nvml.driver = dlsym(lib, "nvmlSystemGetDriverVersion");
	*(void **)&nvml.version = dlsym(lib, "nvmlSystemGetNVMLVersion");
	*(void **)&nvml.byBus = dlsym(lib, "nvmlDeviceGetHandleByPciBusId_v2");
	*(void **)&nvml.power = dlsym(lib, "nvmlDeviceGetPowerUsage");
	*(void **)&nvml.temperature = dlsym(lib, "nvmlDeviceGetTemperature");
	*(void **)&nvml.clock = dlsym(lib, "nvmlDeviceGetClockInfo");
	*(void **)&nvml.reasons = dlsym(lib, "nvmlDeviceGetCurrentClocksThrottleReasons");
	*(void **)&nvml.utilization = dlsym(lib, "nvmlDeviceGetUtilizationRates");
	*(void **)&nvml.memory = dlsym(lib, "nvmlDeviceGetMemoryInfo");
	int code = nvml.init && nvml.byBus ? nvml.init() : -1;
	if (!code)
		return 0;
	snprintf(text, sizeof text, code == -1 ? "nvmlInit_v2 is missing" : "nvmlInit_v2: code %d", code);
	nvml.init = 0;
	return text;
}

static const char *nvmlText(int (*get)(char *, unsigned), char *to, unsigned size) {
	*to = 0;
	if (get && get(to, size))
		*to = 0;
	to[size - 1] = 0;
	return to;
}
static const char *nvmlDriver(char *to, unsigned size) { return nvmlText(nvml.driver, to, size); }
static const char *nvmlVersion(char *to, unsigned size) { return nvmlText(nvml.version, to, size); }

// What could not be read is -1.
typedef struct { int64_t milliwatts, celsius, megahertz, reasons, utilization, used, total; } nvml_numbers;

static nvml_numbers nvmlRead(unsigned domain, unsigned bus, unsigned device) {
	nvml_numbers n = {-1, -1, -1, -1, -1, -1, -1};
	nvml_device d = 0;
	char at[24];
	snprintf(at, sizeof at, "%08x:%02x:%02x.0", domain, bus & 255, device & 255);
	if (nvml.byBus(at, &d))
		return n;
	unsigned u;
	unsigned long long mask;
	nvml_utilization busy;
	nvml_memory memory;
	if (nvml.power && !nvml.power(d, &u)) n.milliwatts = u;
	if (nvml.temperature && !nvml.temperature(d, NVML_TEMPERATURE_GPU, &u)) n.celsius = u;
	if (nvml.clock && !nvml.clock(d, NVML_CLOCK_SM, &u)) n.megahertz = u;
	if (nvml.reasons && !nvml.reasons(d, &mask)) n.reasons = (int64_t)(mask & INT64_MAX);
	if (nvml.utilization && !nvml.utilization(d, &busy)) n.utilization = busy.gpu;
	if (nvml.memory && !nvml.memory(d, &memory)) n.used = (int64_t)memory.used, n.total = (int64_t)memory.total;
	return n;
}
*/
import "C"

import (
	"errors"
	"sync"
	"unsafe"

	"gorgonia.org/cu"
)

// openNVML opens the library once in the life of the process; nil where it is there.
var openNVML = sync.OnceValue(func() error {
	name := C.CString(nvmlName)
	defer C.free(unsafe.Pointer(name))
	if why := C.nvmlOpen(name); why != nil {
		return errors.New(C.GoString(why))
	}
	restoreSignalStacks()
	return nil
})

// readNVML says which NVML there is.
func readNVML() Library {
	l := Library{Name: nvmlName, Err: openNVML()}
	if l.Err == nil {
		var b [80]C.char
		l.Version = C.GoString(C.nvmlVersion(&b[0], C.uint(len(b))))
	}
	return l
}

// driverRelease is the release of the driver, which NVML alone tells; empty without.
func driverRelease() string {
	if openNVML() != nil {
		return ""
	}
	var b [80]C.char
	return C.GoString(C.nvmlDriver(&b[0], C.uint(len(b))))
}

// ReadSensors asks NVML, in about a millisecond. Without NVML nothing is known; that is no error.
func ReadSensors(i Info) Sensors {
	s := noSensors
	d, err := cu.GetDevice(i.Device)
	if err != nil || openNVML() != nil {
		return s
	}
	var at [3]C.uint // the place on the bus: CUDA and NVML count devices differently
	for k, a := range []cu.DeviceAttribute{cu.PciDomainID, cu.PciBusID, cu.PciDeviceID} {
		v, err := d.Attribute(a)
		if err != nil {
			return s
		}
		at[k] = C.uint(v)
	}
	n := C.nvmlRead(at[0], at[1], at[2])
	if n.milliwatts >= 0 {
		s.Watts = float64(n.milliwatts) / 1000
	}
	s.Celsius, s.Megahertz, s.Utilization = int(n.celsius), int(n.megahertz), int(n.utilization)
	s.Used, s.Total = int(n.used), int(n.total)
	if n.reasons >= 0 {
		s.Throttled = throttled(uint64(n.reasons))
	}
	return s
}
