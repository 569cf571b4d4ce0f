//go:build cuda

package gpu

import (
	"bytes"
	"errors"
	"testing"

	"ict/internal/optest"
	"ict/tensor"
)

// What the Needs of kernels.h exclude is refused with the status that they name, and nothing is written; what they allow at
// the same edge runs. (What Go itself looks at is TestMisuse's.)
func TestNeeds(t *testing.T) {
	const f32, f16, bf16 = tensor.F32, tensor.F16, tensor.BF16
	var d *Device
	// of is a tensor off bytes behind a place of the largest alignment, all bytes 1
	of := func(off int, dt tensor.DType, s ...int) tensor.Tensor {
		size := off + tensor.Shape(s).Elems()*dt.Size()
		x := optest.PutBytes(t, d, bytes.Repeat([]byte{1}, size), tensor.U8, size)
		return tensor.Of(x.Mem, off, dt, s...)
	}
	none, one := tensor.Tensor{}, tensor.Conv2d{Stride: 1, Scale: 1}
	fprop := func(off, c, k, r int, xt, yt tensor.DType) tensor.Tensor {
		y := of(0, yt, 1, 1, 1, k)
		d.Conv2dFprop(y, of(off, xt, 1, r, r, c), none, of(0, xt, k, r, r, c), tensor.Epilogue{}, one)
		return y
	}
	bias := func(off int) tensor.Tensor {
		y := of(0, f32, 1, 1, 1, 8)
		d.Conv2dFprop(y, of(0, f32, 1, 1, 1, 8), none, of(0, f32, 8, 1, 1, 8), tensor.Epilogue{Bias: of(off, f32, 8), Emb: of(off, f32, 1, 8)}, one)
		return y
	}
	dgrad := func(off int, xt, yt tensor.DType) tensor.Tensor {
		dx := of(off, xt, 1, 1, 1, 8)
		d.Conv2dDgrad(tensor.Write(dx), tensor.Acc{}, of(0, yt, 1, 1, 1, 16), of(0, xt, 8, 1, 1, 16), one)
		return dx
	}
	wgrad := func(off, less int, xt, yt tensor.DType) tensor.Tensor {
		dw := of(off, f32, 16, 1, 1, 8)
		x, dy := of(0, xt, 1, 1, 1, 8), of(0, yt, 1, 1, 1, 16)
		d.Conv2dWgrad(tensor.Write(dw), x, none, dy, one, of(0, tensor.U8, d.Conv2dWgradScratch(dw.Shape, dy.Shape)-less))
		return dw
	}
	norm := func(offX, off int) tensor.Tensor {
		y := of(0, f32, 1, 2, 2, 8)
		d.GroupNormForward(y, of(off, f32, 1, 2), of(off, f32, 1, 2), of(offX, f32, 1, 2, 2, 8), none, of(off, f32, 8), of(off, f32, 8),
			of(off, f32, 1, 16), none, tensor.GroupNorm{Groups: 2, Eps: 1})
		return y
	}
	attention := func(offO, off, tokens, width int, dt tensor.DType) tensor.Tensor {
		lse := of(off, f32, 1, 1, tokens) // o would be what is there already: the mean of equal values
		d.AttentionForward(of(offO, dt, 1, tokens, 1, width), lse, of(0, dt, 1, tokens, 1, 3*width), tensor.Attention{Heads: 1, Scale: 1})
		return lse
	}
	for name, c := range map[string]struct {
		run  func() tensor.Tensor // gives an output
		want error                // nil: allowed
	}{
		"fprop: 2048 channels":             {func() tensor.Tensor { return fprop(0, 2048, 3, 1, f32, f32) }, nil},
		"fprop: 2049 channels":             {func() tensor.Tensor { return fprop(0, 2049, 3, 1, f32, f32) }, ErrShape},
		"fprop: filter of 7 by 7":          {func() tensor.Tensor { return fprop(0, 5, 7, 7, f16, f16) }, nil},
		"fprop: filter of 8 by 8":          {func() tensor.Tensor { return fprop(0, 5, 7, 8, f16, f16) }, ErrShape},
		"fprop: x on 4 bytes":              {func() tensor.Tensor { return fprop(4, 8, 8, 1, f32, f32) }, ErrAlign},
		"fprop: f16 to bf16":               {func() tensor.Tensor { return fprop(0, 8, 8, 1, f16, bf16) }, ErrDType},
		"fprop: f32 to bf16":               {func() tensor.Tensor { return fprop(0, 8, 8, 1, f32, bf16) }, nil},
		"fprop: bf16 to f32":               {func() tensor.Tensor { return fprop(0, 8, 8, 1, bf16, f32) }, nil},
		"fprop: bias and emb on 4 bytes":   {func() tensor.Tensor { return bias(4) }, nil},
		"fprop: bias and emb on 2 bytes":   {func() tensor.Tensor { return bias(2) }, ErrAlign},
		"dgrad: f16 from bf16":             {func() tensor.Tensor { return dgrad(0, f16, bf16) }, ErrDType},
		"dgrad: f32 from bf16":             {func() tensor.Tensor { return dgrad(0, f32, bf16) }, nil},
		"dgrad: dx on 8 bytes":             {func() tensor.Tensor { return dgrad(8, f16, f16) }, ErrAlign},
		"wgrad: f16 with bf16":             {func() tensor.Tensor { return wgrad(0, 0, f16, bf16) }, ErrDType},
		"wgrad: f32 with f16":              {func() tensor.Tensor { return wgrad(0, 0, f32, f16) }, nil},
		"wgrad: dw on 4 bytes":             {func() tensor.Tensor { return wgrad(4, 0, f16, f16) }, nil},
		"wgrad: dw on 2 bytes":             {func() tensor.Tensor { return wgrad(2, 0, f16, f16) }, ErrAlign},
		"wgrad: scratch too small":         {func() tensor.Tensor { return wgrad(0, 1, f16, f16) }, ErrWorkspace},
		"groupnorm: x on 4 bytes":          {func() tensor.Tensor { return norm(4, 0) }, ErrAlign},
		"groupnorm: all others on 4 bytes": {func() tensor.Tensor { return norm(0, 4) }, nil},
		"groupnorm: all others on 2 bytes": {func() tensor.Tensor { return norm(0, 2) }, ErrAlign},
		"attention: 1024 tokens":           {func() tensor.Tensor { return attention(0, 4, 1024, 1, f32) }, nil},
		"attention: 1025 tokens":           {func() tensor.Tensor { return attention(0, 4, 1025, 1, f32) }, ErrShape},
		"attention: f32, d = 511":          {func() tensor.Tensor { return attention(0, 0, 2, 511, f32) }, nil},
		"attention: f32, d = 513":          {func() tensor.Tensor { return attention(0, 0, 2, 513, f32) }, ErrShape},
		"attention: f16, d = 512":          {func() tensor.Tensor { return attention(0, 0, 2, 512, f16) }, nil},
		"attention: f16, d = 511":          {func() tensor.Tensor { return attention(0, 0, 2, 511, f16) }, ErrShape},
		"attention: o on 8 bytes":          {func() tensor.Tensor { return attention(8, 0, 2, 8, f16) }, ErrAlign},
	} {
		t.Run(name, func(t *testing.T) {
			d = opened(t, Options{})
			out := c.run()
			if err := d.Err(); !errors.Is(err, c.want) {
				t.Fatalf("got %v, want %v", err, c.want)
			}
			d.err = nil // a refusal is not the end of the device: nothing was launched
			same := bytes.Equal(optest.GetBytes(t, d, out), bytes.Repeat([]byte{1}, out.Bytes()))
			if same != (c.want != nil) {
				t.Errorf("output unwritten: %v", same)
			}
		})
	}
}
