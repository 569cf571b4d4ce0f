//go:build cuda

package gpu

// #include "kernels.h"
import "C"

import "ict/tensor"

// attention checks the shapes and gives images, tokens, heads and their width.
func (l *launch) attention(o, lse, qkv tensor.Tensor, p tensor.Attention) (n, t, heads, width C.int32_t) {
	l.must(p.Check(o.Shape, lse.Shape, qkv.Shape))
	s := o.Shape
	return C.int32_t(s[0]), C.int32_t(s[1] * s[2]), C.int32_t(p.Heads), C.int32_t(s[3] / p.Heads)
}

// AttentionForward is defined in tensor/attention.go.
func (d *Device) AttentionForward(o, lse, qkv tensor.Tensor, p tensor.Attention) {
	l := d.begin("attention_forward")
	n, t, heads, width := l.attention(o, lse, qkv, p)
	store := qkv.DType
	po, plse, pqkv := l.out(o, store), l.outF(lse), l.in(qkv, store)
	l.run(func() C.int {
		return C.ict_attention_forward(po, plse, pqkv, n, t, heads, width, C.float(p.Scale), nil, 0, C.ict_dtype(store), d.exec)
	})
}

// AttentionBackward is defined in tensor/attention.go.
func (d *Device) AttentionBackward(dqkv tensor.Acc, do, o, qkv, lse tensor.Tensor, p tensor.Attention) {
	if dqkv.Absent() {
		return
	}
	l := d.begin("attention_backward")
	n, t, heads, width := l.attention(o, lse, qkv, p)
	l.shape("do", do, o.Shape...)
	l.shape("dqkv", dqkv.Tensor, qkv.Shape...)
	store := qkv.DType
	pd, beta := l.acc(dqkv, store)
	pdo, po, pqkv, plse := l.in(do, store), l.in(o, store), l.in(qkv, store), l.inF(lse)
	l.run(func() C.int {
		return C.ict_attention_backward(pd, beta, pdo, po, pqkv, plse, n, t, heads, width, C.float(p.Scale), nil, 0, C.ict_dtype(store), d.exec)
	})
}
