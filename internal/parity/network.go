package parity

import (
	"encoding/binary"

	"ict/model"
	"ict/nn"
	"ict/tensor"
)

// loadNetwork reads F at given inputs, and the gradients of Σ F·dy.
func loadNetwork(f *file) (job, error) {
	x, shape, err := f.images("in/x", anySize)
	if err != nil {
		return nil, err
	}
	n := shape[0]
	p, err := f.params(n, model.Options{Raw: true, WantInput: true})
	if err != nil {
		return nil, err
	}
	noise, _, err := f.floats("in/c_noise", []int{n})
	if err != nil {
		return nil, err
	}
	labels, err := f.labels(n)
	if err != nil {
		return nil, err
	}
	dy, _, err := f.images("in/dy", n)
	if err != nil {
		return nil, err
	}
	out, _, err := f.images("out/F", n)
	if err != nil {
		return nil, err
	}
	dx, _, err := f.images("grad/x", n)
	if err != nil {
		return nil, err
	}
	grads, err := f.all("grad/", p.trained())
	if err != nil {
		return nil, err
	}
	return func(dev tensor.Backend, m measures) error {
		r, err := newPass(dev, p)
		if err != nil {
			return err
		}
		if err := r.run(x, noise, labels, dy); err != nil {
			return err
		}
		return r.measure(m, out, dx, grads)
	}, nil
}

// pass is one pass through a network and back.
type pass struct {
	*params
	dev         tensor.Backend
	w           *nn.Weights
	g           tensor.Tensor
	prog        *nn.Program
	out, dx, dy tensor.Tensor
}

func newPass(dev tensor.Backend, p *params) (*pass, error) {
	tape, want := p.net.Tape, nn.Want{Grad: true}
	if err := fits(dev, tape, want, 3); err != nil {
		return nil, err
	}
	plan := nn.Rehearse(tape, dev, want)
	layout := nn.NewLayout(tape, plan)
	r := &pass{params: p, dev: dev}
	var err error
	if r.w, err = layout.NewWeights(dev, tensor.Tensor{}, true); err != nil {
		return nil, err
	}
	if err = model.LoadWeights(dev, r.w, p.get); err != nil {
		return nil, err
	}
	if r.g, err = nn.NewTensor(dev, tensor.F32, layout.Size+nn.VoteFloats); err != nil {
		return nil, err
	}
	arena, err := dev.Alloc(plan.Bytes)
	if err != nil {
		return nil, err
	}
	r.prog = nn.NewProgram(dev, tape, plan, r.w, r.g, arena, tensor.Tensor{})
	return r, nil
}

// run goes forward and backward.
func (r *pass) run(x, noise []float32, labels []int32, dy []float32) (err error) {
	image := r.net.CX.Shape
	given := func(v []float32, shape ...int) tensor.Tensor {
		if err != nil {
			return tensor.Tensor{}
		}
		var t tensor.Tensor
		t, err = put(r.dev, v, shape...)
		return t
	}
	cx, c := given(x, image...), given(noise, image[0])
	r.out, r.dx, r.dy = given(nil, image...), given(nil, image...), given(dy, image...)
	if err != nil {
		return err
	}
	r.prog.Bind(r.net.CX, cx)
	r.prog.Bind(r.net.Noise, c)
	r.prog.Bind(r.net.F, r.out)
	r.prog.BindGrad(r.net.CX, r.dx)
	r.prog.BindGrad(r.net.F, r.dy)
	if labels != nil {
		l, err := putLabels(r.dev, labels)
		if err != nil {
			return err
		}
		r.prog.Bind(r.net.Labels, l)
	}
	r.prog.Forward()
	r.prog.Backward(nil)
	return r.dev.Sync()
}

func (r *pass) measure(m measures, out, dx []float32, grads [][]float32) error {
	compare := func(group, name string, x tensor.Tensor, ref []float32) error {
		got, err := read(r.dev, x)
		if err == nil {
			m.add(group, name, got, ref)
		}
		return err
	}
	if err := compare("out", "out/F", r.out, out); err != nil {
		return err
	}
	if err := compare("grad", "grad/x", r.dx, dx); err != nil {
		return err
	}
	// The layout of the trained network orders its parameters otherwise than the one that the file was read with.
	at := map[string]nn.Entry{}
	for _, e := range r.w.Layout.Entries {
		at[e.Name] = e
	}
	for i, e := range r.trained() {
		if err := compare("grad", "grad/"+e.Name, at[e.Name].View(r.g), grads[i]); err != nil {
			return err
		}
	}
	return nil
}

func putLabels(dev tensor.Backend, labels []int32) (tensor.Tensor, error) {
	x, err := nn.NewTensor(dev, tensor.I32, len(labels))
	if err != nil {
		return x, err
	}
	b, err := dev.Pinned(x.Bytes())
	if err != nil {
		return x, err
	}
	for i, l := range labels {
		binary.LittleEndian.PutUint32(b[4*i:], uint32(l))
	}
	return x, dev.Upload(x, b).Wait()
}
