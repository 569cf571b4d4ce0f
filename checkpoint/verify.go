package checkpoint

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// Report is what [Verify] looked at.
type Report struct {
	Path  string `json:"path"`
	Items []Item `json:"items"`
}

// Item is a state, a snapshot or a plain safetensors file.
type Item struct {
	Path    string   `json:"path"`
	Kind    string   `json:"kind"` // state, snapshot, safetensors (no checksums: its structure alone), latest
	Files   int      `json:"files"`
	Tensors int      `json:"tensors"`
	Bytes   int64    `json:"bytes"`
	Faults  []string `json:"faults"` // empty: whole
}

// Verify recomputes every checksum of a state, a snapshot or all that a run folder holds, and goes on after a fault: the
// report names all. The error wraps [ErrDamaged] if there is any; other errors say that nothing could be looked at, or that
// there is nothing.
func Verify(path string) (Report, error) {
	r := Report{Path: path}
	stat, err := os.Stat(path)
	if err != nil {
		return r, fmt.Errorf("checkpoint: %s: %w", path, bare(err))
	}
	_, step := parseStep(filepath.Base(path))
	switch {
	case filepath.Base(path) == manifestName && !stat.IsDir():
		return r, fmt.Errorf("checkpoint: %s: is checked with its state; verify %s", path, filepath.Dir(path))
	case filepath.Base(path) == latestName && !stat.IsDir():
		return r, fmt.Errorf("checkpoint: %s: is checked with its run; verify %s", path, filepath.Dir(filepath.Dir(path)))
	case !stat.IsDir():
		r.Items = append(r.Items, verifyFile(path))
	case step || exists(filepath.Join(path, manifestName)):
		r.Items = append(r.Items, verifyState(path))
	case exists(filepath.Join(path, "states")) || exists(filepath.Join(path, "snapshots")):
		if err := r.run(path); err != nil {
			return r, err
		}
		if len(r.Items) == 0 {
			return r, fmt.Errorf("checkpoint: %s: nothing to check: the run has no state and no snapshot", path)
		}
	default:
		return r, fmt.Errorf("checkpoint: %s: neither a run, a state nor a snapshot", path)
	}
	bad := 0
	for _, i := range r.Items {
		if len(i.Faults) > 0 {
			bad++
		}
	}
	if bad > 0 {
		return r, fmt.Errorf("checkpoint: %s: %w: %d of %d", path, ErrDamaged, bad, len(r.Items))
	}
	return r, nil
}

// run looks at the states and snapshots of a run folder.
func (r *Report) run(path string) error {
	states, snapshots := filepath.Join(path, "states"), filepath.Join(path, "snapshots")
	list, err := List(states)
	if err != nil {
		return err
	}
	newest := -1
	for _, e := range list {
		r.Items = append(r.Items, verifyState(e.Path))
		newest = e.Step
	}
	if err := checkLatest(states, newest); err != nil {
		r.Items = append(r.Items, Item{Path: filepath.Join(states, latestName), Kind: "latest", Files: 1, Faults: []string{err.Error()}})
	}
	files, err := os.ReadDir(snapshots)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("checkpoint: %s: %w", snapshots, bare(err))
	}
	for _, f := range files {
		if isSnapshot(f.Name()) {
			r.Items = append(r.Items, verifyFile(filepath.Join(snapshots, f.Name())))
		}
	}
	return nil
}

func verifyState(dir string) Item {
	i := Item{Path: dir, Kind: "state", Faults: []string{}}
	m, err := readManifest(dir)
	if err != nil {
		i.Faults = append(i.Faults, err.Error())
		return i
	}
	for _, e := range m.Files {
		i.Files++
		f, err := m.open(dir, e)
		if err != nil {
			i.Faults = append(i.Faults, fmt.Sprintf("%s: %v", e.Name, err))
			continue
		}
		i.add(f)
	}
	return i
}

func verifyFile(path string) Item {
	i := Item{Path: path, Kind: "snapshot", Files: 1, Faults: []string{}}
	f, err := openMapped(path)
	if err == nil {
		if !f.looksLikeSnapshot() && !isSnapshot(path) {
			i.Kind = "safetensors"
		} else if _, err = f.snapshot(); err != nil {
			err = errors.Join(err, f.Close())
		}
	}
	if err != nil {
		i.Faults = append(i.Faults, err.Error())
		return i
	}
	i.add(f)
	return i
}

// add counts an open file and closes it.
func (i *Item) add(f *File) {
	i.Tensors += len(f.names)
	i.Bytes += f.Size()
	if err := f.Close(); err != nil {
		i.Faults = append(i.Faults, err.Error())
	}
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
