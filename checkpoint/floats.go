package checkpoint

import (
	"encoding/binary"
	"fmt"
	"math"
	"unsafe"
)

var littleEndian = binary.NativeEndian.Uint16([]byte{1, 0}) == 1

// Float32s is the data of an F32 tensor as numbers: the same memory where the machine is little endian and b is aligned,
// otherwise a copy. Panics unless len(b) is a multiple of 4.
func Float32s(b []byte) []float32 {
	if len(b)%4 != 0 {
		panic(fmt.Sprintf("checkpoint: Float32s: got %d bytes, want a multiple of 4", len(b)))
	}
	if p := unsafe.Pointer(unsafe.SliceData(b)); littleEndian && uintptr(p)%4 == 0 {
		return unsafe.Slice((*float32)(p), len(b)/4)
	}
	return decodeFloat32s(b)
}

// Float32Bytes is v as the data of an F32 tensor: the same memory where the machine is little endian, otherwise a copy.
func Float32Bytes(v []float32) []byte {
	if littleEndian {
		return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(v))), 4*len(v))
	}
	return encodeFloat32s(v)
}

func decodeFloat32s(b []byte) []float32 {
	v := make([]float32, len(b)/4)
	for i := range v {
		v[i] = math.Float32frombits(binary.LittleEndian.Uint32(b[4*i:]))
	}
	return v
}

func encodeFloat32s(v []float32) []byte {
	b := make([]byte, 0, 4*len(v))
	for _, x := range v {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(x))
	}
	return b
}
