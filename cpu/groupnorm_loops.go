package cpu

import "ict/internal/philox"

// The Go twins of groupnorm.c. Elementwise they give the same bits; their sums are taken pixel by pixel in float64.

func groupNormSumGo(sum []float64, x []float32, hw int) {
	c := len(sum)
	clear(sum)
	for p := range hw {
		for i, v := range x[p*c : (p+1)*c] {
			sum[i] += float64(v)
		}
	}
}

func groupNormMomentsGo(s1, s2 []float64, x, m []float32, hw int) {
	c := len(m)
	clear(s1)
	clear(s2)
	for p := range hw {
		for i, v := range x[p*c : (p+1)*c] {
			d := v - m[i]
			s1[i] += float64(d)
			s2[i] += float64(d) * float64(d)
		}
	}
}

func groupNormApplyGo(y []float32, cy int, x, m, a, b []float32, hw int, silu bool) {
	c := len(m)
	for p := range hw {
		for i, v := range x[p*c : (p+1)*c] {
			u := float32((v-m[i])*a[i]) + b[i]
			if silu {
				u = siluOf(u)
			}
			y[p*cy+i] = u
		}
	}
}

func groupNormDropoutGo(y, x []float32, s philox.Stream, threshold uint32, keep float32) {
	var words [256]uint32
	for e := 0; e < len(y); e += len(words) {
		run := words[:min(len(words), len(y)-e)]
		s.Words(run, uint64(e))
		for i, w := range run {
			if w >= threshold {
				y[e+i] = x[e+i] * keep
			} else {
				y[e+i] = 0
			}
		}
	}
}

func groupNormSlopesGo(du []float32, cy int, s1, s2 []float64, dy, x, m, a, b []float32, hw int, silu bool) {
	c := len(m)
	clear(s1)
	clear(s2)
	for p := range hw {
		for i, v := range x[p*c : (p+1)*c] {
			d := v - m[i]
			g := dy[p*cy+i]
			if silu {
				g *= siluSlope(float32(d*a[i]) + b[i])
			}
			du[p*cy+i] = g
			s1[i] += float64(g)
			s2[i] += float64(g) * float64(d)
		}
	}
}

func groupNormDxGo(dx, du []float32, cy int, x, m, k1, k2, k3 []float32, hw int, beta float32) {
	c := len(m)
	for p := range hw {
		for i, v := range x[p*c : (p+1)*c] {
			g := float32(float32(du[p*cy+i]*k1[i])+k3[i]) + float32((v-m[i])*k2[i])
			if beta != 0 {
				g += float32(beta * dx[p*c+i])
			}
			dx[p*c+i] = g
		}
	}
}
