package main

import (
	"errors"
	"fmt"
	"math"
	"os"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"ict/cpu"
	"ict/gpu"
	"ict/tensor"
)

// parseDevice reads --device.
func parseDevice(s string) (string, error) {
	index, isCUDA := strings.CutPrefix(s, "cuda:")
	if isCUDA {
		if _, err := strconv.ParseUint(index, 10, 16); err != nil {
			isCUDA = false
		}
	}
	if s != "auto" && s != "cpu" && s != "cuda" && !isCUDA {
		return "", fmt.Errorf("got %q, want auto, cpu, cuda or cuda:1", s)
	}
	return s, nil
}

// checkDevice refuses devices that this build has not.
func checkDevice(c *cli.Context) error {
	if d := val[string](c, "device"); strings.HasPrefix(d, "cuda") && !gpu.Built {
		return usage(errors.New("this ict was built without CUDA; use the image, or: make cuda      (device auto chooses cpu)"))
	}
	return nil
}

// device is the backend that --device names, with what the program says of it. One of cpu and gpu is nil.
type device struct {
	tensor.Backend
	cpu *cpu.Device
	gpu *gpu.Device
}

// openDevice opens the backend that --device names; auto is the first GPU of a CUDA build that finds one, else the CPU.
// precision is one of train.Precisions; threads 0: all cores.
func openDevice(c *cli.Context, threads int, precision string) (*device, error) {
	if err := checkDevice(c); err != nil {
		return nil, err
	}
	if onGPU(c) {
		index := 0
		if _, i, ok := strings.Cut(val[string](c, "device"), ":"); ok {
			index, _ = strconv.Atoi(i) // parseDevice has read it
		}
		d, err := gpu.Open(gpu.Options{Device: index, TF32: precision == "tf32", NoGraph: c.Bool("no-graph")})
		if errors.Is(err, gpu.ErrNoDriver) {
			return nil, fmt.Errorf("%w\n  install NVIDIA's driver, or compute without a GPU: --device cpu", err)
		}
		if err != nil {
			return nil, err
		}
		return &device{Backend: d, gpu: d}, nil
	}
	d, err := cpu.Open(cpu.Options{Threads: threads, TF32: precision == "tf32"})
	if err != nil {
		return nil, err
	}
	return &device{Backend: d, cpu: d}, nil
}

// onGPU reports whether openDevice will open a GPU.
func onGPU(c *cli.Context) bool {
	name := val[string](c, "device")
	return strings.HasPrefix(name, "cuda") || name == "auto" && gpuFound()
}

// gpuFound reports whether auto takes a GPU. The stand-in driver of the tests is none.
func gpuFound() bool {
	if !gpu.Built {
		return false
	}
	all, err := gpu.Devices()
	return err == nil && len(all) > 0 && all[0].Usable && !all[0].Simulated
}

// text is a line about the device for reports.
func (d *device) text() string {
	if d.gpu != nil {
		return d.gpu.Info().String()
	}
	s := "s"
	if d.cpu.Threads() == 1 {
		s = ""
	}
	return fmt.Sprintf("cpu, %d thread%s, BLAS %s", d.cpu.Threads(), s, d.cpu.BLAS())
}

// place is the device as --device names it, for messages.
func (d *device) place() string {
	if d.gpu != nil {
		return fmt.Sprintf("cuda:%d", d.gpu.Info().Device)
	}
	return "cpu"
}

// simulated reports whether this is the stand-in of the tests.
func (d *device) simulated() bool { return d.gpu != nil && d.gpu.Info().Simulated }

// kind is cpu or cuda; model is the processor's or GPU's.
func (d *device) kind() string {
	if d.gpu != nil {
		return "cuda"
	}
	return "cpu"
}

func (d *device) model() string {
	if d.gpu != nil {
		return d.gpu.Info().Name
	}
	return processor()
}

// blas is what equal bits depend on: the library without the place it was found at.
func (d *device) blas() string {
	if d.gpu != nil {
		return ""
	}
	name, place, ok := strings.Cut(d.cpu.BLAS(), " (")
	if ok && strings.Contains(place, "/") {
		return name
	}
	return d.cpu.BLAS()
}

func (d *device) kernels() string {
	if d.gpu != nil {
		return gpu.KernelsSHA()
	}
	return ""
}

// Slice is the number of images whose sum is taken in image order; micro-batches had best hold whole ones.
func (d *device) Slice() int {
	if d.gpu != nil {
		return cpu.DefaultSlice
	}
	return d.cpu.Slice()
}

func (d *device) threads() int {
	if d.gpu != nil {
		return 0
	}
	return d.cpu.Threads()
}

func (d *device) warning() string {
	if d.gpu != nil {
		return ""
	}
	return d.cpu.Warning()
}

// free is the memory that may still be taken, in bytes.
func (d *device) free() int {
	if d.gpu != nil {
		if n, err := d.gpu.FreeMemory(); err == nil {
			return n
		}
	}
	return freeMemory()
}

// share is how much of the free memory a micro-batch or a batch of samples may take where nobody said how large it is to be. On a GPU
// the rest is for what no plan counts: code, the pictures of a run, other programs.
func (d *device) share(free int) int {
	if d.gpu != nil {
		return free / 4 * 3
	}
	return free / 2
}

// processor is the model of this machine's processor.
func processor() string {
	b, _ := os.ReadFile("/proc/cpuinfo")
	for l := range strings.Lines(string(b)) {
		if k, v, ok := strings.Cut(l, ":"); ok && strings.TrimSpace(k) == "model name" {
			return strings.TrimSpace(v)
		}
	}
	return "unknown processor"
}

// freeMemory is what this process may still take, in bytes: the machine's available memory, or less where a control group limits it.
func freeMemory() int {
	free := math.MaxInt
	if n := meminfo("MemAvailable:"); n >= 0 {
		free = n
	}
	limit, used := readNumber("/sys/fs/cgroup/memory.max"), readNumber("/sys/fs/cgroup/memory.current")
	if limit >= 0 && used >= 0 {
		free = min(free, max(0, limit-used))
	}
	return free
}

// meminfo is a line of /proc/meminfo in bytes; -1 without.
func meminfo(key string) int {
	b, _ := os.ReadFile("/proc/meminfo")
	for l := range strings.Lines(string(b)) {
		if f := strings.Fields(l); len(f) == 3 && f[0] == key {
			if kib, err := strconv.Atoi(f[1]); err == nil {
				return kib << 10
			}
		}
	}
	return -1
}

// residentBytes is the memory this process holds; -1 where that cannot be known.
func residentBytes() int {
	b, err := os.ReadFile("/proc/self/statm")
	f := strings.Fields(string(b))
	if err != nil || len(f) < 2 {
		return -1
	}
	pages, err := strconv.Atoi(f[1])
	if err != nil {
		return -1
	}
	return pages * os.Getpagesize()
}

// readNumber reads a file that holds one number; -1 without.
func readNumber(path string) int {
	b, err := os.ReadFile(path)
	if err != nil {
		return -1
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		return -1
	}
	return n
}
