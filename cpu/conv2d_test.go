package cpu_test

import (
	"fmt"
	"testing"

	"ict/cpu"
	"ict/internal/optest"
	"ict/tensor"
)

func TestConv2d(t *testing.T) {
	optest.Conv2d(t, fast)
	optest.Conv2d(t, exact)
}

// cycle is (i·a mod m) − m/2 for each element i.
func cycle(a, m int, s ...int) optest.Host {
	h := optest.Zeros(s...)
	for i := range h.V {
		h.V[i] = float32(i*a%m - m/2)
	}
	return h
}

// whole is an array of these integers.
func whole(s tensor.Shape, v ...float32) optest.Host { return optest.Host{Shape: s, V: v} }

// Numbers of PyTorch 2.9.1:
//
//	def ints(a, m, *s):
//	    n = torch.Size(s).numel()
//	    return ((torch.arange(n) * a) % m - m // 2).double().reshape(s)
//	for h, w, r, s, stride, pad in ((4, 5, 3, 3, 1, 1), (5, 7, 3, 3, 2, 0), (5, 4, 1, 3, 1, (0, 1))):
//	    x = ints(7, 11, 1, h, w, 2).requires_grad_()
//	    f = ints(5, 7, 3, r, s, 2).requires_grad_()
//	    y = F.conv2d(x.permute(0, 3, 1, 2), f.permute(0, 3, 1, 2), ints(1, 3, 3), stride, pad).permute(0, 2, 3, 1)
//	    (y * ints(3, 5, *y.shape)).sum().backward()
//	    print(y, x.grad, f.grad)
func TestConv2dGolden(t *testing.T) {
	for _, c := range []struct {
		p         tensor.Conv2d
		y, dx, dw optest.Host
	}{
		{
			p: tensor.Conv2d{Stride: 1, PadH: 1, PadW: 1, Scale: 1},
			y: whole(tensor.Shape{1, 4, 5, 3}, 5, 5, -16, -25, 6, 23, -37, 22, 67, 61, 16, -43, -28, -27, -26, -33, -4, 46, 34, -70, 36, 80, 29, -43, -61,
				-48, -56, -36, 47, 67, 63, 50, -40, 11, -4, -40, -42, -4, 13, -62, 29, 99, 61, -7, -40, -33, -24, -29, -34, 14, 48, 21, -46, 27, 65, 26, -27, -24, -18, -26),
			dx: whole(tensor.Shape{1, 4, 5, 2}, -8, -7, -6, -13, -11, 6, 14, 20, 4, -10, 3, -6, -16, -16, -10, -2, 6, 22, 13, -1, 3, -6, -16, -16, -10, -2, 6,
				22, 13, -1, 12, -8, -13, -6, -7, -11, -6, 14, 18, 4),
			dw: whole(tensor.Shape{3, 3, 3, 2}, -13, -4, 0, 22, 20, -3, -27, -4, 11, 0, 31, 4, -11, -13, 0, 0, 21, 20, 1, -9, -11, -11, -7, 6, 8, 2, -33, 0, -7,
				-8, 0, 1, -11, -11, -9, -7, 0, 21, 23, 1, 1, -10, 8, 3, 38, 5, 5, 5, 1, 0, 23, 23, 1, 1),
		},
		{
			p: tensor.Conv2d{Stride: 2, Scale: 1},
			y: whole(tensor.Shape{1, 2, 3, 3}, 14, -39, -36, 7, 5, -18, 44, 16, -33, -35, 16, 46, -20, 5, 9, -38, -39, 16),
			dx: whole(tensor.Shape{1, 5, 7, 2}, 7, -3, 1, -2, -15, 3, 4, -10, 2, 5, -3, 7, 3, -1, 3, 7, -3, 1, 2, -15, 4, 4, -15, 2, 1, -3, 7, 3, -5, 1, 7, 6, 11, 1,
				-12, 0, 11, -19, -1, -1, -8, 6, 1, -4, -2, 0, 6, 6, 0, -2, -1, 8, -3, 1, -2, -5, -1, 1, -4, -2, -1, 6, 9, 0, -3, -1, 7, -3, 1, -2),
			dw: whole(tensor.Shape{3, 3, 3, 2}, -1, -4, 15, -21, -13, 17, -21, -13, 17, -8, -11, 19, -8, -11, 19, -6, 13, -1, -6, -10, 8, 4, 11, 7, 4, 11, 7, -8, 10,
				-16, -8, 10, -16, -9, 9, -6, -6, 9, -9, -16, 10, -8, -16, 10, -8, 7, 11, 4, 7, 11, 4, 8, -10, -6),
		},
		{
			p: tensor.Conv2d{Stride: 1, PadW: 1, Scale: 1},
			y: whole(tensor.Shape{1, 5, 4, 3}, -6, 9, 10, 8, -16, 16, 33, -19, -15, -10, 16, -7, -15, -21, 29, 31, -17, -9, 12, 13, -7, -13, 14, -8, -13, -18, 26, 32,
				-18, -12, -20, 34, -10, -16, -10, 24, -11, -15, 23, 33, -19, -15, -19, 33, -13, -19, -12, 23, 13, -12, -2, 12, 13, -7, -18, 32, -16, -22, -14, 22),
			dx: whole(tensor.Shape{1, 5, 4, 2}, -3, 8, -2, -2, 1, 13, -2, -4, 8, -4, -10, 13, -2, -2, -2, 8, -6, -6, 12, -12, -10, 13, -2, -5, -5, 7, -1, -12, 12, -12,
				-2, 7, 6, -5, 1, 13, -1, -12, 8, -6),
			dw: whole(tensor.Shape{3, 1, 3, 2}, -10, -10, 11, 0, 38, -17, 5, 5, -33, 0, -21, 1, 5, 5, 38, 5, 10, -1),
		},
	} {
		for _, d := range []tensor.Backend{fast(t), exact(t)} {
			x, w := optest.Put(t, d, cycle(7, 11, c.dx.Shape...)), optest.Put(t, d, cycle(5, 7, c.dw.Shape...))
			dy := optest.Put(t, d, cycle(3, 5, c.y.Shape...))
			y, dx, dw := optest.New(t, d, c.y.Shape...), optest.New(t, d, c.dx.Shape...), optest.New(t, d, c.dw.Shape...)
			d.Conv2dFprop(y, x, tensor.Tensor{}, w, tensor.Epilogue{Bias: optest.Put(t, d, cycle(1, 3, 3))}, c.p)
			optest.Same(t, fmt.Sprint("fprop ", c.p), optest.Get(t, d, y), c.y)
			wt := optest.New(t, d, w.Shape[3], w.Shape[1], w.Shape[2], w.Shape[0])
			d.Conv2dPack(wt, w)
			d.Conv2dDgrad(tensor.Write(dx), tensor.Acc{}, dy, wt, c.p)
			optest.Same(t, fmt.Sprint("dgrad ", c.p), optest.Get(t, d, dx), c.dx)
			d.Conv2dWgrad(tensor.Write(dw), x, tensor.Tensor{}, dy, c.p, optest.Work(t, d, d.Conv2dWgradScratch(w.Shape, dy.Shape)))
			optest.Same(t, fmt.Sprint("wgrad ", c.p), optest.Get(t, d, dw), c.dw)
		}
	}
}

// The pyramid in one dimension, recipes M-4: FIR at stride 1 first, then the strided convolution.
func TestConv2dPyramidGolden(t *testing.T) {
	for _, d := range []tensor.Backend{fast(t), exact(t)} {
		x := make([]float32, 9)
		for i := range x {
			for tap, f := range []float32{1, 3, 3, 1} { // x = 1…8, zeros outside
				if j := i - 2 + tap; j >= 0 && j < 8 {
					x[i] += f / 8 * float32(j+1)
				}
			}
		}
		y := optest.New(t, d, 1, 1, 4, 1)
		d.Conv2dFprop(y, optest.Put(t, d, whole(tensor.Shape{1, 1, 9, 1}, x...)), tensor.Tensor{},
			optest.Put(t, d, whole(tensor.Shape{1, 1, 3, 1}, 1, 2, -1)), tensor.Epilogue{}, tensor.Conv2d{Stride: 2, Scale: 1})
		optest.Same(t, "pyramid", optest.Get(t, d, y), whole(tensor.Shape{4}, 1.125, 5, 9, 15.375))
	}
}

// convPass runs all three launchers on a batch.
func convPass(t testing.TB, d tensor.Backend, x0, x1, w, dy optest.Host, p tensor.Conv2d) (y, dx0, dx1, dw optest.Host) {
	a0, a1, f, g := optest.Put(t, d, x0), optest.Put(t, d, x1), optest.Put(t, d, w), optest.Put(t, d, dy)
	out, d0, dwt := optest.New(t, d, dy.Shape...), optest.New(t, d, x0.Shape...), optest.New(t, d, w.Shape...)
	var d1 tensor.Tensor
	if x1.Shape != nil {
		d1 = optest.New(t, d, x1.Shape...)
	}
	d.Conv2dFprop(out, a0, a1, f, tensor.Epilogue{}, p)
	wt := optest.New(t, d, w.Shape[3], w.Shape[1], w.Shape[2], w.Shape[0])
	d.Conv2dPack(wt, f)
	d.Conv2dDgrad(tensor.Write(d0), tensor.Write(d1), g, wt, p)
	d.Conv2dWgrad(tensor.Write(dwt), a0, a1, g, p, optest.Work(t, d, d.Conv2dWgradScratch(w.Shape, dy.Shape)))
	y, dx0, dw = optest.Get(t, d, out), optest.Get(t, d, d0), optest.Get(t, d, dwt)
	if x1.Shape != nil {
		dx1 = optest.Get(t, d, d1)
	}
	return y, dx0, dx1, dw
}

// Promises A and C: any number of threads gives the same bits, and parts of a batch that hold whole slices give the
// images' own results and, added pairwise, the gradient of the whole.
func TestConv2dFolds(t *testing.T) {
	for _, c := range []struct {
		h, w, c0, c1, k, r, s int
		p                     tensor.Conv2d
	}{
		{7, 14, 64, 32, 70, 3, 3, tensor.Conv2d{Stride: 1, PadH: 1, PadW: 1, Scale: 0.7}},
		{7, 14, 64, 32, 70, 1, 1, tensor.Conv2d{Stride: 1, Scale: 0.7}},
		{15, 15, 32, 0, 32, 3, 3, tensor.Conv2d{Stride: 2, Scale: 1}},
		{12, 12, 3, 0, 32, 3, 3, tensor.Conv2d{Stride: 1, PadH: 1, PadW: 1, Scale: 1}},
		{12, 12, 32, 5, 3, 3, 3, tensor.Conv2d{Stride: 1, PadH: 1, PadW: 1, Scale: 1}},
		{33, 32, 128, 0, 5, 3, 3, tensor.Conv2d{Stride: 1, PadH: 1, PadW: 1, Scale: 1}},
	} {
		const n = 32
		x0, w := optest.Normal("x0", n, c.h, c.w, c.c0), optest.Normal("w", c.k, c.r, c.s, c.c0+c.c1)
		var x1 optest.Host
		if c.c1 > 0 {
			x1 = optest.Normal("x1", n, c.h, c.w, c.c1)
		}
		dy := optest.Normal("dy", c.p.Out(x0.Shape, w.Shape)...)
		y, dx0, dx1, dw := convPass(t, with(cpu.Options{Threads: 1})(t), x0, x1, w, dy, c.p)
		for _, threads := range []int{2, 5} {
			d := with(cpu.Options{Threads: threads})(t)
			name := fmt.Sprintf("%v with %d threads: ", c, threads)
			y2, dx02, dx12, dw2 := convPass(t, d, x0, x1, w, dy, c.p)
			optest.Same(t, name+"fprop", y2, y)
			optest.Same(t, name+"dgrad 0", dx02, dx0)
			optest.Same(t, name+"dgrad 1", dx12, dx1)
			optest.Same(t, name+"wgrad", dw2, dw)
			var parts []optest.Host
			for from := 0; from < n; from += 16 {
				var part1 optest.Host
				if c.c1 > 0 {
					part1 = images(x1, from, from+16)
				}
				yp, dx0p, dx1p, dwp := convPass(t, d, images(x0, from, from+16), part1, w, images(dy, from, from+16), c.p)
				optest.Same(t, name+"fprop of a part", yp, images(y, from, from+16))
				optest.Same(t, name+"dgrad 0 of a part", dx0p, images(dx0, from, from+16))
				if c.c1 > 0 {
					optest.Same(t, name+"dgrad 1 of a part", dx1p, images(dx1, from, from+16))
				}
				parts = append(parts, dwp)
			}
			for i := range parts[0].V {
				parts[0].V[i] += parts[1].V[i]
			}
			optest.Same(t, name+"wgrad of two halves", parts[0], dw)
		}
	}
}

// Shapes that disagree are named.
func TestConv2dRefuses(t *testing.T) {
	d := fast(t)
	x, w, y := optest.New(t, d, 1, 4, 4, 3), optest.New(t, d, 8, 3, 3, 3), optest.New(t, d, 1, 4, 4, 8)
	p := tensor.Conv2d{Stride: 1, PadH: 1, PadW: 1, Scale: 1}
	panics(t, "conv2d_fprop", func() { d.Conv2dFprop(y, x, x, w, tensor.Epilogue{}, p) })
	panics(t, "conv2d_fprop", func() { d.Conv2dFprop(y, x, tensor.Tensor{}, w, tensor.Epilogue{Bias: optest.New(t, d, 7)}, p) })
	panics(t, "conv2d_fprop", func() { d.Conv2dFprop(y, x, tensor.Tensor{}, w, tensor.Epilogue{Residual: x}, p) })
	panics(t, "conv2d_dgrad", func() { d.Conv2dDgrad(tensor.Write(x), tensor.Acc{}, y, w, p) })
	panics(t, "conv2d_wgrad", func() { d.Conv2dWgrad(tensor.Write(w), x, tensor.Tensor{}, y, p, tensor.Tensor{}) })
	panics(t, "conv2d_pack", func() { d.Conv2dPack(w, w) })
}
