package data

import (
	"fmt"

	"ict/internal/pickle"
)

// isPickle looks whether a file begins like a pickle of protocol 2 or higher.
func isPickle(head []byte) bool {
	return len(head) > 1 && head[0] == 0x80 && head[1] >= 2 && head[1] <= 5
}

// matchPickle knows batches like those of the downsampled ImageNet.
func matchPickle(_ string, folder bool, head []byte) bool { return !folder && isPickle(head) }

// pickledBatch reads a dict: data, bytes (N, 3·S·S) or (N,H,W,C), and labels under a key.
func pickledBatch(m member, key string, opt Options) (batch, error) {
	v, err := pickle.Load(m.r, m.size)
	if err != nil {
		return batch{}, damaged("%s: %v", Printable(m.name), err)
	}
	a, ok := pickle.Get(v, "data").(*pickle.Array)
	if !ok {
		return batch{}, damaged("%s: got %T under data, want a dict with an array there", Printable(m.name), pickle.Get(v, "data"))
	}
	b, err := imageShape(m.name, a.Dtype, a.Fortran, a.Shape, true)
	if err != nil {
		return b, err
	}
	b.r, b.at, b.fromOne = a.Data.R, a.Data.At, true
	if opt.Labels == LabelsNone {
		return b, nil
	}
	list := pickle.Get(v, key)
	if list == nil {
		return b, fmt.Errorf("%s: nothing under %s; add it, or take no labels", Printable(m.name), key)
	}
	if b.labels, err = pickle.Ints(list, b.n); err != nil {
		return b, damaged("%s: %s: %v", Printable(m.name), key, err)
	}
	return b, b.checkLabels()
}

// checkLabels looks whether there are as many labels as images.
func (b *batch) checkLabels() error {
	if len(b.labels) != b.n {
		return damaged("%s: got %s labels, want %s, as many as images", Printable(b.name), comma(len(b.labels)), comma(b.n))
	}
	return nil
}
