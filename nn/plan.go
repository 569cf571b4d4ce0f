package nn

import (
	"cmp"
	"fmt"
	"slices"
	"sort"

	"ict/internal/meter"
	"ict/tensor"
)

// Want says what a program is planned for.
type Want struct {
	Grad  bool // backward too
	Train bool // dropout on
}

// A Block is a piece of the arena: a value, a gradient, or one op's scratch. Step i is the forward pass of op i, step n
// the loss, step 2n−i the backward pass of op i.
type Block struct {
	Name        string
	What        string // "value", "gradient", "scratch"
	Shape       tensor.Shape
	Bytes, Off  int
	First, Last int // steps of the first and last touch
}

// A Plan says where everything lies while a program runs. It follows from the tape and the backend's scratch sizes alone.
type Plan struct {
	Want     Want
	Blocks   []Block
	Bytes    int           // of the arena
	Unshared int           // what the blocks would take side by side
	Bound    int           // the most that is alive at one step: no plan can be smaller
	Forward  []meter.Count // by op
	Backward []meter.Count // by op; empty without Grad

	values, grads []int // block of a Value.id, or −1
	works         []int // block of a step, or −1
	finished      []int // by Value.id: step after which a parameter's gradient is complete; −1
	packed        []bool
}

const planAlign = 256

// Rehearse runs the tape on a backend that only counts and lays out what it touched: largest first, each block at the
// lowest offset that is free for its whole life.
func Rehearse(t *Tape, s tensor.Sizer, want Want) *Plan {
	n := len(t.Ops)
	p := &Plan{Want: want, works: make([]int, 2*n+1), values: make([]int, len(t.Values)), grads: make([]int, len(t.Values)),
		finished: make([]int, len(t.Values)), packed: make([]bool, len(t.Values))}
	for _, list := range [][]int{p.works, p.values, p.grads, p.finished} {
		for i := range list {
			list[i] = -1
		}
	}
	m := meter.New(s)
	e := &Exec{Backend: m, train: want.Train, values: make([]tensor.Tensor, len(t.Values)), grads: make([]tensor.Tensor, len(t.Values)),
		written: make([]bool, len(t.Values)), packed: make([]tensor.Tensor, len(t.Values)), parts: map[int][]int{}}
	for i, v := range t.Values {
		e.values[i] = tensor.Tensor{Mem: meter.Memory(1), Shape: v.Shape, DType: v.DType}
		if v.stack != nil {
			e.values[i].Row = v.stack.Shape[1]
			e.parts[v.stack.id] = append(e.parts[v.stack.id], i)
		}
		if v.Kind == Param && len(v.Shape) == 4 {
			s := v.Shape
			e.packed[i] = tensor.Of(meter.Memory(1), 0, v.DType, s[3], s[1], s[2], s[0])
		}
		e.grads[i] = e.values[i]
		if v.Kind == Param {
			e.grads[i].DType = tensor.F32
		}
	}
	e.touch = func(c touch) { p.note(e.now, c) }

	for i, op := range t.Ops {
		e.now = i
		m.Count = meter.Count{}
		op.Forward(e)
		p.Forward = append(p.Forward, m.Count)
	}
	if want.Grad {
		p.Backward = make([]meter.Count, n)
		for i := n - 1; i >= 0; i-- {
			e.now = 2*n - i
			m.Count = meter.Count{}
			t.Ops[i].Backward(e)
			p.Backward[i] = m.Count
		}
		for i, v := range t.Values {
			if v.Kind == Param && p.finished[i] < 0 {
				panic(fmt.Sprintf("nn: parameter %s gets no gradient", v.Name))
			}
		}
	}
	p.place()
	return p
}

// note records that v, its gradient or some scratch is in use at step now.
func (p *Plan) note(now int, c touch) {
	v := c.v
	if v != nil && v.stack != nil {
		v = v.stack
	}
	var at *int
	b := Block{First: now, Last: now, Bytes: c.bytes, What: "scratch"}
	switch {
	case c.kind == touchWork:
		at, b.Name = &p.works[now], "scratch"
	case c.kind == touchPacked:
		p.packed[v.id] = true
		return
	case v.Kind == Param || v.Kind == Buffer:
		if c.kind == touchGrad {
			p.finished[v.id] = now
		}
		return
	case v.Kind == Input || v.output:
		return
	default:
		b.Name, b.Shape, b.Bytes, b.What, at = v.Name, v.Shape, v.Shape.Elems()*v.DType.Size(), "value", &p.values[v.id]
		if c.kind == touchGrad {
			b.What, at = "gradient", &p.grads[v.id]
		}
	}
	if *at < 0 {
		*at = len(p.Blocks)
		p.Blocks = append(p.Blocks, b)
		return
	}
	have := &p.Blocks[*at]
	have.Last, have.Bytes = now, max(have.Bytes, b.Bytes)
}

// place assigns offsets.
func (p *Plan) place() {
	for i := range p.Blocks {
		b := &p.Blocks[i]
		b.Bytes = (b.Bytes + planAlign - 1) / planAlign * planAlign
		p.Unshared += b.Bytes
	}
	live := make([]int, len(p.works)+1)
	for _, b := range p.Blocks {
		live[b.First] += b.Bytes
		live[b.Last+1] -= b.Bytes
	}
	for i, sum := 0, 0; i < len(live); i++ {
		sum += live[i]
		p.Bound = max(p.Bound, sum)
	}
	// Many blocks have the same size, so ties decide; a few orders are tried and the tightest kept.
	life := func(b Block) int { return b.Last - b.First }
	var best []int
	for _, ties := range []func(a, b Block) int{
		func(a, b Block) int { return life(b) - life(a) },
		func(a, b Block) int { return a.First - b.First },
		func(a, b Block) int { return b.Last - a.Last },
		func(a, b Block) int { return life(a) - life(b) },
	} {
		offs, size := p.pack(ties)
		if best == nil || size < p.Bytes {
			best, p.Bytes = offs, size
		}
	}
	for i, off := range best {
		p.Blocks[i].Off = off
	}
}

// pack places the largest block first, each at the lowest offset that is free for its whole life; ties orders blocks of
// one size.
func (p *Plan) pack(ties func(a, b Block) int) (offs []int, size int) {
	order := make([]int, len(p.Blocks))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(i, j int) int {
		a, b := p.Blocks[i], p.Blocks[j]
		return cmp.Or(b.Bytes-a.Bytes, ties(a, b))
	})
	offs = make([]int, len(p.Blocks))
	var placed []int // by offset
	for _, i := range order {
		b, off := p.Blocks[i], 0
		for _, j := range placed {
			o := p.Blocks[j]
			if o.Last < b.First || b.Last < o.First {
				continue
			}
			if off+b.Bytes <= offs[j] {
				break
			}
			off = max(off, offs[j]+o.Bytes)
		}
		offs[i] = off
		at := sort.Search(len(placed), func(k int) bool { return offs[placed[k]] > off })
		placed = slices.Insert(placed, at, i)
		size = max(size, off+b.Bytes)
	}
	return offs, size
}

// Unshare gives every block its own bytes, for tests: what shared and unshared programs compute must agree in every bit.
func (p *Plan) Unshare() {
	p.Bytes = 0
	for i := range p.Blocks {
		p.Blocks[i].Off = p.Bytes
		p.Bytes += p.Blocks[i].Bytes
	}
}

// Cost is the sum over all ops, forward and backward.
func (p *Plan) Cost() (forward, backward meter.Count) {
	for _, c := range p.Forward {
		forward = forward.Add(c)
	}
	for _, c := range p.Backward {
		backward = backward.Add(c)
	}
	return
}
