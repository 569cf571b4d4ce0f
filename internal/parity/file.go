package parity

import (
	"encoding/binary"
	"slices"

	"ict/checkpoint"
	"ict/model"
	"ict/tensor"
	"ict/train"
)

// file is an open parity file; it remembers what has been asked for, so that nothing stays unread unnoticed.
type file struct {
	*checkpoint.File
	meta
	precision string
	used      map[string]bool
}

// act is the type of activations.
func (f *file) act() tensor.DType { return train.Train{Precision: f.precision}.Act() }

// anySize stands for a size that a tensor may choose, from 1.
const anySize = -1

// tensor finds a tensor of the wanted type and shape; shape nil: any.
func (f *file) tensor(name, dtype string, shape []int) (checkpoint.Named, error) {
	t, ok := f.Get(name)
	if !ok {
		return t, damaged("%s: missing", name)
	}
	f.used[name] = true
	if t.DType != dtype {
		return t, damaged("%s: got %s, want %s", name, t.DType, dtype)
	}
	fits := func(got, want int) bool { return got == want || want == anySize && got > 0 }
	if shape != nil && !slices.EqualFunc(t.Shape, shape, fits) {
		return t, damaged("%s: got %v, want %v (-1: any)", name, tensor.Shape(t.Shape), tensor.Shape(shape))
	}
	return t, nil
}

// floats reads finite numbers; shape nil: any.
func (f *file) floats(name string, shape []int) ([]float32, []int, error) {
	t, err := f.tensor(name, checkpoint.F32, shape)
	if err != nil {
		return nil, nil, err
	}
	v := checkpoint.Float32s(t.Data)
	if !model.Finite(v) {
		return nil, nil, damaged("%s: a value is not finite", name)
	}
	return v, t.Shape, nil
}

// images reads (…,C,H,W) as (…,H,W,C); lead are the axes in front.
func (f *file) images(name string, lead ...int) ([]float32, []int, error) {
	c := f.model
	v, shape, err := f.floats(name, append(slices.Clone(lead), c.ImageChannels, c.Resolution, c.Resolution))
	if err != nil {
		return nil, nil, err
	}
	return channelsLast(v, c.ImageChannels, c.Resolution*c.Resolution), shape, nil
}

func channelsLast(v []float32, channels, pixels int) []float32 {
	out := make([]float32, 0, len(v))
	for ; len(v) > 0; v = v[channels*pixels:] {
		for p := range pixels {
			for c := range channels {
				out = append(out, v[c*pixels+p])
			}
		}
	}
	return out
}

// labels reads one-hot rows as classes; nil where the network has none.
func (f *file) labels(lead ...int) ([]int32, error) {
	const name = "in/labels"
	classes := f.model.Classes
	if classes == 0 {
		return nil, nil
	}
	v, _, err := f.floats(name, append(slices.Clone(lead), classes))
	if err != nil {
		return nil, err
	}
	var labels []int32
	for row := range slices.Chunk(v, classes) {
		at := slices.Index(row, 1)
		for i, x := range row {
			if at < 0 || i != at && x != 0 {
				return nil, damaged("%s: row %d is not one-hot", name, len(labels))
			}
		}
		labels = append(labels, int32(at))
	}
	return labels, nil
}

// pairs reads indices (steps,n), or (n) for one step, each from 1 to N−1 of its step's grid of N levels.
func (f *file) pairs(grids []int, n int, shape ...int) ([]int, error) {
	const name = "in/i"
	t, err := f.tensor(name, checkpoint.I64, shape)
	if err != nil {
		return nil, err
	}
	list := make([]int, 0, len(grids)*n)
	for b := range slices.Chunk(t.Data, 8) {
		i, levels := int64(binary.LittleEndian.Uint64(b)), grids[len(list)/n]
		if i < 1 || i >= int64(levels) {
			return nil, damaged("%s: got %d in a grid of %d levels, want 1 … %d", name, i, levels, levels-1)
		}
		list = append(list, int(i))
	}
	return list, nil
}

// surplus refuses tensors that nothing has asked for.
func (f *file) surplus() error {
	for _, name := range f.Names() {
		if !f.used[name] {
			return unknown("tensor %s, in a file of kind %s for this model", name, f.kind)
		}
	}
	return nil
}
