package model

import (
	"fmt"

	"ict/nn"
	"ict/tensor"
)

// LoadWeights fills w, parameters and buffers, with what get tells of each name: shape and values as files have them (see
// FromFile). Names that w does not have are never asked for; a surplus is the caller's business. A name that is missing,
// has another shape or a value that is not finite is refused before anything is written. No program may be running.
func LoadWeights(dev tensor.Backend, w *nn.Weights, get func(name string) (shape []int, v []float32, ok bool)) error {
	entries := w.Layout.Entries
	values := make([][]float32, len(entries))
	var first error
	refused, most := 0, 0
	for i, e := range entries {
		var err error
		if shape, v, ok := get(e.Name); !ok {
			err = fmt.Errorf("model: %s: missing", e.Name)
		} else if values[i], err = FromFile(e, shape, v); err == nil && !Finite(v) {
			err = fmt.Errorf("model: %s: got a value that is not finite", e.Name)
		}
		if err != nil {
			refused++
		}
		if first == nil {
			first = err
		}
		most = max(most, len(values[i]))
	}
	if first != nil {
		return fmt.Errorf("%w\n  %d of %d names do not fit; nothing was written", first, refused, len(entries))
	}
	buf, err := dev.Pinned(4 * most)
	if err != nil {
		return err
	}
	for i, e := range entries {
		b := buf[:4*len(values[i])]
		copy(tensor.Floats(b), values[i])
		if err := dev.Upload(w.Tensor(e), b).Wait(); err != nil {
			return err
		}
	}
	w.Refresh(dev)
	return dev.Err()
}
