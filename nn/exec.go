package nn

import (
	"fmt"

	"ict/tensor"
)

// Exec is what an op sees of a running program: the launchers, and the doors to memory.
type Exec struct {
	tensor.Backend
	train bool

	values  []tensor.Tensor // by Value.id; columns of a stack as views
	grads   []tensor.Tensor
	packed  []tensor.Tensor // of filters
	works   []tensor.Tensor // by step
	step    tensor.Tensor   // the step block, or absent
	written []bool          // by Value.id: this pass has contributed to the gradient
	now     int             // see Plan
	touch   func(touch)     // the rehearsal listens; nil while running
	parts   map[int][]int   // rehearsal: the columns of a stack's output

	seen []Seen // what the present op has touched, for Program.Look
	look bool   // somebody listens to that
	back bool   // the program is on its way back
}

// Seen is what an op has touched: a value while the program goes forward, a gradient on its way back.
type Seen struct {
	V        *Value
	X        tensor.Tensor
	FromLoss bool // the gradient at an output, which the loss wrote
}

type touch struct {
	kind  touchKind
	v     *Value
	bytes int
}

type touchKind uint8

const (
	touchValue touchKind = iota
	touchGrad
	touchPacked
	touchWork
)

// T is a value, to read or, for an op's own outputs, to write.
func (e *Exec) T(v *Value) tensor.Tensor {
	if v == nil {
		return tensor.Tensor{}
	}
	if e.touch != nil {
		e.touch(touch{touchValue, v, 0})
	}
	if e.look && !e.back {
		e.seen = append(e.seen, Seen{V: v, X: e.values[v.id]})
	}
	return e.values[v.id]
}

// D is a finished gradient, to read.
func (e *Exec) D(v *Value) tensor.Tensor {
	if e.touch != nil {
		e.checkWritten(v)
		e.touch(touch{touchGrad, v, 0})
	}
	if e.look && v.output { // what ops write was seen at Acc
		e.seen = append(e.seen, Seen{V: v, X: e.grads[v.id], FromLoss: true})
	}
	return e.grads[v.id]
}

// Acc is a gradient to contribute to: Beta 0 for the first contribution of a pass, 1 for later ones. Absent for a value
// that does not want one.
func (e *Exec) Acc(v *Value) tensor.Acc {
	if v == nil || !v.Wants {
		return tensor.Acc{}
	}
	if e.touch != nil {
		e.touch(touch{touchGrad, v, 0})
	}
	if e.look {
		e.seen = append(e.seen, Seen{V: v, X: e.grads[v.id]})
	}
	a := tensor.Acc{Tensor: e.grads[v.id]}
	if e.written[v.id] {
		a.Beta = 1
	}
	e.written[v.id] = true
	return a
}

// Packed is the copy of a filter that dgrad reads; absent where v's input wants no gradient.
func (e *Exec) Packed(v *Value) tensor.Tensor {
	if e.touch != nil {
		e.touch(touch{touchPacked, v, 0})
	}
	return e.packed[v.id]
}

// Work is scratch for this op, not zeroed.
func (e *Exec) Work(bytes int) tensor.Tensor {
	if bytes == 0 {
		return tensor.Tensor{}
	}
	if e.touch != nil {
		e.touch(touch{touchWork, nil, bytes})
		return tensor.Of(e.values[0].Mem, 0, tensor.U8, bytes)
	}
	w := e.works[e.now]
	if w.Bytes() < bytes {
		panic(fmt.Sprintf("nn: step %d asks for %d bytes of scratch, the rehearsal saw %d", e.now, bytes, w.Bytes()))
	}
	return tensor.Of(w.Mem, w.Off, tensor.U8, bytes)
}

// Step is the step block that dropout reads.
func (e *Exec) Step() tensor.Tensor { return e.step }

// dropout is p while training, none otherwise.
func (e *Exec) dropout(p tensor.Dropout) tensor.Dropout {
	if !e.train {
		return tensor.Dropout{}
	}
	return p
}

// wanted reports whether any of v wants a gradient.
func wanted(v ...*Value) bool {
	for _, x := range v {
		if x != nil && x.Wants {
			return true
		}
	}
	return false
}

// checkWritten panics where a gradient is read that nobody wrote: an op's output is unused, or an op forgot its input.
func (e *Exec) checkWritten(v *Value) {
	if v.output || v.Kind == Input {
		return
	}
	ids := e.parts[v.id]
	if ids == nil {
		ids = []int{v.id}
	}
	for _, id := range ids {
		if !e.written[id] {
			panic(fmt.Sprintf("nn: the gradient of %s is read and nobody has written it", v.Name))
		}
	}
}
