//go:build cgo

package cpu

/*
#cgo noescape cast_widen_f16
#cgo nocallback cast_widen_f16
#cgo noescape cast_narrow_f16
#cgo nocallback cast_narrow_f16
#cgo noescape cast_widen_bf16
#cgo nocallback cast_widen_bf16
#cgo noescape cast_narrow_bf16
#cgo nocallback cast_narrow_bf16
#cgo noescape cast_round_tf32
#cgo nocallback cast_round_tf32
#include <stddef.h>
#include <stdint.h>
void cast_widen_f16(float *v, const uint16_t *b, size_t n);
void cast_narrow_f16(uint16_t *b, const float *v, size_t n);
void cast_widen_bf16(float *v, const uint16_t *b, size_t n);
void cast_narrow_bf16(uint16_t *b, const float *v, size_t n);
void cast_round_tf32(float *r, const float *v, size_t n);
*/
import "C"

import "unsafe"

// chalf is where C finds the elements of a slice.
func chalf(s []uint16) *C.uint16_t { return (*C.uint16_t)(unsafe.Pointer(unsafe.SliceData(s))) }

// widenF16 is widenF16Go.
func widenF16(v []float32, b []uint16) {
	C.cast_widen_f16(cfloat(v[:len(b)]), chalf(b), C.size_t(len(b)))
}

// narrowF16 is narrowF16Go.
func narrowF16(b []uint16, v []float32) {
	C.cast_narrow_f16(chalf(b), cfloat(v[:len(b)]), C.size_t(len(b)))
}

// widenBF16 is widenBF16Go.
func widenBF16(v []float32, b []uint16) {
	C.cast_widen_bf16(cfloat(v[:len(b)]), chalf(b), C.size_t(len(b)))
}

// narrowBF16 is narrowBF16Go.
func narrowBF16(b []uint16, v []float32) {
	C.cast_narrow_bf16(chalf(b), cfloat(v[:len(b)]), C.size_t(len(b)))
}

// roundTF32 is roundTF32Go.
func roundTF32(r, v []float32) {
	C.cast_round_tf32(cfloat(r[:len(v)]), cfloat(v), C.size_t(len(v)))
}
