package train

import (
	"unsafe"

	"ict/model"
	"ict/nn"
	"ict/tensor"
)

// inputs is everything the host gives a micro-batch, one block on the device at a fixed address, so that a captured step
// finds it; the loss scale lies behind it in the same memory, because the step block points to it and uploads must not
// touch it. Uploads go to two staging blocks in turn and are copied into place on the compute stream.
//
//	step · rows (columns,N) · labels · votes · flip · images · scale
type inputs struct {
	step, labels, votes, flip, images, scale tensor.Tensor

	mem    tensor.Memory
	n      int
	size   int // bytes that are uploaded
	fixed  tensor.Tensor
	stages [2]staging
	turn   int
}

type staging struct {
	device tensor.Tensor
	host   []byte
	ticket tensor.Ticket
}

// hostInputs are views of a staging block's host side.
type hostInputs struct {
	step, flip, images []byte
	rows, votes        []float32
	labels             []int32
}

const inputAlign = 64

// rowsOffset is where the rows begin: behind the step block.
const rowsOffset = tensor.StepBytes

func (in *inputs) offsets(image []int) (labels, votes, flip, images, scale int) {
	n := image[0]
	at := rowsOffset + 4*columns*n
	take := func(bytes int) int {
		at = (at + inputAlign - 1) / inputAlign * inputAlign
		o := at
		at += bytes
		return o
	}
	labels, votes, flip, images = take(4*n), take(4*nn.VoteFloats), take(n), take(tensor.Shape(image).Elems())
	in.size = at
	return labels, votes, flip, images, take(tensor.ScaleBytes)
}

func (in *inputs) allocate(dev tensor.Backend, image []int) error {
	in.n = image[0]
	labels, votes, flip, images, scale := in.offsets(image)
	var err error
	if in.mem, err = dev.Alloc(scale + tensor.ScaleBytes); err != nil {
		return err
	}
	in.step = tensor.Of(in.mem, 0, tensor.U8, tensor.StepBytes)
	in.labels = tensor.Of(in.mem, labels, tensor.I32, in.n)
	in.votes = tensor.Of(in.mem, votes, tensor.F32, nn.VoteFloats)
	in.flip = tensor.Of(in.mem, flip, tensor.U8, in.n)
	in.images = tensor.Of(in.mem, images, tensor.U8, image...)
	in.scale = tensor.Of(in.mem, scale, tensor.U8, tensor.ScaleBytes)
	in.fixed = tensor.Of(in.mem, 0, tensor.U8, in.size)
	for i := range in.stages {
		s := &in.stages[i]
		if s.device, err = nn.NewTensor(dev, tensor.U8, in.size); err != nil {
			return err
		}
		if s.host, err = dev.Pinned(in.size); err != nil {
			return err
		}
	}
	return nil
}

// column is a (N) vector of the rows.
func (in *inputs) column(c int) tensor.Tensor {
	return tensor.Of(in.mem, rowsOffset+4*c*in.n, tensor.F32, in.n)
}

// levels are the columns that the noisy pair is made with.
func (in *inputs) levels() tensor.PerturbLevels {
	return tensor.PerturbLevels{T: in.column(colT), R: in.column(colR), InT: in.column(colInT), InR: in.column(colInR)}
}

// bind gives a program of net its inputs; skip is the first of its columns c_skip, c_out, c_noise.
func (in *inputs) bind(net *model.Net, p *nn.Program, x, cx, out tensor.Tensor, skip int) {
	p.Bind(net.X, x)
	p.Bind(net.CX, cx)
	p.Bind(net.F, out)
	p.Bind(net.Skip, in.column(skip))
	p.Bind(net.Out, in.column(skip+1))
	p.Bind(net.Noise, in.column(skip+2))
	if net.Labels != nil {
		p.Bind(net.Labels, in.labels)
	}
	if net.Augment != nil {
		panic("train: no objective here gives augmentation labels")
	}
}

// imageSize is the number of bytes of one image.
func (in *inputs) imageSize() int { return in.images.Elems() / in.n }

func (in *inputs) scaleAddress() uint64 { return in.mem.Base() + uint64(in.scale.Off) }

// next is the host side of the staging block whose turn it is, once its last upload is done.
func (in *inputs) next() (hostInputs, error) {
	s := &in.stages[in.turn]
	if s.ticket != nil {
		if err := s.ticket.Wait(); err != nil {
			return hostInputs{}, err
		}
	}
	part := func(t tensor.Tensor) []byte { return s.host[t.Off : t.Off+t.Bytes()] }
	labels := part(in.labels)
	return hostInputs{
		step: part(in.step), flip: part(in.flip), images: part(in.images),
		rows:   tensor.Floats(s.host[rowsOffset : rowsOffset+4*columns*in.n]),
		votes:  tensor.Floats(part(in.votes)),
		labels: unsafe.Slice((*int32)(unsafe.Pointer(unsafe.SliceData(labels))), len(labels)/4),
	}, nil
}

// upload sends what next gave out.
func (in *inputs) upload(dev tensor.Backend) {
	s := &in.stages[in.turn]
	s.ticket = dev.Upload(s.device, s.host)
	dev.Copy(in.fixed, s.device, s.ticket)
	in.turn = 1 - in.turn
}
