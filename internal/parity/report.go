package parity

import (
	"encoding/json"
	"fmt"
	"math"
)

// Report is what became of one file.
type Report struct {
	File      string  `json:"file"`
	Name      string  `json:"name"`
	Kind      string  `json:"kind"`
	Precision string  `json:"precision"`
	Groups    []Group `json:"groups"`
	Pass      bool    `json:"pass"` // every group does
}

// Group is the worst result of a kind: of all outputs, all gradients, all losses.
type Group struct {
	Name      string   `json:"group"`
	Error     Relative `json:"error"`
	Tensor    string   `json:"tensor"`    // which one it was
	Tolerance *float64 `json:"tolerance"` // nil: reported, not judged
	Pass      bool     `json:"pass"`      // at most the tolerance, if there is one; what is not finite never passes
}

// Relative is ‖got − ref‖ / ‖ref‖ in float64; infinite where got is not finite, or where ref is 0 and got is not.
type Relative float64

// MarshalJSON writes a number, or null for an infinite one.
func (r Relative) MarshalJSON() ([]byte, error) {
	if math.IsInf(float64(r), 0) {
		return []byte("null"), nil
	}
	return json.Marshal(float64(r))
}

// worst is the largest error of a group so far.
type worst struct {
	err    Relative
	tensor string
}

// measures holds the worst of each group.
type measures map[string]worst

// add measures one tensor.
func (m measures) add(group, tensor string, got, ref []float32) {
	var s sums
	s.add(got, ref, nil)
	m.take(group, tensor, s.relative())
}

// addLosses measures a list of losses as one tensor, and each of them by itself, which is not judged: two images that hardly
// differ have a loss in which the rounding of float32 inputs alone shows, in any implementation.
func (m measures) addLosses(list string, got, ref []float32) {
	m.add("loss", list, got, ref)
	for i := range ref {
		m.add(lossEach, fmt.Sprintf("%s[%d]", list, i), got[i:i+1], ref[i:i+1])
	}
}

func (m measures) take(group, tensor string, r Relative) {
	if w, ok := m[group]; !ok || r > w.err {
		m[group] = worst{r, tensor}
	}
}

func (m measures) group(name string, ceiling *float64) Group {
	w, ok := m[name]
	if !ok {
		panic("parity: nothing was measured in group " + name)
	}
	pass := !math.IsInf(float64(w.err), 0) && (ceiling == nil || float64(w.err) <= *ceiling)
	return Group{Name: name, Error: w.err, Tensor: w.tensor, Tolerance: ceiling, Pass: pass}
}

// sums collects ‖got − ref‖² and the square that it is relative to.
type sums struct{ diff, ref float64 }

// add takes one tensor, relative to ‖ref − start‖; start nil: to ‖ref‖.
func (s *sums) add(got, ref, start []float32) {
	if len(got) != len(ref) {
		panic("parity: two tensors of different size")
	}
	for i, r := range ref {
		r := float64(r)
		d := float64(got[i]) - r
		s.diff += d * d
		if start != nil {
			r -= float64(start[i])
		}
		s.ref += r * r
	}
}

func (s sums) relative() Relative {
	r := math.Sqrt(s.diff) / math.Sqrt(s.ref)
	switch {
	case s.diff == 0:
		return 0
	case math.IsNaN(r):
		return Relative(math.Inf(1))
	}
	return Relative(r)
}
