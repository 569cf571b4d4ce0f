package cpu

import (
	"fmt"
	"testing"
)

func TestAttentionTwins(t *testing.T) {
	for _, s := range []struct{ rows, n, width, stride int }{
		{1, 1, 1, 1}, {3, 7, 5, 9}, {2, 32, 8, 8}, {5, 33, 31, 40}, {16, 64, 64, 128}, {4, 196, 100, 100},
	} {
		what := fmt.Sprintf("%+v", s)
		for _, special := range [][]float32{{}, {nan}, {1, nan}, {inf}, {2, -inf}, {80, -80, 1000, -1000}} {
			got, want := normals(0, s.rows*s.n), normals(0, s.rows*s.n)
			k := copy(got, special)
			copy(want[:k], special)
			max, sum, maxGo, sumGo := make([]float32, s.rows), make([]float32, s.rows), make([]float32, s.rows), make([]float32, s.rows)
			attentionSoftmax(got, max, sum, s.n)
			attentionSoftmaxGo(want, maxGo, sumGo, s.n)
			sameBits(t, "softmax "+what, got, want)
			sameBits(t, "max "+what, max, maxGo)
			sameBits(t, "sum "+what, sum, sumGo)

			p, dp, pGo, dpGo := normals(1, s.rows*s.n, special...), normals(2, s.rows*s.n), normals(1, s.rows*s.n, special...), normals(2, s.rows*s.n)
			lse, dout, out := normals(3, s.rows), normals(4, s.rows*s.stride), normals(5, s.rows*s.stride)
			attentionSlopes(p, dp, lse, dout, out, s.stride, s.width, s.n)
			attentionSlopesGo(pGo, dpGo, lse, dout, out, s.stride, s.width, s.n)
			sameBits(t, "probabilities "+what, p, pGo)
			sameBits(t, "slopes "+what, dp, dpGo)
		}
	}
}
