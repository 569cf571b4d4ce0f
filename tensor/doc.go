// Package tensor holds the words that the rest of the house speaks in: arrays in device memory,
// the parameters and checks of every op, and the two interfaces everything else stands on.
//
//   - [Tensor] is a view of device memory: shape, dtype, offset. Nothing here loops over elements.
//   - [Backend] computes: one method per kernel launcher. Implemented by cpu, gpu and internal/meter.
//   - [Communicator] joins the ranks of one run.
//
// Layout is NHWC, row-major, everywhere. Axes, in every doc comment of this module:
//
//	N images · H W pixels in · P Q pixels out · C channels in · K channels out · R S filter rows, columns
//	G groups of a GroupNorm · T tokens of an attention · D elements of one image · E width of an embedding
//
// Filters are (K,R,S,C), linear weights (K,C). There is no broadcasting, no promotion and no implicit
// cast. The zero Tensor means "absent" where an op allows it.
//
// Ops write their outputs whole unless they take an [Acc]. Inputs and outputs of one call never overlap.
package tensor
