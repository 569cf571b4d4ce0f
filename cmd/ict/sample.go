package main

import (
	"context"
	"errors"
	"fmt"
	"image"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/urfave/cli/v2"

	"ict/checkpoint"
	"ict/data"
	"ict/model"
	"ict/nn"
	"ict/noise"
	"ict/sample"
	"ict/tensor"
	"ict/train"
)

func sampleCommand() *cli.Command {
	return &cli.Command{
		Name: "sample", Usage: "draws images from a snapshot, a state, or the newest of a run", ArgsUsage: "RUN|FILE",
		UsageText: "  ict sample runs/a --grid 8x8 --out grid.png\n  ict sample runs/a --steps 2 --class all --out classes.png\n  ict sample runs/a --n 50k --steps 1 --out samples.npz",
		Description: "The average of the weights is used, dropout off. Image i of a seed is the same in any batch. --out decides the form: a .png is one\n" +
			"grid, a .npz holds arr_0 (uint8, NHWC) and arr_1 (labels), a folder gets one .png per image. How the images were made is written\n" +
			"into each file.",
		Flags: []cli.Flag{
			&cli.GenericFlag{Name: "n", Value: count("", 1), Usage: "`N` images; without: as many as the grid holds, 8 of each class with --class, or 64"},
			&cli.StringFlag{Name: "grid", Usage: "`ROWSxCOLS` of a .png; without: nearly square, or a column per class"},
			&cli.StringFlag{Name: "out", Value: "samples.png", Usage: "write to `PATH`: x.png, x.npz, or a folder"},
			&cli.GenericFlag{Name: "steps", Value: count("1", 1), Usage: "network calls an image: 1 or 2, at the recipe's levels; with --sampler heun `N` levels in 2N-1 calls, 18 levels unless given"},
			&cli.GenericFlag{Name: "levels", Value: of("", parseLevels), Usage: "noise levels `σ,σ,…`, descending, like 80,0.821: one network call each"},
			&cli.GenericFlag{Name: "seed", Value: count("0", 0), Usage: "begin all draws from seed `N`"},
			&cli.StringFlag{Name: "class", Usage: "`CLASS` by number or name, several as 0,1,2 in turn, or all: one per column; without: drawn at random"},
			&cli.StringFlag{Name: "noise", Usage: "take the noise from `FILE`.npy: float32 unit normals, (levels,N,H,W,C), or (N,H,W,C) for one step"},
			&cli.StringFlag{Name: "save-noise", Usage: "write the noise to `FILE`.npy, as --noise reads it"},
			&cli.StringFlag{Name: "ema", Usage: "use the average of this `RATE`; without: the first"},
			&cli.GenericFlag{Name: "sampler", Value: oneOf("multistep", "multistep", "heun"), Usage: "`METHOD`: multistep, or heun for networks trained as denoisers"},
			&cli.GenericFlag{Name: "bytes", Value: of("", parseByteRule), Usage: "`RULE` from [-1,1] to bytes: round (default of grids) or floor (default of folders and npz, as scores want it)"},
			&cli.GenericFlag{Name: "precision", Value: oneOf("fp32", train.Precisions...), Usage: "arithmetic in `TYPE`: fp32, tf32, bf16 or fp16, whatever the network was trained in"},
			&cli.GenericFlag{Name: "batch", Value: count("64", 1), Usage: "at most `N` images at a time; changes no image"},
		},
		Action: action(1, 1, sampleAction),
	}
}

func parseByteRule(s string) (tensor.ByteRule, error) {
	for _, r := range []tensor.ByteRule{tensor.Floor, tensor.Round} {
		if s == r.String() {
			return r, nil
		}
	}
	return tensor.Floor, fmt.Errorf("got %q, want floor or round", s)
}

// Forms of --out.
const (
	asGrid = iota
	asNPZ
	asFolder
)

// drawing is what `ict sample` was asked for.
type drawing struct {
	*weights
	out        string
	form       int
	n          int
	rows, cols int
	seed       uint64
	heun       int // levels; 0: multistep
	levels     []float64
	list       []int // classes asked for, in turn; nil: at random, or none
	titles     []string
	rule       tensor.ByteRule
	batch      int // images at a time
	precision  string
}

func sampleAction(c *cli.Context, u *ui) error {
	rate, err := emaRate(c.String("ema"))
	if err != nil {
		return usagef("--ema: %v", err)
	}
	w, err := openWeights(c.Args().First(), rate)
	if err != nil {
		return err
	}
	defer w.close()
	d := &drawing{weights: w, out: c.String("out"), seed: uint64(val[int](c, "seed"))}
	if err := d.read(c); err != nil {
		return err
	}
	dev, err := openDevice(c, 0, d.precision)
	if err != nil {
		return err
	}
	defer dev.Close()
	if m := dev.warning(); m != "" {
		u.warn("%s", m)
	}
	if d.heun > 0 {
		u.warn("the network was trained as a consistency function; heun wants a denoiser")
	}
	u.say("sampling %s, step %s, average %s", w.path, comma(w.step), w.ema)
	ctx, end := interruptible(u)
	defer end()
	if err := d.draw(ctx, c, u, dev); err != nil {
		return cause(ctx, d.outOfMemory(dev, err))
	}
	if u.json {
		return u.printJSON(map[string]any{
			"path": d.out, "from": w.path, "step": w.step, "ema": w.ema, "n": d.n, "seed": d.seed, "classes": d.classNames(), "levels": d.levels, "calls_per_image": d.calls(),
			"byte_rule": d.rule.String(), "device": dev.kind(), "blas": dev.blas(), "precision": d.precision,
		})
	}
	u.result("%s", d.out)
	return nil
}

// read takes the flags and checks them against the network.
func (d *drawing) read(c *cli.Context) error {
	var err error
	if d.form, err = outForm(d.out); err != nil {
		return err
	}
	for flag, path := range map[string]string{"out": d.out, "save-noise": c.String("save-noise")} {
		if above := fileAbove(path); above != "" {
			return usagef("--%s %s: %s is a file; want a folder there", flag, path, above)
		}
		if info, err := os.Lstat(path); err == nil && info.Mode().Type()&^(fs.ModeSymlink|fs.ModeDir) != 0 {
			return usagef("--%s %s: something that is no file has this name; choose another", flag, path)
		}
	}
	d.batch, d.n, d.precision = val[int](c, "batch"), optional(c, "n"), val[string](c, "precision")
	if d.n > math.MaxInt32 {
		return usagef("--n: got %s, want at most %s", comma(d.n), comma(math.MaxInt32))
	}
	if err := d.readLevels(c); err != nil {
		return err
	}
	list, err := d.readClass(c.String("class"))
	if err != nil {
		return err
	}
	if err := d.readGrid(c, len(list)); err != nil {
		return err
	}
	d.rule = tensor.Floor
	if d.form == asGrid {
		d.rule = tensor.Round
	}
	if r := c.Generic("bytes").(*value[tensor.ByteRule]); r.text != "" {
		d.rule = r.v
	}
	d.list = list
	if c.String("save-noise") != "" {
		if err := d.holds("--save-noise", 4*max(len(d.levels), 1)); err != nil {
			return err
		}
	}
	if d.form == asGrid && list != nil {
		for i := range d.cols {
			d.titles = append(d.titles, d.className(list[i%len(list)]))
		}
	}
	return nil
}

// outForm is the form that the name of --out asks for.
func outForm(out string) (int, error) {
	info, err := os.Stat(out)
	folder := err == nil && info.IsDir() || strings.HasSuffix(out, "/")
	switch ext := strings.ToLower(filepath.Ext(out)); {
	case !folder && ext == ".png":
		return asGrid, nil
	case !folder && ext == ".npz":
		return asNPZ, nil
	case folder || ext == "":
		if files, err := os.ReadDir(out); err == nil && len(files) > 0 {
			return 0, usagef("--out %s: the folder is not empty; name a new one, so that it holds this sample and nothing else", out)
		}
		return asFolder, nil
	default:
		return 0, usagef("--out %s: want a .png, a .npz, or a folder", out)
	}
}

// fileAbove is what stands on the way to a path and is no folder; "" for nothing.
func fileAbove(path string) string {
	for p := filepath.Dir(filepath.Clean(path)); ; p = filepath.Dir(p) {
		if info, err := os.Stat(p); err == nil {
			if info.IsDir() {
				return ""
			}
			return p
		}
		if p == filepath.Dir(p) {
			return ""
		}
	}
}

func (d *drawing) noiseLevels() noise.Levels { return d.config.Noise.Levels() }

// readLevels finds the levels to call the network at.
func (d *drawing) readLevels(c *cli.Context) error {
	steps, levels := val[int](c, "steps"), c.Generic("levels").(*value[[]float64])
	if val[string](c, "sampler") == "heun" {
		if levels.text != "" {
			return usagef("--levels is multistep's; heun takes --steps levels of the grid")
		}
		if d.heun = steps; !given(c, "steps") {
			d.heun = 18
		}
		const most = 10000 // far beyond any use
		if d.heun < 2 || d.heun > most {
			return usagef("--steps: got %s, want at least 2 levels for heun, at most %s", comma(d.heun), comma(most))
		}
		return nil
	}
	switch {
	case levels.text != "" && given(c, "steps"):
		return usagef("--steps and --levels exclude each other: each level is a step")
	case levels.text != "":
		d.levels = levels.v
	case steps == 1:
		d.levels = []float64{d.config.Noise.Max}
	case steps == 2:
		d.levels = []float64{d.config.Noise.Max, d.config.TwoStepLevel()}
	default:
		return usagef("--steps: got %d, want 1 or 2; for more say the levels, like --levels 80,5,0.8", steps)
	}
	if err := sample.CheckLevels(d.levels, d.noiseLevels()); err != nil {
		if levels.text == "" { // the recipe's
			return usage(err)
		}
		return usagef("--%s", message(err))
	}
	return nil
}

// calls is the number of network calls an image.
func (d *drawing) calls() int {
	if d.heun > 0 {
		return 2*d.heun - 1
	}
	return len(d.levels)
}

// className is a class as people call it.
func (d *drawing) className(class int) string {
	if class < len(d.classes) {
		return d.classes[class]
	}
	return strconv.Itoa(class)
}

// classNames are the classes asked for; nil: drawn at random, or none.
func (d *drawing) classNames() []string {
	var list []string
	for _, k := range d.list {
		list = append(list, d.className(k))
	}
	return list
}

// readClass turns --class into numbers; nil: at random, or no classes.
func (d *drawing) readClass(s string) ([]int, error) {
	n := d.config.Model.Classes
	switch {
	case s == "":
		return nil, nil
	case n == 0:
		return nil, usagef("--class: this network was trained without classes")
	case s == "all":
		list := make([]int, n)
		for i := range list {
			list[i] = i
		}
		return list, nil
	}
	var list []int
	for part := range strings.SplitSeq(s, ",") {
		part = strings.TrimSpace(part)
		k, err := strconv.Atoi(part)
		if err != nil {
			k = slices.Index(d.classes, part)
		}
		if k < 0 || k >= n {
			known := fmt.Sprintf("0 to %d", n-1)
			if len(d.classes) > 0 && len(d.classes) <= 20 {
				known += ": " + classList(d.classes)
			}
			return nil, usagef("--class: got %q, want one of %s; or all", part, known)
		}
		list = append(list, k)
	}
	return list, nil
}

// readGrid settles the number of images and, for a picture, of rows and columns; list is how many classes were asked for.
func (d *drawing) readGrid(c *cli.Context, list int) error {
	g := c.String("grid")
	if g != "" {
		if d.form != asGrid {
			return usagef("--grid is for a .png; --out is %s", d.out)
		}
		var err error
		if d.rows, d.cols, err = parseGrid(g); err != nil {
			return usagef("--grid: %v", err)
		}
		if d.n == 0 {
			d.n = d.rows * d.cols
		}
		if d.n > d.rows*d.cols {
			return usagef("--n %d: the grid of %s has room for %d", d.n, g, d.rows*d.cols)
		}
		return checkPicture(d.rows, d.cols, d.config.Model.Resolution)
	}
	d.cols = list
	if d.n == 0 {
		if d.n = 64; list > 0 {
			d.n = 8 * list
		}
	}
	if d.form == asNPZ {
		return d.holds("a .npz", 1)
	}
	if d.form == asFolder {
		return nil
	}
	if d.cols == 0 || d.cols > d.n {
		d.cols = 1
		for d.cols*d.cols < d.n {
			d.cols++
		}
	}
	d.rows = (d.n + d.cols - 1) / d.cols
	if checkPicture(d.rows, d.cols, d.config.Model.Resolution) != nil {
		return usagef("--n %d is too much for one picture; write a folder or a .npz", d.n)
	}
	return nil
}

// holds refuses what is held in memory until it is written, size bytes for each number of an image, if there is no room for it.
// A folder takes any number of images.
func (d *drawing) holds(what string, size int) error {
	need, free := d.n*d.config.Model.Pixels()*size, freeMemory()
	if need > free/2 {
		return withCode(exitMemory, fmt.Errorf("--n %s: %s of %s does not fit into half of the memory, %s are free; name a folder, or make several with other --seed",
			comma(d.n), what, bytesText(need), bytesText(free)))
	}
	return nil
}

// labels are the classes of the images first … first+n−1; nil: the network has none.
func (d *drawing) labels(first, n int) []int32 {
	switch classes := d.config.Model.Classes; {
	case classes == 0:
		return nil
	case d.list == nil:
		return sample.Labels(d.seed, uint64(first), n, classes)
	}
	labels := sample.ColumnLabels(uint64(first), n, max(d.cols, 1), len(d.list))
	for i, at := range labels {
		labels[i] = int32(d.list[at])
	}
	return labels
}

// draw makes the images and writes them.
func (d *drawing) draw(ctx context.Context, c *cli.Context, u *ui, dev *device) error {
	src, err := d.source(c, dev)
	if err != nil {
		return err
	}
	asked := min(d.batch, d.n)
	s, err := d.sampler(dev)
	if err != nil {
		return err
	}
	if d.batch < asked {
		u.say("%d at a time: %d need more memory than is to be taken", d.batch, asked)
	}
	u.say("%s, %s, %d network call%s an image, bytes by %s", images(d.n), d.how(), d.calls(), plural(d.calls()), d.rule)
	if d.form == asFolder {
		if err := os.MkdirAll(d.out, 0o755); err != nil {
			return err
		}
	}
	size := d.config.Model.Pixels()
	x := make([]float32, d.batch*size)
	var all []byte
	progress, clear := u.bar("sample")
	defer clear()
	for first := 0; first < d.n; first += d.batch {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		b := sample.Batch{First: uint64(first), N: min(d.batch, d.n-first)}
		b.Labels = d.labels(first, b.N)
		if d.heun > 0 {
			err = s.Heun(x[:b.N*size], d.heun, sample.Churn{}, src, b, nil)
		} else {
			err = s.Multistep(x[:b.N*size], d.levels, src, b, nil)
		}
		if err != nil {
			return err
		}
		bytes := make([]byte, b.N*size)
		sample.Bytes(bytes, x[:b.N*size], d.rule)
		if d.form == asFolder {
			if err := d.writeImages(bytes, first); err != nil {
				return err
			}
		} else {
			all = append(all, bytes...)
		}
		if progress != nil {
			progress(first+b.N, d.n)
		}
	}
	clear()
	if path := c.String("save-noise"); path != "" {
		if err := d.saveNoise(path, dev, src); err != nil {
			return err
		}
		u.say("noise: %s", path)
	}
	switch d.form {
	case asGrid:
		m := d.config.Model
		img := data.Grid(split(all, size), m.Resolution, m.Resolution, m.ImageChannels, d.cols, 2, gridScale(m.Resolution), d.titles)
		return writePNG(d.out, img, d.note())
	case asNPZ:
		m := d.config.Model
		return writeNPZ(d.out, all, tensor.Shape{d.n, m.Resolution, m.Resolution, m.ImageChannels}, d.labels(0, d.n), d.note())
	}
	return nil
}

func plural(n int) string {
	if n == 1 {
		return ""
	}
	return "s"
}

// how says which sampler at which levels.
func (d *drawing) how() string {
	if d.heun > 0 {
		return fmt.Sprintf("heun, %d levels", d.heun)
	}
	return "levels " + levelsText(d.levels)
}

// note says in the file how it was made.
func (d *drawing) note() string {
	return fmt.Sprintf("%s step %d average %s; %s; seed %d; %s; bytes by %s", filepath.Base(d.path), d.step, d.ema, d.how(), d.seed, d.precision, d.rule)
}

// split cuts bytes into images.
func split(b []byte, size int) [][]byte {
	return slices.Collect(slices.Chunk(b, size))
}

// source is where noise comes from.
func (d *drawing) source(c *cli.Context, dev tensor.Backend) (sample.Source, error) {
	path := c.String("noise")
	if path == "" {
		return sample.NewPhilox(dev, d.seed)
	}
	v, shape, err := readNPY(path)
	if _, io := err.(*fs.PathError); io {
		return nil, about("--noise", path, err)
	}
	if err != nil {
		return nil, usage(about("--noise", path, err))
	}
	g, err := sample.NewGiven(dev, v, shape)
	if err != nil {
		return nil, usage(about("--noise", path, err))
	}
	m, levels, full := d.config.Model, max(1, len(d.levels)), shape
	if len(shape) == 4 {
		full = append([]int{1}, shape...)
	}
	if full[0] < levels || full[1] < d.n || !slices.Equal(full[2:], []int{m.Resolution, m.Resolution, m.ImageChannels}) {
		return nil, usagef("--noise %s: got shape %v, want (%d,%d,%d,%d,%d) or more levels and images", path, shape, levels, d.n, m.Resolution, m.Resolution, m.ImageChannels)
	}
	return g, nil
}

// sampler loads the network, as many images at a time as were asked for and fit.
func (d *drawing) sampler(dev *device) (*sample.Sampler, error) {
	m := d.config.Model
	act := train.Train{Precision: d.precision}.Act()
	one, err := m.Record(1, model.Options{Raw: true})
	if err != nil {
		return nil, err
	}
	layout, free := nn.NewLayout(one.Tape, nil), dev.free()
	w, err := layout.NewWeights(dev, tensor.Tensor{}, false)
	if errors.Is(err, syscall.ENOMEM) {
		return nil, withCode(exitMemory, fmt.Errorf("out of memory on %s: the weights need %s, %s are free", dev.place(), bytesText(4*layout.Size), bytesText(free)))
	}
	if err != nil {
		return nil, err
	}
	if err := checkpoint.Guard(func() error { return model.LoadWeights(dev, w, d.tensor) }); err != nil {
		return nil, withCode(exitDamaged, fmt.Errorf("%s: %s", d.path, message(err)))
	}
	d.batch = min(d.batch, d.n)
	for free = dev.free(); ; d.batch = (d.batch + 1) / 2 {
		net, err := m.Record(d.batch, model.Options{Act: act, Raw: true})
		if err != nil {
			return nil, err
		}
		need := nn.Rehearse(net.Tape, dev, nn.Want{}).Bytes + 5*4*d.batch*m.Pixels() // with noise, images and outputs
		if act.Half() {
			need += act.Size() * layout.Size
		}
		if need <= dev.share(free) || d.batch == 1 && need <= free {
			break
		}
		if d.batch == 1 {
			return nil, withCode(exitMemory, fmt.Errorf("out of memory on %s: one image needs %s, %s are free", dev.place(), bytesText(need), bytesText(free)))
		}
	}
	return sample.New(dev, m, d.noiseLevels(), w, d.batch, sample.Options{Act: act})
}

// outOfMemory makes the message of memory that could not be had although the forecast fitted; any other error stays what it is.
func (d *drawing) outOfMemory(dev *device, err error) error {
	if !errors.Is(err, syscall.ENOMEM) {
		return err
	}
	text := fmt.Sprintf("out of memory on %s: %s", dev.place(), message(err))
	if d.batch > 1 {
		text += fmt.Sprintf("\n  try   --batch %d   the same images, fewer at a time", d.batch/2)
	}
	return withCode(exitMemory, errors.New(text))
}

// get finds a tensor of the network. Averages in states have no buffers: those lie with the weights.
func (w *weights) get(name string) (checkpoint.Named, bool) {
	t, ok := w.file.Get(name)
	if !ok && w.online != nil {
		t, ok = w.online.Get(name)
	}
	return t, ok
}

// tensor gives a parameter as model.LoadWeights asks for it.
func (w *weights) tensor(name string) ([]int, []float32, bool) {
	t, ok := w.get(name)
	if !ok || t.DType != checkpoint.F32 {
		return nil, nil, false
	}
	return t.Shape, checkpoint.Float32s(t.Data), true
}

// writeImages writes one file per image.
func (d *drawing) writeImages(b []byte, first int) error {
	m := d.config.Model
	for i, img := range split(b, m.Pixels()) {
		path := filepath.Join(d.out, fmt.Sprintf("%06d.png", first+i))
		if err := writePNG(path, pictureOf(img, m), d.note()); err != nil {
			return err
		}
	}
	return nil
}

// pictureOf is one image without a frame: gray where it has one channel.
func pictureOf(b []byte, m model.Config) image.Image {
	if m.ImageChannels == 1 {
		return &image.Gray{Pix: b, Stride: m.Resolution, Rect: image.Rect(0, 0, m.Resolution, m.Resolution)}
	}
	return data.Grid([][]byte{b}, m.Resolution, m.Resolution, m.ImageChannels, 1, 0, 1, nil)
}

// saveNoise writes what src gave: (levels,N,H,W,C).
func (d *drawing) saveNoise(path string, dev tensor.Backend, src sample.Source) error {
	m := d.config.Model
	one := tensor.Shape{1, m.Resolution, m.Resolution, m.ImageChannels}
	levels := max(len(d.levels), 1)
	z, err := nn.NewTensor(dev, tensor.F32, one...)
	buf, err2 := dev.Pinned(4 * one.Elems())
	if err := errors.Join(err, err2); err != nil {
		return err
	}
	all := make([]float32, 0, levels*d.n*one.Elems())
	for l := range levels {
		for i := range d.n {
			if err := src.Noise(z, l, uint64(i)); err != nil {
				return err
			}
			if err := dev.Download(buf, z).Wait(); err != nil {
				return err
			}
			all = append(all, tensor.Floats(buf)...)
		}
	}
	return writeNPY(path, all, tensor.Shape{levels, d.n, m.Resolution, m.Resolution, m.ImageChannels})
}
