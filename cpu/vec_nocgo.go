//go:build !cgo

package cpu

// add writes y += x.
func add(y, x []float32) { addGo(y, x) }

// silu writes y = x·σ(x).
func silu(y, x []float32) { siluGo(y, x) }

// siluBackward writes dx = beta·dx + dy·(derivative of SiLU at x); beta 0 never reads dx.
func siluBackward(dx, dy, x []float32, beta float32) { siluBackwardGo(dx, dy, x, beta) }
