package model

import (
	"ict/nn"
	"ict/tensor"
)

// adm is DhariwalUNet: class labels, heads of fixed width, scale-shift norm (AdaGN) or plain.
type adm struct {
	*unet
	label          *nn.Label
	augment        *nn.Linear
	layer0, layer1 *nn.Linear
}

func newADM(t *nn.Tape, c Config) *adm {
	f := &family{
		scale: 1, eps: 1e-5, adagn: c.AdaGN, groups: c.groups, dropout: c.dropoutAt,
		conv: kaiming, convZero: zeros, qkv: kaiming, heads: c.Heads,
	}
	emb := 4 * c.Channels
	a := &adm{}
	linear := func(name string, in, out int, silu bool) *nn.Linear {
		w, b := kaiming(in, out)
		return nn.NewLinear(t, name, in, out, silu, w, &b)
	}
	if c.Augment > 0 {
		a.augment = nn.NewLinear(t, "map_augment", c.Augment, c.Channels, false, nn.Init{}, nil)
	}
	a.layer0 = linear("map_layer0", c.Channels, emb, false)
	a.layer1 = linear("map_layer1", emb, emb, true)
	if c.Classes > 0 {
		a.label = nn.NewLabel(t, "map_label", c.Classes, emb, 1, nn.Init{Normal: 1}, nil)
	}
	a.unet = newUNet(t, c, f, nn.NewStack(t, "affine", emb), c.Mult[0], func(int, int) bool { return true })
	for _, s := range append(append([]stage{}, a.enc...), a.dec...) {
		if s.attention && s.out%c.HeadChannels != 0 {
			t.Refuse(s.name, "%d channels cannot be split into attention heads of %d", s.out, c.HeadChannels)
		}
	}
	return a
}

func (a *adm) forward(net *Net) *nn.Value {
	x := nn.Positional(a.t, "map_noise", net.Noise, a.c.Channels, tensor.Positional{MaxPeriod: 10000, CosFirst: true})
	if a.augment != nil {
		x = nn.Add(a.t, "map_augment_sum", x, a.augment.Forward(net.Augment))
	}
	x = a.layer1.Forward(a.layer0.Forward(x))
	if a.label != nil {
		x = a.label.Forward(x, net.Labels)
	}
	return a.unet.forward(net.CX, x)
}
