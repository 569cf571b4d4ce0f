package train

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"ict/data"
	"ict/model"
	"ict/nn"
	"ict/tensor"
)

// A Disagreement is the error of a device that computes something else than the backend it was checked against.
type Disagreement struct {
	Step   int     // of which images were computed twice
	Differ float64 // |f − f'| / |f' − c_skip·x|: the difference relative to what the network adds
	Limit  float64
	Finite bool // whether the device's f is
}

func (d *Disagreement) Error() string {
	return fmt.Sprintf("train: step %d: the device and the second computation differ by %.2g of the network's output, want at most %g", d.Step, d.Differ, d.Limit)
}

// tolerance is how far two computations of f in this precision may be apart, as Disagreement measures it: sums in another order end in
// other roundings, layer after layer. A wrong kernel is further.
func (t Train) tolerance() float64 {
	switch t.Precision {
	case "fp16", "tf32":
		return 3e-2
	case "bf16":
		return 0.2
	}
	return 1e-3
}

// selfCheck is a forward pass of a few images that is computed twice: by the device, as part of a step, and by another backend.
type selfCheck struct {
	ref     tensor.Backend
	host    []byte // pinned: f of the images from the device
	step    int
	images  []checkedImage
	tickets []tensor.Ticket
	done    chan struct{} // closed when the second computation is
	err     error         // of it
}

type checkedImage struct {
	at, place int // in the micro-batch, in the whole batch
	row       Row
	pixels    []byte
	flip      byte
	label     int32
	f, skip   []float32 // of the second computation: f, and c_skip·x
}

// checkedImages is how many images are computed twice.
const checkedImages = 2

// CheckAgainst has ref compute f for two images of the next step, in the background and in the run's own precision, dropout and noise
// as in the step: where weights begin at 1e-5, fp16 alone rounds by more than a check may overlook. Checked tells what came of it. The
// step's bits do not depend on it. ref is the check's from now on, and must not be t's device.
func (t *Trainer) CheckAgainst(ref tensor.Backend) error {
	if t.check.host == nil {
		host, err := t.dev.Pinned(checkedImages * 4 * t.in.imageSize())
		if err != nil {
			return err
		}
		t.check.host = host
	}
	t.check.ref = ref
	return nil
}

// Checked compares, once both computations are there; wait waits for the second. done says that a comparison was made. The error is a
// *Disagreement, or what kept one from being made.
func (t *Trainer) Checked(wait bool) (done bool, err error) {
	c := &t.check
	if c.done == nil {
		return false, nil
	}
	if !wait {
		select {
		case <-c.done:
		default:
			return false, nil
		}
	}
	<-c.done
	c.done = nil
	if c.err != nil {
		return false, c.err
	}
	for _, k := range c.tickets {
		if err := k.Wait(); err != nil {
			return false, err
		}
	}
	return true, c.compare(t.Config.Train.tolerance())
}

// begin takes what the second computation needs, between the upload of the first micro-batch and its launches, and starts it.
func (c *selfCheck) begin(t *Trainer, b data.Batch, rows []Row, place0 int) error {
	weights, err := t.copied(t.Online.W)
	if err != nil {
		return err
	}
	buffers, err := t.copied(t.Online.Buffers)
	if err != nil {
		return err
	}
	// the largest levels: at small ones f is nearly x, whatever the network says
	order := make([]int, len(rows))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(i, j int) int { return cmp.Compare(rows[j].T, rows[i].T) })
	size := t.in.imageSize()
	c.step, c.images, c.tickets = t.K, nil, nil
	for _, i := range order[:min(checkedImages, len(order))] {
		m := checkedImage{at: i, place: place0 + i, row: rows[i], pixels: slices.Clone(b.Images[i*size : (i+1)*size]), label: -1}
		if b.Labels != nil {
			m.label = b.Labels[i]
		}
		if b.Flip != nil && b.Flip[i] {
			m.flip = 1
		}
		c.images = append(c.images, m)
	}
	c.done = make(chan struct{})
	ref, done := c.ref, c.done
	c.ref = nil
	go func() {
		defer close(done)
		c.err = c.compute(ref, t.Config, t.layout, weights, buffers)
	}()
	return nil
}

// outputs queues the downloads of what the device made of the images.
func (c *selfCheck) outputs(t *Trainer) {
	size := t.in.imageSize()
	for j := range c.images {
		at := c.images[j].at // the rest of the image is the other goroutine's
		c.tickets = append(c.tickets, t.dev.Download(c.host[4*j*size:4*(j+1)*size], t.stage.Out.Range(at*size, size)))
	}
}

// compute is the second computation: one image at a time, forward as in training.
func (c *selfCheck) compute(ref tensor.Backend, config Config, layout *nn.Layout, weights, buffers []float32) error {
	act := config.Train.Act()
	net, err := config.Model.Record(1, model.Options{Act: act})
	if err != nil {
		return err
	}
	image := []int{1, config.Model.Resolution, config.Model.Resolution, config.Model.ImageChannels}
	var in inputs
	if err := in.allocate(ref, image); err != nil {
		return err
	}
	var pair tensor.Perturbed
	var f tensor.Tensor
	for _, x := range []*tensor.Tensor{&pair.Xt, &pair.CXt, &pair.Xr, &pair.CXr, &f} {
		if *x, err = nn.NewTensor(ref, tensor.F32, image...); err != nil {
			return err
		}
	}
	w, err := layout.NewWeights(ref, tensor.Tensor{}, false)
	if err != nil {
		return err
	}
	move, err := newCarrier(ref, 4*layout.Size)
	if err != nil {
		return err
	}
	if err := move.up(w.W, bytesOf(weights)); err != nil {
		return err
	}
	if err := move.up(w.Buffers, bytesOf(buffers)); err != nil {
		return err
	}
	if act.Half() {
		if w, err = w.Rounded(ref, act); err != nil {
			return err
		}
		w.Cast(ref)
	}
	plan := nn.Rehearse(net.Tape, ref, nn.Want{Train: true})
	arena, err := ref.Alloc(plan.Bytes)
	if err != nil {
		return err
	}
	prog := nn.NewProgram(ref, net.Tape, plan, w, tensor.Tensor{}, arena, in.step)
	in.bind(net, prog, pair.Xt, pair.CXt, f, colSkipT)
	for i := range c.images {
		m := &c.images[i]
		h, err := in.next()
		if err != nil {
			return err
		}
		tensor.Step{Seed: config.Train.Seed, Step: uint64(c.step), Image0: uint64(m.place)}.Put(h.step)
		for k := range columns {
			h.rows[k] = float32(m.row.column(k))
		}
		h.labels[0], h.flip[0] = m.label, m.flip
		copy(h.images, m.pixels)
		in.upload(ref)
		ref.Perturb(pair, in.images, in.flip, in.levels(), in.step)
		prog.Forward()
		if m.f, err = move.floats(f); err != nil {
			return err
		}
		if m.skip, err = move.floats(pair.Xt); err != nil {
			return err
		}
		for j := range m.skip {
			m.skip[j] *= float32(m.row.AtT.Skip)
		}
	}
	return nil
}

// compare measures how far the device is from the second computation.
func (c *selfCheck) compare(limit float64) error {
	got := tensor.Floats(c.host)
	finite := true
	var differ, network, all float64 // squares
	for j, m := range c.images {
		for i, want := range m.f {
			g := float64(got[j*len(m.f)+i])
			finite = finite && !math.IsNaN(g) && !math.IsInf(g, 0)
			differ += (g - float64(want)) * (g - float64(want))
			network += float64(want-m.skip[i]) * float64(want-m.skip[i])
			all += float64(want) * float64(want)
		}
	}
	const ulps = 1.0 / (1 << 20) // f itself is rounded to float32, and so is x
	if differ, network, all = math.Sqrt(differ), math.Sqrt(network), math.Sqrt(all); differ <= limit*network+ulps*all {
		return nil
	}
	return &Disagreement{Step: c.step, Differ: differ / network, Limit: limit, Finite: finite}
}
