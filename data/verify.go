package data

import (
	"context"
	"fmt"
)

// Verify reads every image of a set, so decodes it or compares its checksum, and checks labels and the checksums of arrays. It returns the images
// that failed; err is about the checking itself. progress, unless nil, is called after each image.
func Verify(ctx context.Context, ds Dataset, progress func(done, total int)) (bad []BadImage, err error) {
	n, classes := ds.Len(), ds.Classes()
	err = each(ctx, ds, n, 0, identity, func(i int, _ []byte, label int, err error) error {
		if err == nil && (label >= classes || label < 0 && classes > 0) {
			err = fmt.Errorf("image %s of %s: label %d, the set has %d classes", comma(i), comma(n), label, classes)
		}
		if err != nil {
			bad = append(bad, BadImage{i, err.Error()})
		}
		if progress != nil {
			progress(i+1, n)
		}
		return nil
	})
	if b, ok := inner(ds).(*batches); ok && err == nil {
		var more []BadImage
		more, err = b.checkSums(ctx)
		bad = append(bad, more...)
	}
	return bad, err
}

func identity(i int) int { return i }
