//go:build cuda

package gpu

// #include "kernels.h"
import "C"

import (
	"fmt"
	"os"
	"time"
	"unsafe"

	"gorgonia.org/cu"

	"ict/tensor"
)

// The structs that travel in device memory, and the enums, have one layout on both sides.
var (
	_ = [1]int{}[tensor.StepBytes-C.sizeof_ict_step]
	_ = [1]int{}[tensor.ScaleBytes-C.sizeof_ict_scale]
	_ = [1]int{}[tensor.VerdictBytes-C.sizeof_ict_verdict]
	_ = [1]int{}[tensor.F32-C.ICT_F32]
	_ = [1]int{}[tensor.F16-C.ICT_F16]
	_ = [1]int{}[tensor.BF16-C.ICT_BF16]
	_ = [1]int{}[tensor.I32-C.ICT_I32]
	_ = [1]int{}[tensor.U8-C.ICT_U8]
	_ = [1]int{}[tensor.Floor-C.ICT_FLOOR]
	_ = [1]int{}[tensor.Round-C.ICT_ROUND]
)

// launch is one call of a launcher in the making: its methods turn tensors into pointers, and panic where a tensor does not
// fit what the launcher will do with it.
type launch struct {
	d     *Device
	op    string
	args  []tensor.Tensor // outputs first
	fresh []tensor.Tensor // outputs that are overwritten without being read
}

func (d *Device) begin(op string) *launch { return &launch{d: d, op: op} }

// must panics with the mistake of a caller.
func (l *launch) must(err error) {
	if err != nil {
		panic(fmt.Sprintf("gpu: %s: %v", l.op, err))
	}
}

// shape demands a shape of a tensor that is not absent.
func (l *launch) shape(name string, t tensor.Tensor, want ...int) {
	if !t.Absent() && !t.Shape.Equal(want) {
		l.must(fmt.Errorf("%s got %v, want %v", name, t.Shape, tensor.Shape(want)))
	}
}

// sameElems demands as many elements of each as of the first.
func (l *launch) sameElems(first tensor.Tensor, others ...tensor.Tensor) int {
	for _, t := range others {
		if first.Absent() || t.Absent() || t.Elems() != first.Elems() {
			l.must(fmt.Errorf("got %v beside %v, want as many elements", t.Shape, first.Shape))
		}
	}
	return first.Elems()
}

// images demands t (N,D…) and vectors (N), and gives N and D.
func (l *launch) images(t tensor.Tensor, scalars ...tensor.Tensor) (C.int32_t, C.int64_t) {
	if t.Absent() || len(t.Shape) == 0 || t.Shape[0] < 1 {
		l.must(fmt.Errorf("got %v, want (N,D…)", t.Shape))
	}
	n := t.Shape[0]
	for _, s := range scalars {
		if s.Absent() || !s.Shape.Equal(tensor.Shape{n}) {
			l.must(fmt.Errorf("got %v beside %v, want (%d)", s.Shape, t.Shape, n))
		}
	}
	return C.int32_t(n), C.int64_t(t.Elems() / n)
}

// in is a tensor to read, or to read and write; nil where absent.
func (l *launch) in(t tensor.Tensor, want tensor.DType) unsafe.Pointer {
	if !t.Absent() && t.DType != want {
		l.must(fmt.Errorf("%v got dtype %v, want %v", t.Shape, t.DType, want))
	}
	l.args = append(l.args, t)
	return l.d.whole(l.op, t)
}

// out is a tensor that the launcher overwrites.
func (l *launch) out(t tensor.Tensor, want tensor.DType) unsafe.Pointer {
	l.fresh = append(l.fresh, t)
	return l.in(t, want)
}

// acc is a gradient.
func (l *launch) acc(a tensor.Acc, want tensor.DType) (unsafe.Pointer, C.float) {
	if a.Beta == 0 {
		return l.out(a.Tensor, want), 0
	}
	return l.in(a.Tensor, want), C.float(a.Beta)
}

// The same for F32, as kernels.h types it.
func (l *launch) inF(t tensor.Tensor) *C.float  { return (*C.float)(l.in(t, tensor.F32)) }
func (l *launch) outF(t tensor.Tensor) *C.float { return (*C.float)(l.out(t, tensor.F32)) }
func (l *launch) accF(a tensor.Acc) (*C.float, C.float) {
	p, beta := l.acc(a, tensor.F32)
	return (*C.float)(p), beta
}

// bytes is a struct of size bytes in device memory; nil where absent.
func (l *launch) bytes(name string, t tensor.Tensor, size int) unsafe.Pointer {
	if !t.Absent() && t.Bytes() != size {
		l.must(fmt.Errorf("%s got %d bytes, want %d", name, t.Bytes(), size))
	}
	l.args = append(l.args, t)
	return l.d.whole(l.op, t)
}

func (l *launch) step(t tensor.Tensor) *C.ict_step {
	return (*C.ict_step)(l.bytes("step", t, tensor.StepBytes))
}

// rows is an embedding argument (N,K) with its rows' distance; nil and 0 where absent.
func (l *launch) rows(t tensor.Tensor) (*C.float, C.int32_t) {
	if t.Absent() {
		return nil, 0
	}
	if len(t.Shape) != 2 || t.DType != tensor.F32 || t.Stride() < t.Shape[1] {
		l.must(fmt.Errorf("rows: got %v %v, %d apart, want (N,K) f32", t.DType, t.Shape, t.Stride()))
	}
	l.args = append(l.args, t)
	return (*C.float)(l.d.address(l.op, t, 4*((t.Shape[0]-1)*t.Stride()+t.Shape[1]))), C.int32_t(t.Stride())
}

func (l *launch) accRows(a tensor.Acc) (*C.float, C.float, C.int32_t) {
	p, row := l.rows(a.Tensor)
	if a.Beta == 0 {
		l.fresh = append(l.fresh, a.Tensor)
	}
	return p, C.float(a.Beta), row
}

// scratch is a workspace and its size.
func (l *launch) scratch(ws tensor.Tensor) (unsafe.Pointer, C.size_t) {
	l.fresh = append(l.fresh, ws)
	return l.d.whole(l.op, ws), C.size_t(ws.Bytes())
}

// run launches, unless the device has failed before. It is the only place that looks at a launcher's status.
func (l *launch) run(launcher func() C.int) {
	d := l.d
	if d.err != nil {
		return
	}
	if d.poison {
		l.spoil()
	}
	start := time.Now()
	status := launcher()
	if status == C.ICT_OK && d.sync {
		if err := d.compute.Synchronize(); err != nil {
			d.fail(l.op, err, l.shapes()...)
			return
		}
		fmt.Fprintf(os.Stderr, "gpu: %-22s %9.3f ms  %v\n", l.op, float64(time.Since(start))/1e6, l.shapes())
	}
	if status != C.ICT_OK {
		e := statusError(l.op, status)
		e.Shapes = l.shapes()
		d.err = e
	}
}

func (l *launch) shapes() []tensor.Shape {
	s := make([]tensor.Shape, len(l.args))
	for i, t := range l.args {
		s[i] = t.Shape
	}
	return s
}

// spoil fills what the launcher overwrites with bytes that are NaN in every floating type.
func (l *launch) spoil() {
	for _, t := range l.fresh {
		if t.Absent() || t.Bytes() == 0 || l.reads(t) {
			continue
		}
		rows, width, pitch := 1, t.Bytes(), t.Bytes()
		if t.Row != 0 {
			rows, width, pitch = t.Shape[0], t.Shape[1]*t.DType.Size(), t.Row*t.DType.Size()
		}
		at := devicePtr(l.d.address(l.op, t, (rows-1)*pitch+width))
		if rows == 1 { // the plain one is faster, and takes any size
			l.d.check("poison", cu.MemsetD8Async(at, 0xFF, int64(width), l.d.compute), t.Shape)
		} else {
			l.d.check("poison", cu.MemsetD2D8Async(at, int64(pitch), 0xFF, int64(width), int64(rows), l.d.compute), t.Shape)
		}
	}
}

// reads reports whether an output is an argument twice: then it is an input, too.
func (l *launch) reads(t tensor.Tensor) bool {
	n := 0
	for _, a := range l.args {
		if a.Mem == t.Mem && a.Off == t.Off {
			n++
		}
	}
	return n > 1
}

func flag(b bool) C.int32_t {
	if b {
		return 1
	}
	return 0
}

// activation is SiLU or none.
func activation(silu bool) C.int32_t {
	if silu {
		return C.ICT_ACT_SILU
	}
	return C.ICT_ACT_NONE
}
