package cpu

import (
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"unsafe"

	"ict/tensor"
)

// Options of Open. The zero value is the fast backend on all cores.
type Options struct {
	Exact   bool // direct loops, float64 sums, no BLAS: what everything else is measured against
	Threads int  // workers; 0: GOMAXPROCS
	Slice   int  // images to a slice; 0: DefaultSlice. Part of what equal bits depend on
	TF32    bool // float32 operands of convolutions and attention are rounded to tf32, see roundTF32; those of images are not
}

// DefaultSlice is the number of images whose sum is taken in image order.
const DefaultSlice = 8

// Device is the CPU as a tensor.Backend.
type Device struct {
	exact   bool
	threads int
	slice   int
	blas    *blas
	tf32    bool
	scratch [][]float32 // one growing block per worker, see work
	loans   [][]float32 // growing blocks that lend copies of tensors, see lend
	lent    int         // how many of them are
	err     error
}

var _ tensor.Backend = (*Device)(nil)

// Open prepares a CPU backend. It fails only where a BLAS named by ICT_BLAS cannot be used.
func Open(o Options) (*Device, error) {
	if o.Threads == 0 {
		o.Threads = runtime.GOMAXPROCS(0)
	}
	if o.Slice == 0 {
		o.Slice = DefaultSlice
	}
	d := &Device{exact: o.Exact, threads: o.Threads, slice: o.Slice, tf32: o.TF32, scratch: make([][]float32, o.Threads)}
	if !o.Exact {
		b, err := openBLAS()
		if err != nil {
			return nil, err
		}
		d.blas = b
	}
	return d, nil
}

// Slice is the number of images to a slice.
func (d *Device) Slice() int { return d.slice }

// Threads is the number of workers.
func (d *Device) Threads() int { return d.threads }

// Err is nil: nothing on a CPU fails late.
func (d *Device) Err() error { return d.err }

// Close does nothing; memory is the collector's.
func (d *Device) Close() error { return nil }

type memory struct{ b []byte }

func (m *memory) Bytes() int   { return len(m.b) }
func (m *memory) Base() uint64 { return 0 }

const align = 256

func alignedBytes(n int) []byte {
	b := make([]byte, n+align)
	skip := (align - int(uintptr(unsafe.Pointer(unsafe.SliceData(b)))%align)) % align
	return b[skip : skip+n : skip+n]
}

// Alloc returns zeroed memory.
func (d *Device) Alloc(bytes int) (tensor.Memory, error) {
	if bytes < 0 {
		return nil, fmt.Errorf("cpu: alloc: %d bytes", bytes)
	}
	return &memory{alignedBytes(bytes)}, nil
}

// Pinned is ordinary memory here.
func (d *Device) Pinned(bytes int) ([]byte, error) { return alignedBytes(bytes), nil }

type done struct{}

func (done) Done() bool  { return true }
func (done) Wait() error { return nil }

// Upload copies at once.
func (d *Device) Upload(dst tensor.Tensor, src []byte) tensor.Ticket {
	b := d.bytes(dst)
	if len(b) != len(src) {
		panic(fmt.Sprintf("cpu: upload: %d bytes into %v %v", len(src), dst.DType, dst.Shape))
	}
	copy(b, src)
	return done{}
}

// Download copies at once.
func (d *Device) Download(dst []byte, src tensor.Tensor) tensor.Ticket {
	b := d.bytes(src)
	if len(b) != len(dst) {
		panic(fmt.Sprintf("cpu: download: %v %v into %d bytes", src.DType, src.Shape, len(dst)))
	}
	copy(dst, b)
	return done{}
}

// Copy copies at once.
func (d *Device) Copy(dst, src tensor.Tensor, _ ...tensor.Ticket) {
	to, from := d.bytes(dst), d.bytes(src)
	if len(to) != len(from) {
		panic(fmt.Sprintf("cpu: copy: %v into %v", src.Shape, dst.Shape))
	}
	copy(to, from)
}

// Capture returns step itself.
func (d *Device) Capture(step func()) (func(), error) { return step, nil }

// Sync returns at once.
func (d *Device) Sync() error { return d.err }

// bytes is the memory of a contiguous tensor.
func (d *Device) bytes(t tensor.Tensor) []byte {
	if t.Absent() {
		return nil
	}
	if t.Row != 0 {
		panic(fmt.Sprintf("cpu: %v with rows %d apart where contiguous memory is needed", t.Shape, t.Row))
	}
	return t.Mem.(*memory).b[t.Off : t.Off+t.Bytes()]
}

func view[T any](b []byte) []T {
	if len(b) == 0 {
		return nil
	}
	var z T
	size := int(unsafe.Sizeof(z))
	p := unsafe.Pointer(unsafe.SliceData(b))
	if uintptr(p)%uintptr(size) != 0 || len(b)%size != 0 {
		panic("cpu: misaligned view")
	}
	return unsafe.Slice((*T)(p), len(b)/size)
}

// in is a tensor to read, as float32; nil where absent. With out and store it is the one place where another
// storage type is widened and rounded: a 16-bit tensor becomes a copy on loan. An op that takes one ends the loans with
//
//	defer d.endLoans()
func (d *Device) in(t tensor.Tensor) []float32 {
	if t.DType.Half() {
		return d.widened(t)
	}
	if !t.Absent() && t.DType != tensor.F32 {
		panic(fmt.Sprintf("cpu: dtype got %v, want f32, f16 or bf16", t.DType))
	}
	return view[float32](d.bytes(t))
}

// lend is n floats, not zeroed, until the op's end. A forgotten end costs memory, never a wrong value.
func (d *Device) lend(n int) []float32 {
	if d.lent == len(d.loans) {
		d.loans = append(d.loans, nil)
	}
	b := &d.loans[d.lent]
	d.lent++
	if cap(*b) < n {
		*b = view[float32](alignedBytes(4 * n))
	}
	return (*b)[:n]
}

func (d *Device) endLoans() { d.lent = 0 }

func (d *Device) widened(t tensor.Tensor) []float32 {
	b := view[uint16](d.bytes(t))
	v := d.lend(len(b))
	d.ranges(len(b), pointwiseRun, func(_, from, to int) { widen(v[from:to], b[from:to], t.DType) })
	return v
}

// operand is in for a factor of the products that TF32 is about; 16-bit numbers are tf32 numbers already.
func (d *Device) operand(t tensor.Tensor) []float32 {
	v := d.in(t)
	if !d.tf32 || t.DType != tensor.F32 {
		return v
	}
	r := d.lend(len(v))
	d.ranges(len(v), pointwiseRun, func(_, from, to int) { roundTF32(r[from:to], v[from:to]) })
	return r
}

// rows is an embedding argument: its elements up to the end of the last row, and the distance between rows.
func (d *Device) rows(t tensor.Tensor) ([]float32, int) {
	if t.Absent() {
		return nil, 0
	}
	if len(t.Shape) != 2 || t.DType != tensor.F32 {
		panic(fmt.Sprintf("cpu: rows: got %v %v, want (N,K) f32", t.DType, t.Shape))
	}
	n := ((t.Shape[0]-1)*t.Stride() + t.Shape[1]) * 4
	return view[float32](t.Mem.(*memory).b[t.Off : t.Off+n]), t.Stride()
}

// out is where to put the float32 values of t, and holds those that are there, for a Beta; store must follow.
func (d *Device) out(t tensor.Tensor) []float32 { return d.in(t) }

// store ends what out began: 16-bit types are rounded, once. F32 is stored as it is.
func (d *Device) store(t tensor.Tensor, v []float32) {
	if t.DType.Half() {
		d.rounded(t, v)
	}
}

func (d *Device) rounded(t tensor.Tensor, v []float32) {
	b := view[uint16](d.bytes(t))
	d.ranges(len(b), pointwiseRun, func(_, from, to int) { roundHalf(b[from:to], v[from:to], t.DType) })
}

func (d *Device) i32(t tensor.Tensor) []int32 {
	if !t.Absent() && t.DType != tensor.I32 {
		panic(fmt.Sprintf("cpu: dtype got %v, want i32", t.DType))
	}
	return view[int32](d.bytes(t))
}

func (d *Device) u8(t tensor.Tensor) []byte {
	if !t.Absent() && t.DType != tensor.U8 {
		panic(fmt.Sprintf("cpu: dtype got %v, want u8", t.DType))
	}
	return d.bytes(t)
}

// each runs f for i in [0, n) on the workers; which worker takes which i is not fixed, so f(i) must depend on i alone.
// worker < threads names private scratch.
func (d *Device) each(n int, f func(worker, i int)) {
	workers := min(d.threads, n)
	if workers <= 1 {
		for i := range n {
			f(0, i)
		}
		return
	}
	var next atomic.Int64
	run := func(worker int) {
		for {
			i := int(next.Add(1)) - 1
			if i >= n {
				return
			}
			f(worker, i)
		}
	}
	var wg sync.WaitGroup
	for w := 1; w < workers; w++ {
		wg.Go(func() { run(w) })
	}
	run(0)
	wg.Wait()
}

// ranges cuts [0, n) into runs of at most size and calls f for each, on the workers.
func (d *Device) ranges(n, size int, f func(worker, from, to int)) {
	d.each((n+size-1)/size, func(worker, i int) { f(worker, i*size, min((i+1)*size, n)) })
}

// pointwiseRun is the length of a run of an elementwise loop: large enough to pay for its call, small enough to share.
const pointwiseRun = 1 << 14

// work is n floats of the worker's own, not zeroed, valid until its next call of work.
func (d *Device) work(worker, n int) []float32 {
	if cap(d.scratch[worker]) < n {
		d.scratch[worker] = view[float32](alignedBytes(4 * n))
	}
	return d.scratch[worker][:n]
}

// slices is the number of slices of n images.
func (d *Device) slices(n int) int { return (n + d.slice - 1) / d.slice }

// sumSlices returns Σ over images of a vector of size floats: part writes the sum of images [from, to)
// of one slice, in image order; slices are added pairwise. ws holds slices(n)·size floats and the result.
func (d *Device) sumSlices(n, size int, ws []float32, part func(worker, from, to int, sum []float32)) []float32 {
	parts := d.slices(n)
	d.each(parts, func(worker, i int) {
		part(worker, i*d.slice, min((i+1)*d.slice, n), ws[i*size:(i+1)*size])
	})
	d.addPairwise(parts, size, ws)
	return ws[:size]
}

// addPairwise adds n vectors that lie one after another, (0+1)+(2+3)…, into the first.
func (d *Device) addPairwise(n, size int, ws []float32) {
	for step := 1; step < n; step *= 2 {
		d.ranges(size, pointwiseRun, func(_, from, to int) {
			for i := 0; i+step < n; i += 2 * step {
				add(ws[i*size+from:i*size+to], ws[(i+step)*size+from:(i+step)*size+to])
			}
		})
	}
}

// accumulate writes dst = dst.Beta·dst + v.
func (d *Device) accumulate(dst tensor.Acc, v []float32) {
	if dst.Absent() {
		return
	}
	out := d.out(dst.Tensor)
	d.ranges(len(out), pointwiseRun, func(_, from, to int) { accumulate(out[from:to], v[from:to], dst.Beta) })
	d.store(dst.Tensor, out)
}

// accumulate writes y = beta·y + v; beta 0 never reads y.
func accumulate(y, v []float32, beta float32) {
	switch beta {
	case 0:
		copy(y, v)
	case 1:
		add(y, v)
	default:
		for i := range y {
			y[i] = float32(beta*y[i]) + v[i] // rounded twice on every machine: never one fused operation
		}
	}
}
