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
	if d := val[string](c, "device"); strings.HasPrefix(d, "cuda") {
		return usage(errors.New("this ict was built without CUDA; use the image, or: make cuda      (device auto chooses cpu)"))
	}
	return nil
}

// openDevice opens the backend that --device names. threads 0: all cores.
func openDevice(c *cli.Context, threads int) (*cpu.Device, error) {
	if err := checkDevice(c); err != nil {
		return nil, err
	}
	return cpu.Open(cpu.Options{Threads: threads})
}

// deviceText is a line about the device for reports.
func deviceText(d *cpu.Device) string {
	s := "s"
	if d.Threads() == 1 {
		s = ""
	}
	return fmt.Sprintf("cpu, %d thread%s, BLAS %s", d.Threads(), s, d.BLAS())
}

// blasName is what equal bits depend on: the library without the place it was found at.
func blasName(d *cpu.Device) string {
	name, place, ok := strings.Cut(d.BLAS(), " (")
	if ok && strings.Contains(place, "/") {
		return name
	}
	return d.BLAS()
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
	if b, err := os.ReadFile("/proc/meminfo"); err == nil {
		for l := range strings.Lines(string(b)) {
			if f := strings.Fields(l); len(f) == 3 && f[0] == "MemAvailable:" {
				if kib, err := strconv.Atoi(f[1]); err == nil {
					free = kib << 10
				}
			}
		}
	}
	limit, used := readNumber("/sys/fs/cgroup/memory.max"), readNumber("/sys/fs/cgroup/memory.current")
	if limit >= 0 && used >= 0 {
		free = min(free, max(0, limit-used))
	}
	return free
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

// backend is a device whose sums are cut into slices.
type backend interface {
	tensor.Backend
	Slice() int
}
