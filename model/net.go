package model

import (
	"fmt"
	"slices"

	"ict/nn"
	"ict/tensor"
)

// Options of Record.
type Options struct {
	Act       tensor.DType // of activations
	Raw       bool         // the output is F itself, without preconditioning; X, Skip and Out are then nil
	WantInput bool         // the gradient of CX is asked for
}

// Net is a recorded network: f(x,σ) = c_skip·x + c_out·F(c_in·x, c_noise, label).
type Net struct {
	Config  Config
	Tape    *nn.Tape
	X       *nn.Value // (N,H,W,C) F32: the noisy image
	CX      *nn.Value // (N,H,W,C) F32: c_in·x
	Skip    *nn.Value // (N) F32: c_skip
	Out     *nn.Value // (N) F32: c_out
	Noise   *nn.Value // (N) F32: c_noise
	Labels  *nn.Value // (N) I32, nil without classes
	Augment *nn.Value // (N,Augment) F32, nil without
	F       *nn.Value // (N,H,W,C) F32: the output
}

// Record records the network for batches of n images. What the formulas do not allow is refused by name.
func (c Config) Record(n int, o Options) (net *Net, err error) {
	if err := c.Check(); err != nil {
		return nil, err
	}
	defer func() {
		if r := recover(); r != nil {
			refused, ok := r.(*nn.RecordError)
			if !ok {
				panic(r)
			}
			net, err = nil, fmt.Errorf("model: this network cannot be built: %w\n  widths are model.channels times model.mult", refused)
		}
	}()
	t := nn.NewTape(o.Act)
	image := []int{n, c.Resolution, c.Resolution, c.ImageChannels}
	net = &Net{Config: c, Tape: t}
	net.CX = t.Input("cx", tensor.F32, o.WantInput, image...)
	net.Noise = t.Input("c_noise", tensor.F32, false, n)
	if c.Classes > 0 {
		net.Labels = t.Input("labels", tensor.I32, false, n)
	}
	if c.Augment > 0 {
		net.Augment = t.Input("augment", tensor.F32, false, n, c.Augment)
	}
	var raw *nn.Value
	if c.Kind == Song {
		raw = newSong(t, c).forward(net)
	} else {
		raw = newADM(t, c).forward(net)
	}
	if o.Raw {
		net.F = t.Output(raw)
		return net, nil
	}
	net.X = t.Input("x", tensor.F32, false, image...)
	net.Skip = t.Input("c_skip", tensor.F32, false, n)
	net.Out = t.Input("c_out", tensor.F32, false, n)
	net.F = t.Output(nn.Precond(t, "precond", raw, net.X, net.Skip, net.Out))
	return net, nil
}

// unet is the part that both networks share: an encoder that leaves skips, a decoder that takes them.
type unet struct {
	t     *nn.Tape
	c     Config
	f     *family
	stack *nn.Stack

	conv    *nn.Conv2d
	enc     []stage
	dec     []stage
	outNorm *nn.GroupNorm
	outConv *nn.Conv2d
}

// stage is a block, with the input pyramid's convolution behind a down block of NCSN++.
type stage struct {
	*block
	aux *nn.Conv2d
}

// newUNet records the parameters; names as in [EDM]: enc.32x32_block0, dec.8x8_in0 …
func newUNet(t *nn.Tape, c Config, f *family, stack *nn.Stack, firstMult int, decoderAttention func(idx, res int) bool) *unet {
	u := &unet{t: t, c: c, f: f, stack: stack}
	name := func(half string, res int, what string) string {
		return fmt.Sprintf("%s.%dx%d_%s", half, res, res, what)
	}
	add := func(list *[]stage, s blockShape) *block {
		b := newBlock(t, f, stack, s)
		*list = append(*list, stage{block: b})
		return b
	}
	attends := func(res int) bool { return slices.Contains(c.Attention, res) }

	var skips []int
	cout, caux := 0, c.ImageChannels
	for level, mult := range c.Mult {
		res := c.Resolution >> level
		if level == 0 {
			cout = c.Channels * firstMult
			u.conv = f.newConv(t, name("enc", res, "conv"), nn.Filter{C: c.ImageChannels, K: cout, R: 3}, f.conv)
		} else {
			add(&u.enc, blockShape{name: name("enc", res, "down"), in: cout, out: cout, res: res, rate: down})
			if c.Pyramid {
				u.enc[len(u.enc)-1].aux = f.newConv(t, name("enc", res, "aux_residual"),
					nn.Filter{C: caux, K: cout, R: 3, Stride: 2, Valid: true}, f.conv)
				caux = cout
			}
		}
		skips = append(skips, cout)
		for i := range c.Blocks {
			cin := cout
			cout = c.Channels * mult
			add(&u.enc, blockShape{name: name("enc", res, fmt.Sprint("block", i)), in: cin, out: cout, res: res, attention: attends(res)})
			skips = append(skips, cout)
		}
	}
	for level := len(c.Mult) - 1; level >= 0; level-- {
		res := c.Resolution >> level
		if level == len(c.Mult)-1 {
			add(&u.dec, blockShape{name: name("dec", res, "in0"), in: cout, out: cout, res: res, attention: true})
			add(&u.dec, blockShape{name: name("dec", res, "in1"), in: cout, out: cout, res: res})
		} else {
			add(&u.dec, blockShape{name: name("dec", res, "up"), in: cout, out: cout, res: res, rate: up})
		}
		for i := range c.Blocks + 1 {
			cin := cout + skips[len(skips)-1]
			skips = skips[:len(skips)-1]
			cout = c.Channels * c.Mult[level]
			add(&u.dec, blockShape{name: name("dec", res, fmt.Sprint("block", i)), in: cin, out: cout, res: res,
				attention: attends(res) && decoderAttention(i, res)})
		}
	}
	normName, convName := "out_norm", "out_conv"
	if c.Kind == Song {
		normName, convName = name("dec", c.Resolution, "aux_norm"), name("dec", c.Resolution, "aux_conv")
	}
	u.outNorm = f.newNorm(t, normName, cout, true, 0)
	u.outConv = f.newConv(t, convName, nn.Filter{C: cout, K: c.ImageChannels, R: 3}, f.convZero)
	return u
}

// forward records F(cx) after the embedding; every block reads its columns of the stacked projections.
func (u *unet) forward(cx, emb *nn.Value) *nn.Value {
	u.stack.Forward(emb, true)
	h := u.conv.Forward(nn.One(cx), nn.Conv{})
	skips := []*nn.Value{h}
	aux := cx
	for _, s := range u.enc {
		h = s.forward(nn.One(h))
		if s.aux != nil {
			// FIR at stride 1 with padding 2, then 3×3 at stride 2 without: not a FIR-down followed by a padded 3×3.
			smooth := nn.Resample(u.t, s.name+".aux_smooth", aux, tensor.Resample{Rate: tensor.Smooth, Filter: tensor.FIR})
			h = s.aux.Forward(nn.One(smooth), nn.Conv{Residual: h, Scale: u.f.scale})
			aux = h
		}
		skips = append(skips, h)
	}
	for _, s := range u.dec {
		x := nn.One(h)
		if h.Shape.Last() != s.in {
			x.B = skips[len(skips)-1]
			skips = skips[:len(skips)-1]
		}
		h = s.forward(x)
	}
	h = u.outNorm.Forward(nn.One(h), nil)
	return u.outConv.Forward(nn.One(h), nn.Conv{F32: true})
}

// groups is EDM's rule: min(32, C/min_group_channels).
func (c Config) groups(channels int) int { return min(32, channels/c.MinGroupChannels) }

func (c Config) dropoutAt(res int) float64 {
	if c.DropoutMaxRes > 0 && res > c.DropoutMaxRes {
		return 0
	}
	return c.Dropout
}
