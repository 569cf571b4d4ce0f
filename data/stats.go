package data

import (
	"context"
	"math"
	"slices"

	"github.com/cespare/xxhash/v2"
)

// Statistics describes a set. Mean and Std are per channel, in bytes (0 to 255), over all pixels.
type Statistics struct {
	Images     int          `json:"images"`
	Shape      [3]int       `json:"shape"` // (H,W,C)
	Classes    []ClassCount `json:"classes"`
	Mean       []float64    `json:"mean"`
	Std        []float64    `json:"std"`
	Duplicates int          `json:"duplicates"` // images that are byte for byte an earlier one (by 64-bit hash)
}

// ClassCount is how many images a class has.
type ClassCount struct {
	Name   string `json:"name"`
	Images int    `json:"images"`
}

// Stats reads all images and counts. Sums are integers, so the order does not matter. progress, unless nil, is called
// after each image.
func Stats(ctx context.Context, ds Dataset, progress func(done, total int)) (Statistics, error) {
	n := ds.Len()
	h, w, c := ds.Shape()
	s := Statistics{Images: n, Shape: [3]int{h, w, c}, Classes: []ClassCount{}, Mean: make([]float64, c), Std: make([]float64, c)}
	for _, name := range ds.ClassNames() {
		s.Classes = append(s.Classes, ClassCount{Name: name})
	}
	hashes := make([]uint64, 0, n)
	histogram := make([][256]uint64, c)
	err := each(ctx, ds, n, 0, identity, func(i int, img []byte, label int, err error) error {
		if err != nil {
			return err
		}
		for k := range histogram {
			counts := &histogram[k]
			for j := k; j < len(img); j += c {
				counts[img[j]]++
			}
		}
		if label >= 0 {
			s.Classes[label].Images++
		}
		hashes = append(hashes, xxhash.Sum64(img))
		if progress != nil {
			progress(i+1, n)
		}
		return nil
	})
	if err != nil {
		return Statistics{}, err
	}
	for k, counts := range histogram {
		s.Mean[k], s.Std[k] = moments(&counts)
	}
	slices.Sort(hashes)
	s.Duplicates = n - len(slices.Compact(hashes))
	return s, nil
}

// moments returns mean and standard deviation of a histogram.
func moments(counts *[256]uint64) (mean, std float64) {
	total, sum, squares := 0.0, 0.0, 0.0
	for v, n := range counts {
		total += float64(n)
		sum += float64(v) * float64(n)
	}
	mean = sum / total
	for v, n := range counts {
		d := float64(v) - mean
		squares += d * d * float64(n)
	}
	return mean, math.Sqrt(squares / total)
}
