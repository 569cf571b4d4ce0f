package model

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"ict/cpu"
	"ict/nn"
	"ict/tensor"
)

// What ToFile writes, LoadWeights reads back to the bit; what does not fit is named and nothing is written.
func TestLoadWeights(t *testing.T) {
	dev, err := cpu.Open(cpu.Options{})
	if err != nil {
		t.Fatal(err)
	}
	c := songConfig(16, 8, []int{1, 2}, 1)
	c.Attention, c.Classes = []int{8}, 5
	net, err := c.Record(2, Options{})
	if err != nil {
		t.Fatal(err)
	}
	layout := nn.NewLayout(net.Tape, nn.Rehearse(net.Tape, dev, nn.Want{Grad: true}))
	weights := func() *nn.Weights {
		w, err := layout.NewWeights(dev, tensor.Tensor{}, true)
		if err != nil {
			t.Fatal(err)
		}
		return w
	}
	values := func(x tensor.Tensor) []float32 {
		b, err := dev.Pinned(x.Bytes())
		if err != nil {
			t.Fatal(err)
		}
		if err := dev.Download(b, x).Wait(); err != nil {
			t.Fatal(err)
		}
		return tensor.Floats(b)
	}
	from := weights()
	if err := Init(dev, from, 3); err != nil {
		t.Fatal(err)
	}
	type named struct {
		shape []int
		v     []float32
	}
	file := map[string]named{}
	for _, e := range layout.Entries {
		shape, v := ToFile(e, values(from.Tensor(e)))
		file[e.Name] = named{shape, v}
	}
	get := func(name string) ([]int, []float32, bool) {
		n, ok := file[name]
		return n.shape, n.v, ok
	}

	to := weights()
	file["surplus.weight"] = named{[]int{1}, []float32{1}}
	if err := LoadWeights(dev, to, get); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(values(to.W), values(from.W)) || !slices.Equal(values(to.Buffers), values(from.Buffers)) {
		t.Error("weights do not come back")
	}
	if slices.Max(values(to.Buffers)) == 0 {
		t.Error("buffers are zero")
	}

	fresh := weights()
	for _, row := range []struct {
		name   string
		change func(n named) (named, bool)
		want   string
	}{
		{"map_layer0.bias", func(n named) (named, bool) { return n, false }, "model: map_layer0.bias: missing\n  1 of "},
		{"map_label.weight", func(n named) (named, bool) { n.shape = []int{5, 16}; return n, true }, "model: map_label.weight: got (5,16), want (16,5)"},
		{"enc.16x16_conv.weight", func(n named) (named, bool) { n.v = n.v[1:]; return n, true }, "model: enc.16x16_conv.weight: got"},
		{"map_noise.freqs", func(n named) (named, bool) {
			n.v = slices.Clone(n.v)
			n.v[2] = float32(math.NaN())
			return n, true
		}, "model: map_noise.freqs: got a value that is not finite"},
	} {
		err := LoadWeights(dev, fresh, func(name string) ([]int, []float32, bool) {
			shape, v, ok := get(name)
			if name == row.name {
				var n named
				n, ok = row.change(named{shape, v})
				shape, v = n.shape, n.v
			}
			return shape, v, ok
		})
		if err == nil || !strings.Contains(err.Error(), row.want) || !strings.Contains(err.Error(), "nothing was written") {
			t.Errorf("got error %v, want one with %q", err, row.want)
		}
	}
	err = LoadWeights(dev, fresh, func(string) ([]int, []float32, bool) { return nil, nil, false })
	if n := len(layout.Entries); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("  %d of %d names", n, n)) {
		t.Errorf("got error %v, want all %d names missing", err, n)
	}
	if v := values(fresh.W); slices.Max(v) != 0 || slices.Min(v) != 0 {
		t.Error("a refused load has written")
	}
}
