//go:build !cgo

package cpu

// sumSquares is sumSquaresGo.
func sumSquares(x []float32) float64 { return sumSquaresGo(x) }

// adamStep is adamStepGo.
func adamStep(w, m, v, g []float32, a adam) { adamStepGo(w, m, v, g, a) }

// lerp is lerpGo.
func lerp(e, w []float32, rate float32) { lerpGo(e, w, rate) }
