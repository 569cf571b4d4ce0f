package sample

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"ict/internal/philox"
	"ict/model"
	"ict/nn"
	"ict/tensor"
)

// A Source gives the unit normals of sampling.
type Source interface {
	// Noise fills dst (n,H,W,C) F32 for the images first … first+n−1. level counts the draws of one image: 0 is the
	// noise that sampling starts from.
	Noise(dst tensor.Tensor, level int, first uint64) error
}

// Philox is the source of a seed: element e of image i at level j is the normal number of
// (seed, step j, purpose 5, image i, element e). [Philox]
type Philox struct {
	staging
	seed uint64
	step tensor.Tensor
}

// NewPhilox allocates what drawing on dev needs.
func NewPhilox(dev tensor.Backend, seed uint64) (*Philox, error) {
	s, err := newStaging(dev, tensor.StepBytes)
	if err != nil {
		return nil, err
	}
	step, err := nn.NewTensor(dev, tensor.U8, tensor.StepBytes)
	if err != nil {
		return nil, err
	}
	return &Philox{s, seed, step}, nil
}

// Noise draws. It refuses image numbers from 2³² on, where draws would repeat.
func (p *Philox) Noise(dst tensor.Tensor, level int, first uint64) error {
	if err := checkNumbers(first, dst.Shape[0]); err != nil {
		return err
	}
	if err := p.upload(p.step, tensor.Step{Seed: p.seed, Step: uint64(level), Image0: first}.Put); err != nil {
		return err
	}
	p.dev.RandomNormal(dst, p.step, uint16(philox.SampleNoise))
	return p.dev.Err()
}

func checkNumbers(first uint64, n int) error {
	const end = 1 << 32
	if first >= end || end-first < uint64(n) {
		return fmt.Errorf("sample: image numbers: got %d from %d, want all below 2^32", n, first)
	}
	return nil
}

// Given is a source of stored numbers; image number i is entry i.
type Given struct {
	staging
	v     []float32
	shape tensor.Shape // (levels,N,H,W,C)
}

// NewGiven makes a source of v, which is kept: (levels,N,H,W,C), or (N,H,W,C) for one level. Refuses values that are not
// finite.
func NewGiven(dev tensor.Backend, v []float32, shape tensor.Shape) (*Given, error) {
	full := slices.Clone(shape)
	if len(shape) == 4 {
		full = append(tensor.Shape{1}, shape...)
	}
	n, fits := 1, len(full) == 5
	for _, d := range full {
		if d < 1 || d > len(v)/n { // so n cannot overflow: it stays at most len(v)
			fits = false
			break
		}
		n *= d
	}
	if !fits || n != len(v) {
		return nil, fmt.Errorf("sample: noise: got %d values of shape %v, want (levels,N,H,W,C) or (N,H,W,C)", len(v), shape)
	}
	if !model.Finite(v) {
		return nil, errors.New("sample: noise: got a value that is not finite, want unit normals")
	}
	return &Given{staging{dev: dev}, v, full}, nil
}

// Noise copies. It refuses levels and images that are not there, and images of another size.
func (g *Given) Noise(dst tensor.Tensor, level int, first uint64) error {
	have, n := uint64(g.shape[1]), uint64(dst.Shape[0])
	switch {
	case !dst.Shape[1:].Equal(g.shape[2:]):
		return fmt.Errorf("sample: noise: got images %v, want %v", g.shape[2:], dst.Shape[1:])
	case level >= g.shape[0]:
		return fmt.Errorf("sample: noise: got %d levels, want level %d too", g.shape[0], level+1)
	case first > have || have-first < n:
		return fmt.Errorf("sample: noise: got %d images, want %d from number %d", have, n, first)
	}
	if len(g.pinned) < dst.Bytes() {
		s, err := newStaging(g.dev, dst.Bytes())
		if err != nil {
			return err
		}
		g.staging = s
	}
	image := g.shape[2:].Elems()
	from := (level*g.shape[1] + int(first)) * image
	return g.upload(dst, func(b []byte) { copy(tensor.Floats(b), g.v[from:]) })
}

// Labels draws the classes of the images first … first+n−1, uniform and each a function of seed and image number:
//
//	(w·classes) >> 32     w: word 0 of (seed, step 0, purpose 7, image)
//
// Panics if there is no class or an image number reaches 2³².
func Labels(seed, first uint64, n, classes int) []int32 {
	if err := checkNumbers(first, n); err != nil || classes < 1 || classes > math.MaxInt32 {
		panic(fmt.Sprintf("sample: labels: got %d classes, images %d from %d", classes, n, first))
	}
	labels := make([]int32, n)
	for i := range labels {
		var w [1]uint32
		philox.Stream{Seed: seed, Image: uint32(first) + uint32(i), Purpose: philox.Class}.Words(w[:], 0)
		labels[i] = int32(uint64(w[0]) * uint64(classes) >> 32)
	}
	return labels
}

// ColumnLabels gives the images of a grid with cols columns one class a column: column c has class c mod classes.
// Panics if there is no column or no class.
func ColumnLabels(first uint64, n, cols, classes int) []int32 {
	if cols < 1 || classes < 1 || classes > math.MaxInt32 {
		panic(fmt.Sprintf("sample: labels: got %d columns of %d classes, want at least 1 of each", cols, classes))
	}
	labels := make([]int32, n)
	for i := range labels {
		labels[i] = int32((first + uint64(i)) % uint64(cols) % uint64(classes))
	}
	return labels
}
