package data

import (
	"context"
	"runtime"
	"sync"
)

// each reads images at(0), at(1), … at(n-1) with several workers (0: one per core) and hands them to visit in this
// order, one at a time, with the error of reading. The image is visit's only until it returns. Memory is bounded by the
// workers. Stops at visit's first error or when ctx ends.
func each(ctx context.Context, ds Dataset, n, workers int, at func(j int) int, visit func(j int, img []byte, label int, err error) error) error {
	if workers <= 0 {
		workers = runtime.GOMAXPROCS(0)
	}
	h, w, c := ds.Shape()
	type item struct {
		j     int
		img   []byte
		label int
		err   error
		done  chan struct{}
	}
	window := 4 * workers // a slow image holds up the order, not the workers
	free, work, queue := make(chan *item, window), make(chan *item), make(chan *item, window)
	for range window {
		free <- &item{img: make([]byte, h*w*c), done: make(chan struct{}, 1)}
	}
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	running.Go(func() {
		defer close(work)
		defer close(queue)
		for j := range n {
			select {
			case it := <-free:
				it.j = j
				queue <- it
				work <- it
			case <-ctx.Done():
				return
			}
		}
	})
	for range workers {
		running.Go(func() {
			for it := range work {
				if it.err = ctx.Err(); it.err == nil {
					it.label, it.err = ds.Image(it.img, at(it.j))
				}
				it.done <- struct{}{}
			}
		})
	}
	for it := range queue {
		<-it.done
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := visit(it.j, it.img, it.label, it.err); err != nil {
			return err
		}
		free <- it
	}
	return ctx.Err()
}
