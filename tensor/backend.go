package tensor

import "context"

// A Backend computes. One method per kernel launcher, seven for memory, a few that tell scratch sizes.
// Calls are queued in order on one stream; misuse panics, errors of the device are sticky (Err).
// A Backend belongs to one goroutine.
type Backend interface {
	Memories
	Sizer
	Convolver
	Normalizer
	Attender
	Pointwise
	Resampler
	Embedder
	Images
	Losses
	Optimizer
	Reducer
	Err() error
	Close() error
}

// Memories allocates, copies and captures.
type Memories interface {
	Alloc(bytes int) (Memory, error)                // aligned to 256 bytes, zeroed
	Pinned(bytes int) ([]byte, error)               // host memory that asynchronous copies may use
	Upload(dst Tensor, src []byte) Ticket           // src from Pinned; queued on the copy stream
	Download(dst []byte, src Tensor) Ticket         // dst from Pinned
	Copy(dst, src Tensor, after ...Ticket)          // on the device; waits there, never on the host, for uploads into src
	Capture(step func()) (replay func(), err error) // cpu returns step itself
	Sync() error
}

// A Ticket tells when an asynchronous copy is done: a pinned buffer may be filled again, a downloaded number read.
type Ticket interface {
	Done() bool
	Wait() error
}

// Sizer tells the scratch bytes of the launchers that need some, so that a plan can be made without
// computing. Only shapes and dtypes of its arguments are read.
type Sizer interface {
	Conv2dWgradScratch(w, dy Shape) int
	LinearWgradScratch(w, dy Shape) int
	GroupNormBackwardScratch(x0, x1 Shape) int
	BiasBackwardScratch(dy Shape) int
	OptimNormScratch(n int) int
}

// Convolver: conv2d.go, linear.go.
type Convolver interface {
	Conv2dFprop(y, x0, x1, w Tensor, ep Epilogue, p Conv2d)
	Conv2dDgrad(dx0, dx1 Acc, dy, wt Tensor, p Conv2d)
	Conv2dWgrad(dw Acc, x0, x1, dy Tensor, p Conv2d, ws Tensor)
	Conv2dPack(wt, w Tensor)
	LinearFprop(y, x, w, b Tensor, p Linear)
	LinearDgrad(dx Acc, dy, x, w Tensor, p Linear)
	LinearWgrad(dw, db Acc, x, dy Tensor, p Linear, ws Tensor)
}

// Normalizer: groupnorm.go, with SiLU, scale-shift and dropout.
type Normalizer interface {
	GroupNormForward(y, mean, rstd, x0, x1, gamma, beta, scaleShift, step Tensor, p GroupNorm)
	GroupNormBackward(dx0, dx1, dgamma, dbeta, dscaleShift Acc, dy, x0, x1, mean, rstd, gamma, beta, scaleShift, step Tensor, p GroupNorm, ws Tensor)
}

// Attender: attention.go.
type Attender interface {
	AttentionForward(o, lse, qkv Tensor, p Attention)
	AttentionBackward(dqkv Acc, do, o, qkv, lse Tensor, p Attention)
}

// Pointwise: pointwise.go, precond.go, cast.go, random.go.
type Pointwise interface {
	Axpby(y Acc, a float32, x0 Tensor, b float32, x1 Tensor)
	ScaleImages(y, x, s Tensor)
	BiasBackward(dbias, demb Acc, dy Tensor, scale float32, ws Tensor)
	PrecondForward(f, raw, x, skip, out Tensor, p Precond)
	PrecondBackward(draw Acc, df, out Tensor)
	Cast(dst, src Tensor)
	RandomNormal(dst, step Tensor, purpose uint16)
}

// Resampler: resample.go.
type Resampler interface {
	ResampleForward(y, x Tensor, p Resample)
	ResampleBackward(dx Acc, dy Tensor, p Resample)
}

// Embedder: embed.go.
type Embedder interface {
	EmbedFourier(y, c, freqs Tensor)
	EmbedPositional(y, c Tensor, p Positional)
	EmbedLabelForward(y Acc, table, labels, bias Tensor, scale float32)
	EmbedLabelBackward(dtable, dbias Acc, dy, labels Tensor, scale float32)
}

// Images: perturb.go.
type Images interface {
	ImageLoad(x, bytes, flip Tensor)
	ImageStore(bytes, x Tensor, rule ByteRule)
	Perturb(d Perturbed, bytes, flip Tensor, l PerturbLevels, step Tensor)
}

// Losses: loss.go.
type Losses interface {
	PseudoHuber(loss, dy, y, target, weight, step Tensor, p PseudoHuber)
	L2(loss, dy, y, target, weight, step Tensor, p L2)
}

// Optimizer: optim.go. verdict, scale, step: small structs in device memory.
type Optimizer interface {
	OptimNorm(verdict, g Tensor, ws Tensor)
	OptimJudge(verdict, scale, step Tensor, rule ScaleRule)
	OptimUpdate(w, m, v, w16 Tensor, ema []Tensor, g, verdict, step Tensor, p Adam)
}

// Reducer: reduce.go.
type Reducer interface {
	ReduceNonFinite(count, x Tensor)
	ReduceHash(hash, x Tensor)
}

// A Communicator joins the ranks of one run. Reductions are queued, not awaited.
type Communicator interface {
	Rank() int
	Size() int
	AllReduce(t Tensor)                 // sum over ranks, in place, F32
	Join()                              // the compute stream waits for every AllReduce queued so far
	Broadcast(t Tensor, root int) error // in place
	Barrier(ctx context.Context) error
	Abort(cause error) // from any goroutine; unblocks everybody here
	Err() error        // sticky, as Backend.Err
}

// Alone is the Communicator of a run with one rank: every method is a no-op.
type Alone struct{}

func (Alone) Rank() int                     { return 0 }
func (Alone) Size() int                     { return 1 }
func (Alone) AllReduce(Tensor)              {}
func (Alone) Join()                         {}
func (Alone) Broadcast(Tensor, int) error   { return nil }
func (Alone) Barrier(context.Context) error { return nil }
func (Alone) Abort(error)                   {}
func (Alone) Err() error                    { return nil }

var _ Communicator = Alone{}
