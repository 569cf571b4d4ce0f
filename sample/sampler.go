package sample

import (
	"encoding/binary"
	"errors"
	"fmt"

	"ict/model"
	"ict/nn"
	"ict/noise"
	"ict/tensor"
)

// ErrNotFinite is wrapped by the error of a network call that gave infinities or NaNs.
var ErrNotFinite = errors.New("not finite")

// NoClass is the label of an image without a class, in networks that have classes.
const NoClass int32 = -1

// Options of New.
type Options struct {
	Act   tensor.DType // of activations
	Eager bool         // launches one by one instead of replaying a captured pass; the bits are the same
}

// Sampler is a network with everything it needs to make images, a fixed number at a time. It belongs to one goroutine.
type Sampler struct {
	staging
	config model.Config
	levels noise.Levels
	act    tensor.DType
	eager  bool
	n      int
	prog   *nn.Program
	half   *nn.Weights // the weights with a 16-bit copy, nil where activations are F32
	replay func()      // nil: not captured yet
	calls  int

	x, z     tensor.Tensor // (N,H,W,C): the noisy image and what f makes of it; unit normals
	cx       tensor.Tensor // (N,H,W,C): c_in·x
	raw, f   tensor.Tensor // (N,H,W,C): the network's output, and the wrapped one
	scalings tensor.Tensor // (4,N): c_in, c_skip, c_out, c_noise
	labels   tensor.Tensor // (N) I32; absent without classes
	bad      tensor.Tensor // 8 bytes: how many values are not finite
}

// Batch says which images to make.
type Batch struct {
	First  uint64  // number of the first image
	N      int     // how many; at most the sampler's number
	Labels []int32 // one an image, NoClass or 0 … classes−1; nil exactly for networks without classes
}

// New records the network for n images at a time and plans it forward only. All device memory of the sampler is allocated
// here. weights may have the layout of any program of this network and are read afresh by every call; levels are those it
// was trained with. Panics if n < 1 or the weights are another network's.
func New(dev tensor.Backend, c model.Config, levels noise.Levels, weights *nn.Weights, n int, o Options) (*Sampler, error) {
	if n < 1 {
		panic(fmt.Sprintf("sample: batch: got %d images, want at least 1", n))
	}
	if err := levels.Check(); err != nil {
		return nil, err
	}
	net, err := c.Record(n, model.Options{Act: o.Act, Raw: true})
	if err != nil {
		return nil, err
	}
	plan := nn.Rehearse(net.Tape, dev, nn.Want{})
	arena, err := dev.Alloc(plan.Bytes)
	if err != nil {
		return nil, fmt.Errorf("sample: arena of %d images: %w", n, err)
	}
	s := &Sampler{config: c, levels: levels, act: o.Act, eager: o.Eager, n: n}
	if o.Act.Half() {
		if s.half, err = weights.Rounded(dev, o.Act); err != nil {
			return nil, fmt.Errorf("sample: 16-bit copy of the weights: %w", err)
		}
		weights = s.half
	}
	s.prog = nn.NewProgram(dev, net.Tape, plan, weights, tensor.Tensor{}, arena, tensor.Tensor{})
	image := net.CX.Shape
	if s.staging, err = newStaging(dev, max(4*image.Elems(), 4*4*n)); err != nil {
		return nil, err
	}
	for _, a := range []struct {
		t     *tensor.Tensor
		d     tensor.DType
		shape tensor.Shape
	}{
		{&s.x, tensor.F32, image}, {&s.z, tensor.F32, image}, {&s.cx, tensor.F32, image}, {&s.raw, tensor.F32, image},
		{&s.f, tensor.F32, image}, {&s.scalings, tensor.F32, tensor.Shape{4, n}}, {&s.bad, tensor.U8, tensor.Shape{8}},
	} {
		if *a.t, err = nn.NewTensor(dev, a.d, a.shape...); err != nil {
			return nil, fmt.Errorf("sample: %d images: %w", n, err)
		}
	}
	s.prog.Bind(net.CX, s.cx)
	s.prog.Bind(net.Noise, s.scaling(3))
	s.prog.Bind(net.F, s.raw)
	if net.Augment != nil { // of images as they are: zeros
		a, err := nn.NewTensor(dev, tensor.F32, net.Augment.Shape...)
		if err != nil {
			return nil, err
		}
		s.prog.Bind(net.Augment, a)
	}
	if net.Labels != nil {
		if s.labels, err = nn.NewTensor(dev, tensor.I32, n); err != nil {
			return nil, err
		}
		s.prog.Bind(net.Labels, s.labels)
		if err := s.SetLabels(nil); err != nil {
			return nil, err
		}
	}
	return s, dev.Err()
}

// N is the number of images at a time.
func (s *Sampler) N() int { return s.n }

// Calls counts the passes through the network so far, whatever the number of images in each.
func (s *Sampler) Calls() int { return s.calls }

// SetLabels sets the classes for Denoise; images beyond the list have none. Samplers set those of their batch.
func (s *Sampler) SetLabels(labels []int32) error {
	if len(labels) > s.n {
		panic(fmt.Sprintf("sample: labels: got %d, want at most %d", len(labels), s.n))
	}
	if s.config.Classes == 0 && labels != nil {
		return errors.New("sample: labels: got some, this network has no classes")
	}
	for _, l := range labels {
		if l != NoClass && (l < 0 || int(l) >= s.config.Classes) {
			return fmt.Errorf("sample: class: got %d, want 0 … %d", l, s.config.Classes-1)
		}
	}
	if s.labels.Absent() {
		return nil
	}
	return s.upload(s.labels, func(b []byte) {
		for i := range s.n {
			l := NoClass
			if i < len(labels) {
				l = labels[i]
			}
			binary.LittleEndian.PutUint32(b[4*i:], uint32(l))
		}
	})
}

// Denoise replaces x (N,H,W,C) F32 by the consistency function, cut to the range of images:
//
//	x = clip(c_skip·x + c_out·F(c_in·x, c_noise, label), −1, 1)     CM column
//
// x must hold N images. Returns an error that wraps ErrNotFinite if F is not finite. Source: [CM].
func (s *Sampler) Denoise(x tensor.Tensor, sigma float64) error {
	s.castWeights()
	return s.denoise(x, s.n, sigma, s.levels.CM(sigma, s.config.NoiseScale), tensor.Precond{Clamp: true})
}

// denoise wraps one pass by the scalings c of level sigma; the first real images are those that anyone wants. Everything
// is done when it returns.
func (s *Sampler) denoise(x tensor.Tensor, real int, sigma float64, c noise.Scalings, p tensor.Precond) error {
	if !x.Shape.Equal(s.x.Shape) || x.DType != tensor.F32 {
		panic(fmt.Sprintf("sample: denoise: got %v %v, want f32 %v", x.DType, x.Shape, s.x.Shape))
	}
	err := s.upload(s.scalings, func(b []byte) {
		v := tensor.Floats(b)
		for i, scaling := range []float64{c.In, c.Skip, c.Out, c.Noise} {
			for j := range s.n {
				v[i*s.n+j] = float32(scaling)
			}
		}
	})
	if err != nil {
		return err
	}
	s.dev.ScaleImages(s.cx, x, s.scaling(0))
	if err = s.forward(); err != nil {
		return err
	}
	// Of the raw output: clamping would turn an infinity into a white pixel.
	s.dev.ReduceNonFinite(s.bad, s.raw.Range(0, real*s.config.Pixels()))
	s.dev.PrecondForward(s.f, s.raw, x, s.scaling(1), s.scaling(2), p)
	s.dev.Copy(x, s.f)
	b, err := s.download(s.bad)
	if err != nil {
		return err
	}
	if bad := binary.LittleEndian.Uint64(b); bad != 0 {
		err = fmt.Errorf("sample: %w: %d of %d values of the network's output at level %g", ErrNotFinite, bad, real*s.config.Pixels(), sigma)
		if s.act == tensor.F16 {
			err = fmt.Errorf("%w\n  usual causes: damaged weights; values beyond f16: sample with activations in bf16 or f32", err)
		}
		return err
	}
	return nil
}

// forward runs the network. The first pass is never captured: a device may load code during it, which capture forbids.
func (s *Sampler) forward() error {
	s.calls++
	if s.eager || s.calls == 1 {
		s.prog.Forward()
		return nil
	}
	if s.replay == nil {
		replay, err := s.dev.Capture(s.prog.Forward)
		if err != nil {
			return err
		}
		s.replay = replay
	}
	s.replay()
	return nil
}

func (s *Sampler) scaling(i int) tensor.Tensor { return s.scalings.Range(i*s.n, s.n) }

// part is the first n images of x.
func (s *Sampler) part(x tensor.Tensor, n int) tensor.Tensor {
	shape := append(tensor.Shape{n}, x.Shape[1:]...)
	return x.Range(0, n*s.config.Pixels()).As(shape...)
}

// begin checks a batch and sets its labels. dst is where its images will go.
func (s *Sampler) begin(dst []float32, b Batch) error {
	if b.N < 1 || b.N > s.n || len(dst) != b.N*s.config.Pixels() {
		panic(fmt.Sprintf("sample: batch: got %d images into %d values, want 1 … %d of %d each", b.N, len(dst), s.n, s.config.Pixels()))
	}
	if s.config.Classes > 0 && len(b.Labels) != b.N {
		return fmt.Errorf("sample: labels: got %d, want one for each of %d images: this network has %d classes", len(b.Labels), b.N, s.config.Classes)
	}
	s.castWeights()
	return s.SetLabels(b.Labels)
}

// castWeights reads the weights afresh.
func (s *Sampler) castWeights() {
	if s.half != nil {
		s.half.Cast(s.dev)
	}
}

// read writes the images of x to dst.
func (s *Sampler) read(dst []float32, x tensor.Tensor) error {
	b, err := s.download(x)
	if err != nil {
		return err
	}
	copy(dst, tensor.Floats(b))
	return nil
}

// staging moves arrays between host and device through pinned memory, and waits.
type staging struct {
	dev    tensor.Backend
	pinned []byte
}

func newStaging(dev tensor.Backend, bytes int) (staging, error) {
	b, err := dev.Pinned(bytes)
	if err != nil {
		return staging{}, fmt.Errorf("sample: %d bytes of pinned memory: %w", bytes, err)
	}
	return staging{dev, b}, nil
}

// upload gives dst the bytes that fill writes. Uploads overtake what is queued, so that is waited for: it may read dst.
func (s staging) upload(dst tensor.Tensor, fill func(b []byte)) error {
	if err := s.dev.Sync(); err != nil {
		return err
	}
	b := s.pinned[:dst.Bytes()]
	fill(b)
	return s.dev.Upload(dst, b).Wait()
}

// download returns the bytes of src, valid until the next move.
func (s staging) download(src tensor.Tensor) ([]byte, error) {
	b := s.pinned[:src.Bytes()]
	if err := s.dev.Download(b, src).Wait(); err != nil {
		return nil, err
	}
	return b, s.dev.Err()
}
