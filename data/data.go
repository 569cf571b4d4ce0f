package data

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Dataset is a set of images of one shape. Its methods may be called by several goroutines at once, Close only when
// none is running.
type Dataset interface {
	Len() int
	Shape() (h, w, c int)
	Classes() int         // 0: no labels
	ClassNames() []string // one per class

	// Image writes image i as bytes (H,W,C) to dst, whose length must be H·W·C, and returns its label, -1 if the set
	// has none. Panics if i or the length of dst is out of range.
	Image(dst []byte, i int) (label int, err error)

	Close() error
}

// Options says how a set is read.
type Options struct {
	// Size makes images Size×Size, by Crop; 0 leaves them as they are, and then they must have one size.
	Size int

	// Crop is how an image gets its size. All but none resample, with one two-pass filter in 22-bit fixed point, each
	// pass rounded to bytes.
	//
	//	none      (or empty) it must have the size
	//	dhariwal  while the shorter side is ≥ 2·Size: halved with a box; bicubic (a = -0.5) until it is Size; centre crop [ADM]
	//	center    centre square crop, then Lanczos 3 [EDM]
	//	fit       Lanczos 3 to the square, whatever the sides were
	Crop string

	// Gray makes one channel of three.
	Gray bool

	// Labels is where labels come from.
	//
	//	folders   (or empty) the set's own; for a folder or an archive of images, those of EDM's dataset.json at its top,
	//	          else its sorted top folders (none if there are none)
	//	prefix    images in folders or archives only: the file name up to the first _, sorted
	//	none      no labels
	//	*.json, *.csv  the path of a table of labels, for images in folders or archives (docs/data.md)
	Labels string

	// Classes is how many classes a table of numbers stands for; 0: each must have an image.
	Classes int

	inOrder bool            // images are read one after the other, as by an import
	ctx     context.Context // ends the unpacking of a tar; nil: nothing does
}

// The values of Options.Crop and Options.Labels.
const (
	CropNone     = "none"
	CropDhariwal = "dhariwal"
	CropCenter   = "center"
	CropFit      = "fit"

	LabelsFolders = "folders"
	LabelsPrefix  = "prefix"
	LabelsNone    = "none"
)

// Limits of one image.
const (
	MaxSize   = 8192 // pixels a side that Options.Size may ask for
	maxPixels = MaxSize * MaxSize
	maxSide   = 1<<16 - 1 // pixels a side of what is resized: weights and time grow with it
	maxFile   = 1 << 28   // bytes
)

// check returns what is wrong with the options and fills in the empty ones.
func (o *Options) check() error {
	if o.Crop == "" {
		o.Crop = CropNone
	}
	if o.ctx == nil {
		o.ctx = context.Background()
	}
	if o.Labels == "" {
		o.Labels = LabelsFolders
	}
	switch o.Crop {
	case CropNone, CropDhariwal, CropCenter, CropFit:
	default:
		return fmt.Errorf("data: crop: got %q, want dhariwal, center, fit or none", o.Crop)
	}
	switch {
	case o.Labels == LabelsFolders || o.Labels == LabelsPrefix || o.Labels == LabelsNone || IsTable(o.Labels):
	default:
		return fmt.Errorf("data: labels: got %q, want folders, prefix, none, or a table, *.json or *.csv", o.Labels)
	}
	if o.Classes < 0 || o.Classes > maxClasses || o.Classes > 0 && !IsTable(o.Labels) {
		return fmt.Errorf("data: classes: got %d, want 1 to %s, with a table of labels", o.Classes, comma(maxClasses))
	}
	if o.Size < 0 || o.Size > MaxSize {
		return fmt.Errorf("data: size: got %d, want 1 to %d", o.Size, MaxSize)
	}
	if o.Size == 0 && o.Crop != CropNone {
		return fmt.Errorf("data: crop %s needs a size", o.Crop)
	}
	return nil
}

// ErrDamaged is what errors about damaged content are: a failed checksum, an impossible size, an image that cannot be
// decoded.
var ErrDamaged = errors.New("data: damaged")

// ErrVersion is wrapped by errors about packs that a newer ict wrote.
var ErrVersion = errors.New("newer format")

// damage is an ErrDamaged with a message of its own.
type damage string

func (d damage) Error() string        { return string(d) }
func (d damage) Is(target error) bool { return target == ErrDamaged }

func damaged(format string, args ...any) error { return damage(fmt.Sprintf(format, args...)) }

// checkImage panics if image i of n cannot be written to dst.
func checkImage(dst []byte, i, n, size int) {
	if i < 0 || i >= n {
		panic(fmt.Sprintf("data: image: got %d, want 0 to %d", i, n-1))
	}
	if len(dst) != size {
		panic(fmt.Sprintf("data: image: got room for %d bytes, want %d", len(dst), size))
	}
}

// Printable returns a name for messages: as it is, or quoted where it holds anything a terminal might obey.
func Printable(name string) string {
	if q := strconv.Quote(name); q != `"`+name+`"` {
		return q
	}
	return name
}

// comma writes n with commas between thousands.
func comma[T int | int64 | uint64](n T) string {
	s := fmt.Sprint(n)
	var b strings.Builder
	for i, r := range s {
		if i > 0 && s[i-1] != '-' && (len(s)-i)%3 == 0 {
			b.WriteByte(',')
		}
		b.WriteRune(r)
	}
	return b.String()
}
