package train

import (
	"context"
	"math"
	"slices"
	"testing"

	"ict/internal/optest"
	"ict/nn"
	"ict/tensor"
)

// set puts x at the first place of a parameter, in the weights and in what is made of them.
func set(t *testing.T, tr *Trainer, name string, x float32) {
	t.Helper()
	for _, e := range tr.layout.Entries {
		if e.Name == name {
			v := optest.Get(t, tr.dev, e.View(tr.Online.W)).V
			v[0] = x
			b, err := tr.dev.Pinned(4 * len(v))
			if err != nil {
				t.Fatal(err)
			}
			copy(tensor.Floats(b), v)
			if err := tr.dev.Upload(e.View(tr.Online.W), b).Wait(); err != nil {
				t.Fatal(err)
			}
			tr.Online.Refresh(tr.dev)
			return
		}
	}
	t.Fatalf("no parameter %s", name)
}

// The first op that makes a value that is no number is named, with its direction, whatever comes of it further on.
func TestBlame(t *testing.T) {
	const conv = "enc.8x8_block0.conv0"
	half := toy(10, 4)
	half.Train.Precision, half.Train.LossScale.Start = "fp16", 1
	for _, c := range []struct {
		what   string
		config Config
		harm   func(*Trainer)
		want   *BadValue
	}{
		{"a whole network", toy(10, 4), func(*Trainer) {}, nil},
		{"in 16 bits", half, func(*Trainer) {}, nil},
		{"a weight that is no number", toy(10, 4), func(tr *Trainer) { set(t, tr, conv+".weight", float32(math.NaN())) }, &BadValue{conv + ".weight", "parameter"}},
		{"a weight that makes infinity", toy(10, 4), func(tr *Trainer) {
			set(t, tr, conv+".bias", math.MaxFloat32)
			set(t, tr, conv+".weight", math.MaxFloat32)
		},
			&BadValue{conv, "forward of the teacher"}},
		{"weighted by infinity", toy(10, 4), func(tr *Trainer) { tr.stage.InvBatch = float32(math.Inf(1)) }, &BadValue{"loss", "backward"}},
	} {
		tr := fresh(t, c.config)
		c.harm(tr)
		b, err := loader(c.config, 0, 0, 1).Next(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		before := hash(t, tr)
		got, err := tr.Blame(0, b)
		if err != nil {
			t.Fatalf("%s: %v", c.what, err)
		}
		if (got == nil) != (c.want == nil) || got != nil && *got != *c.want {
			t.Errorf("%s: got %v, want %v", c.what, got, c.want)
		}
		if hash(t, tr) != before || tr.K != 0 {
			t.Errorf("%s: the rerun moved something", c.what)
		}
	}
}

// A loss scale that is too high overflows on the way back, at an op of the tape.
func TestBlameBackward(t *testing.T) {
	c := toy(10, 4)
	c.Train.Precision, c.Train.LossScale.Start = "fp16", 1<<24
	tr := fresh(t, c)
	tr.stage.InvBatch = 1e4 // the scale alone is not too high for a network so small
	b, err := loader(c, 0, 0, 1).Next(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	got, err := tr.Blame(0, b)
	if err != nil || got == nil || got.Where != "backward" || !slices.Contains(tr.net.Tape.Paths, got.Path) {
		t.Errorf("got %v, %v, want an op's backward", got, err)
	}
}

// A checked run computes the same bits.
func TestCheckChangesNothing(t *testing.T) {
	c := toy(10, 4)
	c.Train.MicroBatch = 2
	a, b := fresh(t, c), fresh(t, c)
	if err := b.Check(); err != nil {
		t.Fatal(err)
	}
	steps(t, a, 3)
	steps(t, b, 3)
	if hash(t, a) != hash(t, b) {
		t.Error("other weights")
	}
	if bad, err := b.TakeBad(); bad != nil || err != nil {
		t.Errorf("got %v, %v", bad, err)
	}
}

// Each type's numbers that are none, and the largest that are.
func TestFiniteBits(t *testing.T) {
	for _, c := range []struct {
		d    tensor.DType
		bits []byte
		want bool
	}{
		{tensor.F32, []byte{0, 0, 0x80, 0x7f}, false}, {tensor.F32, []byte{0xff, 0xff, 0x7f, 0xff}, true}, {tensor.F32, []byte{0, 0, 0, 0, 1, 0, 0x80, 0xff}, false},
		{tensor.F16, []byte{0, 0x7c}, false}, {tensor.F16, []byte{0xff, 0xfb}, true}, {tensor.F16, []byte{0, 0, 1, 0xfc}, false},
		{tensor.BF16, []byte{0x80, 0x7f}, false}, {tensor.BF16, []byte{0x7f, 0xff}, true}, {tensor.BF16, nil, true},
	} {
		if got := finiteBits(c.bits, c.d); got != c.want {
			t.Errorf("%v %x: got %v", c.d, c.bits, got)
		}
	}
}

// The look sees columns of a stack one by one, and chunks to their ends.
func TestLookAtViews(t *testing.T) {
	dev := open(t)
	x, err := nn.NewTensor(dev, tensor.F32, 3, lookBytes/4+8)
	if err != nil {
		t.Fatal(err)
	}
	b, err := dev.Pinned(x.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	l := &looker{dev: dev, chunk: make([]byte, lookBytes)}
	cols := x.Shape[1]
	for _, at := range []int{0, cols - 1, cols + 5, 3*cols - 1} {
		clear(b)
		tensor.Floats(b)[at] = float32(math.Inf(-1))
		if err := dev.Upload(x, b).Wait(); err != nil {
			t.Fatal(err)
		}
		if l.finite(x) {
			t.Errorf("element %d was not seen", at)
		}
		left := tensor.Tensor{Mem: x.Mem, Off: x.Off, Shape: tensor.Shape{3, 8}, DType: tensor.F32, Row: cols}
		if got, want := l.finite(left), at%cols >= 8; got != want {
			t.Errorf("element %d: columns 0 to 7 finite: got %v, want %v", at, got, want)
		}
	}
	if l.err != nil {
		t.Error(l.err)
	}
}
