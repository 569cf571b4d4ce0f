package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/urfave/cli/v2"

	"ict/data"
)

func benchDataCommand() *cli.Command {
	return &cli.Command{
		Name: "data", Usage: "times the reading and the import of an image set", ArgsUsage: "SET",
		UsageText: "  ict bench data photos/ --size 64 --crop dhariwal\n  ict bench data cifar10.pack --json",
		Description: "Images are read, decoded and resized as an import or a run does it: by one reader, by one per core, by the loader of a run, which puts\n" +
			"them into its order, and by an import to a file that is removed. The first pass over them is not counted, so that the files lie in the\n" +
			"system's memory; of the others, medians. MB/s are of the bytes that come out.",
		Flags: append(setFlags(),
			&cli.GenericFlag{Name: "n", Value: count("2000", 1), Usage: "take `N` images, spread evenly, at most those there are"},
			&cli.GenericFlag{Name: "batch", Value: count("128", 1), Usage: "the loader's batches have `N` images"},
			&cli.GenericFlag{Name: "repeats", Value: count("5", 1), Usage: "measure each `N` times"}),
		Action: action(1, 1, benchDataAction),
	}
}

// dataRate is how fast something goes through a set.
type dataRate struct {
	What      string     `json:"what"`
	Workers   int        `json:"workers"`
	Images    int        `json:"images"` // in a measurement
	Rate      float64    `json:"img_per_s"`
	Quartiles [2]float64 `json:"img_per_s_quartiles"`
	Bytes     float64    `json:"bytes_per_s"`
}

func benchDataAction(c *cli.Context, u *ui) error {
	path := c.Args().First()
	opt, err := setOptions(c)
	if err != nil {
		return err
	}
	ds, err := openSet(c, u)
	if err != nil {
		return err
	}
	defer ds.Close()
	dir, err := os.MkdirTemp("", "ict-bench-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	ctx, end := interruptible(u)
	defer end()
	h, w, ch := ds.Shape()
	size, n, cores := h*w*ch, min(val[int](c, "n"), ds.Len()), runtime.GOMAXPROCS(0)
	batch := min(val[int](c, "batch"), n)
	at := func(j int) int { return int(int64(j) * int64(ds.Len()) / int64(n)) }
	passes := []struct {
		what            string
		workers, images int
		run             func(context.Context) error
	}{
		{"read, one reader", 1, n, func(ctx context.Context) error { return readAll(ctx, ds, n, 1, at, size) }},
		{"read, all cores", cores, n, func(ctx context.Context) error { return readAll(ctx, ds, n, cores, at, size) }},
		{"load in batches", cores, n / batch * batch, func(ctx context.Context) error { return loadAll(ctx, ds, n/batch, batch) }},
		{"import", cores, n, func(ctx context.Context) error {
			_, err := data.Import(ctx, path, filepath.Join(dir, "x.pack"), data.ImportOptions{
				Size: opt.Size, Crop: opt.Crop, Gray: opt.Gray, Labels: opt.Labels, Classes: opt.Classes, Limit: n}, nil)
			return err
		}},
	}
	if err := readAll(ctx, ds, n, cores, at, size); err != nil { // from the disk
		return cause(ctx, err)
	}
	var rates []dataRate
	for _, p := range passes {
		var all []float64
		for i := range val[int](c, "repeats") {
			if u.err.tty && !u.quiet {
				u.err.progress(fmt.Sprintf("%s: %d of %d", p.what, i+1, val[int](c, "repeats")))
			}
			begin := time.Now()
			if err := p.run(ctx); err != nil {
				u.err.clear()
				return cause(ctx, err)
			}
			all = append(all, float64(p.images)/time.Since(begin).Seconds())
		}
		slices.Sort(all)
		share := func(f float64) float64 { return quantile(all, f) }
		rates = append(rates, dataRate{What: p.what, Workers: p.workers, Images: p.images, Rate: share(0.5), Quartiles: [2]float64{share(0.25), share(0.75)},
			Bytes: share(0.5) * float64(size)})
	}
	u.err.clear()
	hash, _ := buildOf()
	if u.json {
		return u.printJSON(map[string]any{"path": path, "images": ds.Len(), "shape": [3]int{h, w, ch}, "repeats": val[int](c, "repeats"), "rates": rates,
			"processor": processor(), "cores": cores, "build": hash})
	}
	u.result("%s: %s", path, setText(ds))
	for _, r := range rates {
		u.result("%-17s  %12s  %8.1f MB/s   quartiles %s and %s", r.What, rateText(r.Rate), r.Bytes/1e6, rateText(r.Quartiles[0]), rateText(r.Quartiles[1]))
	}
	u.result("with       %d cores of %s; medians of %d times %s images; build %s", cores, processor(), val[int](c, "repeats"), comma(n), hash)
	return nil
}

// readAll reads n images of size bytes by several readers.
func readAll(ctx context.Context, ds data.Dataset, n, workers int, at func(j int) int, size int) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var next atomic.Int64
	var wait sync.WaitGroup
	for range workers {
		wait.Go(func() {
			img := make([]byte, size)
			for ctx.Err() == nil {
				j := int(next.Add(1)) - 1
				if j >= n {
					return
				}
				if _, err := ds.Image(img, at(j)); err != nil {
					cancel(err)
				}
			}
		})
	}
	wait.Wait()
	return context.Cause(ctx)
}

// loadAll takes batches from the loader of a run.
func loadAll(ctx context.Context, ds data.Dataset, batches, batch int) error {
	l := data.NewLoader(ds, data.LoaderOptions{Seed: 1, Batch: batch, Flip: true})
	defer l.Close()
	for range batches {
		if _, err := l.Next(ctx); err != nil {
			return err
		}
	}
	return nil
}
