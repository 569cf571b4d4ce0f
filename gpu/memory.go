//go:build cuda

package gpu

/*
#include <stdint.h>
static void *pointer(uintptr_t address) { return (void *)address; }
*/
import "C"

import (
	"errors"
	"fmt"
	"unsafe"

	"gorgonia.org/cu"

	"ict/tensor"
)

// memory is a block of device memory.
type memory struct {
	d     *Device
	base  cu.DevicePtr
	at    unsafe.Pointer // base, of which addresses are made by unsafe.Add
	bytes int
}

func (m *memory) Bytes() int   { return m.bytes }
func (m *memory) Base() uint64 { return uint64(m.base) }

// Alloc returns zeroed memory, aligned to 256 bytes. Where it does not fit the error is ErrOutOfMemory and says how much is
// free; the device stays usable.
func (d *Device) Alloc(bytes int) (tensor.Memory, error) {
	d.outsideCapture("alloc")
	switch {
	case bytes < 0:
		return nil, fmt.Errorf("gpu: alloc: %d bytes", bytes)
	case d.err != nil:
		return nil, d.err
	}
	size := int64(max(bytes, 1))
	base, err := cu.MemAlloc(size)
	if err != nil {
		e := driverError("alloc", err)
		e.Detail = fmt.Sprintf("cuda:%d: %s asked for", d.info.Device, gib(bytes))
		if free, err := d.FreeMemory(); err == nil {
			e.Detail += fmt.Sprintf(", %s are free", gib(free))
		}
		return nil, e
	}
	d.blocks = append(d.blocks, base)
	d.check("alloc", cu.MemsetD8Async(base, 0, size, d.copies))
	d.check("alloc", d.after(d.compute, d.copies, d.toCompute))
	if d.err != nil {
		return nil, d.err
	}
	return &memory{d, base, C.pointer(C.uintptr_t(base)), bytes}, nil
}

// FreeMemory is the number of bytes that Alloc can still give.
func (d *Device) FreeMemory() (int, error) {
	free, _, err := cu.MemInfo()
	if err != nil {
		return 0, driverError("memory", err)
	}
	return int(free), nil
}

// A ticket is an asynchronous copy.
type ticket struct {
	d     *Device
	event cu.Event
	done  bool
}

// Done asks; it does not wait. It is true also of a copy that failed.
func (t *ticket) Done() bool {
	if t.done || t.d.err != nil {
		return true
	}
	t.d.outsideCapture("ticket")
	switch err := t.event.Query(); {
	case err == nil:
		t.d.finish(t)
	case !errors.Is(err, cu.NotReady):
		t.d.fail("copy", err)
	}
	return t.done || t.d.err != nil
}

// Wait waits, and returns the device's error.
func (t *ticket) Wait() error {
	if t.done || t.d.err != nil {
		return t.d.err
	}
	t.d.outsideCapture("ticket")
	if err := t.event.Synchronize(); err != nil {
		t.d.fail("copy", err)
		return t.d.err
	}
	t.d.finish(t)
	return nil
}

// finish marks t and every earlier copy as done: they are of one stream.
func (d *Device) finish(t *ticket) {
	for i, p := range d.pending {
		p.done = true
		d.events = append(d.events, p.event)
		if p == t {
			d.pending = append(d.pending[:0], d.pending[i+1:]...)
			return
		}
	}
}

// manyPending is how many tickets nobody has waited for may pile up before the oldest are looked at.
const manyPending = 64

// ticket marks this place of the copy stream.
func (d *Device) ticket(op string) *ticket {
	t := &ticket{d: d}
	if d.err != nil {
		t.done = true
		return t
	}
	if len(d.pending) >= manyPending {
		d.pending[len(d.pending)/2].Done()
	}
	if n := len(d.events); n > 0 {
		t.event, d.events = d.events[n-1], d.events[:n-1]
	} else {
		e, err := cu.MakeEvent(cu.DisableTiming)
		if err != nil {
			d.fail(op, err)
			t.done = true
			return t
		}
		t.event = e
	}
	d.pending = append(d.pending, t)
	d.check(op, t.event.Record(d.copies))
	return t
}

// Upload queues a copy of src, which must be memory from Pinned, on the copy stream. It overtakes launches that are queued.
func (d *Device) Upload(dst tensor.Tensor, src []byte) tensor.Ticket {
	d.outsideCapture("upload")
	to := d.whole("upload", dst)
	d.fromPinned("upload", src, dst)
	if len(src) == 0 {
		return &ticket{d: d, done: true}
	}
	if d.err == nil {
		d.check("upload", cu.MemcpyHtoDAsync(devicePtr(to), unsafe.Pointer(unsafe.SliceData(src)), int64(len(src)), d.copies), dst.Shape)
	}
	return d.ticket("upload")
}

// Download queues a copy to dst, which must be memory from Pinned, on the copy stream: after every launch so far, before
// every launch to come.
func (d *Device) Download(dst []byte, src tensor.Tensor) tensor.Ticket {
	d.outsideCapture("download")
	from := d.whole("download", src)
	d.fromPinned("download", dst, src)
	if len(dst) == 0 {
		return &ticket{d: d, done: true}
	}
	if d.err == nil {
		d.check("download", d.after(d.copies, d.compute, d.toCopies))
	}
	if d.err == nil {
		d.check("download", cu.MemcpyDtoHAsync(unsafe.Pointer(unsafe.SliceData(dst)), devicePtr(from), int64(len(dst)), d.copies), src.Shape)
	}
	t := d.ticket("download")
	if d.err == nil {
		d.check("download", d.compute.Wait(t.event, 0))
	}
	return t
}

// Copy queues a copy on the compute stream, which first waits, on the device, for the given uploads.
func (d *Device) Copy(dst, src tensor.Tensor, after ...tensor.Ticket) {
	const op = "copy"
	to, from := d.whole(op, dst), d.whole(op, src)
	if dst.Bytes() != src.Bytes() {
		panic(fmt.Sprintf("gpu: copy: %v %v into %v %v", src.DType, src.Shape, dst.DType, dst.Shape))
	}
	for _, a := range after {
		if t := a.(*ticket); !t.done && d.err == nil {
			d.outsideCapture("copy after a ticket")
			d.check(op, d.compute.Wait(t.event, 0))
		}
	}
	if d.err == nil && src.Bytes() > 0 {
		d.check(op, cu.MemcpyDtoDAsync(devicePtr(to), devicePtr(from), int64(src.Bytes()), d.compute), dst.Shape, src.Shape)
	}
}

func devicePtr(p unsafe.Pointer) cu.DevicePtr { return cu.DevicePtr(uintptr(p)) }

// whole is the address of a contiguous tensor that lies in memory of this device; nil where absent.
func (d *Device) whole(op string, t tensor.Tensor) unsafe.Pointer {
	if t.Row != 0 {
		panic(fmt.Sprintf("gpu: %s: %v with rows %d apart where contiguous memory is needed", op, t.Shape, t.Row))
	}
	return d.address(op, t, t.Bytes())
}

// address is where a tensor begins; bytes is how far it reaches from there.
func (d *Device) address(op string, t tensor.Tensor, bytes int) unsafe.Pointer {
	if t.Absent() {
		return nil
	}
	m, ok := t.Mem.(*memory)
	if !ok || m.d != d {
		panic(fmt.Sprintf("gpu: %s: %v %v is not memory of this device", op, t.DType, t.Shape))
	}
	if t.Off < 0 || bytes < 0 || t.Off > m.bytes || bytes > m.bytes-t.Off {
		panic(fmt.Sprintf("gpu: %s: %v %v at byte %d leaves its memory of %d bytes", op, t.DType, t.Shape, t.Off, m.bytes))
	}
	return unsafe.Add(m.at, t.Off)
}
