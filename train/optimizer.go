package train

import (
	"math"

	"ict/tensor"
)

// Factors are what the optimiser's kernel reads at a step: w −= StepSize·m/(VScale·√v + eps), or StepSize·m while not Adaptive.
type Factors struct {
	StepSize, VScale float64
	Adaptive         bool
}

// Factors of step n, counted from 1, in float64.
//
// radam [RAdam], in the form of torch.optim.RAdam (epsilon is added to √v, rectification begins above 5):
//
//	sma_∞ = 2/(1−β2) − 1 ;  sma_n = sma_∞ − 2n·β2ⁿ/(1−β2ⁿ)
//	sma_n > 5:  rect_n = √( (sma_n−4)(sma_n−2)·sma_∞ / ((sma_∞−4)(sma_∞−2)·sma_n) )
//	            StepSize = lr·rect_n·√(1−β2ⁿ)/(1−β1ⁿ), VScale = 1
//	otherwise:  StepSize = lr/(1−β1ⁿ), plain momentum
//
// adam: StepSize = lr/(1−β1ⁿ), VScale = 1/√(1−β2ⁿ).
func (o Optim) Factors(n int) Factors {
	b1n, b2n := math.Pow(o.Beta1, float64(n)), math.Pow(o.Beta2, float64(n))
	lr := o.LR / (1 - b1n)
	if o.Kind == "adam" {
		return Factors{StepSize: lr, VScale: 1 / math.Sqrt(1-b2n), Adaptive: true}
	}
	limit := 2/(1-o.Beta2) - 1
	sma := limit - 2*float64(n)*b2n/(1-b2n)
	if sma <= 5 {
		return Factors{StepSize: lr, VScale: 1}
	}
	rect := math.Sqrt((sma - 4) * (sma - 2) * limit / ((limit - 4) * (limit - 2) * sma))
	return Factors{StepSize: lr * rect * math.Sqrt(1-b2n), VScale: 1, Adaptive: true}
}

func (o Optim) params() tensor.Adam {
	return tensor.Adam{Beta1: float32(o.Beta1), Beta2: float32(o.Beta2), Eps: float32(o.Eps), WeightDecay: float32(o.WeightDecay)}
}

// maxScale is the ceiling of the loss scale.
const maxScale = 1 << 24

// rule is the loss scale's. Outside fp16, S is 1 and constant, and every skipped step counts towards a divergence.
func (t Train) rule() tensor.ScaleRule {
	r := tensor.ScaleRule{Floor: 1, Ceiling: maxScale, Limit: int32(t.MaxSkips)}
	if t.Act() == tensor.F16 {
		r.Every = int32(t.LossScale.Every)
	}
	return r
}

// startScale is the loss scale of a run's first step.
func (t Train) startScale() tensor.Scale {
	if t.Act() == tensor.F16 {
		return tensor.Scale{S: float32(t.LossScale.Start)}
	}
	return tensor.Scale{S: 1}
}
