//go:build cuda

package gpu

// #include "kernels.h"
import "C"

import (
	"fmt"

	"ict/tensor"
)

func (l *launch) verdict(t tensor.Tensor) *C.ict_verdict {
	return (*C.ict_verdict)(l.bytes("verdict", t, tensor.VerdictBytes))
}

// OptimNormScratch asks the launcher.
func (d *Device) OptimNormScratch(n int) int {
	return int(C.ict_optim_norm_workspace(C.int64_t(n), d.exec))
}

// OptimNorm is defined in tensor/optim.go.
func (d *Device) OptimNorm(verdict, g, ws tensor.Tensor) {
	l := d.begin("optim_norm")
	pv, pg := l.verdict(verdict), l.inF(g)
	pws, size := l.scratch(ws)
	l.run(func() C.int { return C.ict_optim_norm(pv, pg, C.int64_t(g.Elems()), pws, size, d.exec) })
}

// OptimJudge is defined in tensor/optim.go.
func (d *Device) OptimJudge(verdict, scale, step tensor.Tensor, rule tensor.ScaleRule) {
	l := d.begin("optim_judge")
	pv, ps, pst := l.verdict(verdict), (*C.ict_scale)(l.bytes("scale", scale, tensor.ScaleBytes)), l.step(step)
	r := C.ict_scale_rule{floor: C.float(rule.Floor), ceiling: C.float(rule.Ceiling), every: C.int32_t(rule.Every), limit: C.int32_t(rule.Limit)}
	l.run(func() C.int { return C.ict_optim_judge(pv, ps, pst, r, d.exec) })
}

// OptimUpdate is defined in tensor/optim.go.
func (d *Device) OptimUpdate(w, m, v, w16 tensor.Tensor, ema []tensor.Tensor, g, verdict, step tensor.Tensor, p tensor.Adam) {
	l := d.begin("optim_update")
	n := l.sameElems(w, m, v, g)
	var averages [len(tensor.Step{}.EMA)]*C.float
	if len(ema) > len(averages) {
		l.must(fmt.Errorf("got %d averages, want at most %d", len(ema), len(averages)))
	}
	pw, pm, pv, store := l.inF(w), l.inF(m), l.inF(v), tensor.F32
	if !w16.Absent() {
		l.sameElems(w, w16)
		store = w16.DType
	}
	p16 := l.in(w16, store) // not written at all where the verdict says skip
	for i, e := range ema {
		l.sameElems(w, e)
		averages[i] = l.inF(e)
	}
	pg, pver, ps := l.inF(g), l.verdict(verdict), l.step(step)
	l.run(func() C.int {
		return C.ict_optim_update(pw, pm, pv, p16, averages[0], averages[1], averages[2], averages[3], pg, pver, ps, C.int64_t(n),
			C.float(p.Beta1), C.float(p.Beta2), C.float(p.Eps), C.float(p.WeightDecay), C.ict_dtype(store), d.exec)
	})
}
