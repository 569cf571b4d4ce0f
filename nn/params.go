package nn

import (
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

	params map[string]placed // by Value.Name
	pack   []placed          // filters, in recording order, with offsets into the packed array
	packed int
	done   []int // step after which a bucket is complete
}

type placed struct {
	v   *Value
	off int
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
		if v.Kind == Param && plan != nil && plan.packed[v.id] {
			l.pack = append(l.pack, placed{v, l.packed})
			l.packed += roundUp(v.Shape.Elems(), paramAlign)
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
	Buffers tensor.Tensor // (Layout.Buffers) F32; shared by all sets of one network
	packed  tensor.Tensor
}

// NewWeights allocates zeroed weights. buffers may be those of another set; absent: its own are allocated. pack: backward
// will run over these weights.
func (l *Layout) NewWeights(dev tensor.Backend, buffers tensor.Tensor, pack bool) (*Weights, error) {
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
	if pack && l.packed > 0 {
		w.packed, err = NewTensor(dev, tensor.F32, l.packed)
	}
	return w, err
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

// Pack refreshes the copies of the filters that dgrad reads. It is to be called after every change of W.
func (w *Weights) Pack(dev tensor.Backend) {
	for _, f := range w.Layout.pack {
		s := f.v.Shape
		src := w.W.Range(w.Layout.params[f.v.Name].off, s.Elems()).As(s...)
		dev.Conv2dPack(w.packed.Range(f.off, s.Elems()).As(s[3], s[1], s[2], s[0]), src)
	}
}
