package optest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"ict/tensor"
)

// OpenRanks makes a run of n ranks. The function it returns is called by each rank, on its own goroutine.
type OpenRanks func(t testing.TB, n int) (join func(rank int) (tensor.Backend, tensor.Communicator))

// RankSum is the specification of AllReduce: pairwise by rank, in rank order.
func RankSum(parts []Host) Host {
	if len(parts) == 1 {
		return parts[0].Map(func(v float32) float32 { return v })
	}
	var next []Host
	for i := 0; i < len(parts); i += 2 {
		h := parts[i].Map(func(v float32) float32 { return v })
		if i+1 < len(parts) {
			for j, v := range parts[i+1].V {
				h.V[j] += v
			}
		}
		next = append(next, h)
	}
	return RankSum(next)
}

// Communicator proves a communicator of n ranks. Sums of two ranks, and of integers, must agree to the bit, others to
// rounding.
func Communicator(t *testing.T, n int, open OpenRanks) {
	run := func(what string, f func(rank int, d tensor.Backend, c tensor.Communicator)) {
		t.Helper()
		join := open(t, n)
		var wg sync.WaitGroup
		for q := range n {
			wg.Go(func() {
				d, c := join(q)
				if c.Rank() != q || c.Size() != n {
					t.Errorf("communicator: rank %d of %d, want %d of %d", c.Rank(), c.Size(), q, n)
				}
				f(q, d, c)
			})
		}
		finished := make(chan struct{})
		go func() { wg.Wait(); close(finished) }()
		select {
		case <-finished:
		case <-time.After(30 * time.Second):
			t.Fatalf("communicator of %d: %s: ranks hang", n, what)
		}
	}
	late := func(q int) { time.Sleep(time.Duration((q*7)%n) * time.Millisecond) } // arrive out of order
	healthy := func(q int, c tensor.Communicator) {
		if err := c.Err(); err != nil {
			t.Errorf("communicator of %d: rank %d: %v", n, q, err)
		}
	}

	sizes := []int{1, 7, 4096, 20011}
	var parts [][]Host // of each rank; for each size integers, then normals
	var sums []Host
	for _, size := range sizes {
		var ints, normals []Host
		for q := range n {
			name := fmt.Sprint("rank", q)
			ints, normals = append(ints, Ints(name, 100, size)), append(normals, Normal(name, size))
		}
		parts = append(parts, ints, normals)
		sums = append(sums, RankSum(ints), RankSum(normals))
	}
	run("allreduce", func(q int, d tensor.Backend, c tensor.Communicator) {
		var queued []tensor.Tensor
		for _, p := range parts {
			x := Put(t, d, p[q])
			late(q)
			c.AllReduce(x)
			queued = append(queued, x)
		}
		c.Join()
		for i, x := range queued {
			what := fmt.Sprintf("allreduce of %d, %d elements, rank %d", n, sizes[i/2], q)
			if i%2 == 0 || n <= 2 {
				Same(t, what, Get(t, d, x), sums[i])
			} else {
				Near(t, what, Get(t, d, x), sums[i], 1e-6)
			}
		}
		healthy(q, c)
	})

	run("broadcast", func(q int, d tensor.Backend, c tensor.Communicator) {
		for root := range n {
			x, b := Put(t, d, Normal(fmt.Sprint("rank", q), 1001)), PutBytes(t, d, pixels(fmt.Sprint("rank", q), 13), tensor.U8, 13)
			late(q + root)
			if err := errors.Join(c.Broadcast(x, root), c.Broadcast(b, root)); err != nil {
				t.Errorf("broadcast of %d: %v", n, err)
			}
			Same(t, fmt.Sprintf("broadcast of %d from %d to %d", n, root, q), Get(t, d, x), Normal(fmt.Sprint("rank", root), 1001))
			if !bytes.Equal(GetBytes(t, d, b), pixels(fmt.Sprint("rank", root), 13)) {
				t.Errorf("broadcast of %d from %d to %d: bytes differ", n, root, q)
			}
		}
		healthy(q, c)
	})

	var came atomic.Int64
	run("barrier", func(q int, _ tensor.Backend, c tensor.Communicator) {
		for round := range 20 {
			late(q + round)
			came.Add(1)
			if err := c.Barrier(t.Context()); err != nil {
				t.Errorf("barrier of %d: %v", n, err)
			}
			if got := came.Load(); got < int64(n*(round+1)) {
				t.Errorf("barrier of %d: rank %d passed when %d had come, want %d", n, q, got, n*(round+1))
			}
		}
		healthy(q, c)
	})

	if n == 1 { // nobody to wait for, nothing to disagree about
		return
	}
	cause := errors.New("out of patience")
	run("abort", func(q int, d tensor.Backend, c tensor.Communicator) {
		if q == n-1 { // everybody else waits for this rank
			time.Sleep(5 * time.Millisecond)
			c.Abort(cause)
			c.Abort(errors.New("a second cause"))
		} else if q%2 == 0 {
			c.AllReduce(Put(t, d, Zeros(10)))
			c.Join()
			if err := d.Err(); err != nil && c.Err() == nil {
				t.Errorf("abort of %d: rank %d learns of it from the device alone: %v", n, q, err)
			}
		} else if err := c.Barrier(t.Context()); !errors.Is(err, cause) {
			t.Errorf("abort of %d: barrier of rank %d got %v", n, q, err)
		}
		for range 2 {
			if !errors.Is(c.Err(), cause) {
				t.Errorf("abort of %d: rank %d has error %v, want %v", n, q, c.Err(), cause)
			}
			if err := c.Broadcast(Put(t, d, Zeros(1)), 0); !errors.Is(err, cause) {
				t.Errorf("abort of %d: later broadcast of rank %d got %v", n, q, err)
			}
			c.AllReduce(Put(t, d, Zeros(1))) // returns
			c.Join()
		}
	})

	run("deadline", func(q int, _ tensor.Backend, c tensor.Communicator) {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancel()
		if q != 0 { // rank 0 never comes
			if err := c.Barrier(ctx); err == nil || c.Err() == nil {
				t.Errorf("barrier of %d: rank %d got %v, Err %v, want errors", n, q, err, c.Err())
			}
		}
	})
}
