package model

import (
	"fmt"
	"slices"
	"strings"

	"ict/nn"
	"ict/tensor"
)

// Files hold parameters under EDM's names, entry by entry comparable with PyTorch: filters are OIHW, linear weights
// (out,in), the label table (E,classes). In memory filters are (K,R,S,C) and the table is (classes,E).

// ToFile gives the shape and values of an entry in files.
func ToFile(e nn.Entry, v []float32) ([]int, []float32) {
	switch {
	case len(e.Shape) == 4:
		k, r, s, c := e.Shape[0], e.Shape[1], e.Shape[2], e.Shape[3]
		return []int{k, c, r, s}, permute(v, k, r*s, c)
	case e.Name == "map_label.weight":
		return []int{e.Shape[1], e.Shape[0]}, permute(v, 1, e.Shape[0], e.Shape[1])
	}
	return slices.Clone(e.Shape), slices.Clone(v)
}

// FromFile is the way back; it refuses another shape.
func FromFile(e nn.Entry, shape []int, v []float32) ([]float32, error) {
	want := slices.Clone([]int(e.Shape))
	switch {
	case len(e.Shape) == 4:
		want = []int{e.Shape[0], e.Shape[3], e.Shape[1], e.Shape[2]}
	case e.Name == "map_label.weight":
		want = []int{e.Shape[1], e.Shape[0]}
	}
	if !slices.Equal(shape, want) || len(v) != e.Shape.Elems() {
		return nil, fmt.Errorf("model: %s: got %v, want %v", e.Name, tensor.Shape(shape), tensor.Shape(want))
	}
	switch {
	case len(e.Shape) == 4:
		return permute(v, e.Shape[0], e.Shape[3], e.Shape[1]*e.Shape[2]), nil
	case e.Name == "map_label.weight":
		return permute(v, 1, e.Shape[1], e.Shape[0]), nil
	}
	return slices.Clone(v), nil
}

// permute turns (n,a,b) into (n,b,a).
func permute(v []float32, n, a, b int) []float32 {
	out := make([]float32, len(v))
	for i := range n {
		in, o := v[i*a*b:(i+1)*a*b], out[i*a*b:(i+1)*a*b]
		for x := range a {
			for y := range b {
				o[y*a+x] = in[x*b+y]
			}
		}
	}
	return out
}

// QKVOrder is an order of the 3C output rows of a qkv projection.
type QKVOrder uint8

const (
	OursQKV  QKVOrder = iota // (3, head, d); also openai's consistency models
	EDMQKV                   // (head, d, 3)
	HeadsQKV                 // (head, 3, d): guided diffusion's default
)

// row is where component p (0 q, 1 k, 2 v), head h, channel e stands.
func (o QKVOrder) row(p, h, e, heads, d int) int {
	switch o {
	case EDMQKV:
		return h*3*d + 3*e + p
	case HeadsQKV:
		return h*3*d + p*d + e
	}
	return p*heads*d + h*d + e
}

// PermuteQKV reorders the rows of a qkv weight or bias, rows of width values each, from one order to another.
func PermuteQKV(v []float32, width, heads int, from, to QKVOrder) []float32 {
	out := make([]float32, len(v))
	d := len(v) / width / 3 / heads
	for p := range 3 {
		for h := range heads {
			for e := range d {
				a, b := from.row(p, h, e, heads, d), to.row(p, h, e, heads, d)
				copy(out[b*width:(b+1)*width], v[a*width:(a+1)*width])
			}
		}
	}
	return out
}

// IsQKV reports whether a parameter is a qkv projection's weight or bias.
func IsQKV(name string) bool {
	return strings.HasSuffix(name, ".qkv.weight") || strings.HasSuffix(name, ".qkv.bias")
}

// Heads is the number of attention heads at a width.
func (c Config) Heads(channels int) int {
	if c.Kind == ADM {
		return channels / c.HeadChannels
	}
	return 1
}
