package model

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"ict/nn"
	"ict/tensor"
)

func songConfig(res, channels int, mult []int, blocks int) Config {
	return Config{Kind: Song, Resolution: res, ImageChannels: 3, Channels: channels, Mult: mult, Blocks: blocks, Attention: []int{16},
		Embedding: Fourier, FourierScale: 0.02, NoiseScale: 1, Filter: []int{1, 3, 3, 1}, Pyramid: true, MinGroupChannels: 4}
}

func ddpm(c Config) Config {
	c.Embedding, c.Filter, c.Pyramid = Positional, []int{1, 1}, false
	return c
}

func admConfig(blocks int, adagn bool, classes int) Config {
	return Config{Kind: ADM, Resolution: 64, ImageChannels: 3, Channels: 192, Mult: []int{1, 2, 3, 4}, Blocks: blocks, Attention: []int{32, 16, 8},
		Embedding: Positional, NoiseScale: 1, HeadChannels: 64, AdaGN: adagn, Classes: classes, MinGroupChannels: 4}
}

func with(c Config, f func(*Config)) Config { f(&c); return c }

// Table M-1.
func TestParametersAndMACs(t *testing.T) {
	small := func(c *Config) { c.ImageChannels, c.Attention = 1, []int{14} }
	small16 := func(c *Config) { c.Attention = []int{8} }
	adm16 := func(c *Config) {
		c.Resolution, c.Channels, c.Mult, c.Attention = 16, 64, []int{1, 2}, []int{8}
	}
	three := []int{2, 2, 2}
	base := songConfig(32, 128, three, 4)
	for _, row := range []struct {
		name   string
		c      Config
		params int
		gmac   string
		blocks string
	}{
		{"ncsnpp", base, 56395523, "21.2298", "33 / 6"},
		{"ddpmpp", ddpm(base), 55732739, "21.1902", "33 / 6"},
		{"ncsnpp augment", with(base, func(c *Config) { c.Augment = 9 }), 56397827, "21.2298", ""},
		{"ncsnpp 10 classes", with(base, func(c *Config) { c.Classes = 10 }), 56398339, "21.2298", ""},
		{"ncsnpp 8", songConfig(32, 128, three, 8), 97610499, "38.1947", "57 / 10"},
		{"ddpmpp 8", ddpm(songConfig(32, 128, three, 8)), 96947715, "38.1551", "57 / 10"},
		{"ncsnpp 1222", songConfig(32, 128, []int{1, 2, 2, 2}, 4), 62758787, "10.8758", "44 / 6"},
		{"ncsnpp 1222 8", songConfig(32, 128, []int{1, 2, 2, 2}, 8), 107586947, "18.5760", "76 / 10"},
		{"ncsnpp 64 222", songConfig(32, 64, three, 2), 8964739, "3.2156", "21 / 4"},
		{"ncsnpp 64 122", songConfig(32, 64, []int{1, 2, 2}, 2), 7081923, "1.7563", "21 / 4"},
		{"ncsnpp 28", with(songConfig(28, 32, []int{1, 2}, 2), small), 1036769, ".3252", "14 / 4"},
		{"ddpmpp 28", ddpm(with(songConfig(28, 32, []int{1, 2}, 2), small)), 1032353, ".3251", "14 / 4"},
		{"ncsnpp 16", with(songConfig(16, 32, []int{1, 2}, 1), small16), 754883, ".0760", "10 / 3"},
		{"ddpmpp 16", ddpm(with(songConfig(16, 32, []int{1, 2}, 1), small16)), 749891, ".0760", "10 / 3"},
		{"adm adagn", admConfig(3, true, 1000), 295899267, "109.6568", "36 / 22"},
		{"adm", admConfig(3, false, 1000), 282168003, "109.6431", "36 / 22"},
		{"adm 6", admConfig(6, false, 1000), 472767555, "181.4217", "60 / 40"},
		{"adm 6 adagn", admConfig(6, true, 1000), 495357699, "181.4443", "60 / 40"},
		{"adm adagn uncond", admConfig(3, true, 0), 295131267, "109.6568", ""},
		{"adm uncond", admConfig(3, false, 0), 281400003, "109.6431", ""},
		{"adm 64", with(admConfig(3, false, 1000), func(c *Config) { c.Channels = 64 }), 31575619, "13.5733", "36 / 22"},
		{"adm 16", with(admConfig(1, false, 0), adm16), 3030211, ".3006", "10 / 4"},
		{"adm 16 adagn", with(admConfig(1, true, 10), adm16), 3295939, ".3009", "10 / 4"},
		{"demo", with(songConfig(28, 16, []int{1, 2, 4}, 1), func(c *Config) {
			c.ImageChannels, c.Attention, c.Classes = 1, []int{7}, 10
		}), 750401, "", ""},
	} {
		net, err := row.c.Record(1, Options{})
		if err != nil {
			t.Fatal(row.name, err)
		}
		if got := net.Tape.Params(); got != row.params {
			t.Errorf("%s: got %d parameters, want %d", row.name, got, row.params)
		}
		// The table counts q·k and w·v products of T×T pairs, convolutions and linears.
		gmac := strings.TrimPrefix(fmt.Sprintf("%.4f", float64(net.Tape.MACs())/1e9), "0")
		if row.gmac != "" && gmac != row.gmac {
			t.Errorf("%s: got %s GMAC, want %s", row.name, gmac, row.gmac)
		}
		res, att := 0, 0
		for _, p := range net.Tape.Paths {
			if strings.HasSuffix(p, ".conv1") {
				res++
			}
			if strings.HasSuffix(p, ".attention") {
				att++
			}
		}
		if got := fmt.Sprintf("%d / %d", res, att); row.blocks != "" && got != row.blocks {
			t.Errorf("%s: got %s blocks, want %s", row.name, got, row.blocks)
		}
	}
}

// Table M-8.
func TestInitialBounds(t *testing.T) {
	bounds := func(c Config) map[string]float64 {
		net, err := c.Record(1, Options{})
		if err != nil {
			t.Fatal(err)
		}
		m := map[string]float64{}
		for _, e := range nn.NewLayout(net.Tape, nil).Entries {
			m[e.Name] = e.Init.Uniform
		}
		return m
	}
	song, adm := bounds(songConfig(32, 128, []int{2, 2, 2}, 4)), bounds(admConfig(3, false, 1000))
	for _, row := range []struct {
		m    map[string]float64
		name string
		want float64
	}{
		{song, "enc.32x32_conv.weight", .07133764},
		{song, "enc.32x32_block1.conv0.weight", .03608439},
		{song, "enc.16x16_block0.qkv.weight", .03423266},
		{song, "enc.16x16_block0.affine.weight", .08838835},
		{song, "map_layer0.weight", .08838835},
		{song, "map_layer0.bias", 0},
		{adm, "enc.64x64_conv.weight", .1924501},
		{adm, "enc.64x64_block0.conv0.weight", .02405626},
		{adm, "enc.64x64_block0.conv0.bias", .02405626},
		{adm, "map_layer0.weight", .07216878},
		{adm, "enc.8x8_block0.affine.weight", .03608439},
		{adm, "enc.8x8_block0.affine.bias", .03608439},
		{adm, "enc.8x8_block0.conv1.weight", 0},
		{adm, "out_conv.bias", 0},
	} {
		got, ok := row.m[row.name]
		if !ok || math.Abs(got-row.want) > 2e-7*math.Max(row.want, 1e-6) && math.Abs(got-row.want) > 6e-9 {
			t.Errorf("%s: got ±%.9g (%v), want ±%.9g", row.name, got, ok, row.want)
		}
	}
	if got := song["enc.32x32_block1.conv1.weight"]; math.Abs(got-3.608439e-7) > 1e-13 {
		t.Errorf("conv1: got ±%.9g, want ±3.608439e-7", got)
	}
}

// The 1×1 projection of an up or down block exists in SongUNet alone.
func TestSkipProjections(t *testing.T) {
	for _, c := range []Config{songConfig(32, 128, []int{2, 2, 2}, 4), admConfig(3, false, 0)} {
		net, err := c.Record(1, Options{})
		if err != nil {
			t.Fatal(err)
		}
		has := slices.ContainsFunc(net.Tape.Values, func(v *nn.Value) bool {
			return strings.HasSuffix(v.Name, "_down.skip.weight") || strings.HasSuffix(v.Name, "_up.skip.weight")
		})
		if has != (c.Kind == Song) {
			t.Errorf("%s: projection on up and down blocks: %v", c.Kind, has)
		}
	}
}

// With dropout_max_res 16, 19 of 36 blocks of ADM-64 drop (31 of 60 with six blocks).
func TestDropoutBlocks(t *testing.T) {
	for _, row := range []struct{ blocks, want int }{{3, 19}, {6, 31}} {
		c := admConfig(row.blocks, false, 0)
		c.Dropout, c.DropoutMaxRes = 0.2, 16
		net, err := c.Record(1, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if got := net.Tape.Dropouts(); got != row.want {
			t.Errorf("%d blocks a level: %d drop, want %d", row.blocks, got, row.want)
		}
	}
}

func TestRefused(t *testing.T) {
	ok := songConfig(32, 128, []int{2, 2, 2}, 4)
	for _, row := range []struct {
		change func(*Config)
		want   string
	}{
		{func(c *Config) { c.Kind = "vae" }, "model.kind"},
		{func(c *Config) { c.Resolution = 30 }, "model.mult"},
		{func(c *Config) { c.Attention = []int{12} }, "model.attention"},
		{func(c *Config) { c.Filter = []int{1, 2, 1} }, "model.filter"},
		{func(c *Config) { c.Filter = []int{1, 1} }, "model.pyramid"},
		{func(c *Config) { c.Dropout = 1 }, "model.dropout"},
		{func(c *Config) { c.Channels = 18; c.Mult = []int{1, 1, 1} }, "norm0: 18 channels cannot be split into 4 groups"},
		{func(c *Config) { c.Channels = 2; c.Mult = []int{1, 1, 1} }, "cannot be split into 0 groups"},
		{func(c *Config) { *c = admConfig(3, false, 0); c.HeadChannels = 100 }, "attention heads of 100"},
	} {
		c := ok
		row.change(&c)
		_, err := c.Record(1, Options{})
		if err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("got %v, want an error with %q", err, row.want)
		}
	}
}

func TestFileLayouts(t *testing.T) {
	v := make([]float32, 2*3*3*5)
	for i := range v {
		v[i] = float32(i)
	}
	for _, e := range []nn.Entry{
		{Name: "conv.weight", Shape: tensor.Shape{2, 3, 3, 5}},
		{Name: "map_label.weight", Shape: tensor.Shape{9, 10}},
		{Name: "map_layer0.weight", Shape: tensor.Shape{10, 9}},
	} {
		shape, file := ToFile(e, v)
		back, err := FromFile(e, shape, file)
		if err != nil || !slices.Equal(back, v) {
			t.Errorf("%s: does not come back: %v", e.Name, err)
		}
		if _, err := FromFile(e, append(shape, 1), file); err == nil {
			t.Errorf("%s: another shape is accepted", e.Name)
		}
	}
	if _, file := ToFile(nn.Entry{Name: "c", Shape: tensor.Shape{2, 3, 3, 5}}, v); file[1] != v[5] || file[9] != v[1] {
		t.Error("filters are not OIHW in files")
	}
	qkv := make([]float32, 3*2*4*3)
	for i := range qkv {
		qkv[i] = float32(i)
	}
	for _, o := range []QKVOrder{OursQKV, EDMQKV, HeadsQKV} {
		p := PermuteQKV(qkv, 3, 2, OursQKV, o)
		if !slices.Equal(PermuteQKV(p, 3, 2, o, OursQKV), qkv) {
			t.Errorf("qkv order %d does not come back", o)
		}
	}
	// Row 1 of EDM's order is k of head 0, channel 0: row heads·d = 8 of ours.
	if p := PermuteQKV(qkv, 3, 2, OursQKV, EDMQKV); p[3] != qkv[8*3] {
		t.Errorf("EDM row 1 got %v, want %v", p[3], qkv[24])
	}
}

type noScratch struct{}

func (noScratch) Conv2dWgradScratch(_, _ tensor.Shape) int       { return 0 }
func (noScratch) LinearWgradScratch(_, _ tensor.Shape) int       { return 0 }
func (noScratch) GroupNormBackwardScratch(_, _ tensor.Shape) int { return 0 }
func (noScratch) BiasBackwardScratch(tensor.Shape) int           { return 0 }
func (noScratch) OptimNormScratch(int) int                       { return 0 }

// A plan for the CIFAR-10 network lies within 1 % of its lower bound.
func TestPlanNearBound(t *testing.T) {
	net, err := songConfig(32, 128, []int{2, 2, 2}, 4).Record(128, Options{})
	if err != nil {
		t.Fatal(err)
	}
	p := nn.Rehearse(net.Tape, noScratch{}, nn.Want{Grad: true, Train: true})
	t.Logf("unshared %.1f GiB, planned %.1f, bound %.1f", float64(p.Unshared)/(1<<30), float64(p.Bytes)/(1<<30), float64(p.Bound)/(1<<30))
	if float64(p.Bytes) > 1.01*float64(p.Bound) || p.Unshared < 2*p.Bytes {
		t.Errorf("planned %d, bound %d, unshared %d", p.Bytes, p.Bound, p.Unshared)
	}
}
