// Package parity checks this build against numbers of another implementation: networks with their gradients, single
// training steps, the optimiser, short trainings and samplers, each from a file that holds weights, inputs and results.
//
//	report, err := parity.Run(open, "fp32", "network-ncsnpp.safetensors")
//
// The format is ict-parity-1, described in testdata/README.md. A file is data from elsewhere and nothing in it is
// trusted: every field and every tensor must be known, there, and of the size that the file's own model asks for.
//
// A Report says how far off the worst tensor of each group is. What lies past its tolerance is no error of Run.
package parity
