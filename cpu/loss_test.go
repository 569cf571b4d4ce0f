package cpu_test

import (
	"fmt"
	"math"
	"testing"

	"ict/internal/optest"
	"ict/tensor"
)

func TestLoss(t *testing.T) {
	optest.Loss(t, fast)
	optest.Loss(t, exact)
}

func ones(n int) optest.Host {
	return optest.Zeros(n).Map(func(float32) float32 { return 1 })
}

func within(got, want, relative, absolute float64) bool {
	return math.Abs(got-want) <= relative*math.Abs(want)+absolute
}

// pseudoHuber gives loss (N) and dy, with a batch of N images.
func pseudoHuber(t testing.TB, d tensor.Backend, y, target, weight optest.Host, c float64) (loss, dy optest.Host) {
	n := y.Shape[0]
	l, g := optest.New(t, d, n), optest.New(t, d, y.Shape...)
	d.PseudoHuber(l, g, optest.Put(t, d, y), optest.Put(t, d, target), optest.Put(t, d, weight), tensor.Tensor{},
		tensor.PseudoHuber{C: float32(c), InvBatch: 1 / float32(n)})
	return optest.Get(t, d, l), optest.Get(t, d, g)
}

// Recipes T-1.
func TestPseudoHuberGolden(t *testing.T) {
	const c = 0.0299298380
	for _, open := range []optest.Open{fast, exact} {
		d := open(t)
		for _, v := range []struct{ s, want float64 }{
			{0, 0}, {1e-4, .00162638489}, {1, .970517959}, {100, 9.97011495}, {1e-10, 1e-10 / (2 * c)}, {1e-20, 1e-20 / (2 * c)},
		} {
			y := optest.Zeros(1, 3072)
			y.V[17], y.V[3000] = float32(math.Sqrt(v.s)*0.6), float32(math.Sqrt(v.s)*0.8)
			if loss, _ := pseudoHuber(t, d, y, optest.Zeros(1, 3072), ones(1), c); !within(float64(loss.V[0]), v.want, 2e-6, 0) {
				t.Errorf("pseudo-Huber of s = %v: got %v, want %v", v.s, loss.V[0], v.want)
			}
		}
	}
}

// toy is an image of recipes T-2.
type toy struct{ x, z [12]float64 }

func toyImage(b bool) (i toy) {
	for q := range i.x {
		i.x[q] = (float64(q) - 5.5) / 6
		shift := 0
		if b {
			i.x[q] = -i.x[q]
			shift = 3
		}
		i.z[q] = (float64((7*q+shift)%5) - 2) / 2
	}
	return i
}

// at gives the noisy image and what the network reads of it.
func (i toy) at(sigma float64) (xt, input optest.Host) {
	_, _, in, _ := scalings(sigma, true)
	xt, input = optest.Zeros(1, 12), optest.Zeros(1, 12)
	for q := range i.x {
		v := i.x[q] + sigma*i.z[q]
		xt.V[q], input.V[q] = float32(v), float32(in*v)
	}
	return xt, input
}

// pass is f of the network F(input, c_noise) = a·input + b·c_noise.
func (i toy) pass(t testing.TB, d tensor.Backend, sigma, a, b float64) (f, input optest.Host) {
	skip, out, _, noise := scalings(sigma, true)
	xt, input := i.at(sigma)
	raw := input.Map(func(v float32) float32 { return float32(a*float64(v) + b*noise) })
	return precond(t, d, raw, xt, skip, out, false), input
}

// grid is level i of N, counted from 1, recipes 4.3.
func grid(n, i int) float64 {
	low, high := math.Pow(0.002, 1.0/7), math.Pow(80, 1.0/7)
	return math.Pow(low+float64(i-1)/float64(n-1)*(high-low), 7)
}

// Recipes T-2: whole losses and gradients on an image of twelve numbers.
func TestPairLossGolden(t *testing.T) {
	const a, b = .3, .1
	c := .00054 * math.Sqrt(12)
	cases := []struct {
		name             string
		b                bool
		n, i             int
		student, teacher [3]float64
		s, loss          float64
		dF               [3]float64
		da, db           float64
	}{
		{"A, N 11, i 4", false, 11, 4, [3]float64{-.629854661, -.251228126, .127398408}, [3]float64{-1.05643081, -.644581826, -.232732845},
			1.06469854, 1.59159302, [3]float64{.283047033, .261002868, .238958702}, -1.0890336, -2.00705753e-4},
		{"B, N 11, i 1", true, 11, 1, [3]float64{.93088229, .737608845, .586469882}, [3]float64{.917666667, .748, .583333333},
			.00180799347, 2.76419408, [3]float64{.310332062, -.244007292, .0736531078}, 1.93797715, .612051481},
		{"A, N 21, i 7", false, 21, 7, [3]float64{-.877220594, -.446170887, -.01512118}, [3]float64{-1.05643081, -.644581826, -.232732845},
			.292185663, 2.16900274, [3]float64{.498718274, .552151348, .605584423}, -3.06943415, .0137539539},
	}
	for _, open := range []optest.Open{fast, exact} {
		d := open(t)
		batchLoss, batchA, batchB := 0.0, 0.0, 0.0
		for k, v := range cases {
			image := toyImage(v.b)
			r, sigma := grid(v.n, v.i), grid(v.n, v.i+1)
			_, out, _, noise := scalings(sigma, true)
			weight := optest.Host{Shape: tensor.Shape{1}, V: []float32{float32(1 / (sigma - r))}}
			student, input := image.pass(t, d, sigma, a, b)
			teacher, _ := image.pass(t, d, r, a, b)
			loss, dy := pseudoHuber(t, d, student, teacher, weight, c)
			dF := optest.New(t, d, 1, 12)
			d.PrecondBackward(tensor.Write(dF), optest.Put(t, d, dy), optest.Put(t, d, optest.Host{Shape: tensor.Shape{1}, V: []float32{float32(out)}}))
			grad := optest.Get(t, d, dF)
			var s, sum float64
			for q := range student.V {
				e := float64(student.V[q]) - float64(teacher.V[q])
				s += e * e
				sum += float64(grad.V[q])
			}
			da, db := optest.Dot(grad, input), noise*sum
			for q := range 3 {
				if !within(float64(student.V[q]), v.student[q], 2e-6, 0) || !within(float64(teacher.V[q]), v.teacher[q], 2e-6, 0) {
					t.Errorf("%s: element %d of student, teacher got %v, %v, want %v, %v", v.name, q, student.V[q], teacher.V[q], v.student[q], v.teacher[q])
				}
				if !within(float64(grad.V[q]), v.dF[q], 0, 1e-5) {
					t.Errorf("%s: dL/dF[%d] got %v, want %v", v.name, q, grad.V[q], v.dF[q])
				}
			}
			if !within(s, v.s, 5e-6, 0) || !within(float64(loss.V[0]), v.loss, 5e-6, 0) {
				t.Errorf("%s: s, L got %v, %v, want %v, %v", v.name, s, loss.V[0], v.s, v.loss)
			}
			if !within(da, v.da, 0, 1e-5) || !within(db, v.db, 0, 1e-5) {
				t.Errorf("%s: dL/da, dL/db got %v, %v, want %v, %v", v.name, da, db, v.da, v.db)
			}
			if k < 2 {
				batchLoss, batchA, batchB = batchLoss+float64(loss.V[0])/2, batchA+da/2, batchB+db/2
			}

			// a network that returns 0
			student, _ = image.pass(t, d, sigma, 0, 0)
			teacher, _ = image.pass(t, d, r, 0, 0)
			loss, _ = pseudoHuber(t, d, student, teacher, weight, c)
			if want := [3]float64{1.54702308, 2.36369643, 0}[k]; k < 2 && !within(float64(loss.V[0]), want, 5e-6, 0) {
				t.Errorf("%s with F = 0: L got %v, want %v", v.name, loss.V[0], want)
			}

			// equal levels: equal bits, no loss, no gradient
			loss, dy = pseudoHuber(t, d, teacher, teacher, weight, c)
			optest.Same(t, v.name+": L of equal outputs", loss, optest.Zeros(1))
			if optest.Dot(dy, dy) != 0 {
				t.Errorf("%s: gradient of equal outputs %v", v.name, dy.V)
			}
		}
		if !within(batchLoss, 2.17789355, 5e-6, 0) || !within(batchA, .424471777, 0, 1e-5) || !within(batchB, .305925387, 0, 1e-5) {
			t.Errorf("batch of two: L, dL/da, dL/db got %v, %v, %v", batchLoss, batchA, batchB)
		}
	}
}

// The gradient of a batch is that of its images over the batch, whatever part of it a call sees.
func TestLossOfAPart(t *testing.T) {
	d := fast(t)
	y, target, weight := optest.Normal("y", 4, 7), optest.Normal("target", 4, 7), ones(4)
	run := func(from, to int) (optest.Host, optest.Host) {
		loss, dy := optest.New(t, d, to-from), optest.New(t, d, to-from, 7)
		d.PseudoHuber(loss, dy, optest.Put(t, d, images(y, from, to)), optest.Put(t, d, images(target, from, to)),
			optest.Put(t, d, images(weight, from, to)), tensor.Tensor{}, tensor.PseudoHuber{C: 0.03, InvBatch: 0.25})
		return optest.Get(t, d, loss), optest.Get(t, d, dy)
	}
	loss, dy := run(0, 4)
	for i := range 4 {
		partLoss, partDy := run(i, i+1)
		optest.Same(t, "loss of a part", partLoss, images(loss, i, i+1))
		optest.Same(t, "dy of a part", partDy, images(dy, i, i+1))
	}
}

// Recipes T-9: the loss of EDM on image A with F = 0, and its weights.
func TestL2Golden(t *testing.T) {
	for _, open := range []optest.Open{fast, exact} {
		d := open(t)
		for _, c := range []struct{ sigma, weight, s, sum, mean float64 }{
			{.5, 8, 1.34722222, 10.7777778, .898148148},
			{1, 5, 2.75555556, 13.7777778, 1.14814815},
		} {
			image := toyImage(false)
			skip, out, _, _ := scalings(c.sigma, false)
			xt, _ := image.at(c.sigma)
			denoised := precond(t, d, optest.Zeros(1, 12), xt, skip, out, false)
			x := optest.Zeros(1, 12)
			for q, v := range image.x {
				x.V[q] = float32(v)
			}
			if w := (c.sigma*c.sigma + .25) / (c.sigma * c.sigma * .25); !within(w, c.weight, 1e-12, 0) {
				t.Errorf("weight at %v: got %v, want %v", c.sigma, w, c.weight)
			}
			l2 := func(weight float64, mean bool) (float64, optest.Host) {
				loss, dy := optest.New(t, d, 1), optest.New(t, d, 1, 12)
				w := optest.Host{Shape: tensor.Shape{1}, V: []float32{float32(weight)}}
				d.L2(loss, dy, optest.Put(t, d, denoised), optest.Put(t, d, x), optest.Put(t, d, w), tensor.Tensor{}, tensor.L2{InvBatch: 0.5, Mean: mean})
				return float64(optest.Get(t, d, loss).V[0]), optest.Get(t, d, dy)
			}
			for _, v := range []struct {
				weight, want float64
				mean         bool
			}{{1, c.s, false}, {c.weight, c.sum, false}, {c.weight, c.mean, true}} {
				got, dy := l2(v.weight, v.mean)
				if !within(got, v.want, 2e-6, 0) {
					t.Errorf("l2 at %v, weight %v, mean %v: got %v, want %v", c.sigma, v.weight, v.mean, got, v.want)
				}
				want := v.weight * (float64(denoised.V[3]) - float64(x.V[3])) // 2·InvBatch = 1
				if v.mean {
					want /= 12
				}
				if !within(float64(dy.V[3]), want, 1e-6, 0) {
					t.Errorf("l2 at %v, mean %v: dy got %v, want %v", c.sigma, v.mean, dy.V[3], want)
				}
			}
		}
	}
}

func BenchmarkPseudoHuber(b *testing.B) {
	d := fast(b)
	for _, s := range [][]int{{64, 28, 28, 1}, {64, 32, 32, 3}} {
		y, target, dy := optest.Put(b, d, optest.Normal("y", s...)), optest.Put(b, d, optest.Normal("t", s...)), optest.New(b, d, s...)
		loss, weight := optest.New(b, d, 64), optest.Put(b, d, ones(64))
		b.Run(fmt.Sprint(s), func(b *testing.B) {
			for b.Loop() {
				d.PseudoHuber(loss, dy, y, target, weight, tensor.Tensor{}, tensor.PseudoHuber{C: 0.03, InvBatch: 1})
			}
		})
	}
}
