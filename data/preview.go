package data

import (
	"bytes"
	"fmt"
	"image"
	"slices"

	"golang.org/x/image/font/basicfont"

	"ict/internal/philox"
)

// previewClasses is how many classes a preview gives a column each.
const previewClasses = 20

// PreviewColumns is how many columns [Preview] draws for cols: where classes have one each, no more than there are classes. 0 means
// all of these, or 8 columns.
func PreviewColumns(ds Dataset, cols int) int {
	switch {
	case columnPerClass(ds) && (cols == 0 || cols > ds.Classes()):
		return ds.Classes()
	case cols == 0:
		return 8
	}
	return cols
}

func columnPerClass(ds Dataset) bool { return ds.Classes() > 0 && ds.Classes() <= previewClasses }

// Preview draws random images of a set: rows×cols of them, cols as in [PreviewColumns]; or, where it has at most 20 classes, rows of
// each of the first cols classes in a column under its name. Rows that would be empty are not drawn.
func Preview(ds Dataset, rows, cols int, seed uint64) (image.Image, error) {
	byClass := columnPerClass(ds)
	cols = PreviewColumns(ds, cols)
	if rows < 1 || cols < 1 || rows > 1000 || cols > 1000 {
		return nil, fmt.Errorf("data: preview: got %d rows and %d columns, want 1 to 1000", rows, cols)
	}
	h, w, c := ds.Shape()
	images := make([][]byte, rows*cols)
	filled := make([]int, cols) // rows of each column
	empty, img := len(images), make([]byte, h*w*c)
	for n, i := range philox.Permutation(seed, 0, ds.Len()) {
		if empty == 0 {
			break
		}
		label, err := ds.Image(img, int(i))
		if err != nil {
			return nil, err
		}
		col := n % cols
		if byClass {
			col = label
		}
		if col < cols && filled[col] < rows {
			images[filled[col]*cols+col] = bytes.Clone(img)
			filled[col]++
			empty--
		}
	}
	for rows > 1 && slices.Max(filled) < rows {
		rows--
	}
	images = images[:rows*cols]
	if !byClass {
		return Grid(images, h, w, c, cols, 2, previewScale(w, 0), nil), nil
	}
	titles := ds.ClassNames()[:cols]
	longest := 0
	for _, t := range titles {
		longest = max(longest, len([]rune(t)))
	}
	return Grid(images, h, w, c, cols, 2, previewScale(w, longest), titles), nil
}

// previewScale makes small images some 64 pixels wide, and wide enough for a title, within reason.
func previewScale(w, letters int) int {
	want := max(64, min(letters, 20)*basicfont.Face7x13.Advance)
	return (want + w - 1) / w
}
