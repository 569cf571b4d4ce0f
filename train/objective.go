package train

import (
	"fmt"

	"ict/internal/philox"
	"ict/nn"
	"ict/noise"
	"ict/tensor"
)

// An Objective is one way to train f. It allocates nothing and keeps no state of its own;
// the trainer owns networks and buffers and calls it in this order.
type Objective interface {
	Level(k int, d Draws, row *Row) // the numbers of one image at step k: float64, pure
	Loss(s *Stage)                  // queue one micro-batch up to the gradient at the student's output
}

// Draws are the random numbers of one image of one step, each a function of its key.
type Draws struct {
	seed uint64
	step int
	// place of the image in the whole batch, whatever rank or micro-batch holds it
	place int
	pair  int // given by a test instead of drawn: the index i of the pair, from 1; 0: draw
}

// Level is the uniform that picks a level, in [0, 1).
func (d Draws) Level() float64 {
	return philox.Stream{Seed: d.seed, Step: uint64(d.step), Image: uint32(d.place), Purpose: philox.Level}.Float64(0)
}

// Row holds what one image of a step needs: its two levels, its weight and the scalings at each level.
type Row struct {
	T, R, Weight float64 // the larger level, the student's; the smaller, the teacher's
	AtT, AtR     noise.Scalings
}

// Columns of the rows on the device: each a plain (N) vector.
const (
	colT = iota
	colR
	colWeight
	colInT
	colSkipT
	colOutT
	colNoiseT
	colInR
	colSkipR
	colOutR
	colNoiseR
	columns
)

func (r Row) column(c int) float64 {
	return [columns]float64{r.T, r.R, r.Weight, r.AtT.In, r.AtT.Skip, r.AtT.Out, r.AtT.Noise, r.AtR.In, r.AtR.Skip, r.AtR.Out, r.AtR.Noise}[c]
}

// Stage is one micro-batch on the device: what an objective works with.
type Stage struct {
	tensor.Backend
	Student, Target *nn.Program

	Images, Flip tensor.Tensor // (N,H,W,C), (N) U8
	Pair         tensor.Perturbed
	Levels       tensor.PerturbLevels
	Weight       tensor.Tensor // (N)
	Out, Want    tensor.Tensor // outputs of student and target (N,H,W,C)
	Dy           tensor.Tensor // gradient at the student's output
	Losses       tensor.Tensor // (N)
	Step         tensor.Tensor
	InvBatch     float32

	given bool // Pair was uploaded: nothing to perturb
}

// Perturb makes the noisy pair of the batch's images: same x, same z, two levels.
func (s *Stage) Perturb() {
	if !s.given {
		s.Backend.Perturb(s.Pair, s.Images, s.Flip, s.Levels, s.Step)
	}
}

// ICT is improved consistency training [iCT].
type ICT struct {
	Curriculum noise.Curriculum
	Proposal   noise.LogNormal
	Noise      noise.Levels
	NoiseScale float64
	HuberC     float64

	n        int // levels of the cached grid; what is cached follows from k alone
	grid     []float64
	proposal *noise.Proposal
}

// Level draws the pair (σ[i], σ[i+1]) with i from the discretised lognormal law of the current grid.
func (o *ICT) Level(k int, d Draws, row *Row) {
	if n := o.Curriculum.N(k); n != o.n {
		o.n, o.grid = n, o.Noise.Grid(n)
		o.proposal = o.Proposal.Proposal(o.grid)
	}
	i := d.pair
	if i == 0 {
		i = o.proposal.Index(d.Level())
	}
	if i < 1 || i >= o.n {
		panic(fmt.Sprintf("train: pair %d of a grid with %d levels", i, o.n))
	}
	r, t := o.grid[i-1], o.grid[i]
	*row = Row{T: t, R: r, Weight: noise.Weight(t, r), AtT: o.Noise.CM(t, o.NoiseScale), AtR: o.Noise.CM(r, o.NoiseScale)}
}

// Loss queues teacher, student and pseudo-Huber loss.
func (o *ICT) Loss(s *Stage) {
	s.Perturb()         // same x, same z, two levels
	s.Target.Forward()  // r, the smaller: same weights, same dropout masks, no gradient
	s.Student.Forward() // t, the larger
	s.PseudoHuber(s.Losses, s.Dy, s.Out, s.Want, s.Weight, s.Step, tensor.PseudoHuber{C: float32(o.HuberC), InvBatch: s.InvBatch})
}
