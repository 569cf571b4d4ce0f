//go:build !cgo

package cpu

// axpby is axpbyGo.
func axpby(y []float32, beta, a float32, x0 []float32, b float32, x1 []float32) {
	axpbyGo(y, beta, a, x0, b, x1)
}

// pixelSums is pixelSumsGo.
func pixelSums(sum, x []float32, scale float32) { pixelSumsGo(sum, x, scale) }
