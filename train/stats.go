package train

import (
	"math"

	"ict/noise"
	"ict/tensor"
)

// LevelBins is the number of equal parts of [ln σ_min, ln σ_max] for which losses are kept apart.
const LevelBins = 8

// Stats are sums over the steps since the last Reset.
type Stats struct {
	Steps    int     // steps counted
	Images   int     // of this rank
	Loss     float64 // Σ of weighted losses
	Loss2    float64 // Σ of their squares
	ByLevel  [LevelBins]float64
	InLevel  [LevelBins]int
	GradNorm float64 // of the last step
	Skipped  int     // steps without an update
	Scale    tensor.Scale
	LastLoss float64 // mean of the last step
	Step     int     // the last step counted
}

// Reset begins anew and keeps the loss scale.
func (s *Stats) Reset() { *s = Stats{Scale: s.Scale} }

func (s *Stats) add(l noise.Levels, r *results, losses []float32, v tensor.Verdict, scale tensor.Scale) {
	s.Steps++
	s.Step = r.step
	var sum float64
	lo, hi := math.Log(l.Min), math.Log(l.Max)
	for i, x := range losses {
		y := float64(x)
		sum += y
		s.Loss2 += y * y
		bin := min(LevelBins-1, max(0, int(LevelBins*(math.Log(r.rows[i].T)-lo)/(hi-lo))))
		s.ByLevel[bin] += y
		s.InLevel[bin]++
	}
	s.Images += len(losses)
	s.Loss += sum
	s.LastLoss = sum / float64(len(losses))
	s.GradNorm = float64(v.Norm)
	if v.Skip {
		s.Skipped++
	}
	s.Scale = scale
}

// Mean is the mean loss of an image, and its standard deviation.
func (s *Stats) Mean() (mean, std float64) {
	if s.Images == 0 {
		return math.NaN(), math.NaN()
	}
	n := float64(s.Images)
	mean = s.Loss / n
	return mean, math.Sqrt(max(0, s.Loss2/n-mean*mean))
}
