//go:build cuda

package gpu

// #include <cuda.h>
import "C"

import (
	"cmp"
	"fmt"
	"slices"
	"unsafe"

	"ict/tensor"
)

type pinnedBlock struct {
	at    unsafe.Pointer
	bytes int
}

func (b pinnedBlock) compare(address uintptr) int { return cmp.Compare(uintptr(b.at), address) }

// Pinned gives zeroed host memory that asynchronous copies may use. It is C's, page-locked, and stays until Close or Unpin.
func (d *Device) Pinned(bytes int) ([]byte, error) {
	d.outsideCapture("pinned")
	switch {
	case bytes < 0:
		return nil, fmt.Errorf("gpu: pinned: %d bytes", bytes)
	case bytes == 0:
		return []byte{}, nil
	case d.err != nil:
		return nil, d.err
	}
	var p unsafe.Pointer
	if r := C.cuMemHostAlloc(&p, C.size_t(bytes), 0); r != C.CUDA_SUCCESS {
		e := codeError("pinned", int(r))
		e.Detail = gib(bytes) + " of host memory asked for"
		return nil, e
	}
	i, _ := slices.BinarySearchFunc(d.pinned, uintptr(p), pinnedBlock.compare)
	d.pinned = slices.Insert(d.pinned, i, pinnedBlock{p, bytes})
	b := unsafe.Slice((*byte)(p), bytes)
	clear(b)
	return b, nil
}

// fromPinned panics unless b is memory from Pinned, as large as t: Go's own memory may move or go while a copy runs.
func (d *Device) fromPinned(op string, b []byte, t tensor.Tensor) {
	if len(b) != t.Bytes() {
		panic(fmt.Sprintf("gpu: %s: %d bytes on the host, %v %v on the device", op, len(b), t.DType, t.Shape))
	}
	if len(b) == 0 {
		return
	}
	at := uintptr(unsafe.Pointer(unsafe.SliceData(b)))
	i, found := slices.BinarySearchFunc(d.pinned, at, pinnedBlock.compare)
	if !found {
		i--
	}
	if i < 0 || at+uintptr(len(b)) > uintptr(d.pinned[i].at)+uintptr(d.pinned[i].bytes) {
		panic(fmt.Sprintf("gpu: %s: %d bytes of host memory that are not from Pinned", op, len(b)))
	}
}
