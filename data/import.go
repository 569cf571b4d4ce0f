package data

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
)

// ImportOptions says how images become a packed set.
type ImportOptions struct {
	Size   int    // as in Options, like the next three
	Crop   string //
	Gray   bool   //
	Labels string //

	Workers int // 0: one per core

	// BadImages is what to do with an image that cannot be used: fail (or empty) stops there, skip leaves it out, but
	// stops when more than the share MaxBad (0 to 1) of all images is bad.
	BadImages string
	MaxBad    float64

	// Limit takes that many images, evenly spread over the sorted order: entries ⌊j·N/Limit⌋. 0 takes all.
	Limit int
}

// The values of ImportOptions.BadImages.
const (
	BadFail = "fail"
	BadSkip = "skip"
)

// BadImage is an image that cannot be used: its index in the source, and an error that names it.
type BadImage struct {
	Index int    `json:"index"`
	Error string `json:"error"`
}

// Report is what an import did. It is kept as <dst>.import.json.
type Report struct {
	Source  string     `json:"source"`
	Size    int        `json:"size"` // as asked for, like the next three
	Crop    string     `json:"crop"`
	Gray    bool       `json:"gray"`
	Labels  string     `json:"labels"`
	Shape   [3]int     `json:"shape"`   // (H,W,C)
	Images  int        `json:"images"`  // written
	Classes []string   `json:"classes"` // in order of their labels
	Ignored int        `json:"ignored"` // files of the source that are not images
	Bad     []BadImage `json:"bad"`
	Notes   []string   `json:"notes,omitempty"` // of the source, as Notes gives them
}

// Import writes the set at src as a packed file dst, in the source's order. Nothing has the name dst before it is
// complete and checked; an older dst is replaced then. progress, unless nil, is called after each image.
func Import(ctx context.Context, src, dst string, o ImportOptions, progress func(done, total int)) (Report, error) {
	opt := Options{Size: o.Size, Crop: o.Crop, Gray: o.Gray, Labels: o.Labels, inOrder: true}
	if err := errors.Join(opt.check(), o.check()); err != nil {
		return Report{}, err
	}
	ds, err := Open(src, opt)
	if err != nil {
		return Report{}, err
	}
	defer ds.Close()
	h, w, c := ds.Shape()
	r := Report{
		Source: src, Size: opt.Size, Crop: opt.Crop, Gray: opt.Gray, Labels: opt.Labels,
		Shape: [3]int{h, w, c}, Classes: ds.ClassNames(), Bad: []BadImage{}, Notes: Notes(ds),
	}
	if t, ok := ds.(*tree); ok {
		r.Ignored = t.ignored
	}
	p, err := newPackWriter(dst, h, w, c, ds.ClassNames())
	if err != nil {
		return r, err
	}
	if err = o.copy(ctx, p, ds, &r, progress); err == nil {
		err = finishImport(ctx, p, r)
	}
	if err != nil {
		p.abort()
	}
	return r, err
}

func (o ImportOptions) check() error {
	switch {
	case o.BadImages != "" && o.BadImages != BadFail && o.BadImages != BadSkip:
		return fmt.Errorf("data: bad images: got %q, want fail or skip", o.BadImages)
	case !(o.MaxBad >= 0 && o.MaxBad <= 1):
		return fmt.Errorf("data: share of bad images: got %v, want 0 to 1", o.MaxBad)
	case o.Limit < 0:
		return fmt.Errorf("data: limit: got %d, want 0 (all) or more", o.Limit)
	}
	return nil
}

// copy writes the images and notes the bad ones.
func (o ImportOptions) copy(ctx context.Context, p *packWriter, ds Dataset, r *Report, progress func(done, total int)) error {
	n, total := ds.Len(), ds.Len()
	if o.Limit > 0 {
		n = min(n, o.Limit)
	}
	at := func(j int) int { return int(int64(j) * int64(total) / int64(n)) }
	err := each(ctx, ds, n, o.Workers, at, func(j int, img []byte, label int, err error) error {
		if err == nil {
			err = p.add(img, label)
			r.Images++
		} else {
			err = o.bad(r, at(j), n, err)
		}
		if err == nil && progress != nil {
			progress(j+1, n)
		}
		return err
	})
	if err == nil && r.Images == 0 {
		return damaged("%s: no image left: all %s are bad, the first: %s", printable(r.Source), comma(n), r.Bad[0].Error)
	}
	return err
}

// bad notes a bad image or stops the import.
func (o ImportOptions) bad(r *Report, index, n int, err error) error {
	allowed := strconv.FormatFloat(100*o.MaxBad, 'g', 4, 64) + " %"
	if o.BadImages != BadSkip {
		return fmt.Errorf("%w\n  to leave such files out: --bad-images skip (at most %s may be bad)", err, allowed)
	}
	r.Bad = append(r.Bad, BadImage{index, err.Error()})
	if float64(len(r.Bad)) > o.MaxBad*float64(n) {
		return damaged("%s: %s bad images of %s, at most %s may be bad; the first: %s\n  --max-bad allows another share",
			printable(r.Source), comma(len(r.Bad)), comma(n), allowed, r.Bad[0].Error)
	}
	return nil
}

// finishImport leaves the report, then the set, so that no set is without one.
func finishImport(ctx context.Context, p *packWriter, r Report) error {
	if err := p.complete(ctx); err != nil {
		return err
	}
	report, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	name := p.dst + ".import.json"
	if err := os.WriteFile(name+".tmp", append(report, '\n'), 0o666); err != nil {
		return err
	}
	if err := os.Rename(name+".tmp", name); err != nil {
		return err
	}
	return p.publish()
}
