// Package nn records networks and runs them.
//
// There are two times. Recording: layers own parameters and append ops to a [Tape]; shapes are checked here, and a
// mismatch panics with the op's path. Running: a [Program] calls the recorded ops in order, each of which calls the
// launchers of a tensor.Backend by name; nothing looks at data, branches on results or allocates. Backward is the list
// reversed: both directions were written by people, nothing is derived by machine.
//
//	t := nn.NewTape(tensor.F32)
//	x := t.Input("x", tensor.F32, false, 8, 28, 28, 1)
//	conv := nn.NewConv2d(t, "conv", nn.Filter{C: 1, K: 32, R: 3}, nn.Init{Uniform: .1}, nn.Init{})
//	t.Outputs = append(t.Outputs, conv.Forward(nn.One(x), nn.Conv{}))
//	plan := nn.Rehearse(t, dev, nn.Want{Grad: true})
//
// Memory is planned from a rehearsal: the tape runs once on a backend that only counts (internal/meter); first and
// last touch are a block's life, and blocks whose lives do not meet may share bytes. Inputs and outputs lie outside.
//
// nn knows nothing of diffusion, losses, optimisers or devices.
package nn
