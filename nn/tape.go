package nn

import (
	"fmt"
	"strings"

	"ict/tensor"
)

// Kind says what a value is to its network.
type Kind uint8

const (
	Activation Kind = iota
	Input           // given from outside, as is the gradient of one that wants it
	Param           // trained
	Buffer          // kept in checkpoints, not trained
)

// Init is how a parameter begins; at most one field is set, none means zeros. Draws are model's business.
type Init struct {
	Uniform float64 // uniform in ±Uniform
	Normal  float64 // Gaussian of this deviation
	Const   float64
}

// A Value is an array of the recorded network.
type Value struct {
	Name  string // "enc.16x16_block0.conv0.weight"
	Shape tensor.Shape
	DType tensor.DType // of a parameter: of what ops read; its master copy and its gradient are F32
	Kind  Kind
	Wants bool // someone needs its gradient; spreads from parameters and marked inputs while recording
	Init  Init // of parameters and buffers
	Rows  []Rows

	id     int    // place in Tape.Values
	stack  *Value // the stack's output of which this is columns [from, from+K)
	from   int
	output bool
}

// Rows names rows [From, From+N) of a stacked parameter: in files each linear of a stack has its own name.
type Rows struct {
	Name    string
	From, N int
	Init    Init
}

// An Op is one recorded step of a network.
type Op interface {
	Forward(*Exec)
	Backward(*Exec)
}

// Counter is an op that multiplies: MACs are the multiply-adds of its forward pass.
type Counter interface{ MACs() int }

// A Tape is a recorded network: values, and ops in the order of the forward pass.
type Tape struct {
	Act     tensor.DType // of activations and their gradients
	Values  []*Value
	Ops     []Op
	Paths   []string // one per op, for messages, profiles and `ict plan`
	Outputs []*Value // live outside the plan, as inputs do

	scope    []string
	dropouts uint16
	names    map[string]bool
}

// NewTape is an empty recording with activations of type act.
func NewTape(act tensor.DType) *Tape { return &Tape{Act: act, names: map[string]bool{}} }

// A RecordError is what recording panics with: the network is not one that the formulas allow.
type RecordError struct {
	Path string
	Err  error
}

func (e *RecordError) Error() string { return fmt.Sprintf("nn: %s: %v", e.Path, e.Err) }
func (e *RecordError) Unwrap() error { return e.Err }

// Refuse panics with a RecordError that names path inside the current scope.
func (t *Tape) Refuse(path string, format string, a ...any) {
	panic(&RecordError{t.Path(path), fmt.Errorf(format, a...)})
}

// Scope runs f with name in front of the names and paths that f records.
func (t *Tape) Scope(name string, f func()) {
	t.scope = append(t.scope, name)
	f()
	t.scope = t.scope[:len(t.scope)-1]
}

// Path is name inside the current scope.
func (t *Tape) Path(name string) string {
	if len(t.scope) == 0 {
		return name
	}
	return strings.Join(t.scope, ".") + "." + name
}

func (t *Tape) value(v *Value) *Value {
	for _, n := range v.Shape {
		if n < 1 {
			panic(&RecordError{v.Name, fmt.Errorf("shape %v", v.Shape)})
		}
	}
	v.id = len(t.Values)
	t.Values = append(t.Values, v)
	return v
}

func (t *Tape) unique(name string) string {
	name = t.Path(name)
	if t.names[name] {
		panic(&RecordError{name, fmt.Errorf("recorded twice")})
	}
	t.names[name] = true
	return name
}

// Input records a value given from outside. wants: its gradient is asked for.
func (t *Tape) Input(name string, d tensor.DType, wants bool, shape ...int) *Value {
	return t.value(&Value{Name: t.unique(name), Shape: shape, DType: d, Kind: Input, Wants: wants})
}

// Param records a trained parameter.
func (t *Tape) Param(name string, init Init, shape ...int) *Value {
	return t.value(&Value{Name: t.unique(name), Shape: shape, Kind: Param, Wants: true, Init: init})
}

// Buffer records an array that is kept with the weights and not trained.
func (t *Tape) Buffer(name string, init Init, shape ...int) *Value {
	return t.value(&Value{Name: t.unique(name), Shape: shape, Kind: Buffer, Init: init})
}

// activation records what an op writes; it wants a gradient if one of from does.
func (t *Tape) activation(path string, d tensor.DType, shape tensor.Shape, from ...*Value) *Value {
	v := &Value{Name: path, Shape: shape, DType: d}
	for _, f := range from {
		v.Wants = v.Wants || f != nil && f.Wants
	}
	return t.value(v)
}

func (t *Tape) record(path string, op Op) {
	t.Ops = append(t.Ops, op)
	t.Paths = append(t.Paths, path)
}

// Output declares v a result of the network.
func (t *Tape) Output(v *Value) *Value {
	v.output = true
	t.Outputs = append(t.Outputs, v)
	return v
}

// MACs counts the multiply-adds of one forward pass.
func (t *Tape) MACs() int {
	n := 0
	for _, o := range t.Ops {
		if c, ok := o.(Counter); ok {
			n += c.MACs()
		}
	}
	return n
}

// Params counts the elements of the trained parameters.
func (t *Tape) Params() int {
	n := 0
	for _, v := range t.Values {
		if v.Kind == Param {
			n += v.Shape.Elems()
		}
	}
	return n
}

// A Pair is a value, or two that are used as if concatenated in C.
type Pair struct{ A, B *Value }

// One is a pair of one value.
func One(v *Value) Pair { return Pair{A: v} }

// Channels is C of both halves.
func (p Pair) Channels() int {
	if p.B == nil {
		return p.A.Shape.Last()
	}
	return p.A.Shape.Last() + p.B.Shape.Last()
}

func (v *Value) shape() tensor.Shape {
	if v == nil {
		return nil
	}
	return v.Shape
}

// Dropouts counts the recorded dropouts.
func (t *Tape) Dropouts() int { return int(t.dropouts) }
