package events

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"io"
	"io/fs"
	"os"
	"regexp"
	"slices"
	"strconv"
	"time"
)

// ours matches the files that this package writes, and no other program does.
var ours = regexp.MustCompile(`^events\.out\.tfevents\.(\d{10})\.ict$`)

// Writer adds events to a file. It is for one goroutine.
type Writer struct {
	f    *os.File
	size int64 // of whole records
	torn bool  // a part of a record stands behind them
}

// Open begins a new file in folder, which is made if it is not there. What this package wrote there for steps above step goes
// first: files end behind their last event of step or before, and files that keep no event go. step −1 begins from nothing.
//
// A file ends before what cannot be read, too. If that is not a torn end, the file is kept under a name of its own, and notes
// names it, wrapping [ErrDamaged].
func Open(folder string, step int64) (w *Writer, notes []error, err error) {
	w, notes, err = open(folder, step)
	for i, n := range notes {
		notes[i] = fmt.Errorf("events: %s: %w", folder, n)
	}
	if err != nil {
		return nil, notes, fmt.Errorf("events: %s: %w", folder, err)
	}
	return w, notes, nil
}

func open(folder string, step int64) (w *Writer, notes []error, err error) {
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return nil, nil, err
	}
	root, err := os.OpenRoot(folder)
	if err != nil {
		return nil, nil, err
	}
	defer root.Close()
	names, err := list(root)
	if err != nil {
		return nil, nil, err
	}
	next := time.Now().Unix()
	for _, name := range names {
		note, err := cut(root, name, step)
		if err != nil {
			return nil, notes, fmt.Errorf("%s: %w", name, err)
		}
		if note != nil {
			notes = append(notes, fmt.Errorf("%s: %w", name, note))
		}
		n, _ := strconv.ParseInt(ours.FindStringSubmatch(name)[1], 10, 64) // ten digits always fit
		next = max(next, n+1)                                              // readers take the files in the order of their names
	}
	name := fmt.Sprintf("events.out.tfevents.%010d.ict", next)
	f, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return nil, notes, err
	}
	w = &Writer{f: f}
	err = w.add(Event{FileVersion: fileVersion})
	if err == nil && step >= 0 {
		err = w.add(Event{Step: step + 1, Start: true})
	}
	if err != nil {
		return nil, notes, errors.Join(err, f.Close(), root.Remove(name))
	}
	return w, notes, nil
}

// list is our files in the folder, oldest first.
func list(root *os.Root) ([]string, error) {
	entries, err := fs.ReadDir(root.FS(), ".")
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if e.Type().IsRegular() && ours.MatchString(e.Name()) {
			names = append(names, e.Name())
		}
	}
	slices.Sort(names)
	return names, nil
}

// cut lets a file end before its first event of a later step, or before what cannot be read. note says what could not be.
func cut(root *os.Root, name string, step int64) (note, err error) {
	if step < 0 { // nothing of it counts
		return nil, root.Remove(name)
	}
	f, err := root.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	end, kept, err := endOf(bufio.NewReaderSize(f, 1<<20), step)
	if errors.Is(err, ErrDamaged) {
		note, err = setAside(root, f, name, end, kept, err)
		return note, errors.Join(err, f.Close())
	}
	if err == nil && kept {
		err = f.Truncate(end)
	}
	err = errors.Join(err, f.Close())
	if err == nil && !kept {
		err = root.Remove(name)
	}
	return nil, err
}

// setAside renames the damaged file f, so that readers pass over it, and, with keep, puts what can be read, its first end bytes,
// in its place. Readers take every name with "tfevents" in it.
func setAside(root *os.Root, f *os.File, name string, end int64, keep bool, damage error) (note, err error) {
	number := ours.FindStringSubmatch(name)[1]
	aside, temp := fmt.Sprintf("damaged.%s.ict", number), fmt.Sprintf("damaged.%s.ict.tmp", number)
	for i := 2; ; i++ { // the same file may be damaged again
		if _, err := root.Lstat(aside); errors.Is(err, fs.ErrNotExist) {
			break
		} else if err != nil {
			return nil, err
		}
		aside = fmt.Sprintf("damaged.%s.%d.ict", number, i)
	}
	if keep {
		part, err := root.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
		if err != nil {
			return nil, err
		}
		_, err = io.Copy(part, io.NewSectionReader(f, 0, end))
		if err = errors.Join(err, part.Close()); err != nil {
			return nil, errors.Join(err, root.Remove(temp))
		}
	}
	if err := root.Rename(name, aside); err != nil {
		return nil, err
	}
	if keep {
		if err := root.Rename(temp, name); err != nil {
			return nil, err
		}
	}
	return fmt.Errorf("%w; kept as %s, only what is before that byte is shown", damage, aside), nil
}

// endOf is where the events up to step end, and whether one of them says anything about the run. The error wraps ErrDamaged if
// they end before what cannot be read; a torn end is none.
func endOf(r io.Reader, step int64) (end int64, kept bool, err error) {
	for events := NewReader(r); ; {
		e, err := events.Next()
		said := len(e.Scalars)+len(e.Images) > 0
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, errTorn), err == nil && said && e.Step > step:
			return end, kept, nil
		case err != nil:
			return end, kept, err
		}
		end, kept = events.End(), kept || said
	}
}

// Scalars adds the numbers of a step.
func (w *Writer) Scalars(step int64, values []Scalar) error {
	return w.write(Event{Step: step, Scalars: values})
}

// Image adds a picture of a step.
func (w *Writer) Image(step int64, tag string, picture []byte) error {
	c, err := png.DecodeConfig(bytes.NewReader(picture))
	if err != nil {
		return fmt.Errorf("events: %s: image %s: %w", w.f.Name(), tag, err)
	}
	return w.write(Event{Step: step, Images: []Image{{Tag: tag, Height: c.Height, Width: c.Width, Channels: channels(c), PNG: picture}}})
}

func channels(c image.Config) int {
	switch c.ColorModel {
	case color.GrayModel, color.Gray16Model:
		return 1
	case color.NRGBAModel, color.NRGBA64Model:
		return 4
	default:
		return 3
	}
}

func (w *Writer) write(e Event) error {
	if err := w.add(e); err != nil {
		return fmt.Errorf("events: %w", err)
	}
	return nil
}

// add writes a record. What a full disk leaves of one is taken back before the next, because readers stop at it.
func (w *Writer) add(e Event) error {
	if w.torn {
		if err := w.f.Truncate(w.size); err != nil {
			return err
		}
		w.torn = false
	}
	e.Time = float64(time.Now().UnixMicro()) / 1e6
	b := appendRecord(nil, e.encode())
	if _, err := w.f.WriteAt(b, w.size); err != nil {
		w.torn = true
		return err
	}
	w.size += int64(len(b))
	return nil
}

// Close takes back what a full disk left of a record, and closes the file.
func (w *Writer) Close() error {
	var err error
	if w.torn {
		err = w.f.Truncate(w.size)
	}
	return errors.Join(err, w.f.Close())
}
