//go:build cuda

package gpu

// #include "kernels.h"
import "C"

import (
	"fmt"

	"ict/tensor"
)

// embedded checks y (N,2F) and c (N).
func (l *launch) embedded(y, c tensor.Tensor, f int) (C.int32_t, C.int32_t) {
	if c.Absent() || f < 1 || len(c.Shape) != 1 || !y.Shape.Equal(tensor.Shape{c.Shape[0], 2 * f}) {
		l.must(fmt.Errorf("got y %v of c %v with %d frequencies, want (N,2F) of (N)", y.Shape, c.Shape, f))
	}
	return C.int32_t(c.Shape[0]), C.int32_t(f)
}

// EmbedFourier is defined in tensor/embed.go.
func (d *Device) EmbedFourier(y, c, freqs tensor.Tensor) {
	l := d.begin("embed_fourier")
	n, f := l.embedded(y, c, freqs.Elems())
	py, pc, pf := l.outF(y), l.inF(c), l.inF(freqs)
	l.run(func() C.int { return C.ict_embed_fourier(py, pc, pf, n, f, d.exec) })
}

// EmbedPositional is defined in tensor/embed.go.
func (d *Device) EmbedPositional(y, c tensor.Tensor, p tensor.Positional) {
	l := d.begin("embed_positional")
	half := 0
	if len(y.Shape) == 2 {
		half = y.Shape[1] / 2
	}
	n, f := l.embedded(y, c, half)
	py, pc := l.outF(y), l.inF(c)
	l.run(func() C.int {
		return C.ict_embed_positional(py, pc, n, f, C.double(p.MaxPeriod), flag(p.Endpoint), flag(p.CosFirst), d.exec)
	})
}

// labels checks y (N,E), table (classes,E) and labels (N).
func (l *launch) labels(y, table tensor.Shape, labels tensor.Tensor) (n, classes, e C.int32_t) {
	if len(y) != 2 || len(table) != 2 || table[1] != y[1] || !labels.Shape.Equal(tensor.Shape{y[0]}) {
		l.must(fmt.Errorf("got (N,E) %v, table %v, labels %v", y, table, labels.Shape))
	}
	return C.int32_t(y[0]), C.int32_t(table[0]), C.int32_t(y[1])
}

// EmbedLabelForward is defined in tensor/embed.go.
func (d *Device) EmbedLabelForward(y tensor.Acc, table, labels, bias tensor.Tensor, scale float32) {
	if y.Absent() {
		return
	}
	l := d.begin("embed_label_forward")
	n, classes, e := l.labels(y.Shape, table.Shape, labels)
	l.shape("bias", bias, y.Shape[1])
	py, beta := l.accF(y)
	pt, pl, pb := l.inF(table), (*C.int32_t)(l.in(labels, tensor.I32)), l.inF(bias)
	l.run(func() C.int {
		return C.ict_embed_label_forward(py, beta, pt, pl, pb, n, classes, e, C.float(scale), d.exec)
	})
}

// EmbedLabelBackward is defined in tensor/embed.go.
func (d *Device) EmbedLabelBackward(dtable, dbias tensor.Acc, dy, labels tensor.Tensor, scale float32) {
	if dtable.Absent() && dbias.Absent() {
		return
	}
	l := d.begin("embed_label_backward")
	table := dtable.Shape
	if dtable.Absent() && len(dy.Shape) == 2 {
		table = tensor.Shape{1, dy.Shape[1]}
	}
	n, classes, e := l.labels(dy.Shape, table, labels)
	l.shape("dbias", dbias.Tensor, dy.Shape[1])
	pt, beta := l.accF(dtable)
	pb, betaB := l.accF(dbias)
	pdy, pl := l.inF(dy), (*C.int32_t)(l.in(labels, tensor.I32))
	l.run(func() C.int {
		return C.ict_embed_label_backward(pt, beta, pb, betaB, pdy, pl, n, classes, e, C.float(scale), d.exec)
	})
}
