package sample

import (
	"fmt"
	"math"

	"ict/tensor"
)

// Churn raises the level of a step by fresh noise before it is taken. The zero value is the deterministic sampler.
//
//	γ = min(Amount/steps, √2 − 1) where Min ≤ σ ≤ Max, else 0
//
// The names of [EDM] are S_churn, S_min, S_max, S_noise.
type Churn struct {
	Amount   float64
	Min, Max float64
	Noise    float64 // factor of the fresh noise's deviation
}

func (c Churn) gamma(steps int, sigma float64) float64 {
	if sigma < c.Min || sigma > c.Max {
		return 0
	}
	return min(c.Amount/float64(steps), math.Sqrt2-1)
}

// Heun makes the images of b by the second-order sampler of [EDM], in 2·steps − 1 network calls, and writes them to dst
// (N,H,W,C). Levels are the grid of so many points, descending, then 0; D has the EDM column and is not clamped:
//
//	x = σ_0·z_0
//	σ̂ = σ_i(1+γ)                    x̂ = x + √(σ̂² − σ_i²)·S_noise·z_{i+1}
//	d = (x̂ − D(x̂,σ̂))/σ̂              x = x̂ + (σ_{i+1} − σ̂)·d
//	d′ = (x − D(x,σ_{i+1}))/σ_{i+1}   x = x̂ + (σ_{i+1} − σ̂)·(d + d′)/2     but for the last step, to 0
//
// z_j are the source's normals at level j; where γ is 0 none are asked for. The state is float64, the network's input and
// output float32. after, unless nil, is called after step i with its result in dst; its error ends the sampling.
// Source: [EDM].
func (s *Sampler) Heun(dst []float32, steps int, c Churn, src Source, b Batch, after func(step int) error) error {
	if steps < 2 {
		return fmt.Errorf("sample: heun: got %d steps, want at least 2", steps)
	}
	if err := s.begin(dst, b); err != nil {
		return err
	}
	normals := func(z []float64, level int) error {
		part := s.part(s.z, b.N)
		if err := src.Noise(part, level, b.First); err != nil {
			return err
		}
		return s.widen(z, part)
	}
	d := func(y, x []float64, sigma float64) error {
		part := s.part(s.x, b.N)
		if err := s.upload(part, func(b []byte) { narrow(tensor.Floats(b), x) }); err != nil {
			return err
		}
		if err := s.denoise(s.x, b.N, sigma, s.levels.EDM(sigma, s.config.NoiseScale), tensor.Precond{}); err != nil {
			return err
		}
		return s.widen(y, part)
	}
	x := make([]float64, len(dst))
	levels := s.levels.Descending(steps)
	if err := normals(x, 0); err != nil {
		return err
	}
	for i := range x {
		x[i] *= levels[0]
	}
	return newHeun(x, c, d, normals).run(levels, func(step int) error {
		if after == nil && step < steps-1 {
			return nil
		}
		narrow(dst, x)
		if after == nil {
			return nil
		}
		return after(step)
	})
}

// widen reads a F32 tensor.
func (s *Sampler) widen(dst []float64, x tensor.Tensor) error {
	b, err := s.download(x)
	if err != nil {
		return err
	}
	for i, v := range tensor.Floats(b) {
		dst[i] = float64(v)
	}
	return nil
}

func narrow(dst []float32, x []float64) {
	for i, v := range x {
		dst[i] = float32(v)
	}
}

// heun is the arithmetic of Heun over any denoiser, float64 throughout.
type heun struct {
	churn   Churn
	denoise func(dst, x []float64, sigma float64) error
	normals func(z []float64, level int) error

	x, xh, d, y []float64 // the state, x̂, the slope at x̂; y: normals, then what D returned
}

func newHeun(x []float64, c Churn, denoise func(dst, x []float64, sigma float64) error, normals func(z []float64, level int) error) *heun {
	v := func() []float64 { return make([]float64, len(x)) }
	return &heun{c, denoise, normals, x, v(), v(), v()}
}

// run takes x from levels[0] through the levels to 0.
func (h *heun) run(levels []float64, after func(step int) error) error {
	for i, sigma := range levels {
		raised, err := h.raise(sigma, h.churn.gamma(len(levels), sigma), i+1)
		if err != nil {
			return err
		}
		next := 0.0
		if i+1 < len(levels) {
			next = levels[i+1]
		}
		if err := h.euler(raised, next); err != nil {
			return err
		}
		if next > 0 {
			if err := h.correct(raised, next); err != nil {
				return err
			}
		}
		if err := after(i); err != nil {
			return err
		}
	}
	return nil
}

// raise sets x̂ to x with noise added up to level σ̂ = sigma·(1+gamma), which it returns.
func (h *heun) raise(sigma, gamma float64, level int) (float64, error) {
	copy(h.xh, h.x)
	if gamma <= 0 {
		return sigma, nil
	}
	if err := h.normals(h.y, level); err != nil {
		return 0, err
	}
	raised := sigma * (1 + gamma)
	std := math.Sqrt(raised*raised-sigma*sigma) * h.churn.Noise
	for i, z := range h.y {
		h.xh[i] += std * z
	}
	return raised, nil
}

// euler sets x to the first-order step from x̂ at level sigma to level next.
func (h *heun) euler(sigma, next float64) error {
	if err := h.denoise(h.y, h.xh, sigma); err != nil {
		return err
	}
	for i, xh := range h.xh {
		h.d[i] = (xh - h.y[i]) / sigma
		h.x[i] = xh + (next-sigma)*h.d[i]
	}
	return nil
}

// correct repeats the step of euler with the mean of the slopes at its two ends.
func (h *heun) correct(sigma, next float64) error {
	if err := h.denoise(h.y, h.x, next); err != nil {
		return err
	}
	for i, xh := range h.xh {
		slope := (h.x[i] - h.y[i]) / next
		h.x[i] = xh + (next-sigma)*(h.d[i]+slope)/2
	}
	return nil
}
