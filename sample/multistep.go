package sample

import (
	"errors"
	"fmt"

	"ict/noise"
	"ict/tensor"
)

// CheckLevels refuses what is no schedule of Multistep: levels σ descend from at most σ_max to above σ_min, where f has
// nothing to do. Every call removes all the noise it is told of, so the last result is never noisy.
func CheckLevels(levels []float64, l noise.Levels) error {
	if len(levels) == 0 {
		return errors.New("sample: levels: got none, want at least one")
	}
	for i, sigma := range levels {
		switch {
		case !(sigma > l.Min):
			return fmt.Errorf("sample: levels: got %g, want more than σ_min %g", sigma, l.Min)
		case !(sigma <= l.Max):
			return fmt.Errorf("sample: levels: got %g, want at most σ_max %g", sigma, l.Max)
		case i > 0 && sigma >= levels[i-1]:
			return fmt.Errorf("sample: levels: got %g after %g, want descending levels", sigma, levels[i-1])
		}
	}
	return nil
}

// IndexLevels returns the levels of a schedule in the form of [CM]: ascending indices into the descending grid of steps
// levels. The last index is no call but where the result lies, and must be steps−1, σ_min: "0,22,39" of 40 is two calls.
func IndexLevels(indices []int, steps int, l noise.Levels) ([]float64, error) {
	if steps < 2 {
		return nil, fmt.Errorf("sample: level indices: got a grid of %d levels, want at least 2", steps)
	}
	if len(indices) < 2 {
		return nil, fmt.Errorf("sample: level indices: got %v, want at least a call and the end", indices)
	}
	for i, j := range indices {
		if j < 0 || j >= steps || i > 0 && j <= indices[i-1] {
			return nil, fmt.Errorf("sample: level indices: got %v, want ascending indices below %d", indices, steps)
		}
	}
	calls, end := indices[:len(indices)-1], indices[len(indices)-1]
	if end != steps-1 {
		return nil, fmt.Errorf("sample: level indices: got %d as the last, which leaves a noisy image; want %d", end, steps-1)
	}
	grid := l.Descending(steps)
	levels := make([]float64, len(calls))
	for i, j := range calls {
		levels[i] = grid[j]
	}
	return levels, nil
}

// Multistep makes the images of b, one call of f for each level σ, and writes them to dst (N,H,W,C):
//
//	x = f(σ_0·z_0, σ_0)
//	x = f(x + √(σ_j² − σ_min²)·z_j, σ_j)     j = 1, 2, …
//
// f as in Denoise, z_j the source's normals at level j. after, unless nil, is called after every level with its result in
// dst; its error ends the sampling. Source: [CM], [iCT].
func (s *Sampler) Multistep(dst []float32, levels []float64, src Source, b Batch, after func(level int) error) error {
	if err := CheckLevels(levels, s.levels); err != nil {
		return err
	}
	if err := s.begin(dst, b); err != nil {
		return err
	}
	m := multistep{
		dev: s.dev, x: s.x, z: s.z, sigmaMin: s.levels.Min,
		noise: func(level int) error { return src.Noise(s.part(s.z, b.N), level, b.First) },
		f: func(sigma float64) error {
			return s.denoise(s.x, b.N, sigma, s.levels.CM(sigma, s.config.NoiseScale), tensor.Precond{Clamp: true})
		},
	}
	return m.run(levels, func(level int) error {
		if after == nil && level < len(levels)-1 {
			return nil
		}
		if err := s.read(dst, s.part(s.x, b.N)); err != nil || after == nil {
			return err
		}
		return after(level)
	})
}

// multistep is the arithmetic of Multistep over any f.
type multistep struct {
	dev      tensor.Backend
	x, z     tensor.Tensor
	sigmaMin float64
	noise    func(level int) error     // fills z
	f        func(sigma float64) error // replaces x
}

func (m multistep) run(levels []float64, after func(level int) error) error {
	for j, sigma := range levels {
		if err := m.noise(j); err != nil {
			return err
		}
		if j == 0 {
			m.dev.Axpby(tensor.Write(m.x), float32(sigma), m.z, 0, tensor.Tensor{})
		} else {
			m.dev.Axpby(tensor.Acc{Tensor: m.x, Beta: 1}, float32(noise.MultistepStd(sigma, m.sigmaMin)), m.z, 0, tensor.Tensor{})
		}
		if err := m.f(sigma); err != nil {
			return err
		}
		if err := after(j); err != nil {
			return err
		}
	}
	return nil
}
