package parity

import (
	"slices"

	"ict/model"
	"ict/nn"
	"ict/noise"
	"ict/sample"
	"ict/tensor"
)

// loadSampler reads given noise and what a sampler makes of it, multistep after every level.
func loadSampler(f *file) (job, error) {
	levels, l := f.sampler.levels, noise.Default()
	var lead []int // of the noise: levels, then images
	if f.sampler.steps == 0 {
		if err := sample.CheckLevels(levels, l); err != nil {
			return nil, damaged("%v", err)
		}
		lead = []int{len(levels)}
	}
	z, shape, err := f.images("in/z", append(slices.Clone(lead), anySize)...)
	if err != nil {
		return nil, err
	}
	n := shape[len(lead)]
	p, err := f.params(n, model.Options{Raw: true})
	if err != nil {
		return nil, err
	}
	labels, err := f.labels(n)
	if err != nil {
		return nil, err
	}
	out, _, err := f.images("out/x", append(slices.Clone(lead), n)...)
	if err != nil {
		return nil, err
	}
	return func(dev tensor.Backend, m measures) error {
		if err := fits(dev, p.net.Tape, nn.Want{}, 1); err != nil {
			return err
		}
		w, err := nn.NewLayout(p.net.Tape, nil).NewWeights(dev, tensor.Tensor{}, false)
		if err != nil {
			return err
		}
		if err := model.LoadWeights(dev, w, p.get); err != nil {
			return err
		}
		s, err := sample.New(dev, f.model, l, w, n, sample.Options{Act: f.act()})
		if err != nil {
			return err
		}
		image := p.net.CX.Shape // (N,H,W,C)
		src, err := sample.NewGiven(dev, z, slices.Concat(lead, image))
		if err != nil {
			return err
		}
		batch, dst := sample.Batch{N: n, Labels: labels}, make([]float32, image.Elems())
		var got []float32
		if f.sampler.steps > 0 {
			err = s.Heun(dst, f.sampler.steps, sample.Churn{}, src, batch, nil)
			got = dst
		} else {
			err = s.Multistep(dst, levels, src, batch, func(int) error { got = append(got, dst...); return nil })
		}
		if err != nil {
			return err
		}
		m.add("out", "out/x", got, out)
		return nil
	}, nil
}
