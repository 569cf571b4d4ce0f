package nn

import (
	"strings"
	"testing"

	"pgregory.net/rapid"

	"ict/tensor"
)

// sizer asks for some scratch everywhere.
type sizer struct{}

func (sizer) Conv2dWgradScratch(w, _ tensor.Shape) int        { return 4 * w.Elems() }
func (sizer) LinearWgradScratch(w, _ tensor.Shape) int        { return 4 * w.Elems() }
func (sizer) GroupNormBackwardScratch(x0, _ tensor.Shape) int { return 4 * x0.Last() }
func (sizer) BiasBackwardScratch(dy tensor.Shape) int         { return 4 * dy.Last() }
func (sizer) OptimNormScratch(int) int                        { return 0 }

// small is a network with every way in which values are shared: two sources, a residual, a stack, an unused input gradient.
func small(blocks int) *Tape {
	t := NewTape(tensor.F32)
	x := t.Input("x", tensor.F32, false, 2, 4, 4, 8)
	c := t.Input("c", tensor.F32, false, 2)
	emb := NewLinear(t, "emb", 8, 8, false, Init{}, &Init{}).Forward(Positional(t, "pos", c, 8, tensor.Positional{MaxPeriod: 10}))
	stack := NewStack(t, "affine", 8)
	norm := tensor.GroupNorm{Groups: 4, Eps: 1e-5, SiLU: true}
	type layers struct {
		n *GroupNorm
		c *Conv2d
		p *Part
	}
	var all []layers
	for i := range blocks {
		t.Scope("b"+string(rune('0'+i)), func() {
			in := 8
			if i > 0 {
				in = 16
			}
			all = append(all, layers{NewGroupNorm(t, "norm", in, norm), NewConv2d(t, "conv", Filter{C: in, K: 8, R: 3}, Init{}, Init{}), stack.Add("affine", 8, Init{}, Init{})})
		})
	}
	stack.Forward(emb, true)
	h, before := x, (*Value)(nil)
	for _, l := range all {
		in := Pair{A: h, B: before}
		before = h
		h = l.c.Forward(One(l.n.Forward(in, nil)), Conv{Emb: l.p.Value(), Residual: h, Scale: 0.5})
	}
	t.Output(h)
	return t
}

// Blocks whose lives meet share no byte, and nothing lies outside the arena, whatever the blocks.
func TestPlaceKeepsLivesApart(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		n := rapid.IntRange(1, 40).Draw(r, "blocks")
		p := &Plan{works: make([]int, 20)}
		for range n {
			first := rapid.IntRange(0, 19).Draw(r, "first")
			p.Blocks = append(p.Blocks, Block{Bytes: rapid.IntRange(1, 5000).Draw(r, "bytes"), First: first, Last: rapid.IntRange(first, 19).Draw(r, "last")})
		}
		p.place()
		if p.Bytes < p.Bound || p.Bytes > p.Unshared {
			r.Fatalf("planned %d, bound %d, unshared %d", p.Bytes, p.Bound, p.Unshared)
		}
		for i, a := range p.Blocks {
			if a.Off < 0 || a.Off%planAlign != 0 || a.Off+a.Bytes > p.Bytes {
				r.Fatalf("block %+v outside %d", a, p.Bytes)
			}
			for _, b := range p.Blocks[:i] {
				if a.First <= b.Last && b.First <= a.Last && a.Off < b.Off+b.Bytes && b.Off < a.Off+a.Bytes {
					r.Fatalf("%+v and %+v live together on the same bytes", a, b)
				}
			}
		}
	})
}

func TestRehearsal(t *testing.T) {
	tape := small(3)
	p := Rehearse(tape, sizer{}, Want{Grad: true, Train: true})
	forward := Rehearse(tape, sizer{}, Want{Train: true})
	if p.Bytes >= p.Unshared || forward.Bytes >= p.Bytes {
		t.Errorf("with gradients %d of %d, forward only %d", p.Bytes, p.Unshared, forward.Bytes)
	}
	kinds := map[string]int{}
	for _, b := range p.Blocks {
		kinds[b.What]++
	}
	if kinds["value"] == 0 || kinds["gradient"] == 0 || kinds["scratch"] == 0 {
		t.Errorf("blocks %v", kinds)
	}
	for _, b := range forward.Blocks {
		if b.What != "value" {
			t.Errorf("forward only has a %s: %s", b.What, b.Name)
		}
	}
	f, b := p.Cost()
	if f.FLOPs != 2*int64(tape.MACs()) || b.FLOPs <= f.FLOPs {
		t.Errorf("%d FLOP forward, tape says %d MAC; %d backward", f.FLOPs, tape.MACs(), b.FLOPs)
	}
}

// Parameters lie in the order in which backward finishes them; a stack is one matrix with a name for each part.
func TestLayout(t *testing.T) {
	tape := small(3)
	l := NewLayout(tape, Rehearse(tape, sizer{}, Want{Grad: true}))
	at := map[string]Entry{}
	for _, e := range l.Entries {
		at[e.Name] = e
	}
	if !(at["b2.conv.weight"].Off < at["b1.conv.weight"].Off && at["b1.conv.weight"].Off < at["b0.conv.weight"].Off) {
		t.Error("parameters are not in the order of backward")
	}
	for i, name := range []string{"b0.affine.weight", "b1.affine.weight", "b2.affine.weight"} {
		e, ok := at[name]
		if !ok || !e.Shape.Equal(tensor.Shape{8, 8}) || e.Off != at["b0.affine.weight"].Off+64*i {
			t.Errorf("%s: %+v", name, e)
		}
	}
	total := 0
	for _, e := range l.Entries {
		total += e.Shape.Elems()
	}
	if total != tape.Params() || l.Size < total {
		t.Errorf("entries hold %d elements, the tape %d, the array %d", total, tape.Params(), l.Size)
	}
	if len(l.Buckets) != 1 {
		t.Errorf("buckets %v of a small network", l.Buckets)
	}
}

func panics(t *testing.T, want string, f func()) {
	t.Helper()
	defer func() {
		t.Helper()
		r := recover()
		text := ""
		switch r := r.(type) {
		case error:
			text = r.Error()
		case string:
			text = r
		}
		if !strings.Contains(text, want) {
			t.Errorf("panic %q, want one with %q", text, want)
		}
	}()
	f()
}

func TestMistakesAreNamed(t *testing.T) {
	tape := NewTape(tensor.F32)
	x := tape.Input("x", tensor.F32, false, 1, 4, 4, 3)
	panics(t, "enc.conv: input (1,4,4,3)", func() {
		tape.Scope("enc", func() { NewConv2d(tape, "conv", Filter{C: 5, K: 2, R: 3}, Init{}, Init{}).Forward(One(x), Conv{}) })
	})
	tape = NewTape(tensor.F32)
	panics(t, "norm: 6 channels cannot be split into 4 groups", func() { NewGroupNorm(tape, "norm", 6, tensor.GroupNorm{Groups: 4}) })
	tape = NewTape(tensor.F32)
	tape.Param("w", Init{}, 1)
	panics(t, "recorded twice", func() { tape.Param("w", Init{}, 1) })

	tape = small(1)
	tape.Param("unused", Init{}, 3)
	panics(t, "parameter unused gets no gradient", func() { Rehearse(tape, sizer{}, Want{Grad: true}) })

	tape = NewTape(tensor.F32)
	x = tape.Input("x", tensor.F32, false, 1, 4, 4, 3)
	NewConv2d(tape, "dead", Filter{C: 3, K: 2, R: 1}, Init{}, Init{}).Forward(One(x), Conv{})
	panics(t, "the gradient of dead is read and nobody has written it", func() { Rehearse(tape, sizer{}, Want{Grad: true}) })
}
