package cpu

import "ict/internal/philox"

// The Go twins of groupnorm.c. Elementwise they give the same bits; their sums are taken pixel by pixel in float64.

// groupNormSumGo writes the sum of each channel of an image (hw,c).
func groupNormSumGo(sum []float64, x []float32, hw int) {
	c := len(sum)
	clear(sum)
	for p := range hw {
		for i, v := range x[p*c : (p+1)*c] {
			sum[i] += float64(v)
		}
	}
}

// groupNormMomentsGo writes Σ (x − m) and Σ (x − m)² of each channel.
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

// groupNormApplyGo writes y = act((x − m)·a + b); pixels of y lie cy apart.
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

// groupNormDropoutGo writes y = x·keep where the stream's word reaches the threshold, 0 elsewhere. y may be x.
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

// groupNormSlopesGo writes du = dy·act′(u), u = (x − m)·a + b, and its sums Σ du and Σ du·(x − m) of each channel; pixels of
// dy and du lie cy apart. du may be dy.
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

// groupNormDxGo writes dx = beta·dx + k1·du + k2·(x − m) + k3; pixels of du lie cy apart; beta 0 never reads dx.
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
