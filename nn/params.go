package nn

import (
	"fmt"
	"slices"

	"ict/tensor"
)

const (
	paramAlign = 8 // elements: every parameter's pointer is aligned to 16 bytes in any type
	minBucket  = 16 << 20 / 4
	maxBuckets = 4

	// VoteFloats end the flat gradient: they ride in the last all-reduce, are no gradients and stay out of the norm.
	VoteFloats = 8
)

// Span is elements [From, To) of a flat array.
type Span struct{ From, To int }

// An Entry is a parameter or buffer as files name it: a whole one, or rows of a stacked one.
type Entry struct {
	Name   string
	Shape  tensor.Shape
	Buffer bool
	Init   Init
	Off    int // elements from the start of W, or of Buffers
}

// A Layout says where each parameter lies in the flat arrays W, G, moments and averages: in the order in which backward
// finishes gradients, so that a bucket is one contiguous range. Programs of one network over different batches share it.
type Layout struct {
	Entries []Entry // in recording order
	Size    int     // elements of W; G has VoteFloats more
	Buffers int     // elements of the buffers
	Buckets []Span  // the last one ends before the votes

	half   tensor.DType      // F16 or BF16 where ops read some parameters so, else F32
	params map[string]placed // by Value.Name
	pack   []placed          // filters, in recording order, with offsets into the packed array
	packed int               // bytes
	done   []int             // step after which a bucket is complete
}

type placed struct {
	v   *Value
	off int // elements; bytes in the packed array, where types differ
}

// NewLayout lays out the parameters of a tape; plan decides order and buckets and must have been made with Grad, or be
// nil for a network that is not trained: then in recording order.
func NewLayout(t *Tape, plan *Plan) *Layout {
	l := &Layout{params: map[string]placed{}}
	var params []*Value
	for _, v := range t.Values {
		switch v.Kind {
		case Param:
			params = append(params, v)
		case Buffer:
			l.params[v.Name] = placed{v, l.Buffers}
			l.Buffers += roundUp(v.Shape.Elems(), paramAlign)
		}
	}
	if plan != nil {
		slices.SortStableFunc(params, func(a, b *Value) int { return plan.finished[a.id] - plan.finished[b.id] })
	}
	begin := 0
	for i, v := range params {
		l.params[v.Name] = placed{v, l.Size}
		l.Size += roundUp(v.Shape.Elems(), paramAlign)
		last := i == len(params)-1
		if last || l.Size-begin >= minBucket && l.Size-begin >= (sizeOf(params)+maxBuckets-1)/maxBuckets {
			l.Buckets = append(l.Buckets, Span{begin, l.Size})
			step := 0
			if plan != nil {
				step = plan.finished[v.id]
			}
			l.done = append(l.done, step)
			begin = l.Size
		}
	}
	for _, v := range t.Values {
		if v.Kind != Param && v.Kind != Buffer {
			continue
		}
		off := l.params[v.Name].off
		if v.Rows == nil {
			l.Entries = append(l.Entries, Entry{v.Name, v.Shape, v.Kind == Buffer, v.Init, off})
		}
		row := v.Shape.Elems() / v.Shape[0]
		for _, r := range v.Rows {
			shape := append(tensor.Shape{r.N}, v.Shape[1:]...)
			l.Entries = append(l.Entries, Entry{r.Name, shape, false, r.Init, off + r.From*row})
		}
		if v.Kind == Param && v.DType.Half() {
			l.half = v.DType
		}
		if v.Kind == Param && plan != nil && plan.packed[v.id] {
			l.pack = append(l.pack, placed{v, l.packed})
			l.packed += roundUp(v.Shape.Elems(), paramAlign) * v.DType.Size()
		}
	}
	return l
}

func sizeOf(params []*Value) int {
	n := 0
	for _, v := range params {
		n += roundUp(v.Shape.Elems(), paramAlign)
	}
	return n
}

func roundUp(n, to int) int { return (n + to - 1) / to * to }

// View is the entry's part of a flat array laid out as W, or of the buffers.
func (e Entry) View(flat tensor.Tensor) tensor.Tensor {
	return flat.Range(e.Off, e.Shape.Elems()).As(e.Shape...)
}

// Weights are one set of values for the parameters and buffers of a network: online, average or frozen.
type Weights struct {
	Layout  *Layout
	W       tensor.Tensor // (Size) F32
	W16     tensor.Tensor // (Size) F16 or BF16: W rounded, for ops that read that type; may be absent
	Buffers tensor.Tensor // (Layout.Buffers) F32; shared by all sets of one network
	packed  tensor.Tensor // (Layout.packed) U8
}

// NewWeights allocates zeroed weights. buffers may be those of another set; absent: its own are allocated. run: a program
// will run over these weights, forward and backward, so they have W16, where ops read that, and the copies of dgrad.
func (l *Layout) NewWeights(dev tensor.Backend, buffers tensor.Tensor, run bool) (*Weights, error) {
	w := &Weights{Layout: l, Buffers: buffers}
	var err error
	if w.W, err = NewTensor(dev, tensor.F32, l.Size); err != nil {
		return nil, err
	}
	if buffers.Absent() {
		if w.Buffers, err = NewTensor(dev, tensor.F32, max(l.Buffers, 1)); err != nil {
			return nil, err
		}
	}
	if run && l.half.Half() {
		if w.W16, err = NewTensor(dev, l.half, l.Size); err != nil {
			return nil, err
		}
	}
	if run && l.packed > 0 {
		w.packed, err = NewTensor(dev, tensor.U8, l.packed)
	}
	return w, err
}

// Rounded are the same weights with a copy W16 of their own, in d, for programs forward only whose activations are d. After
// a change of W, Cast refreshes it.
func (w *Weights) Rounded(dev tensor.Backend, d tensor.DType) (*Weights, error) {
	r := &Weights{Layout: w.Layout, W: w.W, Buffers: w.Buffers}
	var err error
	r.W16, err = NewTensor(dev, d, w.Layout.Size)
	return r, err
}

// NewTensor allocates a zeroed tensor.
func NewTensor(dev tensor.Backend, d tensor.DType, shape ...int) (tensor.Tensor, error) {
	m, err := dev.Alloc(tensor.Shape(shape).Elems() * d.Size())
	if err != nil {
		return tensor.Tensor{}, err
	}
	return tensor.Of(m, 0, d, shape...), nil
}

// Tensor is where an entry's values lie.
func (w *Weights) Tensor(e Entry) tensor.Tensor {
	if e.Buffer {
		return e.View(w.Buffers)
	}
	return e.View(w.W)
}

// Refresh makes every copy of W again: Cast and Pack. It is to be called after every change of W but OptimUpdate's, which
// writes W16 itself and leaves Pack to do.
func (w *Weights) Refresh(dev tensor.Backend) {
	w.Cast(dev)
	w.Pack(dev)
}

// Cast refreshes W16, where there is one.
func (w *Weights) Cast(dev tensor.Backend) {
	if !w.W16.Absent() {
		dev.Cast(w.W16, w.W)
	}
}

// Pack refreshes the copies of the filters that dgrad reads.
func (w *Weights) Pack(dev tensor.Backend) {
	for _, f := range w.Layout.pack {
		dev.Conv2dPack(w.packedFilter(f), w.read(f.v, w.Layout.params[f.v.Name].off))
	}
}

// packedFilter is (C,R,S,K) of a filter (K,R,S,C); absent without a copy.
func (w *Weights) packedFilter(f placed) tensor.Tensor {
	if w.packed.Absent() {
		return tensor.Tensor{}
	}
	s := f.v.Shape
	return tensor.Of(w.packed.Mem, w.packed.Off+f.off, f.v.DType, s[3], s[1], s[2], s[0])
}

// read is what ops read of parameter v at element off: W, or its copy in v's type.
func (w *Weights) read(v *Value, off int) tensor.Tensor {
	flat := w.W
	if v.DType.Half() {
		if flat = w.W16; flat.DType != v.DType {
			panic(fmt.Sprintf("nn: %s is read as %v, and these weights have no such copy", v.Name, v.DType))
		}
	}
	return flat.Range(off, v.Shape.Elems()).As(v.Shape...)
}
