package model

import (
	"math"

	"ict/internal/philox"
	"ict/nn"
	"ict/tensor"
)

// Init draws initial weights and buffers. An entry's values are a function of seed and name alone: element e of the
// entry, in its order in memory, is draw e of stream (seed, purpose 6, step = low 48 bits of FNV-1a-64 of the name).
func Init(dev tensor.Backend, w *nn.Weights, seed uint64) error {
	most := 0
	for _, e := range w.Layout.Entries {
		most = max(most, e.Shape.Elems())
	}
	buf, err := dev.Pinned(4 * most)
	if err != nil {
		return err
	}
	for _, e := range w.Layout.Entries {
		b := buf[:4*e.Shape.Elems()]
		initial(tensor.Floats(b), e, seed)
		if err := dev.Upload(w.Tensor(e), b).Wait(); err != nil {
			return err
		}
	}
	w.Refresh(dev)
	return dev.Err()
}

func initial(v []float32, e nn.Entry, seed uint64) {
	s := philox.Stream{Seed: seed, Step: philox.NameStep(e.Name), Purpose: philox.Init}
	switch i := e.Init; {
	case i.Uniform != 0:
		s.Uniforms(v, 0)
		for j := range v {
			v[j] = float32((2*float64(v[j]) - 1) * i.Uniform)
		}
	case i.Normal != 0:
		s.Normals(v, 0)
		for j := range v {
			v[j] = float32(float64(v[j]) * i.Normal)
		}
	default:
		for j := range v {
			v[j] = float32(i.Const)
		}
	}
}

// Finite reports whether all values are finite.
func Finite(v []float32) bool {
	for _, x := range v {
		if f := float64(x); math.IsNaN(f) || math.IsInf(f, 0) {
			return false
		}
	}
	return true
}
