package nn

import (
	"fmt"

	"ict/tensor"
)

// Linear is y = act(x)·wᵀ + b, weight (K,C), bias (K); act is SiLU or nothing. F32.
type Linear struct {
	t    *Tape
	name string
	w, b *Value // b may be nil
	p    tensor.Linear
}

// NewLinear records name.weight and, where bias is not nil, name.bias. silu acts on the input.
func NewLinear(t *Tape, name string, c, k int, silu bool, w Init, bias *Init) *Linear {
	l := &Linear{t: t, name: t.Path(name), w: t.Param(name+".weight", w, k, c), p: tensor.Linear{SiLU: silu}}
	if bias != nil {
		l.b = t.Param(name+".bias", *bias, k)
	}
	return l
}

// Forward records y (N,K) of x (N,C).
func (l *Linear) Forward(x *Value) *Value { return recordLinear(l.t, l.name, x, l.w, l.b, l.p) }

func recordLinear(t *Tape, name string, x, w, b *Value, p tensor.Linear) *Value {
	shape := tensor.Shape{x.Shape[0], w.Shape[0]}
	if err := p.Check(shape, x.Shape, w.Shape); err != nil {
		panic(&RecordError{name, err})
	}
	o := &linear{x: x, w: w, b: b, p: p}
	o.y = t.activation(name, tensor.F32, shape, x, w, b)
	t.record(name, o)
	return o.y
}

type linear struct {
	x, w, b, y *Value
	p          tensor.Linear
}

func (o *linear) Forward(e *Exec) { e.LinearFprop(e.T(o.y), e.T(o.x), e.T(o.w), e.T(o.b), o.p) }

func (o *linear) Backward(e *Exec) {
	dy := e.D(o.y)
	e.LinearWgrad(e.Acc(o.w), e.Acc(o.b), e.T(o.x), dy, o.p, e.Work(e.LinearWgradScratch(o.w.Shape, o.y.Shape)))
	if wanted(o.x) {
		x := tensor.Tensor{}
		if o.p.SiLU {
			x = e.T(o.x)
		}
		e.LinearDgrad(e.Acc(o.x), dy, x, e.T(o.w), o.p)
	}
}

func (o *linear) MACs() int { return o.y.Shape.Elems() * o.w.Shape[1] }

// A Stack is one linear made of parts: every block's projection of the same embedding. Parts are added while layers are
// built; Forward then records the one op, and each part's Value lies in columns of its output.
type Stack struct {
	t     *Tape
	name  string
	c     int
	parts []*Part
}

// A Part is one linear of a stack.
type Part struct {
	name   string
	k      int
	w, b   Init
	from   int
	column *Value
}

// NewStack is an empty stack over embeddings of width c. name is its op's path; parameters are named by the parts.
func NewStack(t *Tape, name string, c int) *Stack { return &Stack{t: t, name: t.Path(name), c: c} }

// Width is the width of the embedding.
func (s *Stack) Width() int { return s.c }

// Add appends a part with k outputs; in files its parameters are name.weight and name.bias.
func (s *Stack) Add(name string, k int, w, b Init) *Part {
	p := &Part{name: s.t.Path(name), k: k, w: w, b: b}
	s.parts = append(s.parts, p)
	return p
}

// Value is the part's output (N,K), after Stack.Forward.
func (p *Part) Value() *Value { return p.column }

// Forward records y (N,ΣK) = SiLU(emb)·wᵀ + b where silu, or without.
func (s *Stack) Forward(emb *Value, silu bool) {
	total := 0
	for _, p := range s.parts {
		p.from = total
		total += p.k
	}
	w := s.t.value(&Value{Name: s.name + ".weight", Shape: tensor.Shape{total, s.c}, Kind: Param, Wants: true})
	b := s.t.value(&Value{Name: s.name + ".bias", Shape: tensor.Shape{total}, Kind: Param, Wants: true})
	for _, p := range s.parts {
		for _, n := range []string{p.name + ".weight", p.name + ".bias"} {
			if s.t.names[n] {
				panic(&RecordError{n, fmt.Errorf("recorded twice")})
			}
			s.t.names[n] = true
		}
		w.Rows = append(w.Rows, Rows{p.name + ".weight", p.from, p.k, p.w})
		b.Rows = append(b.Rows, Rows{p.name + ".bias", p.from, p.k, p.b})
	}
	y := recordLinear(s.t, s.name, emb, w, b, tensor.Linear{SiLU: silu})
	for _, p := range s.parts {
		p.column = s.t.value(&Value{
			Name: p.name, Shape: tensor.Shape{y.Shape[0], p.k}, Wants: y.Wants, stack: y, from: p.from,
		})
	}
}
