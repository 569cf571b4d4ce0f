package cpu

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"ict/tensor"
)

// Ranks joins n ranks of one process, each on its own goroutine with its own Device. Every rank must make the same calls
// in the same order; where kinds, sizes or roots differ, all ranks get the error. A reduction blocks until every rank has
// brought its part, so Join has nothing to wait for. Sums are pairwise by rank, in rank order, whoever comes last.
func Ranks(n int) []tensor.Communicator {
	if n < 1 {
		panic(fmt.Sprintf("cpu: ranks: got %d, want at least 1", n))
	}
	g := &group{meeting: newMeeting(n), failed: make(chan struct{})}
	ranks := make([]tensor.Communicator, n)
	for i := range ranks {
		ranks[i] = &rank{group: g, rank: i, size: n}
	}
	return ranks
}

// group is what the ranks share.
type group struct {
	mu      sync.Mutex
	meeting *meeting      // of the collective that comes next
	err     error         // the first; sticky
	failed  chan struct{} // closed when err is set
}

// A meeting is one collective: what each rank brings, and how many have come.
type meeting struct {
	brought []offer
	arrived int
	done    chan struct{} // closed when it was carried out
}

// An offer is a rank's part in a collective.
type offer struct {
	kind string
	data []byte
	root int
}

func newMeeting(n int) *meeting {
	return &meeting{brought: make([]offer, n), done: make(chan struct{})}
}

type rank struct {
	*group
	rank, size int
}

func (r *rank) Rank() int { return r.rank }
func (r *rank) Size() int { return r.size }
func (r *rank) Join()     {}

// AllReduce blocks until every rank has come.
func (r *rank) AllReduce(t tensor.Tensor) {
	if t.DType != tensor.F32 {
		panic(fmt.Sprintf("cpu: allreduce: dtype got %v, want f32", t.DType))
	}
	r.meet(context.Background(), offer{kind: "allreduce", data: contiguous(t)}) // the error is kept for Err
}

// Broadcast blocks until every rank has come.
func (r *rank) Broadcast(t tensor.Tensor, root int) error {
	if root < 0 || root >= r.size {
		panic(fmt.Sprintf("cpu: broadcast: root got %d, want 0 to %d", root, r.size-1))
	}
	return r.meet(context.Background(), offer{kind: "broadcast", data: contiguous(t), root: root})
}

// Barrier blocks until every rank has come. A rank that gives up breaks the barrier for all.
func (r *rank) Barrier(ctx context.Context) error { return r.meet(ctx, offer{kind: "barrier"}) }

// Abort gives every rank, now and later, the error cause.
func (r *rank) Abort(cause error) {
	if cause == nil {
		cause = errors.New("no cause given")
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fail(fmt.Errorf("cpu: communicator aborted by rank %d: %w", r.rank, cause))
}

func (r *rank) Err() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.err
}

// fail keeps the first error. The caller holds the lock.
func (g *group) fail(err error) {
	if g.err == nil {
		g.err = err
		close(g.failed)
	}
}

// meet brings an offer to the next collective and waits for the rest; who comes last carries it out.
func (r *rank) meet(ctx context.Context, o offer) error {
	r.mu.Lock()
	if r.err != nil {
		defer r.mu.Unlock()
		return r.err
	}
	m := r.meeting
	m.brought[r.rank] = o
	m.arrived++
	if m.arrived == r.size {
		defer r.mu.Unlock()
		r.meeting = newMeeting(r.size)
		if err := carryOut(m.brought); err != nil {
			r.fail(err)
			return r.err
		}
		close(m.done)
		return nil
	}
	r.mu.Unlock()

	select {
	case <-m.done:
	case <-r.failed:
	case <-ctx.Done():
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	select {
	case <-m.done: // whatever else happened, this one was carried out
		return nil
	default:
	}
	if r.err == nil {
		r.fail(fmt.Errorf("cpu: %s: rank %d stopped waiting: %w", o.kind, r.rank, context.Cause(ctx)))
	}
	return r.err
}

// carryOut does what all ranks asked for, if they asked for the same.
func carryOut(brought []offer) error {
	first := brought[0]
	for i, o := range brought {
		switch {
		case o.kind != first.kind:
			return fmt.Errorf("cpu: communicator: rank %d calls %s, rank 0 calls %s", i, o.kind, first.kind)
		case len(o.data) != len(first.data):
			return fmt.Errorf("cpu: %s: rank %d brings %d bytes, rank 0 brings %d", o.kind, i, len(o.data), len(first.data))
		case o.root != first.root:
			return fmt.Errorf("cpu: %s: root of rank %d is %d, of rank 0 is %d", o.kind, i, o.root, first.root)
		}
	}
	from := first.root
	if first.kind == "allreduce" {
		parts := make([][]float32, len(brought))
		for i, o := range brought {
			parts[i] = view[float32](o.data)
		}
		sumRanks(parts)
	}
	for i, o := range brought {
		if i != from {
			copy(o.data, brought[from].data)
		}
	}
	return nil
}

// sumRanks adds the vectors of all ranks pairwise in rank order, (0+1)+(2+3)…, into the first: the tree of slices goes on
// over ranks.
func sumRanks(parts [][]float32) {
	for step := 1; step < len(parts); step *= 2 {
		for i := 0; i+step < len(parts); i += 2 * step {
			add(parts[i], parts[i+step])
		}
	}
}

// contiguous are the bytes of a tensor that any Device of this package made.
func contiguous(t tensor.Tensor) []byte { return new(Device).bytes(t) }
