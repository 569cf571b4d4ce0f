// Package checkpoint is what a run leaves on disk: states to resume from, snapshots to sample from, and the safetensors
// files both are made of. It knows tensors and JSON, not trainers: what is in a state is the caller's business.
//
// A [Named] tensor is a name, a dtype, a shape and little-endian bytes. [WriteSafetensors] and [OpenSafetensors] write and
// map files of them. A state is a folder of such files with a [Manifest] that lists every file and tensor with a checksum:
//
//	states/step-00012000/weights.safetensors optimizer.safetensors ema-0.99993.safetensors manifest.json
//	states/latest
//
// [WriteState] makes one so that whatever kills it, no folder is left that looks complete and is not; [Latest] finds the
// newest complete one, [Prune] deletes old ones, a [Saver] writes in the background. A snapshot ([WriteSnapshot]) is a
// single safetensors file whose metadata holds all that sampling needs.
//
//	state, damaged, err := checkpoint.OpenLatest(run.States())
//	if errors.Is(err, checkpoint.ErrNone) { … } // a fresh run
//	weights, _ := state.File("weights.safetensors")
//	filter, ok := weights.Get("enc.16x16_conv.weight")
//	err = checkpoint.Guard(func() error { return use(filter.Data) })
//
// Nothing on disk is trusted: sizes, names and checksums are checked before anything is used. What a mapped file holds is
// read-only memory, valid until Close. docs/format-checkpoint.md draws the files.
package checkpoint
