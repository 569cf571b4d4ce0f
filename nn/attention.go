package nn

import (
	"math"

	"ict/tensor"
)

// Attention records softmax attention of qkv (N,H,W,3C), rows (3, heads, d), over pixels: o (N,H,W,C), scale 1/√d.
func Attention(t *Tape, name string, qkv *Value, heads int) *Value {
	s := qkv.Shape
	c := s[3] / 3
	p := tensor.Attention{Heads: heads, Scale: float32(1 / math.Sqrt(float64(c/heads)))}
	o := &attention{qkv: qkv, p: p}
	o.o = t.activation(t.Path(name), t.Act, tensor.Shape{s[0], s[1], s[2], c}, qkv)
	o.lse = t.value(&Value{Name: t.Path(name + ".lse"), Shape: tensor.Shape{s[0], heads, s[1] * s[2]}})
	if err := p.Check(o.o.Shape, o.lse.Shape, s); err != nil {
		panic(&RecordError{t.Path(name), err})
	}
	t.record(t.Path(name), o)
	return o.o
}

type attention struct {
	qkv, o, lse *Value
	p           tensor.Attention
}

func (o *attention) Forward(e *Exec) { e.AttentionForward(e.T(o.o), e.T(o.lse), e.T(o.qkv), o.p) }

func (o *attention) Backward(e *Exec) {
	if wanted(o.qkv) {
		do := e.D(o.o)
		e.AttentionBackward(e.Acc(o.qkv), do, e.T(o.o), e.T(o.qkv), e.T(o.lse), o.p)
	}
}

func (o *attention) MACs() int { return o.p.MACs(o.qkv.Shape) }
