package sample

import (
	"math"
	"slices"
	"testing"

	"ict/internal/philox"
	"ict/tensor"
)

func TestPhilox(t *testing.T) {
	dev := open(t)
	dst := newTensor(t, dev, 3, 4, 4, 1)
	source, err := NewPhilox(dev, 0xfedcba9876543210)
	ok(t, err)
	for _, c := range []struct {
		level int
		first uint64
	}{{0, 0}, {1, 0}, {0, 5}, {2, 1<<32 - 3}} {
		ok(t, source.Noise(dst, c.level, c.first))
		want := make([]float32, 48)
		for i := range 3 {
			philox.Stream{Seed: 0xfedcba9876543210, Step: uint64(c.level), Image: uint32(c.first) + uint32(i), Purpose: philox.SampleNoise}.Normals(want[16*i:16*(i+1)], 0)
		}
		same(t, "normals", floats(t, dev, dst), want)
	}
	refused(t, source.Noise(dst, 0, 1<<32-2), "got 3 from 4294967294, want all below 2^32")
	refused(t, source.Noise(dst, 0, math.MaxUint64), "want all below 2^32")
}

func TestGiven(t *testing.T) {
	dev := open(t)
	v := make([]float32, 2*3*4)
	for i := range v {
		v[i] = float32(i)
	}
	g, err := NewGiven(dev, v, tensor.Shape{2, 3, 2, 2, 1})
	ok(t, err)
	two, three := newTensor(t, dev, 2, 2, 2, 1), newTensor(t, dev, 3, 2, 2, 1)
	ok(t, g.Noise(two, 0, 0))
	same(t, "level 0", floats(t, dev, two), v[:8])
	ok(t, g.Noise(three, 1, 0))
	same(t, "level 1", floats(t, dev, three), v[12:])
	ok(t, g.Noise(two, 1, 1))
	same(t, "level 1 from image 1", floats(t, dev, two), v[16:])
	refused(t, g.Noise(two, 2, 0), "got 2 levels, want level 3 too")
	refused(t, g.Noise(two, 0, 2), "got 3 images, want 2 from number 2")
	refused(t, g.Noise(two, 0, math.MaxUint64), "got 3 images")
	refused(t, g.Noise(newTensor(t, dev, 2, 2, 1, 2), 0, 0), "got images (2,2,1), want (2,1,2)")

	one, err := NewGiven(dev, v, tensor.Shape{6, 2, 2, 1})
	ok(t, err)
	ok(t, one.Noise(two, 0, 4))
	same(t, "one level", floats(t, dev, two), v[16:])
	refused(t, one.Noise(two, 1, 0), "got 1 levels")

	huge := math.MaxInt/2 + 1
	seventh := 0x6db6db6db6db6db7 // 7·seventh is 1, but for 2⁶⁴s
	for _, s := range []tensor.Shape{nil, {24}, {2, 3, 4}, {2, 3, 2, 1}, {2, 3, 2, 2, 2}, {2, 3, 2, 2, 1, 1}, {0, 3, 2, 2, 1}, {-2, -3, 2, 2, 1},
		{2, 3, huge, 4, 1}, {huge, huge, huge, huge, 1}, {24, 1, huge, 4, 1}, {3, 8, 7, seventh, 1}} {
		_, err := NewGiven(dev, v, s)
		refused(t, err, "want (levels,N,H,W,C) or (N,H,W,C)")
	}
	_, err = NewGiven(dev, nil, tensor.Shape{0, 2, 2, 1})
	refused(t, err, "want (levels,N,H,W,C)")
	for _, bad := range []float64{math.NaN(), math.Inf(-1)} {
		w := slices.Clone(v)
		w[23] = float32(bad)
		_, err := NewGiven(dev, w, tensor.Shape{2, 3, 2, 2, 1})
		refused(t, err, "not finite")
	}
}

func TestLabels(t *testing.T) {
	all := Labels(3, 0, 20000, 7)
	same := Labels(3, 1000, 50, 7)
	if !slices.Equal(same, all[1000:1050]) {
		t.Error("a class depends on the batch")
	}
	if slices.Equal(Labels(4, 0, 50, 7), all[:50]) {
		t.Error("another seed draws the same classes")
	}
	count := make([]float64, 7)
	for _, l := range all {
		count[l]++ // panics outside the classes
	}
	chi := 0.0
	for _, n := range count {
		want := 20000.0 / 7
		chi += (n - want) * (n - want) / want
	}
	if chi > 6+6*math.Sqrt(12) {
		t.Errorf("counts %v have a chi-square of %v, want about 6", count, chi)
	}
	if got := Labels(3, 5, 4, 1); !slices.Equal(got, []int32{0, 0, 0, 0}) {
		t.Errorf("one class: got %v", got)
	}
	var w [1]uint32
	philox.Stream{Seed: 3, Image: 17, Purpose: philox.Class}.Words(w[:], 0)
	if want := int32(uint64(w[0]) * 7 >> 32); all[17] != want {
		t.Errorf("image 17: got class %d, want %d", all[17], want)
	}
	panics(t, "sample: labels:", func() { Labels(3, 0, 1, 0) })
	panics(t, "sample: labels:", func() { Labels(3, 1<<32, 1, 5) })

	if got, want := ColumnLabels(3, 7, 4, 3), []int32{0, 0, 1, 2, 0, 0, 1}; !slices.Equal(got, want) {
		t.Errorf("columns: got %v, want %v", got, want)
	}
	panics(t, "sample: labels:", func() { ColumnLabels(0, 1, 0, 3) })
	panics(t, "sample: labels:", func() { ColumnLabels(0, 1, 3, 0) })
}

//
func TestBytes(t *testing.T) {
	x := []float32{-1.2, -1, -.999, -.5, 0, .0039, .004, .5, .999, 1, 1.3}
	got := make([]byte, len(x))
	for rule, want := range map[tensor.ByteRule][]byte{
		tensor.Floor: {0, 0, 0, 63, 127, 127, 128, 191, 254, 255, 255},
		tensor.Round: {0, 0, 0, 64, 128, 128, 128, 191, 255, 255, 255},
	} {
		Bytes(got, x, rule)
		if !slices.Equal(got, want) {
			t.Errorf("%v: got %v, want %v", rule, got, want)
		}
	}
	// Real pixels: round returns them, floor is one low for 63.
	pixels := make([]float32, 256)
	for u := range pixels {
		pixels[u] = float32(u)/127.5 - 1
	}
	back := make([]byte, 256)
	Bytes(back, pixels, tensor.Round)
	for u, b := range back {
		if int(b) != u {
			t.Errorf("round: %d comes back as %d", u, b)
		}
	}
	Bytes(back, pixels, tensor.Floor)
	low := 0
	for u, b := range back {
		switch int(b) {
		case u:
		case u - 1:
			low++
		default:
			t.Errorf("floor: %d comes back as %d", u, b)
		}
	}
	if low != 63 || back[1] != 0 || back[2] != 1 || back[3] != 2 {
		t.Errorf("floor: %d pixels come back one low, %v first, want 63 from 1 on", low, back[:4])
	}
	panics(t, "sample: bytes:", func() { Bytes(back, pixels[:255], tensor.Floor) })

	// A device does the same.
	dev := open(t)
	values := make([]float32, 3*64*64)
	philox.Stream{Seed: 1}.Normals(values, 0)
	copy(values, pixels)
	copy(values[256:], []float32{float32(math.NaN()), float32(math.Inf(1)), float32(math.Inf(-1))})
	d, err := newStaging(dev, 4*len(values))
	ok(t, err)
	src := newTensor(t, dev, 3, 64, 64, 1)
	ok(t, d.upload(src, func(b []byte) { copy(tensor.Floats(b), values) }))
	dst := newTensor(t, dev, 3*16*64)
	dst.DType, dst.Shape = tensor.U8, src.Shape
	host := make([]byte, len(values))
	for _, rule := range []tensor.ByteRule{tensor.Floor, tensor.Round} {
		dev.ImageStore(dst, src, rule)
		b, err := d.download(dst)
		ok(t, err)
		Bytes(host, values, rule)
		if !slices.Equal(host, b) {
			t.Errorf("%v: host and device differ", rule)
		}
	}
}
