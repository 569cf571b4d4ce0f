package cpu

import "math"

// The Go twins of vec.h and vec.c: the definition, the build without cgo and the test. Every product is rounded before
// it is added, so that no compiler fuses the two and both twins give the same bits.

// expMinus is e^−x, see vec_exp_minus.
func expMinus(x float32) float32 {
	const magic = 0x1.8p23 + 127
	above := min(int32(math.Float32bits(x)), 0x42b00000)
	x = math.Float32frombits(min(uint32(above), 0xc2b20000))
	t := magic - float32(x*0x1.715476p+0)
	n := t - magic
	scale := math.Float32frombits(math.Float32bits(t) << 23)
	r := float32(x+float32(n*0x1.62e4p-1)) + float32(n*0x1.7f7d1cp-20)
	rr := float32(r * r)
	low := float32(0x1.fffffcp-2) + float32(r*-0x1.555492p-3)
	high := float32(float32(0x1.5558a8p-5)+float32(r*-0x1.12397cp-7)) + float32(rr*0x1.6a5618p-10)
	p := low + float32(rr*high)
	return float32(float32(1-r)+float32(rr*p)) * scale
}

func sigmoid(x float32) float32 { return 1 / (1 + expMinus(x)) }

func siluOf(x float32) float32 { return x / (1 + expMinus(x)) }

// siluSlope is the derivative of SiLU.
func siluSlope(x float32) float32 {
	s := sigmoid(x)
	return s + float32(float32(x*s)*(1-s))
}

// addGo writes y += x.
func addGo(y, x []float32) {
	for i, v := range x[:len(y)] {
		y[i] += v
	}
}

// siluGo writes y = x·σ(x).
func siluGo(y, x []float32) {
	for i, v := range x[:len(y)] {
		y[i] = siluOf(v)
	}
}

// siluBackwardGo writes dx = beta·dx + dy·(derivative of SiLU at x); beta 0 never reads dx.
func siluBackwardGo(dx, dy, x []float32, beta float32) {
	dy, x = dy[:len(dx)], x[:len(dx)]
	if beta == 0 {
		for i := range dx {
			dx[i] = float32(dy[i] * siluSlope(x[i]))
		}
		return
	}
	for i := range dx {
		dx[i] = float32(beta*dx[i]) + float32(dy[i]*siluSlope(x[i]))
	}
}
