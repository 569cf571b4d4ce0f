package data

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
)

// Fingerprinter is a Dataset that can say without reading its images which they are: from checksums that it holds.
type Fingerprinter interface{ Fingerprint() string }

// fingerprintImages is how many images stand for a set that holds no checksums.
const fingerprintImages = 64

// Fingerprint tells whether two sets are the same, for a run that is resumed: the number of images and a checksum, 16 hexadecimal
// digits. A set that is no Fingerprinter is judged by its shape, its classes, and the bytes and labels of 64 images spread
// evenly over it. The errors are those of reading them.
func Fingerprint(ds Dataset) (string, error) {
	if f, ok := ds.(Fingerprinter); ok {
		return f.Fingerprint(), nil
	}
	h, w, c := ds.Shape()
	sum := sha256.New()
	fmt.Fprintf(sum, "%d %d %d %d %d %q", ds.Len(), h, w, c, ds.Classes(), ds.ClassNames())
	img := make([]byte, h*w*c)
	k := min(fingerprintImages, ds.Len())
	for i := range k {
		label, err := ds.Image(img, i*(ds.Len()-1)/max(1, k-1))
		if err != nil {
			return "", err
		}
		sum.Write(binary.LittleEndian.AppendUint64(nil, uint64(int64(label))))
		sum.Write(img)
	}
	return fingerprint(ds.Len(), binary.BigEndian.Uint64(sum.Sum(nil))), nil
}

func fingerprint(n int, sum uint64) string { return fmt.Sprintf("%s images, %016x", comma(n), sum) }
