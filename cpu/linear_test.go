package cpu_test

import (
	"fmt"
	"testing"

	"ict/cpu"
	"ict/internal/optest"
	"ict/tensor"
)

func TestLinear(t *testing.T) {
	optest.Linear(t, fast)
	optest.Linear(t, exact)
}

// Numbers of PyTorch 2.9.1:
//
//	x = torch.tensor([[.5, -1., 2.], [-3., .25, 0.]]).double().requires_grad_()
//	w = torch.tensor([[1., 2., 3.], [-1., .5, 4.]]).double().requires_grad_()
//	y = F.linear(F.silu(x), w, torch.tensor([.1, -.2]).double())
//	(y * torch.tensor([[1., -1.], [.5, 2.]])).sum().backward()
//	print(y, x.grad, w.grad)
func TestLinearGolden(t *testing.T) {
	p := tensor.Linear{SiLU: true}
	for _, d := range []tensor.Backend{fast(t), exact(t)} {
		x := optest.Put(t, d, whole(tensor.Shape{2, 3}, .5, -1, 2, -3, .25, 0))
		w := optest.Put(t, d, whole(tensor.Shape{2, 3}, 1, 2, 3, -1, .5, 4))
		dy := optest.Put(t, d, whole(tensor.Shape{2, 2}, 1, -1, .5, 2))
		y, dx, dw, db := optest.New(t, d, 2, 2), optest.New(t, d, 2, 3), optest.New(t, d, 2, 3), optest.New(t, d, 2)
		d.LinearFprop(y, x, w, optest.Put(t, d, whole(tensor.Shape{2}, .1, -.2)), p)
		d.LinearDgrad(tensor.Write(dx), dy, x, w, p)
		d.LinearWgrad(tensor.Write(dw), tensor.Write(db), x, dy, p, optest.Work(t, d, d.LinearWgradScratch(w.Shape, dy.Shape)))
		optest.Near(t, "fprop", optest.Get(t, d, y), whole(tensor.Shape{2, 2}, 5.158129292, 6.400676245, 0.238810632, 0.012549679), 3e-7)
		optest.Near(t, "dgrad", optest.Get(t, d, dx), whole(tensor.Shape{2, 3}, 1.479922375, 0.108494232, -1.090784249, 0.132156159, 1.247420043, 4.75), 3e-7)
		optest.Near(t, "dw", optest.Get(t, d, dw), whole(tensor.Shape{2, 3}, 0.240090856, -0.198669359, 1.761594156, -0.595784905, 0.550029672, -1.761594156), 3e-7)
		optest.Same(t, "db", optest.Get(t, d, db), whole(tensor.Shape{2}, 1.5, 1))
	}
}

// linearPass runs all three launchers on a batch.
func linearPass(t testing.TB, d tensor.Backend, x, w, dy optest.Host) (y, dx, dw, db optest.Host) {
	p := tensor.Linear{SiLU: true}
	in, f, g := optest.Put(t, d, x), optest.Put(t, d, w), optest.Put(t, d, dy)
	out, dIn, dF, dB := optest.New(t, d, dy.Shape...), optest.New(t, d, x.Shape...), optest.New(t, d, w.Shape...), optest.New(t, d, w.Shape[0])
	d.LinearFprop(out, in, f, tensor.Tensor{}, p)
	d.LinearDgrad(tensor.Write(dIn), g, in, f, p)
	d.LinearWgrad(tensor.Write(dF), tensor.Write(dB), in, g, p, optest.Work(t, d, d.LinearWgradScratch(w.Shape, dy.Shape)))
	return optest.Get(t, d, out), optest.Get(t, d, dIn), optest.Get(t, d, dF), optest.Get(t, d, dB)
}

// Promises A and C, as for convolutions. Batches of many sizes: the tree over slices is that of sumSlices.
func TestLinearFolds(t *testing.T) {
	for _, o := range []cpu.Options{{Threads: 1}, {Threads: 2}, {Threads: 5}, {Threads: 2, Exact: true}} {
		d, one := with(o)(t), with(cpu.Options{Threads: 1, Exact: o.Exact})(t)
		for _, slices := range []int{1, 2, 3, 5, 6, 7, 8} {
			n := 8 * slices
			x, w, dy := optest.Normal("x", n, 130), optest.Normal("w", 260, 130), optest.Normal("dy", n, 260)
			y, dx, dw, db := linearPass(t, d, x, w, dy)
			name := fmt.Sprintf("%d slices, %+v: ", slices, o)
			y1, dx1, dw1, db1 := linearPass(t, one, x, w, dy)
			optest.Same(t, name+"fprop against 1 thread", y, y1)
			optest.Same(t, name+"dgrad against 1 thread", dx, dx1)
			optest.Same(t, name+"dw against 1 thread", dw, dw1)
			optest.Same(t, name+"db against 1 thread", db, db1)
			var sums [2][]optest.Host
			for from := 0; from < n; from += 8 {
				yp, dxp, dwp, dbp := linearPass(t, d, images(x, from, from+8), w, images(dy, from, from+8))
				optest.Same(t, name+"fprop of a slice", yp, images(y, from, from+8))
				optest.Same(t, name+"dgrad of a slice", dxp, images(dx, from, from+8))
				sums[0], sums[1] = append(sums[0], dwp), append(sums[1], dbp)
			}
			for step := 1; step < slices; step *= 2 {
				for i := 0; i+step < slices; i += 2 * step {
					for _, s := range sums {
						for e, v := range s[i+step].V {
							s[i].V[e] += v
						}
					}
				}
			}
			optest.Same(t, name+"dw of slices", sums[0][0], dw)
			optest.Same(t, name+"db of slices", sums[1][0], db)
		}
	}
}

func TestLinearRefuses(t *testing.T) {
	d := fast(t)
	x, w, y := optest.New(t, d, 2, 3), optest.New(t, d, 4, 3), optest.New(t, d, 2, 4)
	silu := tensor.Linear{SiLU: true}
	panics(t, "linear_fprop", func() { d.LinearFprop(y, w, x, tensor.Tensor{}, silu) })
	panics(t, "linear_fprop", func() { d.LinearFprop(y, x, w, optest.New(t, d, 3), silu) })
	panics(t, "linear_dgrad", func() { d.LinearDgrad(tensor.Write(x), y, tensor.Tensor{}, w, silu) })
	panics(t, "linear_wgrad", func() { d.LinearWgrad(tensor.Write(w), tensor.Acc{}, x, y, silu, tensor.Tensor{}) })
	panics(t, "linear_wgrad", func() { d.LinearWgrad(tensor.Write(w), tensor.Acc{}, x, tensor.Tensor{}, silu, tensor.Tensor{}) })
}

// BenchmarkLinear is all blocks' projections of an embedding, of NCSN++ for 28×28 and for 32×32, 64 images.
func BenchmarkLinear(b *testing.B) {
	d := fast(b)
	for _, s := range [][2]int{{128, 736}, {512, 8448}} {
		const n = 64
		x, w, dy := optest.Put(b, d, optest.Normal("x", n, s[0])), optest.Put(b, d, optest.Normal("w", s[1], s[0])), optest.Put(b, d, optest.Normal("dy", n, s[1]))
		y, dx, dw, db := optest.New(b, d, n, s[1]), optest.New(b, d, n, s[0]), optest.New(b, d, s[1], s[0]), optest.New(b, d, s[1])
		ws := optest.Work(b, d, d.LinearWgradScratch(w.Shape, dy.Shape))
		p := tensor.Linear{SiLU: true}
		for _, v := range []struct {
			name string
			f    func()
		}{
			{"fprop", func() { d.LinearFprop(y, x, w, tensor.Tensor{}, p) }},
			{"dgrad", func() { d.LinearDgrad(tensor.Write(dx), dy, x, w, p) }},
			{"wgrad", func() { d.LinearWgrad(tensor.Write(dw), tensor.Write(db), x, dy, p, ws) }},
		} {
			b.Run(fmt.Sprintf("%d→%d/%s", s[0], s[1], v.name), func(b *testing.B) {
				for b.Loop() {
					v.f()
				}
				b.ReportMetric(2*float64(n*s[0]*s[1])*float64(b.N)/float64(b.Elapsed().Nanoseconds()), "GFLOP/s")
			})
		}
	}
}
