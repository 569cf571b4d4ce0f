package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"

	"github.com/urfave/cli/v2"

	"ict/checkpoint"
	"ict/data"
)

func dataCommand() *cli.Command {
	return &cli.Command{
		Name: "data", Usage: "turns images into a packed set, checks it, looks at it",
		UsageText: "  ict data make shapes --out shapes.pack\n  ict data import photos/ --size 64 --crop center --out photos.pack\n  ict data preview photos.pack --out photos.png",
		Subcommands: []*cli.Command{
			{
				Name: "import", Usage: "writes an image set of another form as one packed file", ArgsUsage: "SOURCE",
				UsageText: "  ict data import photos/ --size 64 --crop dhariwal --out photos.pack\n  ict data import cifar-10-python.tar.gz --out cifar10.pack\n" +
					"  ict data import val.zip --labels val.csv --size 64 --crop dhariwal --out val.pack",
				Description: "SOURCE may be\n" + arrayForms +
					"  pictures  a folder, a zip or a tar of PNG, JPEG, GIF, BMP, TIFF or WebP images, or of tars of them, one per class\n" +
					"A folder or an archive with a training and a test set means the training set; the test set is the path of its file, as in\n" +
					"cifar-10-batches-py/test_batch. Labels are those of the set; of pictures, those of EDM's dataset.json or the sorted top folders.\n" +
					"Nothing has the name of --out before it is complete and checked. Stopped, killed or out of disk, the same command goes on where\n" +
					"it was, with what lies in <out>.partial; after a bad image, with --bad-images skip. What was done is kept beside the set, in\n" +
					"<out>.import.json.",
				Flags: append(append([]cli.Flag{&cli.StringFlag{Name: "out", Usage: "write the packed set to `FILE`", Required: false}}, setFlags()...),
					&cli.GenericFlag{Name: "bad-images", Value: oneOf(data.BadFail, data.BadFail, data.BadSkip), Usage: "`WHAT` to do with an image that cannot be used: fail or skip"},
					&cli.GenericFlag{Name: "max-bad", Value: of("0.1%", parseShare), Usage: "with skip, at most this `SHARE` may be bad"},
					&cli.GenericFlag{Name: "limit", Value: count("", 1), Usage: "take `N` images, spread evenly; without: all"},
					&cli.GenericFlag{Name: "workers", Value: count("", 1), Usage: "`N` readers, at most 1,024; without: one per core"}),
				Action: action(1, 1, importAction),
			},
			{
				Name: "make", Usage: "writes a packed set of synthetic images; the one kind is shapes: eight coloured figures, labelled", ArgsUsage: "shapes",
				UsageText: "  ict data make shapes --out shapes.pack",
				Flags: []cli.Flag{
					&cli.StringFlag{Name: "out", Usage: "write the packed set to `FILE`"},
					&cli.GenericFlag{Name: "n", Value: count("10k", 1), Usage: "`N` images"},
					&cli.GenericFlag{Name: "size", Value: count("32", 1), Usage: "`N` by N pixels, 8 to 1024"},
					&cli.GenericFlag{Name: "seed", Value: count("0", 0), Usage: "begin all draws from seed `N`"},
				},
				Action: action(1, 1, makeAction),
			},
			{
				Name: "preview", Usage: "draws a grid of random images, a class per column where there are at most 20", ArgsUsage: "SET",
				UsageText: "  ict data preview shapes.pack --out preview.png",
				Flags: append([]cli.Flag{
					&cli.StringFlag{Name: "out", Value: "preview.png", Usage: "write the grid to `FILE`"},
					&cli.StringFlag{Name: "grid", Usage: "`ROWSxCOLS`; without: 8 rows, 8 columns or one per class"},
					&cli.GenericFlag{Name: "seed", Value: count("0", 0), Usage: "another `N`, other images"},
				}, setFlags()...),
				Action: action(1, 1, previewAction),
			},
			{
				Name: "verify", Usage: "reads every image of a set and checks labels and checksums", ArgsUsage: "SET",
				UsageText: "  ict data verify shapes.pack\n  ict data verify photos.zip --size 64 --crop center",
				Description: "Images are decoded, resized as asked for, and compared with the checksums that the form has. All that fail are counted; the first 20 are\n" +
					"named, with --json all. The exit code is 14 if any failed.",
				Flags: setFlags(), Action: action(1, 1, verifyAction),
			},
			{
				Name: "stats", Usage: "counts images per class, mean, deviation and duplicates", ArgsUsage: "SET",
				UsageText: "  ict data stats shapes.pack", Flags: setFlags(), Action: action(1, 1, statsAction),
			},
		},
	}
}

// arrayForms describes the sets that are no folders of pictures.
const arrayForms = "" +
	"  x.pack    a packed set\n" +
	"  MNIST     its idx files, gz or not, or their folder\n" +
	"  CIFAR     -10 or -100, binary or python: the tar.gz, the folder in it, or one of its files\n" +
	"  x.npz     arr_0, uint8 (N,H,W,C), with labels in arr_1, as ict sample writes it; or data, with labels,\n" +
	"            which are taken to count from 1 if the smallest is 1; an x.npy has no labels.\n" +
	"            Arrays of numpy.savez are read in place, those of savez_compressed into memory, up to 4 GiB\n" +
	"  batches   of the downsampled ImageNet: the folder of train_data_batch_1 to 10, pickled or npz, or one file. Labels whose\n" +
	"            smallest is 1 are taken to count from 1\n"

func sayNotes(u *ui, path string, notes []string) {
	for _, n := range notes {
		u.say("%s: %s", path, n)
	}
}

// setFlags say how a set is read, whatever its form.
func setFlags() []cli.Flag {
	return []cli.Flag{
		&cli.GenericFlag{Name: "size", Value: count("", 1), Usage: "make images `N` by N pixels; without: as they are, all of one size"},
		&cli.GenericFlag{Name: "crop", Value: oneOf(data.CropNone, data.CropDhariwal, data.CropCenter, data.CropFit, data.CropNone), Usage: "how an image gets its size, `HOW`: dhariwal, center, fit or none"},
		&cli.BoolFlag{Name: "gray", Usage: "one channel instead of three"},
		&cli.GenericFlag{Name: "labels", Value: of(data.LabelsFolders, parseLabels), Usage: "labels from `WHERE`: folders, prefix (of file names, up to _), none, or a table, *.json or *.csv"},
		&cli.GenericFlag{Name: "classes", Value: count("", 1), Usage: "with a table of numbers: there are `N` classes, not all of which need an image"},
	}
}

func parseLabels(s string) (string, error) {
	switch {
	case s == data.LabelsFolders, s == data.LabelsPrefix, s == data.LabelsNone, data.IsTable(s):
		return s, nil
	}
	return "", fmt.Errorf("got %q, want folders, prefix, none, or a table, *.json or *.csv", s)
}

// setOptions reads setFlags.
func setOptions(c *cli.Context) (data.Options, error) {
	o := data.Options{Size: optional(c, "size"), Crop: val[string](c, "crop"), Gray: c.Bool("gray"), Labels: val[string](c, "labels"), Classes: optional(c, "classes")}
	if o.Size > data.MaxSize {
		return o, usagef("--size: got %d, want 1 to %d", o.Size, data.MaxSize)
	}
	if o.Size == 0 && o.Crop != data.CropNone {
		return o, usagef("--crop %s wants a --size", o.Crop)
	}
	if o.Classes > 0 && !data.IsTable(o.Labels) {
		return o, usagef("--classes wants --labels with a table")
	}
	return o, nil
}

// openSet opens the set that the argument names, as setFlags say, and says what should be known about how it is read.
func openSet(c *cli.Context, u *ui) (data.Dataset, error) {
	o, err := setOptions(c)
	if err != nil {
		return nil, err
	}
	ds, err := data.Open(c.Args().First(), o)
	if err == nil {
		sayNotes(u, c.Args().First(), data.Notes(ds))
	}
	return ds, noSet(c.Args().First(), err)
}

// wantOut is --out, which must be given.
func wantOut(c *cli.Context, like string) (string, error) {
	out := c.String("out")
	if out == "" {
		return "", usagef("where to? --out FILE, like --out %s", like)
	}
	if info, err := os.Stat(out); err == nil && info.IsDir() {
		return "", usagef("--out %s: is a folder; want a file, like %s", out, filepath.Join(out, like))
	}
	if free, err := data.Replaceable(out); err != nil {
		return "", about("--out", out, err)
	} else if !free {
		return "", usagef("--out %s: is there, and is no packed set, so it stays; choose another name, or remove it", out)
	}
	if _, err := os.Stat(filepath.Dir(out)); err != nil {
		return "", fmt.Errorf("%w; make the folder first", about("--out", out, err))
	}
	return out, nil
}

// optional is a number whose flag may be left empty.
func optional(c *cli.Context, flag string) int { return val[int](c, flag) }

func importAction(c *cli.Context, u *ui) error {
	src := c.Args().First()
	out, err := wantOut(c, strings.TrimSuffix(filepath.Base(src), filepath.Ext(src))+".pack")
	if err != nil {
		return err
	}
	set, err := setOptions(c)
	if err != nil {
		return err
	}
	if n := optional(c, "workers"); n > data.MaxWorkers {
		return usagef("--workers: got %s, want 1 to %s", comma(n), comma(data.MaxWorkers))
	}
	o := data.ImportOptions{
		Size: set.Size, Crop: set.Crop, Gray: set.Gray, Labels: set.Labels, Classes: set.Classes, Workers: optional(c, "workers"),
		BadImages: val[string](c, "bad-images"), MaxBad: val[float64](c, "max-bad"), Limit: optional(c, "limit"), Say: func(line string) { u.say("%s", line) },
	}
	u.say("importing %s into %s", src, out)
	ctx, end := interruptible(u)
	defer end()
	progress, clear := u.bar("import")
	r, err := data.Import(ctx, src, out, o, progress)
	clear()
	if err != nil {
		return stoppedImport(ctx, noSet(src, err))
	}
	sayNotes(u, src, r.Notes)
	if len(r.Bad) > 0 {
		u.warn("%s bad images were left out; %s.import.json lists them", comma(len(r.Bad)), out)
	}
	if r.Ignored > 0 {
		u.say("%s file%s no image%s and left out", comma(r.Ignored), map[bool]string{true: " is", false: "s are"}[r.Ignored == 1], plural(r.Ignored))
	}
	return setMade(u, out)
}

// stoppedImport is the error of an import that failed, or that a signal ended, which can be gone on with.
func stoppedImport(ctx context.Context, err error) error {
	var sig interrupted
	var u *data.Unfinished
	if !errors.As(context.Cause(ctx), &sig) || !errors.As(err, &u) {
		return cause(ctx, err)
	}
	return withCode(exitStopped, &data.Unfinished{Err: sig, Done: u.Done, Total: u.Total, Partial: u.Partial})
}

// setMade prints what a set holds that has just been written.
func setMade(u *ui, path string) error {
	ds, err := data.Open(path, data.Options{})
	if err != nil {
		return err
	}
	defer ds.Close()
	h, w, ch := ds.Shape()
	if u.json {
		return u.printJSON(map[string]any{"path": path, "images": ds.Len(), "shape": []int{h, w, ch}, "classes": append([]string{}, ds.ClassNames()...)})
	}
	u.result("%s: %s", path, setText(ds))
	return nil
}

// images is "1 image" or "1,000 images".
func images(n int) string { return comma(n) + " image" + plural(n) }

// setText describes a set in a line.
func setText(ds data.Dataset) string {
	h, w, ch := ds.Shape()
	s := fmt.Sprintf("%s of %d×%d×%d", images(ds.Len()), h, w, ch)
	switch names := ds.ClassNames(); {
	case len(names) == 0:
		return s + ", no labels"
	case len(names) > 12:
		return fmt.Sprintf("%s, %d classes", s, len(names))
	default:
		return fmt.Sprintf("%s, %d classes: %s", s, len(names), classList(names))
	}
}

// classList is the names of classes in a line; whoever made a set chose them.
func classList(names []string) string {
	list := make([]string, len(names))
	for i, name := range names {
		list[i] = data.Printable(name)
	}
	return strings.Join(list, " ")
}

func makeAction(c *cli.Context, u *ui) error {
	if kind := c.Args().First(); kind != "shapes" {
		return usagef("data make: got kind %s, want shapes", kind)
	}
	out, err := wantOut(c, "shapes.pack")
	if err != nil {
		return err
	}
	n, size := val[int](c, "n"), val[int](c, "size")
	if size < 8 || size > 1024 {
		return usagef("--size: got %d, want 8 to 1024", size)
	}
	if n > math.MaxInt32 {
		return usagef("--n: got %s, want at most %s", comma(n), comma(math.MaxInt32))
	}
	u.say("making %s into %s", images(n), out)
	if err := data.MakeShapes(out, n, size, uint64(val[int](c, "seed"))); err != nil {
		return err
	}
	return setMade(u, out)
}

func previewAction(c *cli.Context, u *ui) error {
	out := c.String("out")
	if form, err := outForm(out); err != nil || form != asGrid {
		return usagef("--out %s: want a .png", out)
	}
	ds, err := openSet(c, u)
	if err != nil {
		return err
	}
	defer ds.Close()
	rows, cols := 8, data.PreviewColumns(ds, 0)
	if g := c.String("grid"); g != "" {
		if rows, cols, err = parseGrid(g); err != nil {
			return usagef("--grid: %v", err)
		}
	}
	h, w, _ := ds.Shape()
	if err := checkPicture(rows, cols, max(h, w)); err != nil {
		return err
	}
	img, err := data.Preview(ds, rows, cols, uint64(val[int](c, "seed")))
	if err != nil {
		return err
	}
	if err := writePNG(out, img, ""); err != nil {
		return err
	}
	if u.json {
		return u.printJSON(map[string]any{"path": out, "rows": rows, "cols": data.PreviewColumns(ds, cols)})
	}
	u.result("%s", out)
	return nil
}

func verifyAction(c *cli.Context, u *ui) error {
	path := c.Args().First()
	ds, err := openSet(c, u)
	if err != nil {
		return err
	}
	defer ds.Close()
	ctx, end := interruptible(u)
	defer end()
	progress, clear := u.bar("verify")
	bad, err := data.Verify(ctx, ds, progress)
	clear()
	if err != nil {
		return cause(ctx, err)
	}
	if u.json {
		if err := u.printJSON(map[string]any{"path": path, "images": ds.Len(), "bad": append([]data.BadImage{}, bad...)}); err != nil {
			return err
		}
	}
	const shown = 20
	for i, b := range bad {
		if i == shown {
			fmt.Fprintf(u.err, "and %s more\n", comma(len(bad)-shown))
			break
		}
		fmt.Fprintln(u.err, b.Error)
	}
	if len(bad) > 0 {
		return withCode(exitDamaged, fmt.Errorf("%s: %s of %s images are bad; import again", path, comma(len(bad)), comma(ds.Len())))
	}
	if !u.json {
		u.result("%s: %s; all whole", path, setText(ds))
	}
	return nil
}

func statsAction(c *cli.Context, u *ui) error {
	path := c.Args().First()
	ds, err := openSet(c, u)
	if err != nil {
		return err
	}
	defer ds.Close()
	ctx, end := interruptible(u)
	defer end()
	progress, clear := u.bar("stats")
	s, err := data.Stats(ctx, ds, progress)
	clear()
	if err != nil {
		return cause(ctx, err)
	}
	if u.json {
		return u.printJSON(s)
	}
	u.result("%s: %s of %d×%d×%d", path, images(s.Images), s.Shape[0], s.Shape[1], s.Shape[2])
	for i, k := range s.Classes {
		u.result("  class %3d  %-20s %s", i, data.Printable(k.Name), comma(k.Images))
	}
	u.result("mean %s, deviation %s per channel, in bytes", decimals(s.Mean), decimals(s.Std))
	u.result("%s duplicates", comma(s.Duplicates))
	return nil
}

func decimals(v []float64) string {
	s := make([]string, len(v))
	for i, x := range v {
		s[i] = fmt.Sprintf("%.2f", x)
	}
	return strings.Join(s, " ")
}

// freeText is the room on the disk under path.
func freeText(path string) string {
	n, err := checkpoint.FreeBytes(path)
	if err != nil {
		return "unknown"
	}
	return bytesText(n)
}
