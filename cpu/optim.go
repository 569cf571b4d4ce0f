package cpu

import (
	"encoding/binary"
	"fmt"
	"math"

	"ict/tensor"
)

// normRun is the length of a run of OptimNorm: the leaves of its tree.
const normRun = 1 << 14

// OptimNormScratch holds a float64 sum and a count for each run.
func (d *Device) OptimNormScratch(n int) int { return 16 * ((n + normRun - 1) / normRun) }

// OptimNorm is defined in tensor/optim.go. Sums are float64: within fixed runs, then over runs pairwise.
func (d *Device) OptimNorm(verdict, g, ws tensor.Tensor) {
	const op = "optim_norm"
	out := d.structBytes(op, "verdict", verdict, tensor.VerdictBytes)
	v := d.in(g)
	runs := (len(v) + normRun - 1) / normRun
	scratch := d.scratchBytes(op, ws, d.OptimNormScratch(len(v)))
	sums, counts := view[float64](scratch[:8*runs]), view[uint64](scratch[8*runs:])
	d.ranges(len(v), normRun, func(_, from, to int) {
		i, run := from/normRun, v[from:to]
		if d.exact {
			sums[i] = sumSquaresExact(run)
		} else {
			sums[i] = sumSquares(run)
		}
		counts[i] = 0
		if math.IsInf(sums[i], 0) || math.IsNaN(sums[i]) { // squares of finite float32 numbers never overflow float64
			counts[i] = nonFinite(run)
		}
	})
	var verdictOf tensor.Verdict
	for _, c := range counts {
		verdictOf.NonFinite += c
	}
	for step := 1; step < runs; step *= 2 {
		for i := 0; i+step < runs; i += 2 * step {
			sums[i] += sums[i+step]
		}
	}
	if runs > 0 {
		verdictOf.Sum2 = float32(sums[0])
	}
	verdictOf.Put(out)
}

func sumSquaresExact(x []float32) float64 {
	var s float64
	for _, v := range x {
		s += float64(v) * float64(v)
	}
	return s
}

// squareLanes is how many sums sumSquares keeps: element i joins sum i mod squareLanes, and these are added pairwise.
const squareLanes = 8

func sumSquaresGo(x []float32) float64 {
	var s [squareLanes]float64
	for i, v := range x {
		s[i%squareLanes] += float64(v) * float64(v) // the product is exact: fusing changes nothing
	}
	return ((s[0] + s[1]) + (s[2] + s[3])) + ((s[4] + s[5]) + (s[6] + s[7]))
}

// OptimJudge is defined in tensor/optim.go.
func (d *Device) OptimJudge(verdict, scale, step tensor.Tensor, rule tensor.ScaleRule) {
	const op = "optim_judge"
	vb := d.structBytes(op, "verdict", verdict, tensor.VerdictBytes)
	sb := d.structBytes(op, "scale", scale, tensor.ScaleBytes)
	v, s := rule.Judge(tensor.GetVerdict(vb), tensor.GetScale(sb), d.readStep(op, step))
	v.Put(vb)
	s.Put(sb)
}

// adam is what OptimUpdate knows of one step.
type adam struct {
	factor, decay    float32
	beta1, rest1     float32 // rest = 1 − beta, exact in float32 for beta in [½, 1]
	beta2, rest2     float32
	stepSize, vScale float32
	eps              float32
	adaptive         bool
}

// OptimUpdate is defined in tensor/optim.go.
func (d *Device) OptimUpdate(w, m, v, w16 tensor.Tensor, ema []tensor.Tensor, g, verdict, step tensor.Tensor, p tensor.Adam) {
	const op = "optim_update"
	defer d.endLoans()
	sameElems(op, w, m, v, g)
	if !w16.Absent() {
		sameElems(op, w, w16)
	}
	sameElems(op, w, ema...)
	st := d.readStep(op, step)
	if len(ema) > len(st.EMA) {
		panic(fmt.Sprintf("cpu: %s: got %d averages, want at most %d", op, len(ema), len(st.EMA)))
	}
	vd := tensor.GetVerdict(d.structBytes(op, "verdict", verdict, tensor.VerdictBytes))
	if vd.Skip {
		return
	}
	a := adam{
		factor: vd.Factor, decay: p.WeightDecay,
		beta1: p.Beta1, rest1: 1 - p.Beta1, beta2: p.Beta2, rest2: 1 - p.Beta2,
		stepSize: st.StepSize, vScale: st.VScale, eps: p.Eps, adaptive: st.Adaptive,
	}
	vw, vm, vv, vg, rounded := d.out(w), d.out(m), d.out(v), d.in(g), d.out(w16)
	averages := make([][]float32, len(ema))
	for i, t := range ema {
		averages[i] = d.out(t)
	}
	d.ranges(len(vw), pointwiseRun, func(_, from, to int) {
		w := vw[from:to]
		if d.exact {
			adamExact(w, vm[from:to], vv[from:to], vg[from:to], a)
		} else {
			adamStep(w, vm[from:to], vv[from:to], vg[from:to], a)
		}
		for i, e := range averages {
			switch rate := st.EMA[i]; {
			case rate == 0:
			case d.exact:
				lerpExact(e[from:to], w, rate)
			default:
				lerp(e[from:to], w, rate)
			}
		}
		if rounded != nil {
			copy(rounded[from:to], w)
		}
	})
	d.store(w, vw)
	d.store(m, vm)
	d.store(v, vv)
	for i, t := range ema {
		d.store(t, averages[i])
	}
	if rounded != nil {
		d.store(w16, rounded)
	}
}

// adamExact rounds what it stores, once.
func adamExact(w, m, v, g []float32, a adam) {
	for i := range w {
		grad := float64(a.factor)*float64(g[i]) + float64(a.decay)*float64(w[i])
		m64 := float64(a.beta1)*float64(m[i]) + float64(a.rest1)*grad
		v64 := float64(a.beta2)*float64(v[i]) + float64(a.rest2)*grad*grad
		move := float64(a.stepSize) * m64
		if a.adaptive {
			move /= float64(a.vScale)*math.Sqrt(v64) + float64(a.eps)
		}
		m[i], v[i], w[i] = float32(m64), float32(v64), float32(float64(w[i])-move)
	}
}

// adamStepGo rounds after every operation.
func adamStepGo(w, m, v, g []float32, a adam) {
	for i := range w {
		grad := float32(a.factor * g[i])
		if a.decay != 0 {
			grad += float32(a.decay * w[i])
		}
		m[i] = float32(a.beta1*m[i]) + float32(a.rest1*grad)
		v[i] = float32(a.beta2*v[i]) + float32(float32(a.rest2*grad)*grad)
		move := float32(a.stepSize * m[i])
		if a.adaptive {
			move /= float32(a.vScale*float32(math.Sqrt(float64(v[i])))) + a.eps
		}
		w[i] -= move
	}
}

func lerpExact(e, w []float32, rate float32) {
	for i := range e {
		e[i] = float32(float64(e[i]) + float64(rate)*(float64(w[i])-float64(e[i])))
	}
}

// lerpGo moves e towards w: e += rate·(w − e).
func lerpGo(e, w []float32, rate float32) {
	w = w[:len(e)]
	for i := range e {
		e[i] += float32(rate * (w[i] - e[i]))
	}
}

// putCount writes a count of eight bytes.
func (d *Device) putCount(op string, t tensor.Tensor, n uint64) {
	binary.LittleEndian.PutUint64(d.structBytes(op, "result", t, 8), n)
}
