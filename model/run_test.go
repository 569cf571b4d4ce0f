package model

import (
	"fmt"
	"math"
	"testing"

	"ict/cpu"
	"ict/internal/optest"
	"ict/nn"
	"ict/tensor"
)

// runner is a network with everything it needs to run forward and backward.
type runner struct {
	dev   *cpu.Device
	net   *Net
	w     *nn.Weights
	g     tensor.Tensor
	arena tensor.Tensor
	prog  *nn.Program
	out   tensor.Tensor
	dx    tensor.Tensor
}

func tinySong() Config {
	c := songConfig(8, 16, []int{1, 2}, 1)
	c.Attention, c.Classes, c.Dropout = []int{4}, 3, 0.2
	return c
}

func tinyADM() Config {
	c := admConfig(1, true, 3)
	c.Resolution, c.Channels, c.Mult, c.Attention, c.HeadChannels, c.Dropout = 8, 16, []int{1, 2}, []int{4}, 8, 0.2
	return c
}

// newRunner runs c on n images with normal inputs. spread makes the zero-initialised layers matter.
func newRunner(t *testing.T, dev *cpu.Device, c Config, n int, want nn.Want, unshare bool) *runner {
	t.Helper()
	return newRunnerIn(t, tensor.F32, dev, c, n, want, unshare)
}

func newRunnerIn(t *testing.T, act tensor.DType, dev *cpu.Device, c Config, n int, want nn.Want, unshare bool) *runner {
	t.Helper()
	net, err := c.Record(n, Options{Act: act, WantInput: true})
	if err != nil {
		t.Fatal(err)
	}
	plan := nn.Rehearse(net.Tape, dev, want)
	if unshare {
		plan.Unshare()
	}
	var order *nn.Plan
	if want.Grad {
		order = plan
	}
	r := &runner{dev: dev, net: net}
	layout := nn.NewLayout(net.Tape, order)
	if r.w, err = layout.NewWeights(dev, tensor.Tensor{}, want.Grad); err != nil {
		t.Fatal(err)
	}
	if err := Init(dev, r.w, 1); err != nil {
		t.Fatal(err)
	}
	for _, e := range layout.Entries {
		if e.Buffer {
			continue
		}
		x := r.w.Tensor(e)
		v := optest.Get(t, dev, x)
		noise := optest.Normal(e.Name, e.Shape...)
		for i := range v.V {
			v.V[i] += 0.05 * noise.V[i]
		}
		put(t, dev, x, v)
	}
	r.w.Refresh(dev)
	r.g, _ = nn.NewTensor(dev, tensor.F32, layout.Size+nn.VoteFloats)
	r.arena, _ = nn.NewTensor(dev, tensor.F32, (plan.Bytes+3)/4)
	step := make([]byte, tensor.StepBytes)
	tensor.Step{Seed: 3, Step: 5}.Put(step)
	r.prog = nn.NewProgram(dev, net.Tape, plan, r.w, r.g, r.arena.Mem, optest.PutBytes(t, dev, step, tensor.U8, tensor.StepBytes))
	shape := []int{n, c.Resolution, c.Resolution, c.ImageChannels}
	r.prog.Bind(net.X, optest.Put(t, dev, optest.Normal("x", shape...)))
	r.prog.Bind(net.CX, optest.Put(t, dev, optest.Normal("cx", shape...)))
	r.prog.Bind(net.Skip, optest.Put(t, dev, optest.Normal("skip", n)))
	r.prog.Bind(net.Out, optest.Put(t, dev, optest.Normal("out", n)))
	r.prog.Bind(net.Noise, optest.Put(t, dev, optest.Normal("noise", n)))
	labels := make([]byte, 4*n)
	for i := range n {
		labels[4*i] = byte(i % c.Classes)
	}
	r.prog.Bind(net.Labels, optest.PutBytes(t, dev, labels, tensor.I32, n))
	r.out = optest.New(t, dev, shape...)
	r.prog.Bind(net.F, r.out)
	if want.Grad {
		r.dx = optest.New(t, dev, shape...)
		r.prog.BindGrad(net.CX, r.dx)
		r.prog.BindGrad(net.F, optest.Put(t, dev, optest.Normal("dy", shape...)))
	}
	return r
}

func put(t *testing.T, dev tensor.Backend, x tensor.Tensor, h optest.Host) {
	t.Helper()
	b, err := dev.Pinned(4 * len(h.V))
	if err != nil {
		t.Fatal(err)
	}
	copy(tensor.Floats(b), h.V)
	if err := dev.Upload(x, b).Wait(); err != nil {
		t.Fatal(err)
	}
}

// poison fills the arena with what is NaN in every type.
func (r *runner) poison(t *testing.T) {
	nan := math.Float32frombits(0xffffffff)
	put(t, r.dev, r.arena, optest.Zeros(r.arena.Shape...).Map(func(float32) float32 { return nan }))
}

func fast(t *testing.T, threads int) *cpu.Device {
	t.Helper()
	d, err := cpu.Open(cpu.Options{Threads: threads})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// Sharing memory changes no bit, although the arena is full of NaN before each pass.
func TestPlannedIsUnshared(t *testing.T) {
	for _, c := range []Config{tinySong(), ddpm(tinySong()), tinyADM()} {
		want := nn.Want{Grad: true, Train: true}
		a, b := newRunner(t, fast(t, 2), c, 3, want, false), newRunner(t, fast(t, 1), c, 3, want, true)
		for pass := range 2 {
			for _, r := range []*runner{a, b} {
				r.poison(t)
				r.prog.Forward()
				r.prog.Backward(nil)
			}
			for what, pair := range map[string][2]tensor.Tensor{"f": {a.out, b.out}, "dx": {a.dx, b.dx}, "gradient": {a.g, b.g}} {
				got, ref := optest.Get(t, a.dev, pair[0]), optest.Get(t, b.dev, pair[1])
				if !Finite(got.V) {
					t.Fatalf("%s, pass %d: %s is not finite", c.Kind, pass, what)
				}
				optest.Same(t, fmt.Sprintf("%s, pass %d: %s", c.Kind, pass, what), got, ref)
			}
		}
	}
}

// The same for activations of 16 bits, whose results are those of float32 but for their rounding.
func TestHalfPrograms(t *testing.T) {
	for _, c := range []Config{tinySong(), tinyADM()} {
		want := nn.Want{Grad: true, Train: true}
		ref := newRunner(t, fast(t, 2), c, 3, want, false)
		ref.prog.Forward()
		ref.prog.Backward(nil)
		for act, tol := range map[tensor.DType]float64{tensor.F16: 5e-3, tensor.BF16: 4e-2} {
			a, b := newRunnerIn(t, act, fast(t, 2), c, 3, want, false), newRunnerIn(t, act, fast(t, 1), c, 3, want, true)
			for _, r := range []*runner{a, b} {
				r.poison(t)
				r.prog.Forward()
				r.prog.Backward(nil)
			}
			if 3*a.prog.Plan.Bytes > 2*ref.prog.Plan.Bytes {
				t.Errorf("%s in %v: plan of %d bytes, in f32 %d", c.Kind, act, a.prog.Plan.Bytes, ref.prog.Plan.Bytes)
			}
			for what, x := range map[string][3]tensor.Tensor{"f": {a.out, b.out, ref.out}, "dx": {a.dx, b.dx, ref.dx}, "gradient": {a.g, b.g, ref.g}} {
				got, full := optest.Get(t, a.dev, x[0]), optest.Get(t, a.dev, x[2])
				what = fmt.Sprintf("%s in %v: %s", c.Kind, act, what)
				optest.Same(t, what+", planned and unshared", got, optest.Get(t, b.dev, x[1]))
				optest.Near(t, what, got, full, tol)
				if optest.RelErr(got, full) < tol/100 {
					t.Errorf("%s is that of f32", what)
				}
			}
		}
	}
}

// What is 16 bits in a network and what is not.
func TestHalfTypes(t *testing.T) {
	c := tinySong()
	c.Embedding, c.FourierScale, c.Filter, c.Pyramid, c.Mult = Fourier, 16, []int{1, 3, 3, 1}, true, []int{1, 2, 2}
	net, err := c.Record(2, Options{Act: tensor.F16})
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]tensor.DType{}
	for _, v := range net.Tape.Values {
		got[v.Name] = v.DType
	}
	for name, want := range map[string]tensor.DType{
		"cx": tensor.F32, "enc.8x8_conv": tensor.F16, "enc.8x8_conv.weight": tensor.F32, "enc.8x8_block0.conv0.weight": tensor.F16,
		"enc.8x8_block0.conv0.bias": tensor.F32, "enc.8x8_block0.norm0": tensor.F16, "enc.8x8_block0.norm0.weight": tensor.F32,
		"enc.8x8_block0.norm0.mean": tensor.F32, "enc.4x4_down.aux_smooth": tensor.F32, "enc.4x4_aux_residual.weight": tensor.F32,
		"enc.4x4_aux_residual": tensor.F16, "enc.2x2_down.aux_smooth": tensor.F16, "enc.2x2_aux_residual.weight": tensor.F16,
		"enc.4x4_block0.attention": tensor.F16, "enc.4x4_block0.attention.lse": tensor.F32, "affine": tensor.F32, "map_layer0.weight": tensor.F32,
		"dec.8x8_aux_norm": tensor.F16, "dec.8x8_aux_conv.weight": tensor.F16, "dec.8x8_aux_conv": tensor.F32, "precond": tensor.F32,
	} {
		if d, ok := got[name]; !ok || d != want {
			t.Errorf("%s: got %v (recorded: %v), want %v", name, d, ok, want)
		}
	}
	dev := fast(t, 1)
	w, err := nn.NewLayout(net.Tape, nil).NewWeights(dev, tensor.Tensor{}, false)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if recover() == nil {
			t.Error("a program runs over weights without a 16-bit copy")
		}
	}()
	plan := nn.Rehearse(net.Tape, dev, nn.Want{})
	arena, _ := nn.NewTensor(dev, tensor.U8, plan.Bytes)
	nn.NewProgram(dev, net.Tape, plan, w, tensor.Tensor{}, arena.Mem, tensor.Tensor{})
}

// The program without gradients computes what the one with gradients does, dropout included, and less memory serves it.
func TestForwardOnlyIsForward(t *testing.T) {
	for _, c := range []Config{tinySong(), tinyADM()} {
		a := newRunner(t, fast(t, 2), c, 2, nn.Want{Grad: true, Train: true}, false)
		b := newRunner(t, fast(t, 2), c, 2, nn.Want{Train: true}, false)
		eval := newRunner(t, fast(t, 2), c, 2, nn.Want{}, false)
		a.prog.Forward()
		b.poison(t)
		b.prog.Forward()
		eval.prog.Forward()
		optest.Same(t, c.Kind, optest.Get(t, b.dev, b.out), optest.Get(t, a.dev, a.out))
		if optest.RelErr(optest.Get(t, b.dev, eval.out), optest.Get(t, b.dev, b.out)) < 1e-3 {
			t.Errorf("%s: dropout changes nothing", c.Kind)
		}
		if a.prog.Plan.Bytes <= b.prog.Plan.Bytes {
			t.Errorf("%s: %d bytes with gradients, %d without", c.Kind, a.prog.Plan.Bytes, b.prog.Plan.Bytes)
		}
	}
}

// The gradient of every parameter, and of the input, along one random direction each, against differences of the forward
// pass in exact mode.
func TestGradientsOfWholeNetworks(t *testing.T) {
	augmented := ddpm(tinySong())
	augmented.Blocks = 1
	for _, c := range []Config{tinySong(), augmented, tinyADM(), with(tinyADM(), func(c *Config) { c.AdaGN = false })} {
		dev, err := cpu.Open(cpu.Options{Exact: true})
		if err != nil {
			t.Fatal(err)
		}
		c.Channels, c.MinGroupChannels = 8, 4
		if c.Kind == ADM {
			c.HeadChannels = 4
		}
		r := newRunner(t, dev, c, 1, nn.Want{Grad: true, Train: true}, false)
		r.prog.Forward()
		r.prog.Backward(nil)
		dy := optest.Normal("dy", r.out.Shape...)
		along := func(name string, x, grad tensor.Tensor) {
			h := 0.04 / math.Sqrt(float64(x.Elems())) // the same length of step for every parameter
			dir, at := optest.Normal(name+"/dir", x.Shape...), optest.Get(t, dev, x)
			got := optest.Dot(optest.Get(t, dev, grad), dir)
			slope := func(h float64) float64 {
				return optest.Slope(func(v optest.Host) float64 {
					put(t, dev, x, v)
					r.prog.Forward()
					return optest.Dot(optest.Get(t, dev, r.out), dy)
				}, at, dir, h)
			}
			want := (4*slope(h/2) - slope(h)) / 3 // without the error in h²
			put(t, dev, x, at)
			// Differences of float32 results: their error is about rounding/h.
			if scale := math.Max(math.Abs(want), 0.05*math.Sqrt(float64(x.Elems()))); math.Abs(got-want) > 5e-3*scale {
				t.Errorf("%s: %s: gradient %.6g, by differences %.6g", c.Kind, name, got, want)
			}
		}
		for i, e := range r.w.Layout.Entries {
			if e.Buffer || testing.Short() && i%5 != 0 {
				continue
			}
			along(e.Name, r.w.Tensor(e), e.View(r.g))
		}
		along("cx", r.prog.Value(r.net.CX), r.dx)
	}
}

// Buckets become complete in order, and each parameter's gradient is final when its bucket is.
func TestBuckets(t *testing.T) {
	r := newRunner(t, fast(t, 2), tinySong(), 1, nn.Want{Grad: true}, false)
	l := r.w.Layout
	at := 0
	for _, b := range l.Buckets {
		if b.From != at || b.To <= b.From {
			t.Fatalf("buckets %v do not follow one another", l.Buckets)
		}
		at = b.To
	}
	if at != l.Size {
		t.Fatalf("buckets end at %d of %d", at, l.Size)
	}
	r.prog.Forward()
	var ready []int
	var seen []optest.Host
	r.prog.Backward(func(b int) {
		ready = append(ready, b)
		s := l.Buckets[b]
		seen = append(seen, optest.Get(t, r.dev, r.g.Range(s.From, s.To-s.From)))
	})
	for i, b := range ready {
		if i != b {
			t.Fatalf("buckets ready in order %v", ready)
		}
		s := l.Buckets[b]
		optest.Same(t, fmt.Sprint("bucket ", b), optest.Get(t, r.dev, r.g.Range(s.From, s.To-s.From)), seen[i])
	}
	if len(ready) != len(l.Buckets) {
		t.Fatalf("%d of %d buckets became ready", len(ready), len(l.Buckets))
	}
	for _, e := range l.Entries {
		if !e.Buffer && len(e.Shape) > 1 && e.Name != "map_label.weight" && e.Off%8 != 0 && e.Shape.Elems()%8 == 0 {
			t.Errorf("%s starts at element %d", e.Name, e.Off)
		}
	}
}

// Images do not see each other, so a batch computes what its images do alone.
func TestBatchIsItsImages(t *testing.T) {
	for _, c := range []Config{tinySong(), tinyADM()} {
		many, few := newRunner(t, fast(t, 2), c, 9, nn.Want{}, false), newRunner(t, fast(t, 2), c, 2, nn.Want{}, false)
		for _, pair := range []struct{ a, b *nn.Value }{{many.net.X, few.net.X}, {many.net.CX, few.net.CX}, {many.net.Skip, few.net.Skip},
			{many.net.Out, few.net.Out}, {many.net.Noise, few.net.Noise}} {
			h := optest.Get(t, many.dev, many.prog.Value(pair.a))
			dst := few.prog.Value(pair.b)
			put(t, few.dev, dst, optest.Host{Shape: dst.Shape, V: h.V[:dst.Elems()]})
		}
		many.prog.Forward()
		few.prog.Forward()
		got, want := optest.Get(t, few.dev, few.out), optest.Get(t, many.dev, many.out)
		optest.Near(t, c.Kind, got, optest.Host{Shape: got.Shape, V: want.V[:len(got.V)]}, 2e-6)
	}
}

func TestInitIsByName(t *testing.T) {
	a, b := newRunner(t, fast(t, 1), tinySong(), 1, nn.Want{Grad: true}, false), newRunner(t, fast(t, 1), tinySong(), 2, nn.Want{}, false)
	for i, e := range a.w.Layout.Entries {
		f := b.w.Layout.Entries[i]
		if e.Name != f.Name {
			t.Fatalf("%s and %s", e.Name, f.Name)
		}
		optest.Same(t, e.Name, optest.Get(t, a.dev, a.w.Tensor(e)), optest.Get(t, b.dev, b.w.Tensor(f)))
	}
}
