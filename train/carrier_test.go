package train

import (
	"context"
	"errors"
	"testing"

	"ict/checkpoint"
	"ict/internal/optest"
	"ict/tensor"
)

// What is saved, loaded, hashed and read goes through memory that is there: a long run must not grow by its saves.
func TestSavesAllocateNothing(t *testing.T) {
	c := toy(10, 4)
	dev := &tally{Backend: open(t)}
	tr, err := New(dev, tensor.Alone{}, c)
	if err != nil {
		t.Fatal(err)
	}
	if err := tr.Init(); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	save := func() {
		t.Helper()
		steps(t, tr, 1)
		state, err := tr.StateJob(dir, checkpoint.Manifest{RunID: "test"})
		if err != nil {
			t.Fatal(err)
		}
		snap, err := tr.SnapshotJob(dir+"/"+checkpoint.SnapshotName(tr.K, ""), "test", 0, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(state(context.Background()), snap(context.Background())); err != nil {
			t.Fatal(err)
		}
		hash(t, tr)
	}
	before := dev.bytes
	save()
	first := dev.bytes
	save()
	save()
	s, _, err := checkpoint.OpenLatest(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := tr.LoadState(s); err != nil {
		t.Fatal(err)
	}
	if first != before || dev.bytes != first {
		t.Errorf("allocated %d bytes before the first save, %d after, %d after the third and a load", before, first, dev.bytes)
	}
}

// An array that is longer than the block arrives whole, both ways.
func TestCarrierInPieces(t *testing.T) {
	dev := open(t)
	c, err := newCarrier(dev, 24)
	if err != nil {
		t.Fatal(err)
	}
	want := optest.Zeros(17)
	for i := range want.V {
		want.V[i] = float32(i) + 0.5
	}
	x := optest.Put(t, dev, optest.Zeros(17))
	if err := c.up(x, bytesOf(want.V)); err != nil {
		t.Fatal(err)
	}
	optest.Same(t, "up", optest.Get(t, dev, x), want)
	got, err := c.floats(x)
	if err != nil || len(got) != 17 {
		t.Fatal(got, err)
	}
	optest.Same(t, "down", optest.Host{Shape: want.Shape, V: got}, want)
}
