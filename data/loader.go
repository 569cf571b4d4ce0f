package data

import (
	"context"
	"errors"
	"fmt"
	"math"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"ict/internal/philox"
)

// Batch is one rank's part of a batch: image numbers First, First+1, … of the run.
type Batch struct {
	First  uint64  // image number, the 0-based place in the run
	Images []byte  // (n,H,W,C)
	Labels []int32 // -1 where the set has none
	Flip   []bool  // to be mirrored, which is left to whoever turns bytes into floats
}

// LoaderOptions says which images a Loader hands out.
type LoaderOptions struct {
	Seed        uint64
	Batch       int      // images of a whole batch, over all ranks
	Rank, World int      // this rank takes the Rank-th of World equal parts; World 0 means 1
	Flip        bool     // mark half of the images
	First       uint64   // the next image number, a multiple of Batch: step·Batch
	Buffers     [][]byte // at least two, for Images, each big enough for a part (pinned memory); nil: the Loader makes two
	Workers     int      // readers; 0: one per core
}

// Loader hands out the images of a run in order, one batch ahead. Image number n = step·Batch + place is entry
// n mod |D| of the permutation of epoch n div |D| (philox.Permutation): the same images in the same order for any batch
// size and any number of ranks; no epoch is cut short, a batch may span several. The coin of a flip is drawn for
// (step, place). All state is one integer, the next image number.
type Loader struct {
	ds    Dataset
	o     LoaderOptions
	part  int // images of this rank
	image int // bytes
	order order

	free  chan *slot
	ready chan result
	stop  context.CancelFunc
	done  chan struct{}

	out  *slot // handed out last
	next uint64
	err  error // sticky
	wait atomic.Int64
}

// slot is memory for a batch.
type slot struct{ Batch }

type result struct {
	slot *slot
	err  error
}

// NewLoader starts reading. Panics if the options do not fit each other or the set.
func NewLoader(ds Dataset, o LoaderOptions) *Loader {
	if o.World == 0 {
		o.World = 1
	}
	if o.Workers <= 0 {
		o.Workers = runtime.GOMAXPROCS(0)
	}
	switch {
	case ds.Len() == 0:
		panic("data: loader: the set is empty")
	case o.World < 0 || o.Rank < 0 || o.Rank >= o.World:
		panic(fmt.Sprintf("data: loader: got rank %d of %d", o.Rank, o.World))
	case o.Batch <= 0 || o.Batch > math.MaxInt32 || o.Batch%o.World != 0:
		panic(fmt.Sprintf("data: loader: batch %d cannot be split over %d ranks in equal parts", o.Batch, o.World))
	case o.First%uint64(o.Batch) != 0:
		panic(fmt.Sprintf("data: loader: first image: got %d, want a multiple of the batch, %d", o.First, o.Batch))
	}
	h, w, c := ds.Shape()
	l := &Loader{
		ds: ds, o: o, part: o.Batch / o.World, image: h * w * c, next: o.First,
		order: order{seed: o.Seed, size: ds.Len()}, ready: make(chan result), done: make(chan struct{}),
	}
	buffers := o.Buffers
	if buffers == nil {
		buffers = [][]byte{make([]byte, l.part*l.image), make([]byte, l.part*l.image)}
	}
	if len(buffers) < 2 {
		panic(fmt.Sprintf("data: loader: got %d buffers, want at least 2", len(buffers)))
	}
	l.free = make(chan *slot, len(buffers))
	for _, b := range buffers {
		if len(b) < l.part*l.image {
			panic(fmt.Sprintf("data: loader: got a buffer of %d bytes, want %d", len(b), l.part*l.image))
		}
		l.free <- &slot{Batch{Images: b[:l.part*l.image], Labels: make([]int32, l.part), Flip: make([]bool, l.part)}}
	}
	ctx, stop := context.WithCancel(context.Background())
	l.stop = stop
	go l.run(ctx)
	return l
}

// run fills one slot after the other.
func (l *Loader) run(ctx context.Context) {
	defer close(l.done)
	for first := l.o.First; ; first += uint64(l.o.Batch) {
		var s *slot
		select {
		case s = <-l.free:
		case <-ctx.Done():
			return
		}
		err := l.fill(ctx, s, first)
		select {
		case l.ready <- result{s, err}:
		case <-ctx.Done():
			return
		}
		if err != nil {
			return
		}
	}
}

// fill reads this rank's part of the batch that begins with image number first.
func (l *Loader) fill(ctx context.Context, s *slot, first uint64) error {
	step, place := first/uint64(l.o.Batch), l.o.Rank*l.part
	s.First = first + uint64(place)
	index := make([]int, l.part)
	for i := range index {
		index[i] = l.order.at(s.First + uint64(i))
		s.Flip[i] = l.o.Flip && philox.Stream{Seed: l.o.Seed, Step: step, Image: uint32(place + i), Purpose: philox.Flip}.Coin(0)
	}
	errs := make([]error, l.part)
	var next atomic.Int64
	var workers sync.WaitGroup
	for range min(l.o.Workers, l.part) {
		workers.Go(func() {
			for i := int(next.Add(1) - 1); i < l.part && ctx.Err() == nil; i = int(next.Add(1) - 1) {
				var label int
				label, errs[i] = l.ds.Image(s.Images[i*l.image:(i+1)*l.image], index[i])
				s.Labels[i] = int32(label)
			}
		})
	}
	workers.Wait()
	for _, err := range errs { // not errors.Join: the first in order, whichever reader was faster
		if err != nil {
			return err
		}
	}
	return nil
}

// ErrClosed is what Next returns after Close.
var ErrClosed = errors.New("data: loader: closed")

// Next returns the next batch. Its memory stays as it is until the (n-1)-th call of Next from here, n being the number
// of buffers: with two, until the next call; so asynchronous copies out of it must be waited for before. After an error
// of reading it returns the same error again; when ctx ends it returns ctx's error and nothing is lost. Next is for one
// goroutine.
func (l *Loader) Next(ctx context.Context) (Batch, error) {
	if l.err != nil {
		return Batch{}, l.err
	}
	if l.out != nil { // the last in line, and one is filled per call: n-1 calls until it is written over
		l.free <- l.out
		l.out = nil
	}
	start := time.Now()
	defer func() { l.wait.Add(int64(time.Since(start))) }()
	select {
	case r := <-l.ready:
		if r.err != nil {
			l.err = r.err
			return Batch{}, r.err
		}
		l.out = r.slot
		l.next += uint64(l.o.Batch)
		return r.slot.Batch, nil
	case <-l.done:
		return Batch{}, ErrClosed
	case <-ctx.Done():
		return Batch{}, ctx.Err()
	}
}

// Position returns the image number that the next batch begins with, over all ranks: what First must be to go on here.
func (l *Loader) Position() uint64 { return l.next }

// WaitTime returns how long calls of Next have waited, in all. Any goroutine may call it.
func (l *Loader) WaitTime() time.Duration { return time.Duration(l.wait.Load()) }

// Close stops reading and waits for it to end; a Next that waits returns ErrClosed; batches handed out stay as they are. The Dataset stays open.
func (l *Loader) Close() {
	l.stop()
	<-l.done
}

// order looks up image numbers in the permutation of their epoch, and keeps the last one used.
type order struct {
	seed    uint64
	size    int
	epoch   uint64
	entries []uint32
}

func (o *order) at(n uint64) int {
	if epoch := n / uint64(o.size); o.entries == nil || epoch != o.epoch {
		o.epoch, o.entries = epoch, philox.Permutation(o.seed, epoch, o.size)
	}
	return int(o.entries[n%uint64(o.size)])
}

// Order returns which entries of a set of size images the image numbers first, first+1, … first+count-1 are.
func Order(seed uint64, size int, first uint64, count int) []int {
	o := order{seed: seed, size: size}
	entries := make([]int, count)
	for i := range entries {
		entries[i] = o.at(first + uint64(i))
	}
	return entries
}
