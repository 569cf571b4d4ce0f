package train

import (
	"unsafe"

	"ict/tensor"
)

// carrierBytes is the size of the block through which arrays of any length travel.
const carrierBytes = 8 << 20

// carrier moves arrays between host and device, piece by piece through one block of pinned memory, and waits: such memory is scarce
// and is given back by nobody, so what is done at every save must not ask for more.
type carrier struct {
	dev   tensor.Backend
	block []byte
}

// newCarrier has room for an array of most bytes in one piece, up to carrierBytes.
func newCarrier(dev tensor.Backend, most int) (carrier, error) {
	b, err := dev.Pinned(min(most, carrierBytes))
	return carrier{dev, b}, err
}

// each calls do for every piece of x and the part of the block that it fits into; at counts bytes of x.
func (c carrier) each(x tensor.Tensor, do func(at int, piece tensor.Tensor, block []byte) error) error {
	for at := 0; at < x.Bytes(); at += len(c.block) {
		n := min(len(c.block), x.Bytes()-at)
		if err := do(at, tensor.Of(x.Mem, x.Off+at, tensor.U8, n), c.block[:n]); err != nil {
			return err
		}
	}
	return nil
}

// down fills host with x, contiguous, of as many bytes.
func (c carrier) down(host []byte, x tensor.Tensor) error {
	return c.each(x, func(at int, piece tensor.Tensor, block []byte) error {
		if err := c.dev.Download(block, piece).Wait(); err != nil {
			return err
		}
		copy(host[at:], block)
		return nil
	})
}

// up fills x, contiguous, with host, of as many bytes. Nothing that is queued may still read x.
func (c carrier) up(x tensor.Tensor, host []byte) error {
	return c.each(x, func(at int, piece tensor.Tensor, block []byte) error {
		copy(block, host[at:])
		return c.dev.Upload(piece, block).Wait()
	})
}

// floats are a new copy of x on the host.
func (c carrier) floats(x tensor.Tensor) ([]float32, error) {
	v := make([]float32, x.Bytes()/4)
	return v, c.down(bytesOf(v), x)
}

// bytesOf is the memory of v.
func bytesOf(v []float32) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(v))), 4*len(v))
}
