package parity

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"ict/checkpoint"
	"ict/nn"
	"ict/tensor"
	"ict/train"
)

// FP32 is the precision of float32 throughout; all are train.Precisions. Each is a column of a file's tolerances.
const FP32 = "fp32"

// ErrUnknown is wrapped by the error of a file that asks for something this build does not know: another format, kind,
// field, value or tensor. A file that contradicts itself wraps checkpoint.ErrDamaged instead.
var ErrUnknown = errors.New("not known to this build")

func unknown(format string, a ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrUnknown}, a...)...)
}

func damaged(format string, a ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{checkpoint.ErrDamaged}, a...)...)
}

// maxBytes bounds what running a file may take: parity files are small, and a file must not be able to fill a machine.
const maxBytes = 4 << 30

// lossEach is the group of single losses, which has no tolerance.
const lossEach = "loss/each"

// job runs what a file describes and measures the results.
type job func(dev tensor.Backend, m measures) error

// kinds of file: the groups that are measured, the metadata beyond the common fields, and how to read one.
var kinds = map[string]struct {
	groups, fields []string
	load           func(f *file) (job, error)
}{
	"network":   {[]string{"out", "grad"}, []string{"model"}, loadNetwork},
	"step":      {[]string{"out", "loss", lossEach, "grad"}, []string{"model", "objective"}, loadStep},
	"optimizer": {[]string{"out"}, []string{"optimizer"}, loadOptimizer},
	"train":     {[]string{"loss", lossEach, "change", "ema"}, []string{"model", "objective", "optimizer"}, loadTrain},
	"sampler":   {[]string{"out"}, []string{"model", "sampler"}, loadSampler},
}

// Run measures one file. The file is read and checked whole before open is asked for the device, which Run closes. Whether
// it rounds operands to tf32 is open's business.
func Run(open func() (tensor.Backend, error), precision, path string) (Report, error) {
	if !slices.Contains(train.Precisions, precision) {
		return Report{}, fmt.Errorf("parity: %w: precision %q, want one of %s", ErrUnknown, precision, strings.Join(train.Precisions, ", "))
	}
	c, err := checkpoint.OpenSafetensors(path)
	if err != nil {
		return Report{}, err
	}
	r, err := run(open, precision, c)
	if err = errors.Join(err, c.Close()); err != nil {
		return Report{}, fmt.Errorf("parity: %s: %w", path, err)
	}
	r.File = path
	return r, nil
}

func run(open func() (tensor.Backend, error), precision string, c *checkpoint.File) (Report, error) {
	meta, err := parseMeta(c.Metadata())
	if err != nil {
		return Report{}, err
	}
	ceilings, ok := meta.tolerance[precision]
	if !ok && meta.kind == "optimizer" { // float32 whatever the network computes in
		ceilings, ok = meta.tolerance[FP32]
	}
	if !ok {
		return Report{}, damaged("tolerance: no %s", precision)
	}
	groups := kinds[meta.kind].groups
	for _, g := range groups {
		if _, ok := ceilings[g]; !ok && g != lossEach {
			return Report{}, damaged("tolerance: %s: no group %s", precision, g)
		}
	}
	f := &file{File: c, meta: meta, precision: precision, used: map[string]bool{}}
	do, err := kinds[meta.kind].load(f)
	if err != nil {
		return Report{}, err
	}
	if err := f.surplus(); err != nil {
		return Report{}, err
	}
	dev, err := open()
	if err != nil {
		return Report{}, err
	}
	m := measures{}
	if err := errors.Join(do(dev, m), dev.Err(), dev.Close()); err != nil {
		return Report{}, err
	}
	r := Report{Name: meta.name, Kind: meta.kind, Precision: precision, Pass: true}
	for _, name := range groups {
		g := m.group(name, ceilings[name])
		r.Groups, r.Pass = append(r.Groups, g), r.Pass && g.Pass
	}
	return r, nil
}

// fits refuses programs that need more than maxBytes with sets further arrays of the size of the weights.
func fits(dev tensor.Sizer, t *nn.Tape, want nn.Want, sets int) error {
	bytes := nn.Rehearse(t, dev, want).Bytes + 4*sets*nn.NewLayout(t, nil).Size
	if bytes > maxBytes {
		return damaged("model: running it takes %d MiB, limit %d: parity files are small", bytes>>20, maxBytes>>20)
	}
	return nil
}

// put uploads float32 values to a new tensor.
func put(dev tensor.Backend, v []float32, shape ...int) (tensor.Tensor, error) {
	x, err := nn.NewTensor(dev, tensor.F32, shape...)
	if err != nil {
		return x, err
	}
	b, err := dev.Pinned(x.Bytes())
	if err != nil {
		return x, err
	}
	copy(tensor.Floats(b), v)
	return x, dev.Upload(x, b).Wait()
}

// read downloads a tensor of float32 values.
func read(dev tensor.Backend, x tensor.Tensor) ([]float32, error) {
	b, err := dev.Pinned(x.Bytes())
	if err != nil {
		return nil, err
	}
	return tensor.Floats(b), dev.Download(b, x).Wait()
}
