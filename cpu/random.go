package cpu

import (
	"fmt"

	"ict/internal/philox"
	"ict/tensor"
)

// RandomNormal is defined in tensor/random.go.
func (d *Device) RandomNormal(dst, step tensor.Tensor, purpose uint16) {
	n, size := perImageScalars("random_normal", dst)
	stream := imageStream("random_normal", d.readStep("random_normal", step), philox.Purpose(purpose), n)
	out := d.out(dst)
	d.imageRuns(n, size, func(image, from, to int) {
		stream(image).Normals(out[image*size+from:image*size+to], uint64(from))
	})
	d.store(dst, out)
}

// imageStream gives the draws of each of the n images of this pass. It panics here, not on a worker, where a step or an
// image has no draws of its own.
func imageStream(op string, st tensor.Step, purpose philox.Purpose, n int) func(image int) philox.Stream {
	if st.Step >= 1<<48 || st.Image0 > 1<<32 || st.Image0+uint64(n) > 1<<32 {
		panic(fmt.Sprintf("cpu: %s: got step %d, images %d to %d of the batch, want below 2^48 and 2^32", op, st.Step, st.Image0, st.Image0+uint64(n)-1))
	}
	return func(image int) philox.Stream {
		return philox.Stream{Seed: st.Seed, Step: st.Step, Image: uint32(st.Image0) + uint32(image), Purpose: purpose}
	}
}

// readStep is the step block.
func (d *Device) readStep(op string, step tensor.Tensor) tensor.Step {
	return tensor.GetStep(d.structBytes(op, "step", step, tensor.StepBytes))
}

// lossScale is the S that a step points to: it lies Scale bytes from the start of the step's memory. No step, and a step
// that points to none, mean 1.
func (d *Device) lossScale(op string, step tensor.Tensor) float32 {
	if step.Absent() {
		return 1
	}
	st := d.readStep(op, step)
	if st.Scale == 0 {
		return 1
	}
	b := step.Mem.(*memory).b
	if st.Scale > uint64(len(b)) || uint64(len(b))-st.Scale < tensor.ScaleBytes {
		panic(fmt.Sprintf("cpu: %s: loss scale at byte %d of %d", op, st.Scale, len(b)))
	}
	return tensor.GetScale(b[st.Scale:]).S
}

// structBytes are the bytes of a struct in device memory.
func (d *Device) structBytes(op, name string, t tensor.Tensor, size int) []byte {
	b := d.bytes(t)
	if len(b) != size {
		panic(fmt.Sprintf("cpu: %s: %s got %d bytes, want %d", op, name, len(b), size))
	}
	return b
}
