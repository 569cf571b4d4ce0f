package model

import (
	"math"

	"ict/nn"
	"ict/tensor"
)

// family is what differs between the two networks.
type family struct {
	scale      float64 // of every residual merge: √½ in SongUNet, 1 in ADM
	eps        float32 // of GroupNorm
	skipOnRate bool    // up and down blocks have a 1×1 projection whatever their widths
	heads      func(c int) int
	adagn      bool
	filter     tensor.Filter
	groups     func(c int) int
	dropout    func(res int) float64 // by the resolution of a block's output

	conv, convZero, qkv initRule
}

// initRule gives initial weight and bias of a layer by its fans.
type initRule func(fanIn, fanOut int) (w, b nn.Init)

// xavier is SongUNet's: uniform ±gain·√(6/(fan_in+fan_out)), zero bias [EDM] [SDE].
func xavier(gain float64) initRule {
	return func(in, out int) (nn.Init, nn.Init) {
		return nn.Init{Uniform: gain * math.Sqrt(6/float64(in+out))}, nn.Init{}
	}
}

// kaiming is ADM's: uniform ±1/√fan_in for weights and biases (PyTorch's default).
func kaiming(in, _ int) (nn.Init, nn.Init) {
	i := nn.Init{Uniform: 1 / math.Sqrt(float64(in))}
	return i, i
}

func zeros(int, int) (nn.Init, nn.Init) { return nn.Init{}, nn.Init{} }

func (f *family) newConv(t *nn.Tape, name string, s nn.Filter, rule initRule) *nn.Conv2d {
	w, b := rule(s.C*s.R*s.R, s.K*s.R*s.R)
	return nn.NewConv2d(t, name, s, w, b)
}

func (f *family) newNorm(t *nn.Tape, name string, c int, silu bool, dropout float64) *nn.GroupNorm {
	return nn.NewGroupNorm(t, name, c, tensor.GroupNorm{
		Groups: f.groups(c), Eps: f.eps, SiLU: silu, Dropout: tensor.Dropout{P: float32(dropout)},
	})
}

// rate is what a block does to the resolution.
type rate uint8

const (
	same rate = iota
	down
	up
)

// blockShape describes one block.
type blockShape struct {
	name      string // "enc.16x16_block0"
	in, out   int
	res       int // of the output
	rate      rate
	attention bool
}

// block is one residual block of either network, with its attention.
type block struct {
	*family
	blockShape
	t                   *nn.Tape
	norm0, norm1, norm2 *nn.GroupNorm
	conv0, conv1, skip  *nn.Conv2d // skip may be nil
	qkv, proj           *nn.Conv2d
	affine              *nn.Part
}

// newBlock records the parameters of a block; stack collects the projections of the embedding.
func newBlock(t *nn.Tape, f *family, stack *nn.Stack, s blockShape) *block {
	b := &block{family: f, blockShape: s, t: t}
	t.Scope(s.name, func() {
		b.norm0 = f.newNorm(t, "norm0", s.in, true, 0)
		b.conv0 = f.newConv(t, "conv0", nn.Filter{C: s.in, K: s.out, R: 3}, f.conv)
		k := s.out
		if f.adagn {
			k = 2 * s.out
		}
		w, bias := f.conv(stack.Width(), k)
		b.affine = stack.Add("affine", k, w, bias)
		b.norm1 = f.newNorm(t, "norm1", s.out, true, f.dropout(s.res))
		b.conv1 = f.newConv(t, "conv1", nn.Filter{C: s.out, K: s.out, R: 3}, f.convZero)
		if s.in != s.out || s.rate != same && f.skipOnRate {
			b.skip = f.newConv(t, "skip", nn.Filter{C: s.in, K: s.out, R: 1}, f.conv)
		}
		if s.attention {
			b.norm2 = f.newNorm(t, "norm2", s.out, false, 0)
			b.qkv = f.newConv(t, "qkv", nn.Filter{C: s.out, K: 3 * s.out, R: 1}, f.qkv)
			b.proj = f.newConv(t, "proj", nn.Filter{C: s.out, K: s.out, R: 1}, f.convZero)
		}
	})
	return b
}

// forward records the block: x (N,H,W,C) → (N,H',W',K).
func (b *block) forward(x nn.Pair) (h *nn.Value) {
	b.t.Scope(b.name, func() {
		h = b.norm0.Forward(x, nil) // GroupNorm + SiLU; joins the two halves of a concat
		if b.rate != same {
			h = b.resample("resample0", h)
			x = nn.One(b.resample("resample_skip", x.A)) // up and down blocks have one source
		}
		if b.adagn {
			h = b.conv0.Forward(nn.One(h), nn.Conv{})
			h = b.norm1.Forward(nn.One(h), b.affine.Value())
		} else {
			h = b.conv0.Forward(nn.One(h), nn.Conv{Emb: b.affine.Value()})
			h = b.norm1.Forward(nn.One(h), nil) // GroupNorm + SiLU + dropout
		}
		residual := x.A
		if b.skip != nil {
			residual = b.skip.Forward(x, nn.Conv{})
		}
		h = b.conv1.Forward(nn.One(h), nn.Conv{Residual: residual, Scale: b.scale})
		if b.attention {
			a := b.qkv.Forward(nn.One(b.norm2.Forward(nn.One(h), nil)), nn.Conv{})
			a = nn.Attention(b.t, "attention", a, b.heads(b.out))
			h = b.proj.Forward(nn.One(a), nn.Conv{Residual: h, Scale: b.scale})
		}
	})
	return h
}

func (b *block) resample(name string, x *nn.Value) *nn.Value {
	p := tensor.Resample{Rate: tensor.Down2, Filter: b.filter}
	if b.rate == up {
		p.Rate = tensor.Up2
	}
	return nn.Resample(b.t, name, x, p)
}
