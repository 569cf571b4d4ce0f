package train

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"ict/checkpoint"
	"ict/cpu"
	"ict/data"
	"ict/internal/optest"
	"ict/internal/philox"
	"ict/tensor"
)

// toy is a config that trains in milliseconds a step: 8×8 colour images, three classes, dropout on.
func toy(steps, batch int) Config {
	c := Presets()["tiny"].Config
	c.Model.Resolution, c.Model.ImageChannels, c.Model.Channels, c.Model.Classes = 8, 3, 8, 3
	c.Model.Attention, c.Model.Dropout = []int{4}, 0.2
	c.Train.Steps, c.Train.Batch, c.Train.StageMin = steps, batch, 2
	c.Every = Every{Status: Steps(2)}
	c, err := c.Complete()
	if err != nil {
		panic(err)
	}
	return c
}

// blobs is a small set of coloured images.
type blobs struct{ n int }

func (b blobs) Len() int             { return b.n }
func (b blobs) Shape() (h, w, c int) { return 8, 8, 3 }
func (b blobs) Classes() int         { return 3 }
func (b blobs) ClassNames() []string { return []string{"red", "green", "blue"} }
func (b blobs) Close() error         { return nil }
func (b blobs) Image(dst []byte, i int) (int, error) {
	for p := range 64 {
		x, y := p%8-3-i%3, p/8-3
		for c := range 3 {
			v := 40.0
			if c == i%3 {
				v += 200 * math.Exp(-float64(x*x+y*y)/6)
			}
			dst[3*p+c] = byte(v)
		}
	}
	return i % 3, nil
}

func open(t testing.TB) *cpu.Device {
	t.Helper()
	d, err := cpu.Open(cpu.Options{Slice: 2})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func fresh(t testing.TB, c Config) *Trainer {
	t.Helper()
	tr, err := New(open(t), tensor.Alone{}, c)
	if err != nil {
		t.Fatal(err)
	}
	if err := tr.Init(); err != nil {
		t.Fatal(err)
	}
	return tr
}

func loader(c Config, first, rank, world int) *data.Loader {
	return data.NewLoader(blobs{50}, data.LoaderOptions{Seed: c.Train.Seed, Batch: c.Train.Batch, Rank: rank, World: world,
		Flip: c.Data.Flip, First: uint64(first * c.Train.Batch)})
}

// steps trains n steps.
func steps(t testing.TB, tr *Trainer, n int) {
	t.Helper()
	stepsFrom(t, tr, loader(tr.Config, tr.K, 0, 1), n)
}

// stepsFrom trains n steps on what l hands out, and closes it.
func stepsFrom(t testing.TB, tr *Trainer, l *data.Loader, n int) {
	t.Helper()
	defer l.Close()
	for range n {
		b, err := l.Next(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		if err := tr.Step(b); err != nil {
			t.Fatal(err)
		}
	}
	if err := tr.Collect(); err != nil {
		t.Fatal(err)
	}
}

func hash(t testing.TB, tr *Trainer) uint64 {
	t.Helper()
	h, err := tr.Hash()
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// Micro-batches that hold whole slices, in powers of two, change no bit.
func TestMicroBatchesSameBits(t *testing.T) {
	var want uint64
	for _, micro := range []int{16, 8, 4, 2} {
		c := toy(8, 16)
		c.Train.MicroBatch = Auto(micro)
		tr := fresh(t, c)
		steps(t, tr, 5)
		if got := hash(t, tr); micro == 16 {
			want = got
		} else if got != want {
			t.Errorf("micro-batches of %d: hash %x, want %x", micro, got, want)
		}
	}
}

// Ranks that hold whole slices, in powers of two, change no bit; every rank ends with the same weights.
func TestRanksSameBits(t *testing.T) {
	one := fresh(t, toy(8, 16))
	steps(t, one, 5)
	want := hash(t, one)
	for _, world := range []int{2, 4} {
		comms := cpu.Ranks(world)
		hashes, errs := make([]uint64, world), make([]error, world)
		var wg sync.WaitGroup
		for rank := range world {
			wg.Go(func() {
				errs[rank] = func() error {
					dev, err := cpu.Open(cpu.Options{Slice: 2, Threads: 1})
					if err != nil {
						return err
					}
					c := toy(8, 16)
					if world == 2 {
						c.Train.MicroBatch = 4
					}
					tr, err := New(dev, comms[rank], c)
					if err != nil {
						return err
					}
					if err := tr.Init(); err != nil {
						return err
					}
					l := loader(c, 0, rank, world)
					defer l.Close()
					for range 5 {
						b, err := l.Next(context.Background())
						if err != nil {
							return err
						}
						if err := tr.Step(b); err != nil {
							return err
						}
					}
					hashes[rank], err = tr.Hash()
					return errors.Join(err, tr.Collect())
				}()
				if errs[rank] != nil {
					comms[rank].Abort(errs[rank])
				}
			})
		}
		wg.Wait()
		if err := errors.Join(errs...); err != nil {
			t.Fatal(err)
		}
		for rank, h := range hashes {
			if h != want {
				t.Errorf("rank %d of %d: hash %x, want %x", rank, world, h, want)
			}
		}
	}
}

// heavy is an objective whose gradients end fp16's range at a loss scale below 2^20.
type heavy struct{ Objective }

func (o heavy) Level(k int, d Draws, row *Row) {
	o.Objective.Level(k, d, row)
	row.Weight *= 1 << 4
}

// A step in 16 bits has the loss and the gradient of float32 but for rounding, whatever the loss scale.
func TestHalfStep(t *testing.T) {
	config := func(precision string, start float64) Config {
		c := toy(8, 8)
		c.Train.Precision, c.Train.LossScale.Start = precision, start
		return c
	}
	ref := fresh(t, config("fp32", 1))
	steps(t, ref, 1)
	for _, row := range []struct {
		precision string
		start     float64
		tol       float64
	}{{"fp16", 1 << 6, 2e-2}, {"fp16", 1 << 12, 2e-2}, {"bf16", 1, 0.15}} {
		tr := fresh(t, config(row.precision, row.start))
		steps(t, tr, 1)
		name := fmt.Sprintf("%s from %g", row.precision, row.start)
		optest.Near(t, name+": f", optest.Get(t, tr.dev, tr.Stage().Out), optest.Get(t, ref.dev, ref.Stage().Out), row.tol/4)
		g := optest.Get(t, tr.dev, tr.g.Range(0, tr.layout.Size)).Map(func(v float32) float32 { return v / tr.Stats.Scale.S })
		optest.Near(t, name+": gradient", g, optest.Get(t, ref.dev, ref.g.Range(0, ref.layout.Size)), row.tol)
		if tr.Stats.Skipped != 0 || math.Abs(tr.Stats.GradNorm/ref.Stats.GradNorm-1) > row.tol {
			t.Errorf("%s: skipped %d, norm %g, in fp32 %g", name, tr.Stats.Skipped, tr.Stats.GradNorm, ref.Stats.GradNorm)
		}
	}
}

// Captured steps are launched steps, and a teacher that runs at the student's level gives the student's output to the
// bit, dropout on: same weights, same masks.
func TestTeacherIsStudent(t *testing.T) {
	c := toy(8, 4)
	tr := fresh(t, c)
	steps(t, tr, 2)
	tr.objective = sameLevel{tr.objective}
	steps(t, tr, 1)
	s := tr.Stage()
	a, b := optest.Get(t, tr.dev, s.Out), optest.Get(t, tr.dev, s.Want)
	optest.Same(t, "student and teacher", a, b)
	for i, l := range optest.Get(t, tr.dev, s.Losses).V {
		if l != 0 {
			t.Errorf("image %d: loss %g at t = r, want 0", i, l)
		}
	}
}

type sameLevel struct{ Objective }

func (o sameLevel) Level(k int, d Draws, row *Row) {
	o.Objective.Level(k, d, row)
	row.R, row.AtR, row.Weight = row.T, row.AtT, 1
}

// A gradient that is not finite changes nothing but k and the counters; so many in a row end the run with evidence.
func TestNonFiniteStepsAreSkipped(t *testing.T) {
	c := toy(20, 4)
	c.Train.MaxSkips = 3
	tr := fresh(t, c)
	steps(t, tr, 2)
	before, skipped := hash(t, tr), tr.Stats.Skipped
	bad := func() {
		n := 4 * 8 * 8 * 3
		g := &Given{X: make([]float32, n), Z: make([]float32, n), I: []int{1, 1, 1, 1}}
		g.X[17] = float32(math.NaN())
		tr.Given = g
		if err := tr.Step(data.Batch{Labels: []int32{0, 1, 2, 0}}); err != nil {
			t.Fatal(err)
		}
		if err := tr.Collect(); err != nil {
			t.Fatal(err)
		}
	}
	bad()
	if got := hash(t, tr); got != before || tr.K != 3 || tr.Stats.Skipped != skipped+1 || tr.Stats.Scale.Bad != 1 {
		t.Errorf("after one bad step: hash %x (before %x), k %d, stats %+v", got, before, tr.K, tr.Stats)
	}
	steps(t, tr, 1)
	if tr.Stats.Scale.Bad != 0 || hash(t, tr) == before {
		t.Errorf("a good step after a bad one: %+v", tr.Stats.Scale)
	}
	for range 3 {
		bad()
	}
	err := Run(context.Background(), tr, loader(c, tr.K, 0, 1), Options{})
	var d *Diverged
	if !errors.As(err, &d) {
		t.Fatalf("got %v, want a divergence", err)
	}
	if d.Since != 4 || d.Step != 7 || len(d.Norms) == 0 || d.Images != [2]uint64{16, 20} {
		t.Errorf("evidence %+v", d)
	}
	for i, got := range d.Rows {
		var want Row
		tr.objective.Level(4, Draws{seed: c.Train.Seed, step: 4, place: i}, &want)
		if got != want {
			t.Errorf("image %d: levels %+v, those of the first bad step are %+v", i, got, want)
		}
	}
	if len(d.Rows) != 4 {
		t.Errorf("levels of %d images, want 4", len(d.Rows))
	}
	if want := "not finite from step 4 on, 3 in a row"; !strings.Contains(d.Error(), want) {
		t.Errorf("got %q, want %q in it", d.Error(), want)
	}
	nonFinite := 0
	for _, n := range d.Norms {
		nonFinite += n.NonFinite
	}
	if nonFinite == 0 {
		t.Error("no parameter is blamed")
	}
}

// The loss of a toy set falls where there is something to learn: at middle levels. At small ones it is the noise of the
// pair itself, at large ones nearly nothing.
func TestLossFalls(t *testing.T) {
	c := toy(1000, 16)
	c.Model.Dropout = 0
	c.Objective.S1 = 10
	tr := fresh(t, c)
	middle := func(n int) float64 {
		tr.Stats.Reset()
		steps(t, tr, n)
		return tr.Stats.ByLevel[4] / float64(tr.Stats.InLevel[4])
	}
	first := middle(40)
	steps(t, tr, 160)
	if last := middle(40); !(last < 0.55*first) {
		t.Errorf("mean loss at middle levels %.4g at first, %.4g after 200 steps", first, last)
	}
}

// The loop: intervals, hooks, a stop that saves, a resume that ends, and states that are retired.
func TestRunStopsAndResumes(t *testing.T) {
	dir := t.TempDir()
	c := toy(12, 4)
	c.Every = Every{Status: Steps(3), Grid: Steps(5), Snapshot: Steps(6), State: Steps(4)}
	var ticks, grids []int
	opts := Options{States: dir + "/states", Snapshots: dir + "/snapshots", Manifest: checkpoint.Manifest{RunID: "r"}, Writes: true,
		Hooks: Hooks{
			Tick: func(k Tick) error { ticks = append(ticks, k.Step); return nil },
			Grid: func(step int) error { grids = append(grids, step); return nil },
		}}
	tr := fresh(t, c)
	opts.Stop = func() bool { return tr.K >= 6 }
	l := loader(c, 0, 0, 1)
	err := Run(context.Background(), tr, l, opts)
	l.Close()
	if !errors.Is(err, ErrStopped) {
		t.Fatalf("got %v, want a stop", err)
	}
	stopped := tr.K
	s, _, err := checkpoint.OpenLatest(opts.States)
	if err != nil || s.Manifest.Step != stopped || stopped < 7 || stopped > 9 {
		t.Fatalf("stopped at %d with state %+v, %v", stopped, s, err)
	}
	second := fresh(t, c)
	if err := second.LoadState(s); err != nil {
		t.Fatal(err)
	}
	s.Close()
	opts.Stop = nil
	l = loader(c, second.K, 0, 1)
	if err := Run(context.Background(), second, l, opts); err != nil {
		t.Fatal(err)
	}
	l.Close()
	whole := fresh(t, c)
	steps(t, whole, 12)
	if got, want := hash(t, second), hash(t, whole); got != want {
		t.Errorf("stopped and resumed: hash %x, uninterrupted %x", got, want)
	}
	if fmt.Sprint(ticks) != fmt.Sprint([]int{3, 6, stopped, 9, 12}) && fmt.Sprint(ticks) != fmt.Sprint([]int{3, 6, 9, 9, 12}) || fmt.Sprint(grids) != "[5 10 12]" {
		t.Errorf("ticks at %v, grids at %v", ticks, grids)
	}
	list, err := checkpoint.List(opts.States)
	if err != nil || len(list) != 2 || list[1].Step != 12 {
		t.Errorf("states %v, %v; want the last two", list, err)
	}
	for _, step := range []int{6, 12} {
		snap, err := checkpoint.OpenSnapshot(opts.Snapshots + "/" + checkpoint.SnapshotName(step, ""))
		if err != nil {
			t.Error(err)
			continue
		}
		snap.Close()
	}
}

// Once the run is somebody else's, nothing more is written: not even what was about to be saved.
func TestRunWritesNoMoreWhenLost(t *testing.T) {
	for lost, unwritten := range map[int]string{4: "", 5: "snapshots/" + checkpoint.SnapshotName(5, ""), 6: "states/" + checkpoint.StateName(6)} {
		dir := t.TempDir()
		c := toy(12, 4)
		c.Every = Every{Status: Steps(4), Grid: Steps(4), Snapshot: Steps(5), State: Steps(3)}
		tr := fresh(t, c)
		gone := errors.New("somebody else's")
		opts := Options{States: dir + "/states", Snapshots: dir + "/snapshots", Manifest: checkpoint.Manifest{RunID: "r"}, Writes: true,
			Hooks: Hooks{
				Tick: func(k Tick) error { t.Errorf("lost at %d: a tick at %d", lost, k.Step); return nil },
				Grid: func(step int) error { t.Errorf("lost at %d: a grid at %d", lost, step); return nil },
				Lost: func() error {
					if tr.K >= lost {
						return gone
					}
					return nil
				},
			}}
		if lost > 4 { // the first to be asked is the save
			opts.Tick, opts.Grid = nil, nil
		}
		l := loader(c, 0, 0, 1)
		err := Run(context.Background(), tr, l, opts)
		l.Close()
		if !errors.Is(err, gone) || tr.K != lost {
			t.Errorf("lost at %d: got %v at step %d", lost, err, tr.K)
		}
		if _, err := os.Stat(filepath.Join(dir, unwritten)); unwritten != "" && !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("lost at %d: %s was written, %v", lost, unwritten, err)
		}
	}
}

// What became of a save is told as soon as it is known, not at the next save.
func TestRunTellsOfASaveAtOnce(t *testing.T) {
	dir := t.TempDir()
	c := toy(40, 4)
	c.Every = Every{State: Steps(5)}
	tr := fresh(t, c)
	states := dir + "/states"
	foreign := filepath.Join(states, checkpoint.StateName(5)) // a state of another run: it is not replaced, which is an error
	if err := checkpoint.WriteState(states, 5, map[string][]checkpoint.Named{"x.safetensors": nil}, checkpoint.Manifest{RunID: "other", Config: []byte("{}")}); err != nil {
		t.Fatal(err)
	}
	l := loader(c, 0, 0, 1)
	defer l.Close()
	slow := func() bool { // leaves the writer time
		time.Sleep(20 * time.Millisecond)
		return false
	}
	err := Run(context.Background(), tr, l, Options{States: states, Snapshots: dir + "/snapshots", Manifest: checkpoint.Manifest{RunID: "r"}, Writes: true, Stop: slow})
	if err == nil || !strings.Contains(err.Error(), foreign) || tr.K >= 10 {
		t.Errorf("got %v at step %d, want the error of step 5's state before step 10", err, tr.K)
	}
}

// The age of the newest state is told once there is one that is complete.
func TestRunTellsTheAgeOfTheState(t *testing.T) {
	dir := t.TempDir()
	c := toy(8, 4)
	c.Every = Every{Status: Steps(1), State: Steps(4)}
	l := loader(c, 0, 0, 1)
	defer l.Close()
	saved := make(chan struct{}, 9)
	opts := Options{States: dir, Snapshots: dir, Manifest: checkpoint.Manifest{RunID: "r"}, Writes: true, Hooks: Hooks{
		Saved: func(string, time.Duration) { saved <- struct{}{} },
		Tick: func(k Tick) error {
			if k.Step == 5 {
				<-saved
			}
			if k.Step <= 4 && k.SinceState != 0 || k.Step > 5 && k.SinceState <= 0 {
				t.Errorf("step %d: the state is %v old", k.Step, k.SinceState)
			}
			return nil
		},
	}}
	if err := Run(context.Background(), fresh(t, c), l, opts); err != nil {
		t.Fatal(err)
	}
}

// T-4 and T-5: the optimiser's factors, and the trajectories they give in float64.
func TestFactors(t *testing.T) {
	o := Optim{Kind: "radam", LR: 0.1, Beta1: 0.9, Beta2: 0.999, Eps: 1e-8}
	follow := func(o Optim, g []float64) (theta []float64) {
		var m, v, x float64
		for i, g := range g {
			f := o.Factors(i + 1)
			m, v = o.Beta1*m+(1-o.Beta1)*g, o.Beta2*v+(1-o.Beta2)*g*g
			if f.Adaptive {
				x -= f.StepSize * m / (f.VScale*math.Sqrt(v) + o.Eps)
			} else {
				x -= f.StepSize * m
			}
			theta = append(theta, x)
		}
		return theta
	}
	constant := func(g float64, n int) (s []float64) {
		for range n {
			s = append(s, g)
		}
		return s
	}
	small := o
	small.LR = 1e-4
	for _, row := range []struct {
		name      string
		got, want []float64
	}{
		{"trajectory", follow(o, []float64{1, -2, .5, 3, -1, .25, 2, -.5}),
			[]float64{-.1, -.0421052632, -.0240240823, -.0984352484, -.130256205, -.130747044, -.131986382, -.133053306}},
		{"constant", follow(small, constant(1, 10)),
			[]float64{-.0001, -.0002, -.0003, -.0004, -.0005, -.000502582111, -.000505855992, -.000509729819, -.000514140305, -.000519040106}},
		{"eps", follow(o, constant(1e-8, 8))[4:], []float64{-5e-9, -1.85420372e-4, -4.37835534e-4, -7.55364537e-4}},
	} {
		for i := range row.want {
			if math.Abs(row.got[i]-row.want[i]) > 2e-9*math.Max(1e-3, math.Abs(row.want[i]))*10 {
				t.Errorf("%s, step %d: got %.9g, want %.9g", row.name, i, row.got[i], row.want[i])
			}
		}
	}
	for n, rect := range map[int]float64{6: .0258211128, 7: .0327388144, 8: .0387382770, 10: .0489980134, 100: .215335437, 1000: .645325652, 10000: .999773305} {
		f := o.Factors(n)
		b1, b2 := math.Pow(.9, float64(n)), math.Pow(.999, float64(n))
		if got := f.StepSize * (1 - b1) / o.LR / math.Sqrt(1-b2); !f.Adaptive || math.Abs(got-rect) > 1e-9 {
			t.Errorf("rect_%d = %.9g, want %.9g", n, got, rect)
		}
	}
	for n := 1; n <= 5; n++ {
		if o.Factors(n).Adaptive {
			t.Errorf("step %d is rectified", n)
		}
	}
	o.Beta2 = .99
	for n, rect := range map[int]float64{6: .0816791958, 7: .103696131, 10: .155165257, 100: .634116851, 1000: .999776372} {
		f := o.Factors(n)
		b1, b2 := math.Pow(.9, float64(n)), math.Pow(.99, float64(n))
		if got := f.StepSize * (1 - b1) / o.LR / math.Sqrt(1-b2); math.Abs(got-rect) > 1e-9 {
			t.Errorf("β2 0.99: rect_%d = %.9g, want %.9g", n, got, rect)
		}
	}
	o = Optim{Kind: "adam", LR: 1, Beta1: .9, Beta2: .999}
	if x := follow(o, []float64{3}); math.Abs(x[0]+1) > 1e-12 {
		t.Errorf("Adam's first step is %g, want −lr", x[0])
	}
}

func TestSplit(t *testing.T) {
	if n, parts, err := Split(64, 2, 8); n != 8 || parts != 4 || err != nil {
		t.Error(n, parts, err)
	}
	for _, row := range []struct {
		batch, ranks, micro int
		want                string
	}{{1000, 16, 0, "nearest: 992, 1008"}, {64, 1, 24, "nearest batch: 48, 72"}, {4, 8, 0, "nearest: 8"}} {
		if _, _, err := Split(row.batch, row.ranks, row.micro); err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("batch %d over %d: %v, want %q", row.batch, row.ranks, err, row.want)
		}
	}
}

func TestConfigRoundTripAndChanges(t *testing.T) {
	for name, p := range Presets() {
		c := p.Config
		if c.Model.Resolution == 0 {
			c.Model.Resolution, c.Model.ImageChannels = 32, 3
		}
		c, err := c.Complete()
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if w := c.Warnings(); len(w) > 0 {
			t.Errorf("%s warns about itself: %v", name, w)
		}
		flat := flatten(c)
		if len(flat) < 40 {
			t.Errorf("%s: %d keys", name, len(flat))
		}
		if ch := Changes(c, c); len(ch) > 0 {
			t.Errorf("%s: differs from itself: %v", name, ch)
		}
	}
	a := toy(10, 4)
	b := a
	b.Model.Dropout, b.Every.Status, b.Keep.States, b.Train.MicroBatch = 0.3, Wall(time.Minute), 5, 2
	if ch := Changes(a, b); len(ch) != 1 || ch[0] != (Change{"model.dropout", "0.2", "0.3"}) {
		t.Errorf("changes %v", ch)
	}
	typo := a
	typo.Objective.Mean, typo.Objective.HuberC, typo.Model.Resolution = 1.1, AutoF(0.00054*3072), 32
	if w := strings.Join(typo.Warnings(), "\n"); !strings.Contains(w, "objective.mean") || !strings.Contains(w, "huber_c") {
		t.Errorf("warnings %q", w)
	}
	short := Presets()["cifar10"].Config // of a random start 0.99993 leaves a quarter after 20,000 steps
	short.Train.Steps = 20000
	if w := strings.Join(short.Warnings(), "\n"); !strings.Contains(w, "25 %") || !strings.Contains(w, "ema=0.9986 ") {
		t.Errorf("warnings %q", w)
	}
	short.EMA[0] = 0.9986
	if w := short.Warnings(); len(w) > 0 {
		t.Errorf("warnings %q", w)
	}
	short.EMA[0], short.Train.Init = 0.99993, "a file"
	if w := short.Warnings(); len(w) > 0 {
		t.Errorf("warnings %q of weights that are not random", w)
	}
	short.EMA[0], short.Train.Init, short.Preset, short.Train.Steps = math.Nextafter(1, 0), "random", "", 1e16
	if w := strings.Join(short.Warnings(), "\n"); !strings.Contains(w, "ema=0.9999999999999972 is") {
		t.Errorf("warnings %q", w)
	}
	if _, err := DecodeConfig([]byte(`{"train": {"stepz": 3}}`), a); err == nil {
		t.Error("an unknown key is accepted")
	}
	c, err := DecodeConfig([]byte(`{"every": {"state": "90s", "grid": 7}, "objective": {"s1": "auto"}}`), a)
	if err != nil || c.Every.State != Wall(90*time.Second) || c.Every.Grid != Steps(7) || c.Objective.S1 != 0 || c.Train.Steps != a.Train.Steps {
		t.Errorf("decoded %+v, %v", c.Every, err)
	}
	for _, bad := range []string{`{"every": {"state": "soon"}}`, `{"train": {"micro_batch": -1}}`, `{"objective": {"s1": 0}}`, `{"every": {"grid": -3}}`} {
		if _, err := DecodeConfig([]byte(bad), a); err == nil {
			t.Errorf("%s is accepted", bad)
		}
	}
}

func TestCheckNamesEveryFault(t *testing.T) {
	c := toy(10, 4)
	c.Optim.LR, c.Optim.Kind, c.EMA, c.Train.Precision, c.Train.LossScale.Start = math.NaN(), "sgd", nil, "fp8", 3
	c.Keep.States, c.Train.MaxSkips = 0, 0
	err := c.Check()
	for _, key := range []string{"optim.lr", "optim.kind", "ema", "train.precision", "train.loss_scale", "keep.states", "train.max_skips"} {
		if err == nil || !strings.Contains(err.Error(), key) {
			t.Errorf("%s is not refused: %v", key, err)
		}
	}
	c = toy(10, 4)
	c.Train.MaxSkips = 1 << 32 // 0 as an int32: diverged before the first step
	if err := c.Check(); err == nil || !strings.Contains(err.Error(), "train.max_skips: got 4294967296") {
		t.Errorf("train.max_skips of 2^32: %v", err)
	}
}

// Levels are draws of (seed, step, place): other ranks and micro-batches see the same.
func TestLevelsAreKeyed(t *testing.T) {
	c := toy(10, 4)
	tr := fresh(t, c)
	var a, b Row
	tr.objective.Level(3, Draws{seed: 1, step: 3, place: 2}, &a)
	tr.objective.Level(0, Draws{seed: 1, step: 0, place: 2}, &b)
	tr.objective.Level(3, Draws{seed: 1, step: 3, place: 2}, &b)
	if a != b || a.R >= a.T || a.Weight != 1/(a.T-a.R) {
		t.Errorf("rows %+v and %+v", a, b)
	}
	u := philox.Stream{Seed: 1, Step: 3, Image: 2, Purpose: philox.Level}.Float64(0)
	if got := (Draws{seed: 1, step: 3, place: 2}).Level(); got != u {
		t.Errorf("uniform %v, want %v", got, u)
	}
}
