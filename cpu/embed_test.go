package cpu_test

import (
	"encoding/binary"
	"math"
	"strings"
	"testing"

	"ict/cpu"
	"ict/internal/optest"
	"ict/tensor"
)

func TestEmbed(t *testing.T) {
	optest.Embed(t, fast)
	optest.Embed(t, exact)
}

// noises is c_noise = factor·ln σ of the golden tables' three levels.
func noises(factor float64) optest.Host {
	h := optest.Zeros(3)
	for i, sigma := range []float64{0.002, 0.5, 80} {
		h.V[i] = float32(factor * math.Log(sigma))
	}
	return h
}

// golden compares chosen elements of each row. Where the argument is large, its rounding to float32 alone is worth
// angle·2^-24.
func golden(t *testing.T, what string, got optest.Host, at []int, want [][]float64, angle float64) {
	t.Helper()
	for i, row := range want {
		for j, w := range row {
			g := float64(got.V[i*got.Shape[1]+at[j]])
			if math.Abs(g-w) > 2e-6*math.Abs(w)+angle*0x1p-24 {
				t.Errorf("%s: row %d, element %d got %v, want %v", what, i, at[j], g, w)
			}
		}
	}
}

// Recipes M-2.
func TestPositionalGolden(t *testing.T) {
	d := fast(t)
	for _, c := range []struct {
		name   string
		width  int
		factor float64
		p      tensor.Positional
		at     []int
		want   [][]float64
		angle  float64
	}{
		{"SongUNet", 128, 0.25, tensor.Positional{MaxPeriod: 10000, Endpoint: true}, []int{0, 1, 63, 64, 65, 127}, [][]float64{
			{-.999853, -.9740166, -1.553652e-4, .01714346, .2264768, 1.0},
			{-.1724208, -.1491591, -1.732868e-5, .9850234, .9888132, 1},
			{.8891602, .8113776, 1.095507e-4, .457596, .5845223, 1.0},
		}, 1.6},
		{"ADM", 192, 0.25, tensor.Positional{MaxPeriod: 10000, CosFirst: true}, []int{0, 1, 95, 96, 97, 191}, [][]float64{
			{.01714346, .1586036, 1, -.999853, -.9873423, -1.710096e-4},
			{.9850234, .9876328, 1, -.1724208, -.1567846, -1.907358e-5},
			{.457596, .5442621, 1, .8891602, .8389152, 1.205818e-4},
		}, 1.6},
		{"ADM x1000", 192, 250, tensor.Positional{MaxPeriod: 10000, CosFirst: true}, []int{0, 1, 95, 96, 97, 191}, [][]float64{
			{-.1340526, -.5856867, .9854135, -.9909742, .8105375, -.1701773},
			{-.8779662, .9378319, .9998181, .4787226, -.3470899, -.01907242},
			{-.614395, -.826566, .9927388, .7889986, .5628399, .1202898},
		}, 1600},
	} {
		y := optest.New(t, d, 3, c.width)
		d.EmbedPositional(y, optest.Put(t, d, noises(c.factor)), c.p)
		golden(t, c.name, optest.Get(t, d, y), c.at, c.want, c.angle)
	}
}

// Recipes M-3.
func TestFourierGolden(t *testing.T) {
	d := fast(t)
	for _, c := range []struct {
		freqs []float32
		want  [][]float64
		angle float64
	}{
		{[]float32{.01, -.02, .05}, [][]float64{
			{-.0974638675, .193999697, -.468943466, .995239064, .981001589, .883228185},
			{-.0108877153, .02177414, -.054412766, .999940727, .999762915, .998518528},
			{.0687783721, -.137231005, .337409413, .997631964, .990539071, .941358002},
		}, 1},
		{[]float32{8, -16, .5}, [][]float64{
			{-.430230185, -.776754113, .985828574, -.902719219, .629803976, .16775584},
			{-.655189626, -.989944957, -.517901946, -.755464462, .141453107, .855439989},
			{-.996104149, .175682089, -.295561302, .0881845987, -.984446953, -.955323776},
		}, 160},
	} {
		y := optest.New(t, d, 3, 6)
		d.EmbedFourier(y, optest.Put(t, d, noises(0.25)), optest.Put(t, d, optest.Host{Shape: tensor.Shape{3}, V: c.freqs}))
		golden(t, "fourier", optest.Get(t, d, y), []int{0, 1, 2, 3, 4, 5}, c.want, c.angle)
	}
}

func putLabels(t testing.TB, d tensor.Backend, labels ...int32) tensor.Tensor {
	var b []byte
	for _, l := range labels {
		b = binary.LittleEndian.AppendUint32(b, uint32(l))
	}
	return optest.PutBytes(t, d, b, tensor.I32, len(labels))
}

// panics demands a panic of package cpu that names the op.
func panics(t *testing.T, op string, f func()) {
	t.Helper()
	defer func() {
		t.Helper()
		if s, _ := recover().(string); !strings.HasPrefix(s, "cpu: "+op+": ") {
			t.Errorf("got panic %q, want one of %s", s, op)
		}
	}()
	f()
}

func TestEmbedLabelRefuses(t *testing.T) {
	d := fast(t)
	table, y := optest.New(t, d, 3, 2), optest.New(t, d, 2, 2)
	for _, l := range []int32{3, -2, math.MaxInt32, math.MinInt32} {
		panics(t, "embed_label_forward", func() {
			d.EmbedLabelForward(tensor.Write(y), table, putLabels(t, d, 0, l), tensor.Tensor{}, 1)
		})
		panics(t, "embed_label_backward", func() {
			d.EmbedLabelBackward(tensor.Write(table), tensor.Acc{}, y, putLabels(t, d, 0, l), 1)
		})
	}
}

func labelGrad(t testing.TB, d tensor.Backend, dy optest.Host, labels []int32) (table, bias optest.Host) {
	e := dy.Shape[1]
	dtable, dbias := optest.New(t, d, 4, e), optest.New(t, d, e)
	d.EmbedLabelBackward(tensor.Write(dtable), tensor.Write(dbias), optest.Put(t, d, dy), putLabels(t, d, labels...), 0.3)
	return optest.Get(t, d, dtable), optest.Get(t, d, dbias)
}

// Promise C, with classes that many slices have not seen.
func TestEmbedLabelFolds(t *testing.T) {
	for _, n := range []int{16, 32, 64} {
		dy := optest.Normal("dy", n, 5)
		labels := make([]int32, n)
		for i := range labels {
			labels[i] = int32(i*i*i%11)%4 - 1
			if i/8 == 2 {
				labels[i] = -1
			}
		}
		labels[9] = 3 // the one image of its class, and its gradient rounds to −0, where parts of the batch without it have +0
		dy.V[9*5+3] = -math.SmallestNonzeroFloat32
		one := with(cpu.Options{Threads: 1})(t)
		for _, o := range []cpu.Options{{Threads: 3}, {Threads: 1, Exact: true}, {Threads: 2, Slice: 4}} {
			d := with(o)(t)
			table, bias := labelGrad(t, d, dy, labels)
			if o.Slice == 0 {
				want, wantBias := labelGrad(t, one, dy, labels)
				optest.Same(t, "dtable with one thread", table, want)
				optest.Same(t, "dbias with one thread", bias, wantBias)
			}
			var tables, biases []optest.Host
			for from := 0; from < n; from += 8 {
				pt, pb := labelGrad(t, d, images(dy, from, from+8), labels[from:from+8])
				tables, biases = append(tables, pt), append(biases, pb)
			}
			optest.Same(t, "dtable in parts", optest.RankSum(tables), table)
			optest.Same(t, "dbias in parts", optest.RankSum(biases), bias)
		}
	}
}
