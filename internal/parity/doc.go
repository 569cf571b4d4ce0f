// Package parity checks this build against numbers of another implementation: networks with their gradients, single
// training steps, the optimiser, short trainings and samplers, each from a file that holds weights, inputs and results.
//
//	report, err := parity.Run(open, "fp32", "network-ncsnpp.safetensors")
//
// The format is ict-parity-1, described in testdata/README.md. A file is data from elsewhere and nothing in it is
// trusted: every field and every tensor must be known, there, and of the size that the file's own model asks for.
//
// A Report says how far off the worst tensor of each group is. What lies past its tolerance is no error of Run.
//
// Losses are judged as one tensor, and the worst single one is reported beside it. At 1281 levels a pair may differ by 10⁻⁴ of
// its norm, so that the loss of that image is uncertain by a few 10⁻⁴ in float32 whoever computes it: PyTorch and this program
// lie about 10⁻⁴ to 10⁻³ from float64 there, depending on the order of sums, and 6·10⁻⁶ over the four images of such a step.
package parity
