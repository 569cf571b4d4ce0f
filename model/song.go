package model

import (
	"math"
	"slices"

	"ict/nn"
	"ict/tensor"
)

// song is SongUNet: NCSN++ (Fourier features, FIR filters, residual input pyramid) or DDPM++ (positional, box).
type song struct {
	*unet
	freqs          *nn.Value
	label          *nn.Label
	augment        *nn.Linear
	layer0, layer1 *nn.Linear
}

func newSong(t *nn.Tape, c Config) *song {
	f := &family{
		scale: math.Sqrt(0.5), eps: 1e-6, skipOnRate: true, heads: c.Heads, groups: c.groups,
		dropout: c.dropoutAt, conv: xavier(1), convZero: xavier(1e-5), qkv: xavier(math.Sqrt(0.2)),
	}
	if slices.Equal(c.Filter, []int{1, 3, 3, 1}) {
		f.filter = tensor.FIR
	}
	emb, features := 4*c.Channels, c.features()
	s := &song{}
	if c.Embedding == Fourier {
		s.freqs = t.Buffer("map_noise.freqs", nn.Init{Normal: c.FourierScale}, features/2)
	}
	linear := func(name string, in, out int, silu bool) *nn.Linear {
		w, b := f.conv(in, out)
		return nn.NewLinear(t, name, in, out, silu, w, &b)
	}
	if c.Classes > 0 {
		w, b := f.conv(c.Classes, features)
		s.label = nn.NewLabel(t, "map_label", c.Classes, features, math.Sqrt(float64(c.Classes)), w, &b)
	}
	if c.Augment > 0 {
		w, _ := f.conv(c.Augment, features)
		s.augment = nn.NewLinear(t, "map_augment", c.Augment, features, false, w, nil)
	}
	s.layer0 = linear("map_layer0", features, emb, false)
	s.layer1 = linear("map_layer1", emb, emb, true)
	s.unet = newUNet(t, c, f, nn.NewStack(t, "affine", emb), 1, func(idx, _ int) bool { return idx == c.Blocks })
	return s
}

// features is the width of the noise features.
func (c Config) features() int {
	if c.Embedding == Fourier {
		return 2 * c.Channels
	}
	return c.Channels
}

func (s *song) forward(net *Net) *nn.Value {
	var x *nn.Value
	if s.freqs != nil {
		x = nn.Fourier(s.t, "map_noise", net.Noise, s.freqs)
	} else {
		x = nn.Positional(s.t, "map_noise", net.Noise, s.c.features(), tensor.Positional{MaxPeriod: 10000, Endpoint: true})
	}
	if s.label != nil {
		x = s.label.Forward(x, net.Labels)
	}
	if s.augment != nil {
		x = nn.Add(s.t, "map_augment_sum", x, s.augment.Forward(net.Augment))
	}
	// emb = silu(W1·silu(W0·x)); the outer SiLU stands at the input of the blocks' projections.
	return s.unet.forward(net.CX, s.layer1.Forward(s.layer0.Forward(x)))
}
