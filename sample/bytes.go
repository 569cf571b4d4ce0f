package sample

import (
	"fmt"

	"ict/tensor"
)

// Bytes turns values of [−1,1] into bytes by rule, as ImageStore does on a device. Panics if the lengths differ.
// Sources: [CM] (Floor), [EDM] (Round).
func Bytes(dst []byte, x []float32, rule tensor.ByteRule) {
	if len(dst) != len(x) {
		panic(fmt.Sprintf("sample: bytes: got %d values for %d bytes", len(x), len(dst)))
	}
	for i, v := range x {
		if rule == tensor.Floor {
			v = (v + 1) * 127.5
		} else {
			v = float32(v*127.5) + 128 // the conversion forbids a fused multiply-add, which rounds otherwise
		}
		switch {
		case v >= 255:
			dst[i] = 255
		case v > 0:
			dst[i] = byte(v)
		default:
			dst[i] = 0
		}
	}
}
