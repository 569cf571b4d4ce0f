// Package cpu is the reference backend, and the default where there is no GPU.
//
//	dev, err := cpu.Open(cpu.Options{})            // fast: BLAS and vectorised loops
//	ref, err := cpu.Open(cpu.Options{Exact: true}) // the definition: direct loops, float64 sums, no BLAS
//
// Sums over images are cut into slices: fixed runs of consecutive images. Within a slice the order is that of
// the images, over slices it is pairwise, (s₀+s₁)+(s₂+s₃). Slices are fixed by the image's place in the batch and
// every call of BLAS by the shape of one slice, so the number of cores never changes a bit; ranks and micro-batches
// do not either while they hold a power of two of whole slices.
//
// Inner loops stand twice: in Go, as the definition and for builds without cgo, and in C, vectorised by the compiler.
package cpu
