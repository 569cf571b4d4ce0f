//go:build cuda

package gpu

/*
#include <stdlib.h>
#include <cuda.h>

static void *driverEntry(const char *name) {
	void *entry = 0;
	CUdriverProcAddressQueryResult result;
	if (cuGetProcAddress(name, &entry, 12000, CU_GET_PROC_ADDRESS_DEFAULT, &result) != CUDA_SUCCESS)
		return 0;
	return entry;
}
*/
import "C"

import "unsafe"

// driverEntry is the address of a driver function, nil where the driver has it not. Encoders of tensor maps are found this
// way: the boxes and swizzles they encode are the launchers' choice.
func driverEntry(name string) unsafe.Pointer {
	s := C.CString(name)
	defer C.free(unsafe.Pointer(s))
	return C.driverEntry(s)
}
