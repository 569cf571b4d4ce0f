// Package sample makes images with a trained network. [Sampler] is the network at a fixed batch size; its methods are
// arithmetic over f(x, σ): [Sampler.Multistep], of which one step is the case of one level, for consistency models, and
// [Sampler.Heun] for denoisers. Unit normals come from a [Source].
//
//	s, err := sample.New(dev, config, levels, weights, 64, sample.Options{})
//	noise, err := sample.NewPhilox(dev, seed)
//	x := make([]float32, 64*config.Pixels())
//	err = s.Multistep(x, []float64{80, 0.821}, noise, sample.Batch{First: 0, N: 64}, nil)
//	sample.Bytes(bytes, x, tensor.Floor)
//
// Every image is a function of seed and image number, whatever the batch: in every bit where the device computes an image
// without regard to its neighbours, as cpu does in batches of whole slices, up to rounding elsewhere. A batch may be
// shorter than the sampler's: the network then runs over the rest too, which is dropped. A network output that is not
// finite is an error, never a picture.
//
// Dropout is off. Which weights are used is the caller's business: published scores are those of an average.
package sample
