package cpu

import (
	"fmt"
	"testing"

	"ict/tensor"
)

func TestResampleTwins(t *testing.T) {
	for _, p := range []tensor.Resample{
		{Rate: tensor.Up2, Filter: tensor.Box}, {Rate: tensor.Down2, Filter: tensor.Box},
		{Rate: tensor.Up2, Filter: tensor.FIR}, {Rate: tensor.Down2, Filter: tensor.FIR}, {Rate: tensor.Smooth, Filter: tensor.FIR},
	} {
		const h, w = 6, 10
		for _, c := range []int{1, 3, 8, 33} {
			for _, beta := range []float32{0, 1, 0.3} {
				what := fmt.Sprintf("%+v c=%d beta=%v", p, c, beta)
				both := func(rows, cols []tap, height, width int) {
					x, line := normals(0, height*width*c, inf), make([]float32, (width+1)*c)
					got, want := normals(1, len(rows)*len(cols)*c, nan), normals(1, len(rows)*len(cols)*c, nan)
					resampleImage(got, x, rows, cols, width, c, beta, line)
					resampleImageGo(want, x, rows, cols, width, c, beta, line)
					sameBits(t, what, got, want)
				}
				rows, cols := resampleTaps(p, h), resampleTaps(p, w)
				both(rows, cols, h, w)
				both(adjointTaps(rows, h), adjointTaps(cols, w), len(rows), len(cols))
			}
		}
	}
}
