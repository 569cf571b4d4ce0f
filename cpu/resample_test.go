package cpu_test

import (
	"fmt"
	"math"
	"testing"

	"ict/cpu"
	"ict/internal/optest"
	"ict/tensor"
)

func TestResample(t *testing.T) {
	optest.Resample(t, fast)
	optest.Resample(t, exact)
}

var (
	firUp     = tensor.Resample{Rate: tensor.Up2, Filter: tensor.FIR}
	firDown   = tensor.Resample{Rate: tensor.Down2, Filter: tensor.FIR}
	firSmooth = tensor.Resample{Rate: tensor.Smooth, Filter: tensor.FIR}
	boxUp     = tensor.Resample{Rate: tensor.Up2, Filter: tensor.Box}
	boxDown   = tensor.Resample{Rate: tensor.Down2, Filter: tensor.Box}
)

func ramp(s ...int) optest.Host {
	h := optest.Zeros(s...)
	for i := range h.V {
		h.V[i] = float32(i + 1)
	}
	return h
}

func resampled(t testing.TB, d tensor.Backend, x optest.Host, p tensor.Resample) optest.Host {
	y := optest.New(t, d, p.Out(x.Shape)...)
	d.ResampleForward(y, optest.Put(t, d, x), p)
	return optest.Get(t, d, y)
}

// alongW is the axis W alone: from a column of equal rows, a row in the middle, where H sees no border. FIR filters sum
// to 1, so it is the 1-D map.
func alongW(t testing.TB, d tensor.Backend, x []float32, p tensor.Resample) []float32 {
	const h = 8
	in := optest.Zeros(1, h, len(x), 1)
	for i := range h {
		copy(in.V[i*len(x):], x)
	}
	y := resampled(t, d, in, p)
	w := y.Shape[2]
	return y.V[y.Shape[1]/2*w:][:w]
}

// M-4: every number there is exact in float32.
func TestResampleGolden(t *testing.T) {
	for _, open := range []optest.Open{fast, exact} {
		d := open(t)
		eight := ramp(8).V
		for _, c := range []struct {
			p    tensor.Resample
			want []float32
		}{
			{firDown, []float32{1.5, 3.5, 5.5, 6.375}},
			{firUp, []float32{.75, 1.25, 1.75, 2.25, 2.75, 3.25, 3.75, 4.25, 4.75, 5.25, 5.75, 6.25, 6.75, 7.25, 7.75, 6}},
		} {
			optest.Same(t, fmt.Sprintf("%+v of 1…8", c.p), optest.Host{V: alongW(t, d, eight, c.p)}, optest.Host{V: c.want})
		}
		for _, c := range []struct {
			x    optest.Host
			p    tensor.Resample
			want []float32
		}{
			{ramp(1, 4, 4, 1), firDown, []float32{3.5, 4.703125, 8.3125, 9.515625}},
			{ramp(1, 4, 4, 1), boxDown, []float32{3.5, 5.5, 11.5, 13.5}},
			{ramp(1, 2, 2, 1), firUp, []float32{.5625, .9375, 1.3125, 1.125, 1.125, 1.75, 2.25, 1.875, 1.875, 2.75, 3.25, 2.625, 1.6875, 2.4375, 2.8125, 2.25}},
			{ramp(1, 2, 2, 1), boxUp, []float32{1, 1, 2, 2, 1, 1, 2, 2, 3, 3, 4, 4, 3, 3, 4, 4}},
		} {
			optest.Same(t, fmt.Sprintf("%+v of %v", c.p, c.x.Shape), resampled(t, d, c.x, c.p), optest.Host{V: c.want})
		}
		// the pyramid: FIR at stride 1, then cross-correlation with (1, 2, −1) at stride 2
		smooth := alongW(t, d, eight, firSmooth)
		for i, want := range []float32{1.125, 5, 9, 15.375} {
			if got := smooth[2*i] + 2*smooth[2*i+1] - smooth[2*i+2]; got != want {
				t.Errorf("pyramid: element %d got %v, want %v", i, got, want)
			}
		}
	}
}

// The bits do not depend on the number of threads, nor an image's on its batch.
func TestResampleThreads(t *testing.T) {
	one, three := with(cpu.Options{Threads: 1})(t), with(cpu.Options{Threads: 3})(t)
	x := optest.Normal("x", 5, 6, 8, 5)
	for _, p := range []tensor.Resample{firUp, firDown, firSmooth, boxUp, boxDown} {
		y := resampled(t, one, x, p)
		optest.Same(t, "resample on 3 threads", resampled(t, three, x, p), y)
		optest.Same(t, "resample of a part", resampled(t, three, images(x, 2, 4), p), images(y, 2, 4))
	}
}

func BenchmarkResample(b *testing.B) {
	d := fast(b)
	for _, s := range []tensor.Shape{{64, 28, 28, 1}, {64, 28, 28, 32}, {64, 14, 14, 64}} {
		for _, p := range []tensor.Resample{firUp, firDown, firSmooth, boxUp, boxDown} {
			x, y := optest.Put(b, d, optest.Normal("x", s...)), optest.New(b, d, p.Out(s)...)
			for _, pass := range []struct {
				name string
				f    func()
			}{
				{"forward", func() { d.ResampleForward(y, x, p) }},
				{"backward", func() { d.ResampleBackward(tensor.Write(x), y, p) }},
			} {
				b.Run(fmt.Sprintf("%v/%v/%v/%s", s, p.Rate, p.Filter, pass.name), func(b *testing.B) {
					for b.Loop() {
						pass.f()
					}
					perElement(b, max(x.Elems(), y.Elems()))
				})
			}
		}
	}
}

// perElement reports the time of one element.
func perElement(b *testing.B, n int) {
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/element")
}

// near fails the test where a number is more than tol away, relatively to the larger of it and 1e-3.
func near(t *testing.T, what string, got []float32, want []float64, tol float64) {
	t.Helper()
	for i, w := range want {
		if !(math.Abs(float64(got[i])-w) <= tol*math.Max(math.Abs(w), 1e-3)) {
			t.Errorf("%s: element %d got %v, want %v", what, i, got[i], w)
		}
	}
}
