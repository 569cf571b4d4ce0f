package data

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
)

// The downsampled ImageNet comes as ten batches, pickled or as npz: data (N, 3·S·S), labels from 1.
var trainBatch = regexp.MustCompile(`^train_data_batch_([1-9][0-9]{0,3})(\.npz)?$`)

const published = 10

// trainBatches returns how many batches a folder has, by the highest number.
func trainBatches(folder string) int {
	entries, err := os.ReadDir(folder)
	if err != nil {
		return 0
	}
	most := 0
	for _, e := range entries {
		if m := trainBatch.FindStringSubmatch(e.Name()); m != nil {
			n, _ := strconv.Atoi(m[1])
			most = max(most, n)
		}
	}
	return most
}

func matchDownsampled(path string, folder bool, _ []byte) bool {
	return folder && trainBatches(path) > 0
}

// openDownsampled opens the training batches of a folder, in the order of their numbers.
func openDownsampled(path string, opt Options) (Dataset, error) {
	n := trainBatches(path)
	var names []string
	for i := range n {
		base := fmt.Sprintf("train_data_batch_%d", i+1)
		name := findFile(path, []string{base, base + ".npz"})
		if name == "" {
			return nil, damaged("%s: missing; there are batches up to %d", Printable(filepath.Join(path, base)), n)
		}
		names = append(names, name)
	}
	b, err := openBatches(path, names, opt, maxInflated)
	if err != nil {
		return nil, err
	}
	if n != published {
		b.notes = append(b.notes, fmt.Sprintf("batches: %d; the whole downsampled ImageNet has %d", n, published))
	}
	return adapt(b, path, opt)
}
