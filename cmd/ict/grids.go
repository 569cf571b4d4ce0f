package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"

	"ict/data"
	"ict/sample"
	"ict/tensor"
	"ict/train"
)

// grids draws the pictures of a run: always from the same noise, one-step rows above two-step rows.
type grids struct {
	folder  string
	config  train.Config
	classes []string
	dev     tensor.Backend
	t       *train.Trainer
	board   *board

	sampler *sample.Sampler // made at the first picture
	batch   int             // of it
	noise   *sample.Philox
	cols    int
}

const (
	gridRows    = 4 // of each kind
	gridCols    = 8 // without classes
	gridClasses = 10
)

// classOf is the class of a column; classes are spread evenly where there are more than columns.
func (g *grids) classOf(col int) int { return col * g.config.Model.Classes / g.cols }

// draw writes the grid name.png of the first average.
func (g *grids) draw(name string) error {
	m := g.config.Model
	if g.sampler == nil {
		g.cols = gridCols
		if m.Classes > 0 {
			g.cols = min(m.Classes, gridClasses)
		}
		var err error
		if g.noise, err = sample.NewPhilox(g.dev, g.config.Train.Seed); err != nil {
			return err
		}
		g.batch = min(g.cols*gridRows, g.t.MicroBatch())
		if g.sampler, err = sample.New(g.dev, m, g.config.Noise.Levels(), g.t.EMA[0], g.batch, sample.Options{Act: g.config.Train.Act()}); err != nil {
			return err
		}
	}
	var images [][]byte
	for _, levels := range [][]float64{{g.config.Noise.Max}, {g.config.Noise.Max, g.config.TwoStepLevel()}} {
		more, err := g.rows(levels)
		if err != nil {
			return err
		}
		images = append(images, more...)
	}
	var titles []string
	if m.Classes > 0 {
		for i := range g.cols {
			title := strconv.Itoa(g.classOf(i))
			if k := g.classOf(i); k < len(g.classes) {
				title = g.classes[k]
			}
			titles = append(titles, title)
		}
	}
	img := data.Grid(images, m.Resolution, m.Resolution, m.ImageChannels, g.cols, 2, gridScale(m.Resolution), titles)
	note := fmt.Sprintf("step %d average %s; %d rows in one step, %d in two, at levels %s and %s; seed %d", g.t.K, train.EMAName(g.config.EMA[0]),
		gridRows, gridRows, levelText(g.config.Noise.Max), levelText(g.config.TwoStepLevel()), g.config.Train.Seed)
	path := filepath.Join(g.folder, name+".png")
	if err := writePNG(path, img, note); err != nil {
		return err
	}
	return g.board.image(g.t.K, "grid", path)
}

// rows makes the images of one kind. A network that gives what is no number yields no picture but an error.
func (g *grids) rows(levels []float64) ([][]byte, error) {
	m := g.config.Model
	n, size := g.cols*gridRows, m.Pixels()
	all := make([]byte, n*size)
	x := make([]float32, g.batch*size)
	for first := 0; first < n; first += g.batch {
		b := sample.Batch{First: uint64(first), N: min(g.batch, n-first)}
		if m.Classes > 0 {
			for i := range b.N {
				b.Labels = append(b.Labels, int32(g.classOf((first+i)%g.cols)))
			}
		}
		if err := g.sampler.Multistep(x[:b.N*size], levels, g.noise, b, nil); err != nil {
			return nil, err
		}
		sample.Bytes(all[first*size:(first+b.N)*size], x[:b.N*size], tensor.Round)
	}
	return split(all, size), nil
}

// leftGrid matches what a process that was killed while it wrote a picture of a run leaves, see atomically.
var leftGrid = regexp.MustCompile(`^\.(data|init|final|step-\d{8,})\.png\.\d+$`)

// clearGrids removes that from the folder of a run's grids. It must be called under the run's lock.
func clearGrids(dir string) error {
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		if e.Type().IsRegular() && leftGrid.MatchString(e.Name()) {
			err = errors.Join(err, os.Remove(filepath.Join(dir, e.Name())))
		}
	}
	return err
}

// drawData writes data.png: the first images of the run as the network is shown them.
func drawData(path string, ds data.Dataset, c train.Config) error {
	l := data.NewLoader(ds, data.LoaderOptions{Seed: c.Train.Seed, Batch: c.Train.Batch, Flip: c.Data.Flip})
	defer l.Close()
	m := c.Model
	var images [][]byte
	for want := gridCols * gridCols; len(images) < want; {
		b, err := l.Next(context.Background())
		if err != nil {
			return err
		}
		for i, img := range split(slices.Clone(b.Images), m.Pixels()) {
			if b.Flip[i] {
				mirror(img, m.Resolution, m.ImageChannels)
			}
			if len(images) < want {
				images = append(images, img)
			}
		}
	}
	return writePNG(path, data.Grid(images, m.Resolution, m.Resolution, m.ImageChannels, gridCols, 2, gridScale(m.Resolution), nil), "")
}

// mirror turns an image (H,W,C) left to right.
func mirror(img []byte, w, c int) {
	for row := 0; row < len(img); row += w * c {
		for x := range w / 2 {
			a, b := row+x*c, row+(w-1-x)*c
			for k := range c {
				img[a+k], img[b+k] = img[b+k], img[a+k]
			}
		}
	}
}

// twoStepFits reports whether the second level lies inside the range.
func twoStepFits(c train.Config) bool {
	return sample.CheckLevels([]float64{c.Noise.Max, c.TwoStepLevel()}, c.Noise.Levels()) == nil
}
