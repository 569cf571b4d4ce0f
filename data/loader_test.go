package data

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"ict/internal/philox"
)

// numbers is a set whose image i is the byte i, with label i mod 3.
type numbers struct {
	n     int
	fail  int // this entry cannot be read
	delay time.Duration
	reads atomic.Int64
}

func (s *numbers) Len() int             { return s.n }
func (s *numbers) Shape() (h, w, c int) { return 1, 2, 1 }
func (s *numbers) Classes() int         { return 3 }
func (s *numbers) ClassNames() []string { return []string{"a", "b", "c"} }
func (s *numbers) Close() error         { return nil }
func (s *numbers) Image(dst []byte, i int) (int, error) {
	s.reads.Add(1)
	time.Sleep(s.delay)
	if i == s.fail {
		return -1, fmt.Errorf("entry %d cannot be read", i)
	}
	dst[0], dst[1] = byte(i), byte(i)
	return i % 3, nil
}

// take returns the entries and flips of the next batches of all ranks, in the order of the image numbers.
func take(t *testing.T, ds Dataset, o LoaderOptions, batches int) (entries []int, flips []bool) {
	t.Helper()
	o.World = max(o.World, 1)
	var ranks []*Loader
	for o.Rank = range o.World {
		ranks = append(ranks, NewLoader(ds, o))
	}
	next := o.First
	for range batches {
		for _, l := range ranks {
			b := must[Batch](t)(l.Next(context.Background()))
			if b.First != next || len(b.Images) != 2*len(b.Labels) || len(b.Flip) != len(b.Labels) {
				t.Fatalf("first: got %d, want %d; %d bytes, %d labels, %d flips", b.First, next, len(b.Images), len(b.Labels), len(b.Flip))
			}
			for i, label := range b.Labels {
				e := int(b.Images[2*i])
				if int(label) != e%3 || b.Images[2*i+1] != byte(e) {
					t.Errorf("image number %d: entry %d, label %d", next, e, label)
				}
				entries = append(entries, e)
				next++
			}
			flips = append(flips, b.Flip...)
		}
	}
	for _, l := range ranks {
		if l.Position() != next {
			t.Errorf("position: got %d, want %d", l.Position(), next)
		}
		l.Close()
	}
	return entries, flips
}

func TestLoaderOrder(t *testing.T) {
	ds := &numbers{n: 10, fail: -1}
	var want []int // five epochs, and a piece of a sixth
	for epoch := range uint64(6) {
		for _, i := range philox.Permutation(7, epoch, 10) {
			want = append(want, int(i))
		}
	}
	equal(t, "Order", Order(7, 10, 0, 60), want)
	equal(t, "Order from 13", Order(7, 10, 13, 29), want[13:42])
	for _, o := range []LoaderOptions{
		{Batch: 1}, {Batch: 4}, {Batch: 12}, {Batch: 24}, {Batch: 12, World: 3}, {Batch: 24, World: 24}, {Batch: 4, World: 2, Workers: 1},
		{Batch: 24, Buffers: [][]byte{make([]byte, 99), make([]byte, 48), make([]byte, 48), make([]byte, 48)}},
	} {
		o.Seed = 7
		got, flips := take(t, ds, o, 48/o.Batch)
		equal(t, fmt.Sprintf("batch %d, world %d", o.Batch, o.World), got, want[:48])
		if slices.Contains(flips, true) {
			t.Error("flips without being asked for")
		}
	}
	for _, batch := range []int{4, 12} { // resumed
		got, _ := take(t, ds, LoaderOptions{Seed: 7, Batch: batch, World: 2, First: 24}, 24/batch)
		equal(t, "from 24", got, want[24:48])
	}
	if got, _ := take(t, ds, LoaderOptions{Seed: 8, Batch: 48}, 1); slices.Equal(got, want[:48]) {
		t.Error("seeds 7 and 8 have one order")
	}
}

func TestLoaderFlip(t *testing.T) {
	ds := &numbers{n: 10, fail: -1}
	var want []bool
	for step := range uint64(8) {
		for place := range uint32(64) {
			want = append(want, philox.Stream{Seed: 3, Step: step, Image: place, Purpose: philox.Flip}.Coin(0))
		}
	}
	for _, world := range []int{1, 4} {
		_, got := take(t, ds, LoaderOptions{Seed: 3, Batch: 64, World: world, Flip: true}, 8)
		equal(t, "flips", got, want)
	}
	_, got := take(t, ds, LoaderOptions{Seed: 3, Batch: 64, World: 2, Flip: true, First: 5 * 64}, 3)
	equal(t, "flips from step 5", got, want[5*64:])
	n := 0
	for _, f := range want {
		if f {
			n++
		}
	}
	if n < 200 || n > 312 {
		t.Errorf("%d of 512 flipped", n)
	}
}

// A batch stays as it is while it may be in use, and the loader reads one batch ahead, no more.
func TestLoaderBuffers(t *testing.T) {
	for _, buffers := range []int{2, 3, 5} {
		ds := &numbers{n: 100, fail: -1}
		o := LoaderOptions{Batch: 4}
		for range buffers {
			o.Buffers = append(o.Buffers, make([]byte, 8))
		}
		l := NewLoader(ds, o)
		var out []Batch
		var copies [][]byte
		for k := range 12 {
			b := must[Batch](t)(l.Next(context.Background()))
			out, copies = append(out, b), append(copies, slices.Clone(b.Images))
			for ds.reads.Load() < int64(4*(k+2)) {
				time.Sleep(50 * time.Microsecond)
			}
			for j := max(0, k-buffers+2); j <= k; j++ {
				if !slices.Equal(out[j].Images, copies[j]) || out[j].First != uint64(4*j) {
					t.Fatalf("%d buffers: batch %d changed while batch %d was out", buffers, j, k)
				}
			}
			if buffers == 2 {
				time.Sleep(time.Millisecond)
				if got := ds.reads.Load(); got != int64(4*(k+2)) {
					t.Fatalf("%d images read after batch %d, want one batch ahead", got, k)
				}
			}
		}
		l.Close()
	}
}

func TestLoaderWait(t *testing.T) {
	ds := &numbers{n: 10, fail: -1, delay: 10 * time.Millisecond}
	l := NewLoader(ds, LoaderOptions{Batch: 10, Workers: 1})
	must[Batch](t)(l.Next(context.Background()))
	if w := l.WaitTime(); w < 80*time.Millisecond {
		t.Errorf("ten reads of 10 ms: waited %v", w)
	}
	before := l.WaitTime()
	for ds.reads.Load() < 20 {
		time.Sleep(time.Millisecond)
	}
	time.Sleep(50 * time.Millisecond)
	must[Batch](t)(l.Next(context.Background()))
	if w := l.WaitTime() - before; w > 50*time.Millisecond {
		t.Errorf("the batch was ready: waited %v", w)
	}

	ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
	defer cancel()
	if _, err := l.Next(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	b := must[Batch](t)(l.Next(context.Background()))
	if b.First != 20 || l.Position() != 30 {
		t.Errorf("after a call that was given up: first %d, position %d", b.First, l.Position())
	}
	l.Close()
	l.Close()
	if _, err := l.Next(context.Background()); !errors.Is(err, ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}

func TestLoaderError(t *testing.T) {
	ds := &numbers{n: 10, fail: 4}
	l := NewLoader(ds, LoaderOptions{Batch: 1})
	defer l.Close()
	at := slices.Index(Order(0, 10, 0, 10), 4)
	for k := range at + 2 {
		_, err := l.Next(context.Background())
		if k < at && err != nil {
			t.Fatalf("batch %d: %v", k, err)
		}
		if k >= at {
			wantError(t, err, "entry 4 cannot be read")
		}
	}
}

func TestLoaderMisuse(t *testing.T) {
	ds := &numbers{n: 10, fail: -1}
	for want, o := range map[string]LoaderOptions{
		"batch 10 cannot be split over 3 ranks":  {Batch: 10, World: 3},
		"batch 0":                                {},
		"rank 2 of 2":                            {Batch: 4, Rank: 2, World: 2},
		"got 6, want a multiple of the batch, 4": {Batch: 4, First: 6},
		"got 1 buffers, want at least 2":         {Batch: 4, Buffers: make([][]byte, 1)},
		"got a buffer of 7 bytes, want 8":        {Batch: 4, Buffers: [][]byte{make([]byte, 8), make([]byte, 7)}},
	} {
		wantPanic(t, want, func() { NewLoader(ds, o) })
	}
	wantPanic(t, "the set is empty", func() { NewLoader(&numbers{}, LoaderOptions{Batch: 1}) })
}
