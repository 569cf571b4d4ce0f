package tensor

import (
	"fmt"
	"strconv"
	"strings"
	"unsafe"
)

// Shape lists the sizes of the axes, outermost first: (N,H,W,C) is Shape{N, H, W, C}.
type Shape []int

// Elems is the product of the sizes; 1 for the empty shape.
func (s Shape) Elems() int {
	n := 1
	for _, d := range s {
		n *= d
	}
	return n
}

// Equal reports whether both shapes have the same axes.
func (s Shape) Equal(o Shape) bool {
	if len(s) != len(o) {
		return false
	}
	for i := range s {
		if s[i] != o[i] {
			return false
		}
	}
	return true
}

// String prints (8,16,16,128).
func (s Shape) String() string {
	var b strings.Builder
	b.WriteByte('(')
	for i, d := range s {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(strconv.Itoa(d))
	}
	b.WriteByte(')')
	return b.String()
}

// Last is the size of the innermost axis.
func (s Shape) Last() int { return s[len(s)-1] }

// DType is the type of an element.
type DType uint8

// The numbers are those of ict_dtype in kernels.h.
const (
	F32 DType = iota
	F16
	BF16
	I32
	U8
)

var dtypes = [...]struct {
	name string
	size int
}{F32: {"f32", 4}, F16: {"f16", 2}, BF16: {"bf16", 2}, I32: {"i32", 4}, U8: {"u8", 1}}

// Size is the number of bytes of one element.
func (d DType) Size() int { return dtypes[d].size }

func (d DType) String() string { return dtypes[d].name }

// Half reports whether d is one of the 16-bit types that activations may be stored in.
func (d DType) Half() bool { return d == F16 || d == BF16 }

// Memory is a block on a device. Only the backend that made it looks inside.
type Memory interface {
	Bytes() int
	Base() uint64 // its address; 0 on cpu, where no address may hide in bytes
}

// A Tensor is a view of device memory.
type Tensor struct {
	Mem   Memory
	Off   int // bytes from the start of Mem
	Shape Shape
	DType DType
	// Row is the distance in elements between the rows of an (N,K) view of a wider (N,ΣK) matrix;
	// 0 means K. Only embedding arguments may have it: the projections of one embedding to all blocks
	// are one linear, and each block reads its columns.
	Row int
}

// Absent reports whether this is the zero Tensor.
func (t Tensor) Absent() bool { return t.Mem == nil }

// Elems is the number of elements, 0 for the absent tensor.
func (t Tensor) Elems() int {
	if t.Absent() {
		return 0
	}
	return t.Shape.Elems()
}

// Bytes is the size of a contiguous tensor of this shape and dtype.
func (t Tensor) Bytes() int { return t.Elems() * t.DType.Size() }

// Stride is the distance between rows in elements.
func (t Tensor) Stride() int {
	if t.Row != 0 {
		return t.Row
	}
	return t.Shape.Last()
}

// Range is the flat view of n elements beginning at element first.
func (t Tensor) Range(first, n int) Tensor {
	if first < 0 || n < 0 || first+n > t.Elems() || t.Row != 0 {
		panic(fmt.Sprintf("tensor: range [%d, %d+%d) of %v, row %d", first, first, n, t.Shape, t.Row))
	}
	return Tensor{Mem: t.Mem, Off: t.Off + first*t.DType.Size(), Shape: Shape{n}, DType: t.DType}
}

// As is the same bytes under another shape with as many elements.
func (t Tensor) As(s ...int) Tensor {
	if Shape(s).Elems() != t.Elems() {
		panic(fmt.Sprintf("tensor: %v seen as %v", t.Shape, Shape(s)))
	}
	t.Shape = Shape(s)
	return t
}

// Of views memory from byte off as a contiguous tensor.
func Of(m Memory, off int, d DType, s ...int) Tensor {
	return Tensor{Mem: m, Off: off, Shape: Shape(s), DType: d}
}

// An Acc is a gradient to write: dst = Beta·dst + contribution. Beta 0 never reads dst. Where its
// tensor is absent the launcher skips this output.
type Acc struct {
	Tensor
	Beta float32
}

// Write is the Acc that overwrites t.
func Write(t Tensor) Acc { return Acc{Tensor: t} }

// Floats views host bytes from Pinned, which are aligned, as float32.
func Floats(b []byte) []float32 {
	if len(b) == 0 {
		return nil
	}
	return unsafe.Slice((*float32)(unsafe.Pointer(unsafe.SliceData(b))), len(b)/4)
}
