//go:build cgo

package cpu

/*
#cgo noescape resample_image
#cgo nocallback resample_image
#include <stddef.h>
struct tap;
void resample_image(float *y, const float *x, const struct tap *rows, const struct tap *cols, size_t h, size_t w, size_t wx,
                    size_t c, float beta, float *line);
*/
import "C"

import "unsafe"

// resampleImage is resampleImageGo.
func resampleImage(y, x []float32, rows, cols []tap, width, c int, beta float32, line []float32) {
	C.resample_image(cfloat(y), cfloat(x), (*C.struct_tap)(unsafe.Pointer(unsafe.SliceData(rows))),
		(*C.struct_tap)(unsafe.Pointer(unsafe.SliceData(cols))), C.size_t(len(rows)), C.size_t(len(cols)), C.size_t(width),
		C.size_t(c), C.float(beta), cfloat(line))
}
