//go:build !cgo

package cpu

import (
	"fmt"
	"os"
)

// openBLAS is gonum's: other libraries cannot be opened without cgo.
func openBLAS() (*blas, error) {
	switch name := os.Getenv(blasVariable); name {
	case pureBLAS:
		return gonumBLAS(""), nil
	case "":
		return gonumBLAS(noOpenBLAS), nil
	default:
		return nil, fmt.Errorf("cpu: blas: %s=%s: this program was built without cgo and has %s's alone", blasVariable, name, pureBLAS)
	}
}
