//go:build !cgo

package cpu

// Without C the twin does the work.
var resampleImage = resampleImageGo
