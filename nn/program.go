package nn

import (
	"fmt"

	"ict/tensor"
)

// A Program is a network at run time: tape, plan, memory and weights.
type Program struct {
	Tape *Tape
	Plan *Plan

	// Look, unless nil, is called after each op: its path, its direction, and what it has touched. That is for finding
	// faults: a captured program does not call it.
	Look func(path string, backward bool, touched []Seen)

	exec    Exec
	layout  *Layout
	checked bool
}

// NewProgram joins a tape and its plan with memory. arena holds plan.Bytes and may be shared with programs that never
// run at the same time; g is the flat gradient (absent without Grad); step is the step block that dropout reads.
// Inputs and outputs, and the gradients of those that want one, are given by Bind and BindGrad. On a backend that says
// Apart, arena stays unused.
func NewProgram(dev tensor.Backend, t *Tape, p *Plan, w *Weights, g tensor.Tensor, arena tensor.Memory, step tensor.Tensor) *Program {
	if arena.Bytes() < p.Bytes {
		panic(fmt.Sprintf("nn: arena of %d bytes, the plan needs %d", arena.Bytes(), p.Bytes))
	}
	n := len(t.Values)
	prog := &Program{Tape: t, Plan: p, layout: w.Layout, exec: Exec{
		Backend: dev, train: p.Want.Train, step: step, values: make([]tensor.Tensor, n), grads: make([]tensor.Tensor, n),
		packed: make([]tensor.Tensor, n), written: make([]bool, n), works: make([]tensor.Tensor, len(p.works)),
	}}
	e := &prog.exec
	place := func(block, bytes int) (tensor.Memory, int) { return arena, p.Blocks[block].Off }
	if a, ok := dev.(Apart); ok && a.Apart() {
		place = ownMemory(dev, p)
	}
	at := func(block int, v *Value) tensor.Tensor {
		if block < 0 {
			return tensor.Tensor{}
		}
		m, off := place(block, v.Shape.Elems()*v.DType.Size())
		return tensor.Of(m, off, v.DType, v.Shape...)
	}
	for i, v := range t.Values {
		switch v.Kind {
		case Param, Buffer:
			place, ok := w.Layout.params[v.Name]
			if !ok || !place.v.Shape.Equal(v.Shape) {
				panic(fmt.Sprintf("nn: weights have no %s %v", v.Name, v.Shape))
			}
			if v.Kind == Buffer {
				e.values[i] = w.Buffers.Range(place.off, v.Shape.Elems()).As(v.Shape...)
				continue
			}
			e.values[i] = w.read(v, place.off)
			if p.Want.Grad {
				e.grads[i] = g.Range(place.off, v.Shape.Elems()).As(v.Shape...)
			}
		case Activation:
			if v.stack != nil {
				e.values[i] = column(e.values[v.stack.id], v)
				e.grads[i] = column(at(p.grads[v.stack.id], v.stack), v)
				continue
			}
			e.values[i], e.grads[i] = at(p.values[i], v), at(p.grads[i], v)
		}
	}
	for _, f := range w.Layout.pack {
		e.packed[f.v.id] = w.packedFilter(f)
	}
	for i, b := range p.works {
		if b >= 0 {
			m, off := place(b, p.Blocks[b].Bytes)
			e.works[i] = tensor.Of(m, off, tensor.U8, p.Blocks[b].Bytes)
		}
	}
	return prog
}

// Apart is what a backend may offer for tests: true gives every block of a plan an allocation of its own, just as long as
// it is. In one arena, a kernel that leaves its tensor lands in the next one, and nobody sees it.
type Apart interface{ Apart() bool }

// ownMemory allocates the blocks of p at their first use.
func ownMemory(dev tensor.Backend, p *Plan) func(block, bytes int) (tensor.Memory, int) {
	own := make([]tensor.Memory, len(p.Blocks))
	return func(block, bytes int) (tensor.Memory, int) {
		if own[block] == nil {
			m, err := dev.Alloc(bytes)
			if err != nil {
				panic(fmt.Sprintf("nn: %s %v in memory of its own: %v", p.Blocks[block].Name, p.Blocks[block].Shape, err))
			}
			own[block] = m
		}
		return own[block], 0
	}
}

// column is the view of a stack's output that belongs to one part.
func column(stack tensor.Tensor, v *Value) tensor.Tensor {
	if stack.Absent() {
		return stack
	}
	stack.Row = v.stack.Shape[1]
	stack.Off += v.from * stack.DType.Size()
	stack.Shape = v.Shape
	return stack
}

// Bind gives an input or output its memory.
func (p *Program) Bind(v *Value, x tensor.Tensor) { p.bind(p.exec.values, v, x) }

// BindGrad gives the gradient of an input or output its memory: the loss writes an output's, backward an input's.
func (p *Program) BindGrad(v *Value, x tensor.Tensor) { p.bind(p.exec.grads, v, x) }

func (p *Program) bind(list []tensor.Tensor, v *Value, x tensor.Tensor) {
	if v.Kind != Input && !v.output {
		panic(fmt.Sprintf("nn: bind: %s is neither input nor output", v.Name))
	}
	if !x.Shape.Equal(v.Shape) || x.DType != v.DType {
		panic(fmt.Sprintf("nn: bind: %s got %v %v, want %v %v", v.Name, x.DType, x.Shape, v.DType, v.Shape))
	}
	list[v.id] = x
}

func (p *Program) check() {
	for i, v := range p.Tape.Values {
		outside := v.Kind == Input || v.output
		if outside && p.exec.values[i].Absent() {
			panic(fmt.Sprintf("nn: %s is not bound", v.Name))
		}
		if outside && p.Plan.Want.Grad && v.Wants && p.exec.grads[i].Absent() {
			panic(fmt.Sprintf("nn: the gradient of %s is not bound", v.Name))
		}
	}
	p.checked = true
}

// Forward runs the ops in order.
func (p *Program) Forward() {
	if !p.checked {
		p.check()
	}
	for i, op := range p.Tape.Ops {
		p.exec.now = i
		p.run(op.Forward, i, false)
	}
}

// run does one op, and shows what it touched.
func (p *Program) run(op func(*Exec), i int, backward bool) {
	e := &p.exec
	e.look, e.back, e.seen = p.Look != nil, backward, e.seen[:0]
	op(e)
	if p.Look != nil {
		p.Look(p.Tape.Paths[i], backward, e.seen)
	}
}

// Backward runs the ops in reverse; the gradients of the outputs must be there. Gradients of parameters are written
// afresh. ready, if not nil, is called when the gradients of a bucket are complete.
func (p *Program) Backward(ready func(bucket int)) {
	clear(p.exec.written)
	n := len(p.Tape.Ops)
	for i := n - 1; i >= 0; i-- {
		p.exec.now = 2*n - i
		p.run(p.Tape.Ops[i].Backward, i, true)
		if ready == nil {
			continue
		}
		for b, done := range p.layout.done {
			if done == p.exec.now {
				ready(b)
			}
		}
	}
}

// Value is the memory of a recorded value, for tests and checks.
func (p *Program) Value(v *Value) tensor.Tensor { return p.exec.values[v.id] }
