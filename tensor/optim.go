package tensor

import (
	"encoding/binary"
	"math"
)

// The optimiser's structs lie in device memory, little-endian, with the layout of kernels.h, so that a captured
// step reads what changes through a pointer. Adam and RAdam differ only in the numbers of Step.

// StepBytes, ScaleBytes and VerdictBytes are the sizes of the three structs.
const (
	StepBytes    = 64
	ScaleBytes   = 32
	VerdictBytes = 24
)

// Step is what changes from step to step.
type Step struct {
	Seed     uint64
	Step     uint64     // steps done, skipped ones included
	Image0   uint64     // place in the whole batch of image 0 of this pass (rank, micro-batch)
	Scale    uint64     // address of the Scale: Memory.Base() + offset in the same Memory as this Step; 0: S = 1
	StepSize float32    // see Adam
	VScale   float32    // see Adam
	Adaptive bool       // false: RAdam before rectification, plain momentum
	MaxNorm  float32    // 0: no clipping
	EMA      [4]float32 // rates, 1 − decay; 0: this average is not kept
}

// Put writes the StepBytes of s to b.
func (s Step) Put(b []byte) {
	le := binary.LittleEndian
	le.PutUint64(b[0:], s.Seed)
	le.PutUint64(b[8:], s.Step)
	le.PutUint64(b[16:], s.Image0)
	le.PutUint64(b[24:], s.Scale)
	le.PutUint32(b[32:], math.Float32bits(s.StepSize))
	le.PutUint32(b[36:], math.Float32bits(s.VScale))
	var a uint32
	if s.Adaptive {
		a = 1
	}
	le.PutUint32(b[40:], a)
	le.PutUint32(b[44:], math.Float32bits(s.MaxNorm))
	for i, e := range s.EMA {
		le.PutUint32(b[48+4*i:], math.Float32bits(e))
	}
}

// GetStep reads what Put wrote.
func GetStep(b []byte) Step {
	le := binary.LittleEndian
	s := Step{
		Seed: le.Uint64(b[0:]), Step: le.Uint64(b[8:]), Image0: le.Uint64(b[16:]), Scale: le.Uint64(b[24:]),
		StepSize: math.Float32frombits(le.Uint32(b[32:])), VScale: math.Float32frombits(le.Uint32(b[36:])),
		Adaptive: le.Uint32(b[40:]) != 0, MaxNorm: math.Float32frombits(le.Uint32(b[44:])),
	}
	for i := range s.EMA {
		s.EMA[i] = math.Float32frombits(le.Uint32(b[48+4*i:]))
	}
	return s
}

// Scale is the loss scale. It outlives the step and is part of every saved state; OptimJudge alone writes it.
type Scale struct {
	S       float32 // a power of two; 1 and constant unless storage is F16
	Good    int32   // good steps since S last changed
	Bad     int32   // steps in a row skipped with S at its floor
	Skipped uint64  // steps skipped in all
	Since   uint64  // first step of the present row of skips; after a good step, the step to come
}

// Put writes the ScaleBytes of s to b.
func (s Scale) Put(b []byte) {
	le := binary.LittleEndian
	le.PutUint32(b[0:], math.Float32bits(s.S))
	le.PutUint32(b[4:], uint32(s.Good))
	le.PutUint32(b[8:], uint32(s.Bad))
	le.PutUint32(b[12:], 0)
	le.PutUint64(b[16:], s.Skipped)
	le.PutUint64(b[24:], s.Since)
}

// GetScale reads what Put wrote.
func GetScale(b []byte) Scale {
	le := binary.LittleEndian
	return Scale{
		S: math.Float32frombits(le.Uint32(b[0:])), Good: int32(le.Uint32(b[4:])), Bad: int32(le.Uint32(b[8:])),
		Skipped: le.Uint64(b[16:]), Since: le.Uint64(b[24:]),
	}
}

// Verdict is what became of a gradient.
type Verdict struct {
	NonFinite uint64  // OptimNorm: values of g that are not finite
	Sum2      float32 // OptimNorm: Σg², with S² in it
	Norm      float32 // OptimJudge: |g| without S
	Factor    float32 // OptimJudge: multiplies g as it is read: 1/S, times the clip
	Skip      bool    // OptimJudge: the update writes nothing
}

// Put writes the VerdictBytes of v to b.
func (v Verdict) Put(b []byte) {
	le := binary.LittleEndian
	le.PutUint64(b[0:], v.NonFinite)
	le.PutUint32(b[8:], math.Float32bits(v.Sum2))
	le.PutUint32(b[12:], math.Float32bits(v.Norm))
	le.PutUint32(b[16:], math.Float32bits(v.Factor))
	var skip uint32
	if v.Skip {
		skip = 1
	}
	le.PutUint32(b[20:], skip)
}

// GetVerdict reads what Put wrote.
func GetVerdict(b []byte) Verdict {
	le := binary.LittleEndian
	return Verdict{
		NonFinite: le.Uint64(b[0:]), Sum2: math.Float32frombits(le.Uint32(b[8:])),
		Norm: math.Float32frombits(le.Uint32(b[12:])), Factor: math.Float32frombits(le.Uint32(b[16:])),
		Skip: le.Uint32(b[20:]) != 0,
	}
}

// ScaleRule governs the loss scale and the end of a diverged run.
type ScaleRule struct {
	Floor, Ceiling float32 // of S
	Every          int32   // good steps until S doubles; 0: S is constant
	Limit          int32   // bad steps in a row that are a divergence; from then on every step is skipped
}

// Judge is OptimJudge's arithmetic, the definition for every backend:
//
//	finite:      factor = min(1, max_norm/norm)/S; good+1, bad = 0; at good = Every, S doubles (≤ Ceiling) and good = 0
//	not finite:  skip; good = 0, skipped+1; S > Floor: S halves; at the Floor (or Every = 0): bad+1
//	bad = Limit: always skip
//
// Source: recipes of the loss scale, [CM] 6.5 with powers of two.
func (r ScaleRule) Judge(v Verdict, s Scale, st Step) (Verdict, Scale) {
	norm := math.Sqrt(float64(v.Sum2)) / float64(s.S)
	v.Norm = float32(norm)
	finite := v.NonFinite == 0 && !math.IsInf(float64(v.Sum2), 0) && !math.IsNaN(float64(v.Sum2))
	if r.Limit > 0 && s.Bad >= r.Limit {
		v.Skip, v.Factor = true, 0
		s.Skipped++
		return v, s
	}
	if finite {
		factor := 1 / float64(s.S)
		if st.MaxNorm > 0 && norm > float64(st.MaxNorm) {
			factor *= float64(st.MaxNorm) / norm
		}
		v.Skip, v.Factor = false, float32(factor)
		s.Good++
		s.Bad = 0
		s.Since = st.Step + 1
		if r.Every > 0 && s.Good >= r.Every {
			s.S = min(2*s.S, r.Ceiling)
			s.Good = 0
		}
		return v, s
	}
	v.Skip, v.Factor = true, 0
	s.Good = 0
	s.Skipped++
	if r.Every > 0 && s.S > r.Floor {
		s.S /= 2
	} else {
		s.Bad++
	}
	return v, s
}

// Adam updates every parameter in one pass, unless the verdict says skip, when nothing is written:
//
//	g' = verdict.Factor·g + WeightDecay·w ;  m = Beta1·m + (1−Beta1)·g' ;  v = Beta2·v + (1−Beta2)·g'²
//	w −= StepSize·m/(VScale·√v + Eps)   while Adaptive;   w −= StepSize·m   while not (RAdam's first five steps)
//	ema_i += EMA_i·(w − ema_i)
//	w16 = w rounded to its dtype (nearest even)
//
// StepSize, VScale and Adaptive come from the host
// in float64 (train/optimizer.go): RAdam in the torch form adds Eps to √v, so VScale = 1; Adam has VScale = 1/√(1−β2ⁿ). [RAdam]
type Adam struct {
	Beta1, Beta2, Eps, WeightDecay float32
}
