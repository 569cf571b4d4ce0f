//go:build !cgo

package cpu

var (
	widenF16   = widenF16Go
	narrowF16  = narrowF16Go
	widenBF16  = widenBF16Go
	narrowBF16 = narrowBF16Go
	roundTF32  = roundTF32Go
)
