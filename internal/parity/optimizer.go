package parity

import (
	"ict/nn"
	"ict/tensor"
	"ict/train"
)

// loadOptimizer reads a sequence of gradients, with weights and average after each.
func loadOptimizer(f *file) (job, error) {
	grads, shape, err := f.floats("in/grads", []int{anySize, anySize})
	if err != nil {
		return nil, err
	}
	steps, n := shape[0], shape[1]
	theta, _, err := f.floats("in/theta0", []int{n})
	if err != nil {
		return nil, err
	}
	out, _, err := f.floats("out/theta", shape)
	if err != nil {
		return nil, err
	}
	ema, _, err := f.floats("out/ema", shape)
	if err != nil {
		return nil, err
	}
	return func(dev tensor.Backend, m measures) error {
		o, err := newUpdater(dev, f.optim, f.ema, theta)
		if err != nil {
			return err
		}
		var gotTheta, gotEMA []float32
		for k := range steps {
			if err := o.step(k, grads[k*n:(k+1)*n]); err != nil {
				return err
			}
			w, err := read(dev, o.w)
			if err != nil {
				return err
			}
			e, err := read(dev, o.average)
			if err != nil {
				return err
			}
			gotTheta, gotEMA = append(gotTheta, w...), append(gotEMA, e...)
		}
		m.add("out", "out/theta", gotTheta, out)
		m.add("out", "out/ema", gotEMA, ema)
		return nil
	}, nil
}

// updater is the optimiser of a training step by itself. The scale lies behind the step block, which points to it.
type updater struct {
	dev                 tensor.Backend
	optim               train.Optim
	rate                float32 // of the average
	w, m, v, g, average tensor.Tensor
	block               tensor.Memory
	verdict, ws         tensor.Tensor
}

func newUpdater(dev tensor.Backend, o train.Optim, decay float64, theta []float32) (*updater, error) {
	u := &updater{dev: dev, optim: o, rate: float32(1 - decay)}
	var err error
	for _, x := range []struct {
		t *tensor.Tensor
		v []float32
	}{{&u.w, theta}, {&u.m, nil}, {&u.v, nil}, {&u.g, nil}, {&u.average, theta}} {
		if *x.t, err = put(dev, x.v, len(theta)); err != nil {
			return nil, err
		}
	}
	if u.block, err = dev.Alloc(tensor.StepBytes + tensor.ScaleBytes); err != nil {
		return nil, err
	}
	if u.verdict, err = nn.NewTensor(dev, tensor.U8, tensor.VerdictBytes); err != nil {
		return nil, err
	}
	if u.ws, err = nn.NewTensor(dev, tensor.U8, max(1, dev.OptimNormScratch(len(theta)))); err != nil {
		return nil, err
	}
	return u, u.send(u.scale(), tensor.ScaleBytes, tensor.Scale{S: 1}.Put)
}

func (u *updater) stepBlock() tensor.Tensor {
	return tensor.Of(u.block, 0, tensor.U8, tensor.StepBytes)
}
func (u *updater) scale() tensor.Tensor {
	return tensor.Of(u.block, tensor.StepBytes, tensor.U8, tensor.ScaleBytes)
}

// send uploads what fill writes, when nothing that is queued can read dst any more.
func (u *updater) send(dst tensor.Tensor, bytes int, fill func([]byte)) error {
	if err := u.dev.Sync(); err != nil {
		return err
	}
	b, err := u.dev.Pinned(bytes)
	if err != nil {
		return err
	}
	fill(b)
	return u.dev.Upload(dst, b).Wait()
}

// step takes step k, counted from 0, with gradient g.
func (u *updater) step(k int, g []float32) error {
	f := u.optim.Factors(k + 1)
	st := tensor.Step{
		Step: uint64(k), Scale: u.block.Base() + uint64(u.scale().Off),
		StepSize: float32(f.StepSize), VScale: float32(f.VScale), Adaptive: f.Adaptive, EMA: [4]float32{u.rate},
	}
	if err := u.send(u.stepBlock(), tensor.StepBytes, st.Put); err != nil {
		return err
	}
	if err := u.send(u.g, u.g.Bytes(), func(b []byte) { copy(tensor.Floats(b), g) }); err != nil {
		return err
	}
	u.dev.OptimNorm(u.verdict, u.g, u.ws)
	u.dev.OptimJudge(u.verdict, u.scale(), u.stepBlock(), tensor.ScaleRule{Floor: 1, Ceiling: 1})
	u.dev.OptimUpdate(u.w, u.m, u.v, tensor.Tensor{}, []tensor.Tensor{u.average}, u.g, u.verdict, u.stepBlock(), tensor.Adam{
		Beta1: float32(u.optim.Beta1), Beta2: float32(u.optim.Beta2), Eps: float32(u.optim.Eps),
	})
	return u.dev.Err()
}
