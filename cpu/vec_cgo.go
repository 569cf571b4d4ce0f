//go:build cgo

package cpu

/*
#cgo CFLAGS: -O3 -std=c11 -Wall
#cgo noescape vec_add
#cgo nocallback vec_add
#cgo noescape vec_silu_forward
#cgo nocallback vec_silu_forward
#cgo noescape vec_silu_backward
#cgo nocallback vec_silu_backward
#include <stddef.h>
void vec_add(float *y, const float *x, size_t n);
void vec_silu_forward(float *y, const float *x, size_t n);
void vec_silu_backward(float *dx, const float *dy, const float *x, float beta, size_t n);
*/
import "C"

import "unsafe"

// cfloat is where C finds the elements of a slice.
func cfloat(s []float32) *C.float { return (*C.float)(unsafe.Pointer(unsafe.SliceData(s))) }

// add is addGo.
func add(y, x []float32) { C.vec_add(cfloat(y), cfloat(x[:len(y)]), C.size_t(len(y))) }

// silu is siluGo.
func silu(y, x []float32) { C.vec_silu_forward(cfloat(y), cfloat(x[:len(y)]), C.size_t(len(y))) }

// siluBackward is siluBackwardGo.
func siluBackward(dx, dy, x []float32, beta float32) {
	C.vec_silu_backward(cfloat(dx), cfloat(dy[:len(dx)]), cfloat(x[:len(dx)]), C.float(beta), C.size_t(len(dx)))
}
