//go:build cuda

package gpu

// #include "kernels.h"
import "C"

import (
	"fmt"

	"ict/tensor"
)

// groupNorm checks the shapes and describes the norm, dropout included.
func (l *launch) groupNorm(y, mean, rstd, x0, x1, gamma, beta, scaleShift, step tensor.Tensor, p tensor.GroupNorm) C.ict_groupnorm {
	l.must(p.Check(y.Shape, mean.Shape, x0.Shape, x1.Shape, gamma.Shape))
	n, c := y.Shape[0], y.Shape[3]
	l.shape("rstd", rstd, mean.Shape...)
	l.shape("beta", beta, c)
	l.shape("scale-shift", scaleShift, n, 2*c)
	g := C.ict_groupnorm{
		N: C.int32_t(n), HW: C.int32_t(y.Shape[1] * y.Shape[2]), C0: C.int32_t(x0.Shape[3]), C1: C.int32_t(c - x0.Shape[3]),
		G: C.int32_t(p.Groups), eps: C.float(p.Eps), act: activation(p.SiLU),
	}
	if p.Dropout.P > 0 {
		if step.Absent() {
			l.must(fmt.Errorf("dropout without a step"))
		}
		g.dropout = C.ict_dropout{p: C.float(p.Dropout.P), op: C.uint32_t(p.Dropout.Op), images: C.uint32_t(n), step: l.step(step)}
	}
	return g
}

// GroupNormForward is defined in tensor/groupnorm.go.
func (d *Device) GroupNormForward(y, mean, rstd, x0, x1, gamma, beta, scaleShift, step tensor.Tensor, p tensor.GroupNorm) {
	l := d.begin("groupnorm_forward")
	g := l.groupNorm(y, mean, rstd, x0, x1, gamma, beta, scaleShift, step, p)
	store := x0.DType
	py, pm, pr := l.out(y, store), l.outF(mean), l.outF(rstd)
	px0, px1, pg, pb := l.in(x0, store), l.in(x1, store), l.inF(gamma), l.inF(beta)
	pss, row := l.rows(scaleShift)
	g.scale_shift_stride = row
	l.run(func() C.int {
		return C.ict_groupnorm_forward(py, pm, pr, px0, px1, pg, pb, pss, nil, nil, nil, g, nil, 0, C.ict_dtype(store), d.exec)
	})
}

// GroupNormBackwardScratch asks the launcher.
func (d *Device) GroupNormBackwardScratch(x0, x1 tensor.Shape) int {
	g := C.ict_groupnorm{N: C.int32_t(x0[0]), HW: C.int32_t(x0[1] * x0[2]), C0: C.int32_t(x0[3]), G: 1}
	if x1 != nil {
		g.C1 = C.int32_t(x1[3])
	}
	return int(C.ict_groupnorm_backward_workspace(g, d.exec))
}

// GroupNormBackward is defined in tensor/groupnorm.go.
func (d *Device) GroupNormBackward(dx0, dx1, dgamma, dbeta, dscaleShift tensor.Acc, dy, x0, x1, mean, rstd, gamma, beta, scaleShift, step tensor.Tensor, p tensor.GroupNorm, ws tensor.Tensor) {
	l := d.begin("groupnorm_backward")
	g := l.groupNorm(dy, mean, rstd, x0, x1, gamma, beta, scaleShift, step, p)
	l.shape("dx0", dx0.Tensor, x0.Shape...)
	l.shape("dx1", dx1.Tensor, x1.Shape...)
	l.shape("dgamma", dgamma.Tensor, gamma.Shape...)
	l.shape("dbeta", dbeta.Tensor, gamma.Shape...)
	l.shape("dscale-shift", dscaleShift.Tensor, scaleShift.Shape...)
	store := x0.DType
	pdx0, b0 := l.acc(dx0, store)
	pdx1, b1 := l.acc(dx1, store)
	pdg, bg := l.accF(dgamma)
	pdb, bb := l.accF(dbeta)
	pdss, bss, drow := l.accRows(dscaleShift)
	pdy, px0, px1 := l.in(dy, store), l.in(x0, store), l.in(x1, store)
	pm, pr, pg, pb := l.inF(mean), l.inF(rstd), l.inF(gamma), l.inF(beta)
	pss, row := l.rows(scaleShift)
	g.scale_shift_stride, g.dscale_shift_stride = row, drow
	pws, size := l.scratch(ws)
	l.run(func() C.int {
		return C.ict_groupnorm_backward(pdx0, b0, pdx1, b1, pdg, bg, pdb, bb, pdss, bss, nil, 0, pdy, px0, px1, pm, pr, pg, pb, pss,
			nil, nil, g, pws, size, C.ict_dtype(store), d.exec)
	})
}
