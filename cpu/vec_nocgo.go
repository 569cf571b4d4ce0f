//go:build !cgo

package cpu

// Without C the twins do the work.
var (
	add          = addGo
	silu         = siluGo
	siluBackward = siluBackwardGo
)
