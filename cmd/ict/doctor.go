package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"os"
	"runtime"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"ict/checkpoint"
	"ict/cpu"
	"ict/gpu"
	"ict/tensor"
)

func doctorCommand() *cli.Command {
	return &cli.Command{
		Name: "doctor", Usage: "says what works on this machine and what is missing",
		UsageText: "  ict doctor\n  ict doctor --device cuda --json",
		Description: "Each line is ok, note (something is slower, smaller or absent, with the remedy) or problem (ict cannot compute on the device that\n" +
			"--device names, with the remedy). The last line is the verdict: ok or problem, and the device that would be used. Exit code 1: problem.\n" +
			"A file of no bytes is made in the working directory and removed; a small convolution is computed; nothing else is touched.",
		Action: action(0, 0, doctorAction),
	}
}

// States of a finding.
const (
	stateOK      = "ok"
	stateNote    = "note"
	stateProblem = "problem"
)

// finding is one line of ict doctor.
type finding struct {
	Check  string `json:"check"`
	State  string `json:"state"`
	Text   string `json:"text"`
	Remedy string `json:"remedy,omitempty"`
}

// examination is what ict doctor prints.
type examination struct {
	Findings []finding `json:"findings"`
	Verdict  string    `json:"verdict"`
	Device   string    `json:"device"` // that would be used; empty: none
	text     string    // the verdict for people
}

// doctor collects findings.
type doctor struct {
	findings []finding
	device   string // --device
	gpu      bool   // it means a GPU, here
	index    int
	used     string
}

func (d *doctor) ok(check, format string, a ...any) { d.add(check, stateOK, "", format, a...) }
func (d *doctor) note(check, remedy, format string, a ...any) {
	d.add(check, stateNote, remedy, format, a...)
}

// wrong is a problem where a GPU is asked for, else a note.
func (d *doctor) wrong(check, remedy, format string, a ...any) {
	state := stateNote
	if d.gpu {
		state = stateProblem
	}
	d.add(check, state, remedy, format, a...)
}

func (d *doctor) add(check, state, remedy, format string, a ...any) {
	d.findings = append(d.findings, finding{check, state, fmt.Sprintf(format, a...), remedy})
}

func doctorAction(c *cli.Context, u *ui) error {
	d := &doctor{device: val[string](c, "device")}
	d.gpu = strings.HasPrefix(d.device, "cuda") || d.device == "auto" && gpuFound()
	_, index, _ := strings.Cut(d.device, ":")
	d.index, _ = strconv.Atoi(index) // parseDevice has read it; without one it is 0
	d.build()
	if gpu.Built {
		d.cuda()
	} else if d.gpu {
		d.add("cuda", stateProblem, "the image, or: make cuda", "this ict was built without CUDA")
	}
	d.processor()
	d.machine()
	d.directory()
	e := d.verdict()
	if u.json {
		if err := u.printJSON(e); err != nil {
			return err
		}
	} else {
		for _, f := range e.Findings {
			u.result("%-8s %-14s %s", f.State, f.Check, f.Text)
			if f.Remedy != "" {
				u.result("%-8s %-14s %s", "", "", "remedy: "+f.Remedy)
			}
		}
		u.result("verdict  %s: %s", e.Verdict, e.text)
	}
	if e.Verdict != stateOK {
		return withCode(exitFailed, errors.New(e.text))
	}
	return nil
}

// verdict is problem where a finding is one.
func (d *doctor) verdict() examination {
	e := examination{Findings: d.findings, Verdict: stateOK, Device: d.used}
	count := map[string]int{}
	var problems []string
	for _, f := range d.findings {
		if count[f.State]++; f.State == stateProblem {
			problems = append(problems, f.Check)
		}
	}
	if len(problems) > 0 {
		e.Verdict, e.Device = stateProblem, ""
		e.text = fmt.Sprintf("does not work here with --device %s: see %s", d.device, strings.Join(problems, ", "))
		return e
	}
	e.text = "works here, on " + d.used
	if n := count[stateNote]; n > 0 {
		e.text += fmt.Sprintf("; %d note%s", n, plural(n))
	}
	return e
}

func (d *doctor) build() {
	hash, when := buildOf()
	d.ok("build", "ict %s of %s, %s, %s/%s", hash, when, runtime.Version(), runtime.GOOS, runtime.GOARCH)
	if !gpu.Built && !d.gpu {
		d.ok("cuda", "built without CUDA: no driver, GPU, NVML or NCCL is looked for")
	}
}

// cuda looks at everything that a GPU needs.
func (d *doctor) cuda() {
	s := gpu.ReadSystem()
	needs := fmt.Sprintf("CUDA %s", gpu.CUDAText(s.BuiltCUDA))
	install := "install NVIDIA's driver; in a container, start it with --gpus all"
	if r := gpu.DriverRelease(s.BuiltCUDA); r > 0 {
		needs += fmt.Sprintf(", which wants driver %d or newer", r)
		install = fmt.Sprintf("install NVIDIA's driver, release %d or newer; in a container, start it with --gpus all", r)
	}
	if s.Stale != nil {
		d.wrong("kernels", "make cuda", "%s", message(s.Stale))
	} else {
		d.ok("kernels", "%s for %s; built with %s", gpu.KernelsSHA(), archsText(gpu.KernelsArchs()), needs)
	}
	d.driver(s, install)
	d.libraries(s)
	if s.NoDriver == nil {
		d.devices()
	}
}

func (d *doctor) driver(s gpu.System, install string) {
	release := ""
	if s.DriverText != "" {
		release = s.DriverText + ", "
	}
	switch {
	case s.NoDriver != nil:
		d.wrong("driver", install, "%s", strings.TrimPrefix(s.NoDriver.Error(), "gpu: "))
	case s.DriverCUDA/1000 < s.BuiltCUDA/1000:
		d.wrong("driver", install, "%sis for CUDA %s; this ict was built with CUDA %s", release, gpu.CUDAText(s.DriverCUDA), gpu.CUDAText(s.BuiltCUDA))
	default:
		d.ok("driver", "%sfor CUDA up to %s", release, gpu.CUDAText(s.DriverCUDA))
	}
}

func (d *doctor) libraries(s gpu.System) {
	if s.NVML.Err != nil {
		d.note("NVML", "it comes with the driver; in a container: NVIDIA_DRIVER_CAPABILITIES=compute,utility",
			"%s; no temperature or power is shown, nothing else needs it", s.NVML.Err)
	} else {
		d.ok("NVML", "%s %s", s.NVML.Name, s.NVML.Version)
	}
	if s.NCCL.Err != nil {
		d.ok("NCCL", "not found (%s); not needed by this build", s.NCCL.Name)
	} else {
		d.ok("NCCL", "%s %s; not needed by this build", s.NCCL.Name, s.NCCL.Version)
	}
}

// devices lists the GPUs and lets the one that is asked for compute.
func (d *doctor) devices() {
	all, err := gpu.Devices()
	switch {
	case err != nil:
		d.wrong("devices", "", "%s", strings.TrimPrefix(err.Error(), "gpu: "))
		return
	case len(all) == 0:
		d.wrong("devices", "is a GPU in this machine? is CUDA_VISIBLE_DEVICES set? in a container: --gpus all", "the driver counts no device")
		return
	case d.gpu && d.index >= len(all):
		d.add("devices", stateProblem, fmt.Sprintf("--device cuda:%d", len(all)-1), "got --device cuda:%d, the driver counts %d", d.index, len(all))
	}
	for _, g := range all {
		name := fmt.Sprintf("cuda:%d", g.Device)
		code := gpu.KernelCode(g.SM, gpu.KernelsArchs())
		text := fmt.Sprintf("%s, sm_%d, %s", g.Name, g.SM, bytesText(g.Memory))
		if s := gpu.ReadSensors(g); s.Used >= 0 {
			text += fmt.Sprintf(", %s free%s", bytesText(s.Total-s.Used), sensorsText(s))
		}
		mine := d.gpu && g.Device == d.index
		switch {
		case (code == "" || !g.Usable) && mine:
			d.add(name, stateProblem, "sm_80 or newer is needed: another GPU, or --device cpu", "%s: no kernel for it; built for %s", text, archsText(gpu.KernelsArchs()))
		case code == "" || !g.Usable:
			d.note(name, "", "%s: no kernel for it; built for %s", text, archsText(gpu.KernelsArchs()))
		case code == "PTX":
			d.note(name, fmt.Sprintf("make cuda CUDA_ARCHS=%d makes code for it", g.SM), "%s: runs PTX, which the driver compiles at first use", text)
		default:
			d.ok(name, "%s: runs %s", text, strings.Replace(code, "simulator", "the simulator's code", 1))
		}
		if mine && code != "" && g.Usable {
			d.tryGPU(name, g)
		}
	}
}

// tryGPU opens a device and lets it compute.
func (d *doctor) tryGPU(name string, g gpu.Info) {
	dev, err := gpu.Open(gpu.Options{Device: g.Device})
	if err != nil {
		d.add(name, stateProblem, "nvidia-smi shows whether others use it", "cannot be opened: %s", message(err))
		return
	}
	free, freeErr := dev.FreeMemory()
	err = rightConvolution(dev)
	if e := dev.Close(); err == nil {
		err = e
	}
	if err != nil {
		d.add(name+" result", stateProblem, "the driver, or this build's kernels, are wrong for it; make gpu-check tells more", "a small convolution: %s", message(err))
		return
	}
	text := "a small convolution is right in every bit"
	if freeErr == nil {
		text += fmt.Sprintf("; %s can be allocated", bytesText(free))
	}
	d.ok(name+" result", "%s", text)
	d.used = g.String()
}

// archsText is sm_80, sm_90a, PTX of "80 90a ptx80".
func archsText(archs string) string {
	var list []string
	for _, a := range strings.Fields(archs) {
		switch {
		case strings.HasPrefix(a, "ptx"):
			list = append(list, "PTX")
		case a == "sim":
			list = append(list, "the simulator")
		default:
			list = append(list, "sm_"+a)
		}
	}
	return strings.Join(list, ", ")
}

// processor looks at what computes on the CPU: most commands and parts of training need it beside a GPU, too.
func (d *doctor) processor() {
	text := fmt.Sprintf("%s, %d of %d threads used", processor(), runtime.GOMAXPROCS(0), runtime.NumCPU())
	if n := runtime.GOMAXPROCS(0); n < runtime.NumCPU() {
		d.note("processor", "GOMAXPROCS or the control group limits them", "%s", text)
	} else {
		d.ok("processor", "%s", text)
	}
	dev, err := cpu.Open(cpu.Options{})
	if err != nil {
		d.add("BLAS", stateProblem, "unset ICT_BLAS, or name a library that is there; gonum is Go's own", "%s", message(err))
		return
	}
	defer dev.Close()
	if w := dev.Warning(); w != "" {
		d.note("BLAS", w, "%s", dev.BLAS())
	} else {
		d.ok("BLAS", "%s", dev.BLAS())
	}
	if err := rightConvolution(dev); err != nil {
		d.add("BLAS result", stateProblem, "another OpenBLAS; ICT_BLAS=gonum is slow and right", "a small convolution: %s", message(err))
		return
	}
	d.ok("BLAS result", "a small convolution is right in every bit")
	if !d.gpu {
		d.used = fmt.Sprintf("cpu, %d thread%s", dev.Threads(), plural(dev.Threads()))
	}
}

// Less than this is noted.
const (
	littleMemory = 1 << 30
	littleDisk   = 1 << 30
	littleShared = 1 << 30
	littleLocked = 64 << 20
	fewFiles     = 1024
)

// machine looks at memory and limits.
func (d *doctor) machine() {
	text := bytesText(freeMemory()) + " free"
	if total := meminfo("MemTotal:"); total >= 0 {
		text += " of " + bytesText(total)
	}
	if limit := readNumber("/sys/fs/cgroup/memory.max"); limit >= 0 {
		text += fmt.Sprintf("; the control group may use %s", bytesText(limit))
	} else {
		text += "; no limit of a control group"
	}
	if freeMemory() < littleMemory {
		d.note("memory", "ict plan tells what a training needs; --micro-batch divides it", "%s", text)
	} else {
		d.ok("memory", "%s", text)
	}
	var shm unix.Statfs_t
	if err := unix.Statfs("/dev/shm", &shm); err != nil {
		d.note("shared memory", "mount a tmpfs on /dev/shm", "/dev/shm: %v", err)
	} else if size := int64(shm.Blocks) * shm.Bsize; size < littleShared && gpu.Built {
		d.note("shared memory", "docker run --shm-size=1g; several GPUs talk through it", "/dev/shm has %s", bytesText(size))
	} else {
		d.ok("shared memory", "/dev/shm has %s", bytesText(size))
	}
	d.limit("open files", unix.RLIMIT_NOFILE, fewFiles, "ulimit -n 4096", func(n uint64) string { return comma(n) })
	least, remedy := uint64(0), ""
	if gpu.Built {
		least, remedy = littleLocked, "docker run --ulimit memlock=-1; several GPUs want it"
	}
	d.limit("locked memory", unix.RLIMIT_MEMLOCK, least, remedy, func(n uint64) string { return bytesText(n) })
}

// limit looks at a limit of the process; less than least is noted.
func (d *doctor) limit(check string, resource int, least uint64, remedy string, text func(uint64) string) {
	var r unix.Rlimit
	switch err := unix.Getrlimit(resource, &r); {
	case err != nil:
		d.note(check, "", "%v", err)
	case r.Cur == unix.RLIM_INFINITY:
		d.ok(check, "no limit")
	case r.Cur < least:
		d.note(check, remedy, "at most %s", text(r.Cur))
	default:
		d.ok(check, "at most %s", text(r.Cur))
	}
}

// directory looks at the place where a run would be.
func (d *doctor) directory() {
	wd, err := os.Getwd()
	if err != nil {
		d.note("directory", "change to one that is there", "%v", err)
		return
	}
	if f, err := os.CreateTemp(wd, ".ict-doctor-*"); err != nil {
		d.note("directory", "work in another, or give --out; in a container: -u $(id -u):$(id -g) -v \"$PWD\":/w -w /w", "%s is not writable: %v", wd, errors.Unwrap(err))
	} else {
		f.Close()
		os.Remove(f.Name())
		d.ok("directory", "%s is writable", wd)
	}
	switch free, err := checkpoint.FreeBytes(wd); {
	case err != nil:
		d.note("disk", "", "%s", message(err))
	case free < littleDisk:
		d.note("disk", "free some, or work on another disk; two states of a large network take several GiB", "%s free", bytesText(free))
	default:
		d.ok("disk", "%s free", bytesText(free))
	}
}

// rightConvolution computes a convolution of small integers, where every correct implementation agrees to the bit, and compares it with
// the CPU's direct loops.
func rightConvolution(dev tensor.Backend) error {
	exact, err := cpu.Open(cpu.Options{Exact: true})
	if err != nil {
		return err
	}
	want, err := convolved(exact)
	if err != nil {
		return err
	}
	got, err := convolved(dev)
	if err != nil {
		return err
	}
	for i := range want {
		if got[i] != want[i] {
			return said(fmt.Sprintf("wrong: value %d of %d is %g, want %g", i+1, len(want), got[i], want[i]))
		}
	}
	return nil
}

// convolved is a 3×3 convolution of 2 images of 8×8 with 16 channels, to 24.
func convolved(dev tensor.Backend) ([]float32, error) {
	var t [3]tensor.Tensor
	for i, shape := range [][]int{{2, 8, 8, 16}, {24, 3, 3, 16}, {2, 8, 8, 24}} {
		var err error
		if t[i], err = integers(dev, shape...); err != nil {
			return nil, err
		}
	}
	x, w, y := t[0], t[1], t[2]
	dev.Conv2dFprop(y, x, tensor.Tensor{}, w, tensor.Epilogue{}, tensor.Conv2d{Stride: 1, PadH: 1, PadW: 1, Scale: 1})
	b, err := dev.Pinned(y.Bytes())
	if err != nil {
		return nil, err
	}
	if err := dev.Download(b, y).Wait(); err != nil {
		return nil, err
	}
	out := make([]float32, y.Elems())
	for i := range out {
		out[i] = math.Float32frombits(binary.LittleEndian.Uint32(b[4*i:]))
	}
	return out, nil
}

// integers is a tensor of −5 … 5.
func integers(dev tensor.Backend, shape ...int) (tensor.Tensor, error) {
	n := tensor.Shape(shape).Elems()
	m, err := dev.Alloc(4 * n)
	if err != nil {
		return tensor.Tensor{}, err
	}
	t := tensor.Of(m, 0, tensor.F32, shape...)
	b, err := dev.Pinned(4 * n)
	if err != nil {
		return t, err
	}
	for i := range n {
		binary.LittleEndian.PutUint32(b[4*i:], math.Float32bits(float32(i*i%7+i%5-5)))
	}
	return t, dev.Upload(t, b).Wait()
}
