// Package gpu is the CUDA backend: a [Device] is a tensor.Backend whose every launch is one C launcher of kernels/kernels.h.
//
// It is built with the tag cuda. Without it [Open] returns [ErrNotBuilt] and nothing of CUDA is imported.
//
//	d, err := gpu.Open(gpu.Options{Device: 0})
//	if err != nil { … }
//	defer d.Close()
//
// Open locks the calling goroutine to its OS thread, because a CUDA context belongs to threads: that goroutine makes every
// call, Close included. Devices, contexts, memory, copies, streams and events come from gorgonia.org/cu; what it lacks is
// one small file each: pinned.go, graph.go, tensormap.go, errors_cuda.go, signals.go.
//
// Two streams. Launches and [Device.Copy] go to the compute stream in order. Uploads and downloads go to the copy stream:
// an upload overtakes queued launches, and whoever reads it waits for its ticket (on the host, or in Copy); a download waits
// for the launches before it, and launches after it wait until it has read.
//
// Errors are sticky: the first is kept, later launches do nothing, [Device.Err] and every Wait return it.
//
// Environment, for looking for mistakes:
//
//	ICT_SYNC=1    waits after each launch, so that an error names its launch, and prints its time; no graphs
//	ICT_POISON=1  fills outputs and scratch with NaN before each launch that overwrites them
//	ICT_APART=1   gives every tensor of a program memory of its own, so that whoever leaves one is seen
package gpu
