package data

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/google/renameio/v2"
	"golang.org/x/sys/unix"
)

// ImportOptions says how images become a packed set.
type ImportOptions struct {
	Size    int    // as in Options, like the next four
	Crop    string //
	Gray    bool   //
	Labels  string //
	Classes int    //

	Workers int // at most MaxWorkers; 0: one per core

	// BadImages is what to do with an image that cannot be used: fail (or empty) stops there, skip leaves it out, but
	// stops when more than the share MaxBad (0 to 1) of all images is bad.
	BadImages string
	MaxBad    float64

	// Limit takes that many images, evenly spread over the sorted order: entries ⌊j·N/Limit⌋. 0 takes all.
	Limit int

	// Say, unless nil, is told in a line whether an earlier import is gone on with.
	Say func(line string)
}

// MaxWorkers bounds the readers of an import, each of which holds several images.
const MaxWorkers = 1024

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
//
// An import that ended early with images done, whatever ended it, even SIGKILL, leaves them in <dst>.partial; where
// Import knows of that its error is an [Unfinished]. The same call goes on there, with the bytes of an import that
// nobody disturbed; what it does about bad images may be another.
func Import(ctx context.Context, src, dst string, o ImportOptions, progress func(done, total int)) (Report, error) {
	opt := Options{Size: o.Size, Crop: o.Crop, Gray: o.Gray, Labels: o.Labels, Classes: o.Classes, inOrder: true, ctx: ctx}
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
	n := ds.Len()
	if o.Limit > 0 {
		n = min(n, o.Limit)
	}
	id, err := identify(src, dst, opt, ds, n)
	if err != nil {
		return r, err
	}
	if err := wholeArrays(ctx, ds); err != nil {
		return r, err
	}
	p, err := openPackWriter(dst, h, w, c, ds.ClassNames())
	if err != nil {
		return r, err
	}
	m := importing{ImportOptions: o, ds: ds, p: p, n: n, r: &r}
	err = m.resume(ctx, id)
	if err == nil {
		err = m.copy(ctx, progress)
	}
	if err == nil {
		err = finishImport(ctx, p, r)
	}
	if err != nil {
		err = m.unfinished(err)
	}
	return r, err
}

// wholeArrays compares the checksums of arrays that are read in place, of which single images have none: what is packed is called
// whole from then on.
func wholeArrays(ctx context.Context, ds Dataset) error {
	b, ok := inner(ds).(*batches)
	if !ok {
		return nil
	}
	bad, err := b.checkSums(ctx)
	if err == nil && len(bad) > 0 {
		err = damage(bad[0].Error)
	}
	return err
}

// importing is an import at work.
type importing struct {
	ImportOptions
	ds   Dataset
	p    *packWriter
	n    int // images to take
	done int // images looked at
	safe int // of them, those known to have left the program
	r    *Report

	atBad bool // it stopped at a bad image
}

// at is the entry of the source that image j is.
func (m *importing) at(j int) int { return int(int64(j) * int64(m.ds.Len()) / int64(m.n)) }

// Unfinished is the error of an import that can be gone on with: Done of Total images, or more, are in Partial. Where it ended at
// a bad image, only one that may leave it out comes further.
type Unfinished struct {
	Err         error
	Done, Total int
	Partial     string
	AtBad       bool
	AtLeast     bool // Done is what is known; there may be more
}

func (u *Unfinished) Error() string {
	what := u.Err.Error()
	if errors.Is(u.Err, syscall.ENOSPC) || errors.Is(u.Err, syscall.EDQUOT) {
		what = "the disk is full: " + what
	}
	least := ""
	if u.AtLeast {
		least = "at least "
	}
	how := "the same command goes on there"
	if u.AtBad {
		how = "with --bad-images skip, or a larger --max-bad, the same command goes on there; once files or other options change it begins anew"
	}
	return fmt.Sprintf("%s\n  %s%s of %s images are in %s; %s", what, least, comma(u.Done), comma(u.Total), Printable(u.Partial), how)
}

func (u *Unfinished) Unwrap() error { return u.Err }

// unfinished ends an import that failed.
func (m *importing) unfinished(err error) error {
	switch {
	case m.p.published:
		return fmt.Errorf("%s is complete, but: %w", Printable(m.p.dst), err)
	case m.p.journal == nil: // it could not go on with what is there, which stays
		m.p.f.Close()
		return err
	case m.p.images() == 0:
		m.p.abort()
		return err
	}
	e := m.p.flush()
	if e != nil {
		m.done = m.safe
		if !errors.Is(err, e) {
			err = fmt.Errorf("%w (and then: %v)", err, e)
		}
	}
	m.p.journal.f.Close()
	m.p.f.Close()
	return &Unfinished{Err: err, Done: m.done, Total: m.n, Partial: m.p.f.Name(), AtBad: m.atBad, AtLeast: e != nil}
}

func (o ImportOptions) check() error {
	switch {
	case o.BadImages != "" && o.BadImages != BadFail && o.BadImages != BadSkip:
		return fmt.Errorf("data: bad images: got %q, want fail or skip", o.BadImages)
	case !(o.MaxBad >= 0 && o.MaxBad <= 1):
		return fmt.Errorf("data: share of bad images: got %v, want 0 to 1", o.MaxBad)
	case o.Workers < 0 || o.Workers > MaxWorkers:
		return fmt.Errorf("data: workers: got %d, want 1 to %s, or 0: one per core", o.Workers, comma(MaxWorkers))
	case o.Limit < 0:
		return fmt.Errorf("data: limit: got %d, want 0 (all) or more", o.Limit)
	}
	return nil
}

// flushEvery is how much time an import may lose when it is killed.
const flushEvery = 200 * time.Millisecond

// copy writes the images that are not done yet and notes the bad ones.
func (m *importing) copy(ctx context.Context, progress func(done, total int)) error {
	if err := m.room(); err != nil {
		return err
	}
	first, flushed := m.done, time.Now()
	m.safe = first
	if first > 0 && progress != nil {
		progress(first, m.n)
	}
	err := each(ctx, m.ds, m.n-first, m.Workers, func(j int) int { return m.at(first + j) }, func(_ int, img []byte, label int, err error) error {
		if err == nil {
			if err = m.p.add(img, label); err == nil {
				err = m.p.journal.good(label, crc32.Checksum(img, castagnoli))
			}
		} else if err = m.bad(m.at(m.done), err.Error(), err); err == nil {
			err = m.p.journal.bad(m.r.Bad[len(m.r.Bad)-1].Error)
		}
		if err != nil {
			return err
		}
		m.done++
		if time.Since(flushed) > flushEvery {
			if err := m.p.flush(); err != nil {
				return err
			}
			flushed, m.safe = time.Now(), m.done
		}
		if progress != nil {
			progress(m.done, m.n)
		}
		return nil
	})
	m.r.Images = m.p.images()
	if err == nil && m.r.Images == 0 {
		return damaged("%s: no image left: all %s are bad, the first: %s", Printable(m.r.Source), comma(m.n), m.r.Bad[0].Error)
	}
	return err
}

// room refuses to begin what the disk cannot hold.
func (m *importing) room() error {
	var s unix.Statfs_t
	if err := unix.Fstatfs(int(m.p.f.Fd()), &s); err != nil {
		return nil // then writing will tell
	}
	need, free := uint64(m.n-m.done)*uint64(m.p.h*m.p.w*m.p.c+8), s.Bavail*uint64(s.Frsize)
	if need > free {
		return fmt.Errorf("%s: %s bytes are still to be written, %s are free; make room, or choose another place", Printable(m.p.dst), comma(need), comma(free))
	}
	return nil
}

// bad notes a bad image, with what is wrong, or stops the import.
func (m *importing) bad(index int, what string, err error) (stop error) {
	defer func() { m.atBad = stop != nil }()
	allowed := strconv.FormatFloat(100*m.MaxBad, 'g', 4, 64) + " %"
	if m.BadImages != BadSkip {
		return fmt.Errorf("%w\n  to leave such files out: --bad-images skip (at most %s may be bad)", err, allowed)
	}
	m.r.Bad = append(m.r.Bad, BadImage{index, what[:min(len(what), maxRecordText)]})
	if float64(len(m.r.Bad)) > m.MaxBad*float64(m.n) {
		return damaged("%s: %s bad images of %s, at most %s may be bad; the first: %s\n  --max-bad allows another share",
			Printable(m.r.Source), comma(len(m.r.Bad)), comma(m.n), allowed, m.r.Bad[0].Error)
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
	if err := renameio.WriteFile(p.dst+reportEnd, append(report, '\n'), 0o666, renameio.WithTempDir(filepath.Dir(p.dst))); err != nil {
		return err
	}
	return p.publish()
}
