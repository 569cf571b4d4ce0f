//go:build cuda

package gpu

/*
#include <cuda.h>
#include "kernels.h"

static const char *errorName(int code) { const char *s = 0; cuGetErrorName((CUresult)code, &s); return s ? s : "unknown error"; }
static const char *errorText(int code) { const char *s = 0; cuGetErrorString((CUresult)code, &s); return s ? s : "no text"; }
*/
import "C"

import (
	"errors"
	"reflect"
)

// driverError turns an error of package cu, an integer of a type it does not export, into an Error.
func driverError(op string, err error) *Error {
	code := int(C.CUDA_ERROR_UNKNOWN)
	for e := err; e != nil; e = errors.Unwrap(e) {
		if v := reflect.ValueOf(e); v.CanInt() {
			code = int(v.Int())
			break
		}
	}
	return codeError(op, code)
}

// codeError is the Error of a CUresult.
func codeError(op string, code int) *Error {
	c := C.int(code)
	return &Error{Op: op, Code: code, Text: C.GoString(C.errorName(c)) + ": " + C.GoString(C.errorText(c))}
}

// statusError is the Error of a launcher's status.
func statusError(op string, status C.int) *Error {
	return &Error{Op: op, Code: int(status), Text: C.GoString(C.ict_status_text(status))}
}

// The codes that errors.go tells apart are those of the headers.
var (
	_ = [1]int{}[codeOutOfMemory-C.CUDA_ERROR_OUT_OF_MEMORY]
	_ = [1]int{}[codeErrShape-C.ICT_ERR_SHAPE]
	_ = [1]int{}[codeErrDType-C.ICT_ERR_DTYPE]
	_ = [1]int{}[codeErrAlign-C.ICT_ERR_ALIGN]
	_ = [1]int{}[codeErrWorkspace-C.ICT_ERR_WORKSPACE]
	_ = [1]int{}[codeErrArch-C.ICT_ERR_ARCH]
	_ = [1]int{}[codeErrNull-C.ICT_ERR_NULL]
)
