package train

import (
	"errors"
	"fmt"

	"ict/data"
	"ict/model"
	"ict/nn"
	"ict/noise"
	"ict/tensor"
)

// Trainer does one step at a time: it owns the networks, their weights and every buffer of a step.
type Trainer struct {
	Config Config
	K      int // steps done; the next one is step K, counted from 0

	dev       tensor.Backend
	comm      tensor.Communicator
	objective Objective
	optim     Optim
	rule      tensor.ScaleRule

	parts int // micro-batches to a step
	n     int // images to a micro-batch

	net     *model.Net // the student's recording
	layout  *nn.Layout
	Online  *nn.Weights
	EMA     []*nn.Weights // one for each decay of Config.EMA; buffers are the online ones
	m, v, g tensor.Tensor
	spare   []tensor.Tensor // gradients of finished micro-batches, see fold.go
	stage   Stage
	plans   [2]*nn.Plan // student, target
	replay  [2]func()   // a micro-batch, not last and last

	in      inputs
	carrier carrier
	scale   []byte // pinned: the loss scale on its way
	hash    tensor.Tensor
	sums    tensor.Tensor // what a tick adds over the ranks
	verdict tensor.Tensor
	normWS  tensor.Tensor
	results [2]results // of the last two steps, by parity of K
	check   selfCheck
	votes   Votes // of this rank, for the next step
	agreed  Votes // sums over ranks, of steps that were collected and not yet obeyed

	Given *Given  // for one step, see there
	Stats Stats   // since the last Reset
	look  *looker // nil: nobody looks, see check.go
}

// Given replaces, for one step, the bytes and the draws of z and of the pair by given numbers: the seam through which
// parity files and tests drive a step. X and Z are (batch,H,W,C); I are the pairs, from 1.
type Given struct {
	X, Z []float32
	I    []int
}

// results are what the host reads of a step, one step late.
type results struct {
	step    int // -1: none
	rows    []Row
	bytes   []byte // pinned: losses (N of the rank), verdict, scale, votes
	tickets []tensor.Ticket
}

// New records and plans the networks for config (resolved) and allocates everything. Weights are zero: Init or LoadState fills
// them.
func New(dev tensor.Backend, comm tensor.Communicator, c Config) (*Trainer, error) {
	if err := c.Check(); err != nil {
		return nil, err
	}
	t := &Trainer{Config: c, dev: dev, comm: comm, optim: c.Optim, rule: c.Train.rule()}
	t.objective = &ICT{
		Curriculum: c.Curriculum(), Proposal: noise.LogNormal{Mean: c.Objective.Mean, Std: c.Objective.Std},
		Noise: c.Noise.Levels(), NoiseScale: c.Model.NoiseScale, HuberC: float64(c.Objective.HuberC),
	}
	var err error
	if t.n, t.parts, err = Split(c.Train.Batch, comm.Size(), int(c.Train.MicroBatch)); err != nil {
		return nil, err
	}
	if t.net, err = c.Model.Record(t.n, model.Options{Act: c.Train.Act()}); err != nil {
		return nil, err
	}
	t.plans[0] = nn.Rehearse(t.net.Tape, dev, nn.Want{Grad: true, Train: true})
	t.plans[1] = nn.Rehearse(t.net.Tape, dev, nn.Want{Train: true})
	t.layout = nn.NewLayout(t.net.Tape, t.plans[0])
	if err := t.allocate(); err != nil {
		return nil, fmt.Errorf("train: %w", err)
	}
	return t, nil
}

// Split cuts a batch over ranks and micro-batches: images at a time and parts of a step. micro 0: one part.
func Split(batch, ranks, micro int) (n, parts int, err error) {
	near := func(unit int) string {
		lo, hi := batch/unit*unit, (batch/unit+1)*unit
		if lo == 0 {
			return fmt.Sprint(hi)
		}
		return fmt.Sprintf("%d, %d", lo, hi)
	}
	if batch%ranks != 0 {
		return 0, 0, fmt.Errorf("train: batch %d cannot be split over %d ranks in equal parts; nearest: %s", batch, ranks, near(ranks))
	}
	local := batch / ranks
	if micro == 0 {
		return local, 1, nil
	}
	if local%micro != 0 {
		return 0, 0, fmt.Errorf("train: train.micro_batch: got %d, want a divisor of each rank's images, %d; nearest batch: %s", micro, batch/ranks, near(ranks*micro))
	}
	return micro, local / micro, nil
}

func (t *Trainer) allocate() error {
	var errs []error
	alloc := func(d tensor.DType, shape ...int) tensor.Tensor {
		x, err := nn.NewTensor(t.dev, d, shape...)
		errs = append(errs, err)
		return x
	}
	arena, err := t.dev.Alloc(max(t.plans[0].Bytes, t.plans[1].Bytes))
	errs = append(errs, err)
	t.Online, err = t.layout.NewWeights(t.dev, tensor.Tensor{}, true)
	errs = append(errs, err)
	for range t.Config.EMA {
		if errors.Join(errs...) != nil {
			break
		}
		w, err := t.layout.NewWeights(t.dev, t.Online.Buffers, false)
		errs = append(errs, err)
		t.EMA = append(t.EMA, w)
	}
	size := t.layout.Size
	t.m, t.v, t.g = alloc(tensor.F32, size), alloc(tensor.F32, size), alloc(tensor.F32, size+nn.VoteFloats)
	for p := 1; p < t.parts; p *= 2 {
		t.spare = append(t.spare, alloc(tensor.F32, size))
	}
	t.verdict = alloc(tensor.U8, tensor.VerdictBytes)
	t.normWS = alloc(tensor.U8, max(t.dev.OptimNormScratch(size), 1))
	t.hash, t.sums = alloc(tensor.U8, hashBytes), alloc(tensor.F32, sumFloats)
	t.carrier, err = newCarrier(t.dev, 4*size)
	errs = append(errs, err)
	t.scale, err = t.dev.Pinned(tensor.ScaleBytes)
	errs = append(errs, err)

	image := []int{t.n, t.Config.Model.Resolution, t.Config.Model.Resolution, t.Config.Model.ImageChannels}
	s := &t.stage
	s.Backend, s.InvBatch = t.dev, float32(1/float64(t.Config.Train.Batch))
	for _, x := range []*tensor.Tensor{&s.Pair.Xt, &s.Pair.CXt, &s.Pair.Xr, &s.Pair.CXr, &s.Out, &s.Want, &s.Dy} {
		*x = alloc(tensor.F32, image...)
	}
	s.Losses = alloc(tensor.F32, t.n)
	errs = append(errs, t.in.allocate(t.dev, image))
	for i := range t.results {
		r := &t.results[i]
		r.step = -1
		r.bytes, err = t.dev.Pinned(4*t.n*t.parts + tensor.VerdictBytes + tensor.ScaleBytes + 4*nn.VoteFloats)
		errs = append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	if err := t.putScale(t.Config.Train.startScale()); err != nil {
		return err
	}

	s.Images, s.Flip, s.Step = t.in.images, t.in.flip, t.in.step
	s.Levels, s.Weight = t.in.levels(), t.in.column(colWeight)
	s.Student = nn.NewProgram(t.dev, t.net.Tape, t.plans[0], t.Online, t.g, arena, s.Step)
	s.Target = nn.NewProgram(t.dev, t.net.Tape, t.plans[1], t.Online, tensor.Tensor{}, arena, s.Step)
	t.in.bind(t.net, s.Student, s.Pair.Xt, s.Pair.CXt, s.Out, colSkipT)
	t.in.bind(t.net, s.Target, s.Pair.Xr, s.Pair.CXr, s.Want, colSkipR)
	s.Student.BindGrad(t.net.F, s.Dy)
	return nil
}

// Init draws initial weights; the averages start from them.
func (t *Trainer) Init() error {
	if err := model.Init(t.dev, t.Online, t.Config.Train.Seed); err != nil {
		return err
	}
	t.StartAverages()
	return t.dev.Err()
}

// StartAverages sets every average to the online weights and refreshes the copies that ops read.
func (t *Trainer) StartAverages() {
	for _, e := range t.EMA {
		t.dev.Copy(e.W, t.Online.W)
	}
	t.Online.Refresh(t.dev)
}

// Step trains on one batch: this rank's part, in micro-batches. The batch's first image number must be K·batch plus
// this rank's offset. It returns the device's or a rank's error; numbers of the step are in Stats one step later.
func (t *Trainer) Step(b data.Batch) error {
	local := t.n * t.parts
	res := &t.results[t.K%2]
	if err := t.collect(res); err != nil {
		return err
	}
	res.step, res.rows, res.tickets = t.K, res.rows[:0], res.tickets[:0]
	if t.Given == nil && len(b.Images) != local*t.in.imageSize() {
		return fmt.Errorf("train: step %d: got %d bytes of images, want %d images of %d", t.K, len(b.Images), local, t.in.imageSize())
	}
	for j := range t.parts {
		if err := t.fill(b, j, res); err != nil {
			return err
		}
		check := j == 0 && t.check.ref != nil && !t.stage.given
		if check {
			if err := t.check.begin(t, b, res.rows, t.comm.Rank()*local); err != nil {
				return err
			}
		}
		if err := t.queue(j == t.parts-1); err != nil {
			return err
		}
		if check {
			t.check.outputs(t)
		}
		res.tickets = append(res.tickets, t.dev.Download(res.bytes[4*j*t.n:4*(j+1)*t.n], t.stage.Losses))
		t.carry(j)
	}
	at := 4 * local
	for _, x := range []tensor.Tensor{t.verdict, t.in.scale, t.g.Range(t.layout.Size, nn.VoteFloats)} {
		res.tickets = append(res.tickets, t.dev.Download(res.bytes[at:at+x.Bytes()], x))
		at += x.Bytes()
	}
	t.Given = nil
	t.K++
	return errors.Join(t.dev.Err(), t.comm.Err())
}

// part queues one micro-batch: losses, gradients and, in the last, reduction and update.
func (t *Trainer) part(last bool) {
	t.objective.Loss(&t.stage)
	t.stage.Student.Backward(func(i int) {
		if last {
			t.fold(i)                     // add what earlier micro-batches left for this bucket
			t.comm.AllReduce(t.bucket(i)) // backward goes on
		}
	})
	if last {
		t.comm.Join()
		t.update()
	}
}

// queue replays what was captured; the first use of each kind runs launch by launch and is captured then.
func (t *Trainer) queue(last bool) error {
	if t.stage.given || t.look != nil {
		t.part(last)
		return nil
	}
	i := 0
	if last {
		i = 1
	}
	if t.replay[i] == nil {
		t.part(last)
		replay, err := t.dev.Capture(func() { t.part(last) })
		if err != nil {
			return err
		}
		t.replay[i] = replay
		return nil
	}
	t.replay[i]()
	return nil
}

// bucket is the flat gradient's part i; the last one carries the votes.
func (t *Trainer) bucket(i int) tensor.Tensor {
	s := t.layout.Buckets[i]
	if i == len(t.layout.Buckets)-1 {
		s.To += nn.VoteFloats
	}
	return t.g.Range(s.From, s.To-s.From)
}

// update judges the gradient and takes the step, or not.
func (t *Trainer) update() {
	g := t.g.Range(0, t.layout.Size)
	var ema []tensor.Tensor
	for _, e := range t.EMA {
		ema = append(ema, e.W)
	}
	t.dev.OptimNorm(t.verdict, g, t.normWS)
	t.dev.OptimJudge(t.verdict, t.in.scale, t.in.step, t.rule)
	t.dev.OptimUpdate(t.Online.W, t.m, t.v, t.Online.W16, ema, g, t.verdict, t.in.step, t.optim.params())
	t.Online.Pack(t.dev)
}

// fill uploads micro-batch j: bytes, flips, labels, rows, step block and votes.
func (t *Trainer) fill(b data.Batch, j int, res *results) error {
	local := t.n * t.parts
	place0 := t.comm.Rank()*local + j*t.n
	h, err := t.in.next()
	if err != nil {
		return err
	}
	f := t.optim.Factors(t.K + 1)
	step := tensor.Step{
		Seed: t.Config.Train.Seed, Step: uint64(t.K), Image0: uint64(place0), Scale: t.in.scaleAddress(),
		StepSize: float32(f.StepSize), VScale: float32(f.VScale), Adaptive: f.Adaptive, MaxNorm: float32(t.Config.Optim.Clip),
	}
	for i, d := range t.Config.EMA {
		step.EMA[i] = float32(1 - d)
	}
	step.Put(h.step)
	for i := range t.n {
		d := Draws{seed: t.Config.Train.Seed, step: t.K, place: place0 + i}
		if t.Given != nil {
			d.pair = t.Given.I[place0+i]
		}
		var row Row
		t.objective.Level(t.K, d, &row)
		res.rows = append(res.rows, row)
		for c := range columns {
			h.rows[c*t.n+i] = float32(row.column(c))
		}
		h.labels[i], h.flip[i] = -1, 0
		if b.Labels != nil {
			h.labels[i] = b.Labels[j*t.n+i]
		}
		if b.Flip != nil && b.Flip[j*t.n+i] {
			h.flip[i] = 1
		}
	}
	if j == t.parts-1 {
		t.votes.put(h.votes)
		t.votes = Votes{}
	}
	if t.Given == nil {
		size := t.in.imageSize()
		copy(h.images, b.Images[j*t.n*size:(j+1)*t.n*size])
	}
	t.in.upload(t.dev)
	t.stage.given = t.Given != nil
	if t.stage.given {
		if err := t.uploadGiven(res.rows[j*t.n:], place0); err != nil {
			return err
		}
	}
	if j == t.parts-1 {
		t.dev.Copy(t.g.Range(t.layout.Size, nn.VoteFloats), t.in.votes)
	}
	return nil
}

// rows are the levels of a step on this rank, as fill draws them.
func (t *Trainer) rows(step int) []Row {
	local := t.n * t.parts
	rows := make([]Row, local)
	for i := range rows {
		t.objective.Level(step, Draws{seed: t.Config.Train.Seed, step: step, place: t.comm.Rank()*local + i}, &rows[i])
	}
	return rows
}

// uploadGiven forms the noisy pair on the host, in float64, rounded once.
func (t *Trainer) uploadGiven(rows []Row, place0 int) error {
	elems := t.in.imageSize()
	v := make([]float32, t.n*elems)
	put := func(dst tensor.Tensor, level func(Row) (sigma, in float64)) error {
		for i := range t.n {
			sigma, in := level(rows[i])
			for e := range elems {
				at := (place0+i)*elems + e
				x := float64(float32(float64(t.Given.X[at]) + sigma*float64(t.Given.Z[at])))
				v[i*elems+e] = float32(in * x)
			}
		}
		return t.carrier.up(dst, bytesOf(v))
	}
	p := t.stage.Pair
	return errors.Join(
		put(p.Xt, func(r Row) (float64, float64) { return r.T, 1 }), put(p.CXt, func(r Row) (float64, float64) { return r.T, r.AtT.In }),
		put(p.Xr, func(r Row) (float64, float64) { return r.R, 1 }), put(p.CXr, func(r Row) (float64, float64) { return r.R, r.AtR.In }))
}

// collect waits for the results of an earlier step and adds them to Stats.
func (t *Trainer) collect(r *results) error {
	if r.step < 0 {
		return nil
	}
	for _, k := range r.tickets {
		if err := k.Wait(); err != nil {
			return err
		}
	}
	local := t.n * t.parts
	losses := tensor.Floats(r.bytes[:4*local])
	rest := r.bytes[4*local:]
	verdict := tensor.GetVerdict(rest)
	scale := tensor.GetScale(rest[tensor.VerdictBytes:])
	t.agreed = t.agreed.add(getVotes(rest[tensor.VerdictBytes+tensor.ScaleBytes:]))
	t.Stats.add(t.Config.Noise.Levels(), r, losses, verdict, scale)
	r.step = -1
	return nil
}

// Collect waits for every step so far and brings Stats up to date.
func (t *Trainer) Collect() error {
	first := t.K % 2 // the older one
	return errors.Join(t.collect(&t.results[first]), t.collect(&t.results[1-first]), t.dev.Err())
}

// Scale reads the loss scale.
func (t *Trainer) Scale() (tensor.Scale, error) {
	if err := t.dev.Download(t.scale, t.in.scale).Wait(); err != nil {
		return tensor.Scale{}, err
	}
	return tensor.GetScale(t.scale), nil
}

func (t *Trainer) putScale(s tensor.Scale) error {
	s.Put(t.scale)
	return t.dev.Upload(t.in.scale, t.scale).Wait()
}

// Net is the recorded student; Layout says where its parameters lie; Plans are the student's and the target's.
func (t *Trainer) Net() *model.Net                   { return t.net }
func (t *Trainer) Layout() *nn.Layout                { return t.layout }
func (t *Trainer) Plans() (student, target *nn.Plan) { return t.plans[0], t.plans[1] }

// Gradient is an entry's part of the flat gradient of the last step (scaled by S).
func (t *Trainer) Gradient(e nn.Entry) tensor.Tensor { return e.View(t.g) }

// Stage is the last micro-batch: inputs, outputs and losses on the device.
func (t *Trainer) Stage() *Stage { return &t.stage }

// MicroBatch is the number of images at a time; Parts the number of micro-batches of a step on this rank.
func (t *Trainer) MicroBatch() int { return t.n }
func (t *Trainer) Parts() int      { return t.parts }
