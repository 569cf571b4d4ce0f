// Package noise holds the noise levels of training and sampling: which levels there are, how often each is drawn, how a
// loss is weighted and how the network is wrapped at a level. Everything is a pure function of float64; there is no
// randomness and no tensor here.
//
// [Levels] has the grid and the scalings, [Curriculum] says how many levels there are at a step, [LogNormal] how often
// each pair of neighbours is drawn:
//
//	levels := noise.Default()
//	grid := levels.Grid(curriculum.N(k))   // ascending, grid[i-1] = σ_i
//	proposal := noise.LogNormal{Mean: -1.1, Std: 2}.Proposal(grid)
//	i := proposal.Index(u)                 // u uniform in [0, 1)
//	r, t := grid[i-1], grid[i]             // the teacher's level, the student's
//	student := levels.CM(t, 1)
//
// Levels are standard deviations of the noise added to images in [−1, 1]. Steps k count from 0.
package noise
