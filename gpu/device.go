//go:build cuda

package gpu

/*
#cgo CFLAGS: -I${SRCDIR}/../kernels
#cgo LDFLAGS: -lictkernels -lcuda -ldl
#include <stdlib.h>
#include "kernels.h"

const char *ict_driver_problem(int *code); // of the forwarding archive: why there is no driver, or null
*/
import "C"

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"unsafe"

	"gorgonia.org/cu"

	"ict/tensor"
)

// Built reports whether this program has the CUDA backend.
const Built = true

// simulatorName is what the stand-in driver calls its devices.
const simulatorName = "ict simulator (not a GPU)"

// kernelsSHA is the hash of kernels/ at the time of linking, by -ldflags "-X ict/gpu.kernelsSHA=…". The go command does not
// notice a changed library; this does.
var kernelsSHA string

// KernelsSHA is the hash of the kernel library's sources.
func KernelsSHA() string { return C.GoString(C.ict_kernels_sha()) }

// KernelsArchs is what the kernel library holds code for: "80 90a ptx80".
func KernelsArchs() string { return C.GoString(C.ict_kernels_archs()) }

// Device is a GPU as a tensor.Backend. It belongs to the goroutine that opened it.
type Device struct {
	info    Info
	cuda    cu.Device
	exec    *C.ict_exec // what launchers know of the device; in C memory
	err     error       // the first; sticky
	noGraph bool
	sync    bool // ICT_SYNC
	poison  bool // ICT_POISON
	apart   bool // ICT_APART

	compute, copies     cu.Stream
	toCopies, toCompute cu.Event // order one stream after the other
	capturing           bool

	blocks  []cu.DevicePtr
	pinned  []pinnedBlock // by address
	graphs  []*graph
	pending []*ticket  // of the copy stream, in its order
	events  []cu.Event // of tickets that are done, to be used again
	give    []func() error
}

var _ tensor.Backend = (*Device)(nil)

// Open makes a device the calling goroutine's, and locks that to its OS thread until Close. It returns ErrNoDriver,
// ErrNoDevice, ErrArch, ErrStaleKernels, or an Error.
func Open(o Options) (*Device, error) {
	infos, err := Devices()
	if err != nil {
		return nil, err
	}
	if o.Device < 0 || o.Device >= len(infos) {
		return nil, fmt.Errorf("%w: got cuda:%d, the driver counts %d", ErrNoDevice, o.Device, len(infos))
	}
	if err := staleKernels(); err != nil {
		return nil, err
	}
	d := &Device{info: infos[o.Device]}
	if !d.info.Usable {
		return nil, noKernel(d.info.SM, KernelsArchs())
	}
	d.sync, d.poison, d.apart = os.Getenv("ICT_SYNC") == "1", os.Getenv("ICT_POISON") == "1", os.Getenv("ICT_APART") == "1"
	d.noGraph = o.NoGraph || d.sync // nothing may wait inside a capture
	runtime.LockOSThread()
	d.give = append(d.give, func() error { runtime.UnlockOSThread(); return nil })
	if err := d.open(o); err != nil {
		d.Close()
		return nil, err
	}
	return d, nil
}

// open takes everything from the driver; what it took is given back by Close, in reverse.
func (d *Device) open(o Options) (err error) {
	step := func(op string, err error, back func() error) bool {
		if err != nil {
			d.fail(op, err)
			return false
		}
		if back != nil {
			d.give = append(d.give, back)
		}
		return true
	}
	if d.cuda, err = cu.GetDevice(o.Device); !step("open", err, nil) {
		return d.err
	}
	before, err := cu.CurrentContext()
	if !step("open: context", err, nil) {
		return d.err
	}
	ctx, err := d.cuda.RetainPrimaryCtx()
	if !step("open: context", err, d.cuda.ReleasePrimaryCtx) {
		return d.err
	}
	back := func() error { return cu.SetCurrentContext(before) } // the thread goes on to serve others
	if !step("open: context", cu.SetCurrentContext(ctx), back) {
		return d.err
	}
	restoreSignalStacks()
	for _, s := range []*cu.Stream{&d.compute, &d.copies} {
		if *s, err = cu.MakeStream(cu.NonBlocking); !step("open: stream", err, s.Destroy) {
			return d.err
		}
	}
	for _, e := range []*cu.Event{&d.toCopies, &d.toCompute} {
		if *e, err = cu.MakeEvent(cu.DisableTiming); !step("open: event", err, func() error { return cu.DestroyEvent(e) }) {
			return d.err
		}
	}
	sms, err := d.cuda.Attribute(cu.MultiprocessorCount)
	if !step("open", err, nil) {
		return d.err
	}
	d.exec = (*C.ict_exec)(C.calloc(1, C.sizeof_ict_exec))
	d.give = append(d.give, func() error { C.free(unsafe.Pointer(d.exec)); return nil })
	d.exec.stream = C.ict_stream(unsafe.Pointer(d.compute.C()))
	d.exec.sm, d.exec.sms, d.exec.math = C.int32_t(d.info.SM), C.int32_t(sms), C.ICT_MATH_F32
	if o.TF32 {
		d.exec.math = C.ICT_MATH_TENSOR
	}
	d.exec.encode_tiled, d.exec.encode_im2col = driverEntry("cuTensorMapEncodeTiled"), driverEntry("cuTensorMapEncodeIm2col")
	return nil
}

// Devices lists the devices of this machine. It returns ErrNoDriver where there is no driver, or no GPU.
func Devices() ([]Info, error) {
	var code C.int
	if reason := C.ict_driver_problem(&code); reason != nil {
		return nil, fmt.Errorf("%w: %s", ErrNoDriver, C.GoString(reason))
	}
	n, err := cu.NumDevices()
	if err != nil {
		return nil, driverError("devices", err)
	}
	list := make([]Info, n)
	for i := range list {
		c, err := cu.GetDevice(i)
		name, err1 := c.Name()
		bytes, err2 := c.TotalMem()
		major, err3 := c.Attribute(cu.ComputeCapabilityMajor)
		minor, err4 := c.Attribute(cu.ComputeCapabilityMinor)
		for _, e := range []error{err, err1, err2, err3, err4} {
			if e != nil {
				return nil, driverError("devices", e)
			}
		}
		sm := 10*major + minor
		list[i] = Info{Device: i, Name: name, SM: sm, Memory: int(bytes), Usable: sm >= minSM, Simulated: name == simulatorName}
	}
	return list, nil
}

// Info tells which device this is.
func (d *Device) Info() Info { return d.info }

// Apart asks programs for an allocation per tensor: ICT_APART=1, for tests that look for overruns.
func (d *Device) Apart() bool { return d.apart }

// Err is the first error of the device, or nil.
func (d *Device) Err() error { return d.err }

// Sync waits for everything queued.
func (d *Device) Sync() error {
	d.outsideCapture("sync")
	for _, s := range []cu.Stream{d.compute, d.copies} {
		if d.err == nil {
			d.check("sync", s.Synchronize())
		}
	}
	return d.err
}

// Close waits for the device and gives back everything: memory, pinned memory, graphs, streams, the context, and the lock on
// the thread. It returns the device's first error, or what giving back met.
func (d *Device) Close() error {
	if d.give == nil {
		return nil
	}
	var errs []error
	note := func(op string, err error) {
		if err != nil {
			errs = append(errs, driverError(op, err))
		}
	}
	if d.err == nil {
		d.Sync()
	}
	for _, g := range d.graphs {
		note("close: graph", g.destroy())
	}
	for _, t := range d.pending {
		note("close: event", cu.DestroyEvent(&t.event))
	}
	for i := range d.events {
		note("close: event", cu.DestroyEvent(&d.events[i]))
	}
	for _, b := range d.blocks {
		note("close: memory", cu.MemFree(b))
	}
	for _, b := range d.pinned {
		note("close: pinned memory", cu.MemFreeHost(b.at))
	}
	for i := len(d.give) - 1; i >= 0; i-- {
		note("close", d.give[i]())
	}
	*d = Device{info: d.info, err: d.err}
	if d.err != nil { // everything after it fails, too
		return d.err
	}
	d.err = errClosed
	return errors.Join(errs...)
}

var errClosed = errors.New("gpu: the device is closed")

// after makes stream later wait for everything that is queued on stream earlier.
func (d *Device) after(later, earlier cu.Stream, by cu.Event) error {
	if err := by.Record(earlier); err != nil {
		return err
	}
	return later.Wait(by, 0)
}

// check keeps an error of the driver as the device's first.
func (d *Device) check(op string, err error, shapes ...tensor.Shape) {
	if err != nil {
		d.fail(op, err, shapes...)
	}
}

func (d *Device) fail(op string, err error, shapes ...tensor.Shape) {
	if d.err == nil {
		e := driverError(op, err)
		e.Shapes = shapes
		d.err = e
	}
}

// outsideCapture panics where a step that is captured asks the host for something.
func (d *Device) outsideCapture(op string) {
	if d.capturing {
		panic("gpu: " + op + ": not allowed inside Capture")
	}
}
