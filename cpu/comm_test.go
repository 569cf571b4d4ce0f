package cpu_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"ict/cpu"
	"ict/internal/optest"
	"ict/tensor"
)

func openRanks(t testing.TB, n int) func(rank int) (tensor.Backend, tensor.Communicator) {
	ranks := cpu.Ranks(n)
	return func(q int) (tensor.Backend, tensor.Communicator) {
		return with(cpu.Options{Threads: 1})(t), ranks[q]
	}
}

func TestRanks(t *testing.T) {
	for _, n := range []int{1, 2, 3, 4, 5, 8} {
		optest.Communicator(t, n, openRanks)
	}
}

func TestAlone(t *testing.T) {
	optest.Communicator(t, 1, func(t testing.TB, _ int) func(int) (tensor.Backend, tensor.Communicator) {
		return func(int) (tensor.Backend, tensor.Communicator) { return fast(t), tensor.Alone{} }
	})
}

// together calls f for every rank of a run and gives the errors that the communicators then have.
func together(t *testing.T, n int, f func(q int, d tensor.Backend, c tensor.Communicator)) []error {
	t.Helper()
	join, errs := openRanks(t, n), make([]error, n)
	var wg sync.WaitGroup
	for q := range n {
		wg.Go(func() {
			d, c := join(q)
			f(q, d, c)
			errs[q] = c.Err()
		})
	}
	finished := make(chan struct{})
	go func() { wg.Wait(); close(finished) }()
	select {
	case <-finished:
	case <-time.After(30 * time.Second):
		t.Fatal("ranks hang")
	}
	return errs
}

// The sum is the tree of the slices gone on over ranks, to the bit, in whatever order ranks arrive.
func TestRanksSumPairwise(t *testing.T) {
	for _, n := range []int{1, 2, 3, 4, 5, 6, 7, 8, 13} {
		var parts []optest.Host
		for q := range n {
			parts = append(parts, optest.Normal(fmt.Sprint("rank", q), 3001))
		}
		want := optest.RankSum(parts)
		for round := range 4 {
			together(t, n, func(q int, d tensor.Backend, c tensor.Communicator) {
				x := optest.Put(t, d, parts[q])
				time.Sleep(time.Duration(q*(2*round+1)%n) * 500 * time.Microsecond)
				c.AllReduce(x)
				c.Join()
				optest.Same(t, fmt.Sprintf("sum of %d ranks", n), optest.Get(t, d, x), want)
			})
		}
	}
}

// A gradient summed over ranks that hold whole slices is the gradient of the whole batch (promise C).
func TestRanksFoldSlices(t *testing.T) {
	dy := optest.Normal("dy", 32, 5, 5, 7)
	want, _ := biasSums(t, fast(t), dy)
	for _, n := range []int{1, 2, 4} {
		together(t, n, func(q int, d tensor.Backend, c tensor.Communicator) {
			part, _ := biasSums(t, d, images(dy, q*32/n, (q+1)*32/n))
			x := optest.Put(t, d, part)
			c.AllReduce(x)
			optest.Same(t, fmt.Sprintf("dbias of %d ranks", n), optest.Get(t, d, x), want)
		})
	}
}

func TestRanksThatDisagree(t *testing.T) {
	for name, c := range map[string]struct {
		want string
		f    func(q int, d tensor.Backend, c tensor.Communicator)
	}{
		"sizes": {"cpu: allreduce: rank 2 brings 44 bytes, rank 0 brings 40", func(q int, d tensor.Backend, c tensor.Communicator) {
			c.AllReduce(optest.New(t, d, 10+q/2))
		}},
		"kinds": {"rank 1 calls allreduce, rank 0 calls barrier", func(q int, d tensor.Backend, c tensor.Communicator) {
			if q == 0 {
				c.Barrier(t.Context())
			} else {
				c.AllReduce(optest.New(t, d, 10))
			}
		}},
		"roots": {"cpu: broadcast: root of rank 1 is 1, of rank 0 is 0", func(q int, d tensor.Backend, c tensor.Communicator) {
			if err := c.Broadcast(optest.New(t, d, 10), min(q, 1)); err == nil {
				t.Error("broadcast from two roots succeeded")
			}
		}},
	} {
		for q, err := range together(t, 3, c.f) {
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("different %s: rank %d got %v, want %s", name, q, err, c.want)
			}
		}
	}
}

func TestBarrierDeadline(t *testing.T) {
	gone := errors.New("rank 0 is gone")
	errs := together(t, 3, func(q int, d tensor.Backend, c tensor.Communicator) {
		if q == 1 {
			ctx, cancel := context.WithCancelCause(t.Context())
			time.AfterFunc(5*time.Millisecond, func() { cancel(gone) })
			c.Barrier(ctx)
		}
		if q == 2 {
			c.AllReduce(optest.New(t, d, 1)) // its peer's deadline ends this too
		}
	})
	for q := 1; q < 3; q++ {
		if !errors.Is(errs[q], gone) {
			t.Errorf("rank %d got %v, want %v", q, errs[q], gone)
		}
	}
}
