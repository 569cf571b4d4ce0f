// Package philox draws the random numbers of training and sampling: Philox4x32-10 [Philox], a generator without state.
//
// Every draw is a function of (seed, step, image, purpose, element), so it does not depend on the rank, the micro-batch
// or the order in which it is made, and a resumed run draws what an uninterrupted one would have drawn.
//
//	key      seed[31:0], seed[63:32]
//	counter  c0 = element / 4, c1 = image, c2 = step[31:0], c3 = purpose << 16 | step[47:32]
//	word     element mod 4 of the block
//
// One type matters, [Stream]: the draws of one image for one purpose at one step.
//
//	z := make([]float32, h*w*c)
//	philox.Stream{Seed: seed, Step: step, Image: place, Purpose: philox.Noise}.Normals(z, 0)
//
// Words, uniforms, coins and permutations are integer arithmetic. Normals are float32 operations, each rounded once
// (product, fused multiply-add, square root), so C's fmaf and sqrtf give the same bits.
//
// All of this is part of the meaning of a checkpoint: a change to any number drawn here is a new format version.
package philox
