package optest

import (
	"encoding/binary"
	"fmt"
	"math"
	"testing"

	"ict/tensor"
)

func putLabels(t testing.TB, d tensor.Backend, labels []int32) tensor.Tensor {
	b := make([]byte, 4*len(labels))
	for i, l := range labels {
		binary.LittleEndian.PutUint32(b[4*i:], uint32(l))
	}
	return PutBytes(t, d, b, tensor.I32, len(labels))
}

// Embed proves EmbedFourier, EmbedPositional and EmbedLabel in both directions.
func Embed(t *testing.T, open Open) {
	d, e := open(t), Exact(t)
	for _, n := range []int{1, 3, 17} {
		c := Normal("c", n).Map(func(v float32) float32 { return 0.25 * v })
		for _, f := range []int{1, 3, 64} {
			fourier := func(d tensor.Backend) Host {
				y := newWide(t, d, nans(n, 2*f))
				d.EmbedFourier(y.Tensor, Put(t, d, c), Put(t, d, Normal("freqs", f)))
				return y.get(t, d, "embed_fourier")
			}
			Near(t, fmt.Sprintf("embed_fourier N=%d F=%d", n, f), fourier(d), fourier(e), 1e-6)
			for _, p := range []tensor.Positional{
				{MaxPeriod: 10000, Endpoint: true}, {MaxPeriod: 10000, CosFirst: true}, {MaxPeriod: 100},
			} {
				positional := func(d tensor.Backend) Host {
					y := newWide(t, d, nans(n, 2*f))
					d.EmbedPositional(y.Tensor, Put(t, d, c), p)
					return y.get(t, d, "embed_positional")
				}
				Near(t, fmt.Sprintf("embed_positional N=%d F=%d %+v", n, f, p), positional(d), positional(e), 1e-6)
			}
		}
		for _, width := range []int{1, 7, 64} {
			labelCases(t, d, e, n, width)
		}
	}
}

func labelCases(t *testing.T, d, e tensor.Backend, n, width int) {
	const classes = 5
	labels := make([]int32, n)
	for i := range labels {
		labels[i] = int32(i*i%(classes+1)) - 1 // repeated, some −1, classes 2 and 4 never
	}
	forward := func(d tensor.Backend, table, bias Host, beta, scale float32) Host {
		y := newWide(t, d, before("y", beta, n, width))
		d.EmbedLabelForward(tensor.Acc{Tensor: y.Tensor, Beta: beta}, Put(t, d, table), putLabels(t, d, labels), Put(t, d, bias), scale)
		return y.get(t, d, "embed_label_forward")
	}
	backward := func(d tensor.Backend, dy Host, beta, scale float32, wantTable, wantBias bool) (Host, Host) {
		table, bias := newWide(t, d, before("dtable", beta, classes, width)), newWide(t, d, before("dbias", beta, width))
		var dtable, dbias tensor.Acc
		if wantTable {
			dtable = tensor.Acc{Tensor: table.Tensor, Beta: beta}
		}
		if wantBias {
			dbias = tensor.Acc{Tensor: bias.Tensor, Beta: beta}
		}
		d.EmbedLabelBackward(dtable, dbias, Put(t, d, dy), putLabels(t, d, labels), scale)
		return table.get(t, d, "embed_label_backward"), bias.get(t, d, "embed_label_backward")
	}
	const scale = 3 // exact, as are the integers
	table, bias, dy := Ints("table", 100, classes, width), Ints("bias", 100, width), Ints("dy", 100, n, width)
	for _, beta := range []float32{0, 1, 0.5} {
		what := fmt.Sprintf("embed_label N=%d E=%d beta=%v", n, width, beta)
		Same(t, what, forward(d, table, bias, beta, scale), forward(e, table, bias, beta, scale))
		Same(t, what+" without bias", forward(d, table, Host{}, beta, scale), forward(e, table, Host{}, beta, scale))
		Same(t, what+" added", forward(d, table, bias, beta, scale), added(before("y", beta, n, width), beta, forward(d, table, bias, 0, scale)))
		gotT, gotB := backward(d, dy, beta, scale, true, true)
		freshT, freshB := backward(d, dy, 0, scale, true, true)
		Same(t, what+" dtable added", gotT, added(before("dtable", beta, classes, width), beta, freshT))
		Same(t, what+" dbias added", gotB, added(before("dbias", beta, width), beta, freshB))
		wantT, wantB := backward(e, dy, beta, scale, true, true)
		Same(t, what+" dtable", gotT, wantT)
		Same(t, what+" dbias", gotB, wantB)
		aloneT, noB := backward(d, dy, beta, scale, true, false)
		Same(t, what+" dtable alone", aloneT, wantT)
		Same(t, what+" absent dbias", noB, before("dbias", beta, width))
		noT, aloneB := backward(d, dy, beta, scale, false, true)
		Same(t, what+" dbias alone", aloneB, wantB)
		Same(t, what+" absent dtable", noT, before("dtable", beta, classes, width))
	}
	// forward by hand, backward as its adjoint
	y := forward(e, table, bias, 0, scale)
	for i, v := range y.V {
		want := bias.V[i%width]
		if l := labels[i/width]; l >= 0 {
			want += scale * table.V[int(l)*width+i%width]
		}
		if v != want {
			t.Errorf("embed_label_forward N=%d E=%d: element %d got %v, want %v", n, width, i, v, want)
			break
		}
	}
	gt, gb := backward(e, dy, 0, scale, true, true)
	if got, want := Dot(gt, table)+Dot(gb, bias), Dot(dy, y); math.Abs(got-want) > 1e-9*math.Abs(want) {
		t.Errorf("embed_label_backward N=%d E=%d: adjoint got %v, want %v", n, width, got, want)
	}
	x := Normal("x", n, width)
	gotT, gotB := backward(d, x, 0, 1.7, true, true)
	wantT, wantB := backward(e, x, 0, 1.7, true, true)
	Near(t, "embed_label_backward dtable", gotT, wantT, 1e-6)
	Near(t, "embed_label_backward dbias", gotB, wantB, 1e-6)
}
