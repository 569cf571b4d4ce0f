//go:build !cgo

package cpu

// im2col is im2colGo.
func im2col(col []float32, g *conv, x0, x1 []float32, first, rows, taps int) {
	im2colGo(col, g, x0, x1, first, rows, taps)
}

// convBegin is convBeginGo.
func convBegin(y, v, residual []float32) { convBeginGo(y, v, residual) }

// convGather is convGatherGo.
func convGather(y []float32, g *conv, k int, t []float32, alpha, beta float32) {
	convGatherGo(y, g, k, t, alpha, beta)
}

// convSpread is convSpreadGo.
func convSpread(u []float32, g *conv, dy []float32) { convSpreadGo(u, g, dy) }
