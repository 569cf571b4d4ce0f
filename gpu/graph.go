//go:build cuda

package gpu

// #include <cuda.h>
import "C"

import (
	"fmt"
	"unsafe"
)

// graph is a captured step.
type graph struct {
	exec  C.CUgraphExec
	nodes int
}

func (g *graph) destroy() error {
	if r := C.cuGraphExecDestroy(g.exec); r != C.CUDA_SUCCESS {
		return codeError("graph", int(r))
	}
	return nil
}

// Capture records what step launches, without running it, and returns what replays it. The same step must have run once
// before: a kernel's first launch may allocate, which capture forbids. Whatever asks the host inside step panics. With
// Options.NoGraph or ICT_SYNC it returns step itself.
func (d *Device) Capture(step func()) (func(), error) {
	d.outsideCapture("capture")
	if d.noGraph {
		return step, nil
	}
	if d.err != nil {
		return nil, d.err
	}
	stream := C.CUstream(unsafe.Pointer(d.compute.C()))
	// thread-local: other threads, loaders among them, may do as they like meanwhile
	if r := C.cuStreamBeginCapture(stream, C.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL); r != C.CUDA_SUCCESS {
		return nil, d.failCapture(r)
	}
	var captured C.CUgraph
	end := func() (r C.CUresult) {
		if d.capturing {
			d.capturing = false
			r = C.cuStreamEndCapture(stream, &captured)
		}
		return r
	}
	defer func() {
		end() // step panicked
		if captured != nil {
			C.cuGraphDestroy(captured)
		}
	}()
	d.capturing = true
	step()
	if r := end(); r != C.CUDA_SUCCESS {
		return nil, d.failCapture(r)
	}
	if d.err != nil {
		return nil, d.err
	}
	g := &graph{}
	var nodes C.size_t
	if r := C.cuGraphGetNodes(captured, nil, &nodes); r != C.CUDA_SUCCESS {
		return nil, d.failCapture(r)
	}
	g.nodes = int(nodes)
	if r := C.cuGraphInstantiateWithFlags(&g.exec, captured, 0); r != C.CUDA_SUCCESS {
		return nil, d.failCapture(r)
	}
	d.graphs = append(d.graphs, g)
	return func() {
		if d.err != nil {
			return
		}
		d.outsideCapture("replay")
		if r := C.cuGraphLaunch(g.exec, stream); r != C.CUDA_SUCCESS {
			d.err = codeError(fmt.Sprintf("replay of %d launches", g.nodes), int(r))
		}
	}, nil
}

// failCapture keeps the error of a capture, unless a launch inside it failed first.
func (d *Device) failCapture(r C.CUresult) error {
	if d.err == nil {
		d.err = codeError("capture", int(r))
	}
	return d.err
}
