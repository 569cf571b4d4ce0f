package cpu_test

import (
	"fmt"
	"testing"
	"time"

	"ict/internal/optest"
	"ict/tensor"
)

// layer is a convolution of NCSN++ for 28×28×1 with 32 channels, multipliers (1,2), two blocks a level, attention at 14.
type layer struct {
	times, h, c0, c1, k, r, stride, pad int
}

var layers = []layer{
	{1, 28, 1, 0, 32, 3, 1, 1}, {7, 28, 32, 0, 32, 3, 1, 1}, {1, 28, 64, 32, 32, 3, 1, 1}, {2, 28, 32, 32, 32, 3, 1, 1},
	{2, 28, 64, 0, 64, 3, 1, 1}, {1, 28, 32, 0, 1, 3, 1, 1}, {1, 28, 64, 0, 64, 1, 1, 0}, {1, 28, 64, 32, 32, 1, 1, 0},
	{2, 28, 32, 32, 32, 1, 1, 0}, {1, 29, 1, 0, 32, 3, 2, 0}, {2, 14, 32, 0, 32, 3, 1, 1}, {1, 14, 32, 0, 64, 3, 1, 1},
	{10, 14, 64, 0, 64, 3, 1, 1}, {2, 14, 64, 64, 64, 3, 1, 1}, {1, 14, 64, 32, 64, 3, 1, 1}, {1, 14, 32, 0, 32, 1, 1, 0},
	{1, 14, 32, 0, 64, 1, 1, 0}, {2, 14, 64, 64, 64, 1, 1, 0}, {1, 14, 64, 32, 64, 1, 1, 0}, {4, 14, 64, 0, 192, 1, 1, 0},
	{4, 14, 64, 0, 64, 1, 1, 0},
}

// BenchmarkConv2d times the network's convolutions, 64 images; -v prints each layer.
func BenchmarkConv2d(b *testing.B) {
	const n = 64
	d := fast(b)
	b.Log(d.(interface{ BLAS() string }).BLAS())
	var total [3]time.Duration
	var macs int
	for _, l := range layers {
		p := tensor.Conv2d{Stride: l.stride, PadH: l.pad, PadW: l.pad, Scale: 1}
		x0 := optest.Put(b, d, optest.Normal("x0", n, l.h, l.h, l.c0))
		var x1, dx1 tensor.Tensor
		if l.c1 > 0 {
			x1, dx1 = optest.Put(b, d, optest.Normal("x1", n, l.h, l.h, l.c1)), optest.New(b, d, n, l.h, l.h, l.c1)
		}
		w := optest.Put(b, d, optest.Normal("w", l.k, l.r, l.r, l.c0+l.c1))
		wt := optest.New(b, d, l.c0+l.c1, l.r, l.r, l.k)
		d.Conv2dPack(wt, w)
		out := p.Out(x0.Shape, w.Shape)
		y, dx0, dw := optest.New(b, d, out...), optest.New(b, d, x0.Shape...), optest.New(b, d, w.Shape...)
		dy := optest.Put(b, d, optest.Normal("dy", out...))
		bias := optest.Put(b, d, optest.Normal("bias", l.k))
		ws := optest.Work(b, d, d.Conv2dWgradScratch(w.Shape, out))
		var best [3]time.Duration
		for range b.N {
			for i, f := range []func(){
				func() { d.Conv2dFprop(y, x0, x1, w, tensor.Epilogue{Bias: bias}, p) },
				func() { d.Conv2dDgrad(tensor.Write(dx0), tensor.Write(dx1), dy, wt, p) },
				func() { d.Conv2dWgrad(tensor.Write(dw), x0, x1, dy, p, ws) },
			} {
				start := time.Now()
				f()
				if t := time.Since(start); best[i] == 0 || t < best[i] {
					best[i] = t
				}
			}
		}
		work := p.MACs(out, w.Shape)
		rate := func(i int) string { return fmt.Sprintf("%.1f", 2*float64(work)/float64(best[i])) }
		b.Logf("%2d × %d×%d %d+%d→%d %d×%d/%d: GFLOP/s fprop %s, dgrad %s, wgrad %s", l.times, l.h, l.h, l.c0, l.c1, l.k, l.r, l.r, l.stride, rate(0), rate(1), rate(2))
		macs += l.times * work
		for i := range total {
			total[i] += time.Duration(l.times) * best[i]
		}
	}
	for i, name := range []string{"fprop", "dgrad", "wgrad"} {
		b.ReportMetric(2*float64(macs)/float64(total[i]), name+"-GFLOP/s")
		b.ReportMetric(total[i].Seconds()*1e3, name+"-ms")
	}
}
