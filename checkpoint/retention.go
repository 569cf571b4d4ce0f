package checkpoint

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// single matches what a killed writer of a single file leaves: a dot, the final name, a random number.
var single = regexp.MustCompile(`^\.(latest|step-\d{8,}(\.ema-[^/]+)?\.safetensors)\d+$`)

// CleanTemp removes what killed saves left in dir, a folder of states or of snapshots: step-N.tmp and temporary files. A
// state that had stepped aside for a successor that never came is put back. It must be called under the run's lock, before
// anything is read or written. Files that this package does not write stay.
func CleanTemp(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		switch {
		case single.MatchString(e.Name()) && e.Type().IsRegular():
			err = errors.Join(err, os.Remove(path))
		case !e.IsDir():
		case isTemp(e.Name(), replacedExt):
			final := strings.TrimSuffix(path, replacedExt)
			if _, stat := os.Lstat(final); errors.Is(stat, os.ErrNotExist) {
				err = errors.Join(err, os.Rename(path, final))
			} else {
				err = errors.Join(err, settle(path, final))
			}
		case isTemp(e.Name(), tempExt):
			err = errors.Join(err, removeState(path))
		}
	}
	if err != nil {
		return fmt.Errorf("checkpoint: %s: %w", dir, err)
	}
	return nil
}

func isTemp(name, ext string) bool {
	stem, ok := strings.CutSuffix(name, ext)
	if !ok {
		return false
	}
	_, ok = parseStep(stem)
	return ok
}

// Owned tells which states below statesDir the run with this id wrote, as [Prune] asks.
func Owned(statesDir, runID string) func(step int) bool {
	return func(step int) bool {
		m, err := readManifest(filepath.Join(statesDir, StateName(step)))
		return err == nil && runID != "" && m.RunID == runID
	}
}

// NewestRunID is the run_id of the newest state below statesDir whose manifest can be read, be its files whole or not; empty
// if there is none. It tells a run that has lost its run.json who it is.
func NewestRunID(statesDir string) string {
	list, err := List(statesDir)
	if err != nil {
		return ""
	}
	for _, e := range slices.Backward(list) {
		if e.Manifest.RunID != "" {
			return e.Manifest.RunID
		}
	}
	return ""
}

// Prune deletes complete states that are older than the newest keep complete ones and for which mine is true ([Owned], and
// whatever else the caller wants to keep). States that are damaged, or that hold files which are not theirs, stay. It
// returns the deleted folders; one that cannot be deleted does not keep the others. Panics unless keep ≥ 1: the newest state is never deleted.
//
// newest is the step of the state that was written last. States of later steps stay and do not count: a run that went back
// to an older state has found them damaged, and they would push out the one just written.
//
// Complete is what a manifest with the right checksum of its own says whose files have their lengths. The files are not read:
// that would take as long as saving them again at every save. So a state whose bits rot on the disk counts among the keep;
// [PruneChecked] reads them.
func Prune(statesDir string, newest, keep int, mine func(step int) bool) (deleted []string, err error) {
	return prune(statesDir, newest, keep, mine, false, func(Entry) error { return nil })
}

// PruneChecked is Prune for a run that nobody trains: only states of which every checksum is right count among the keep. dry
// deletes nothing and returns what would go.
func PruneChecked(statesDir string, keep int, mine func(step int) bool, dry bool) (deleted []string, err error) {
	return prune(statesDir, math.MaxInt, keep, mine, dry, func(e Entry) error {
		s, err := OpenState(e.Path)
		if err != nil {
			return err
		}
		return s.Close()
	})
}

// prune is Prune where a state counts if check finds nothing wrong.
func prune(statesDir string, newest, keep int, mine func(step int) bool, dry bool, check func(Entry) error) (deleted []string, err error) {
	if keep < 1 {
		panic(fmt.Sprintf("checkpoint: Prune: got keep %d, want at least 1", keep))
	}
	list, err := List(statesDir)
	if err != nil {
		return nil, err
	}
	list = slices.DeleteFunc(list, func(e Entry) bool { return e.Err != nil || e.Step > newest })
	old := len(list)
	for kept := 0; old > 0 && kept < keep; old-- {
		if check(list[old-1]) == nil {
			kept++
		}
	}
	for _, e := range list[:old] {
		if !mine(e.Step) || !e.Manifest.alone(e.Path) {
			continue
		}
		if !dry {
			if e2 := drop(e.Path); e2 != nil { // the others need not stay for that
				err = errors.Join(err, fmt.Errorf("checkpoint: %s: %w", e.Path, e2))
				continue
			}
		}
		deleted = append(deleted, e.Path)
	}
	return deleted, err
}

// Retention says which snapshots stay; the zero value keeps all. The newest always does.
type Retention struct {
	Last  int // the newest so many
	Every int // those of a step that this divides
}

// ParseRetention reads "all", "last N" or "every N"; N may be thousands, 10k.
func ParseRetention(s string) (Retention, error) {
	word, number, _ := strings.Cut(s, " ")
	unit := 1
	if k, ok := strings.CutSuffix(number, "k"); ok {
		number, unit = k, 1000
	}
	n, err := strconv.Atoi(number)
	valid := err == nil && n >= 1 && n <= math.MaxInt/unit
	switch {
	case s == "all":
		return Retention{}, nil
	case valid && word == "last":
		return Retention{Last: n * unit}, nil
	case valid && word == "every":
		return Retention{Every: n * unit}, nil
	}
	return Retention{}, fmt.Errorf("got %q, want all, last N, or every N (steps)", s)
}

// retire tells which of the steps, ascending, go.
func (r Retention) retire(steps []int) []int {
	if r == (Retention{}) {
		return nil
	}
	old := steps[:max(0, len(steps)-max(1, r.Last))]
	return slices.DeleteFunc(slices.Clone(old), func(s int) bool { return r.Every > 0 && s%r.Every == 0 })
}

// PruneSnapshots deletes the snapshots in dir that r retires, all averages of a step together, and returns their paths. Only
// those go of which a header with a right checksum says that the run with this id wrote them; the others are not counted
// either. dry deletes nothing and returns what would go.
//
// newest is the step of the snapshot that was written last. Those of later steps stay and do not count, as in [Prune]: a run
// that went back to an older state has left them behind ([SnapshotsBeyond]).
func PruneSnapshots(dir, runID string, newest int, r Retention, dry bool) (deleted []string, err error) {
	files, err := ownSnapshots(dir, runID)
	if err != nil {
		return nil, err
	}
	maps.DeleteFunc(files, func(step int, _ []string) bool { return step > newest })
	for _, step := range r.retire(slices.Sorted(maps.Keys(files))) {
		for _, path := range files[step] {
			if !dry {
				if e := os.Remove(path); e != nil {
					err = errors.Join(err, fmt.Errorf("checkpoint: %s: %w", path, bare(e)))
					continue
				}
			}
			deleted = append(deleted, path)
		}
	}
	return deleted, err
}

// SnapshotsBeyond lists the snapshots in dir of later steps that the run with this id wrote, as [PruneSnapshots] knows them: of a run
// that went back to this step.
func SnapshotsBeyond(dir, runID string, step int) (paths []string, err error) {
	files, err := ownSnapshots(dir, runID)
	if err != nil {
		return nil, err
	}
	for _, s := range slices.Sorted(maps.Keys(files)) {
		if s > step {
			paths = append(paths, files[s]...)
		}
	}
	return paths, nil
}

// ownSnapshots is the snapshots in dir, by step, of which a header with a right checksum says that the run with this id wrote
// them. A run without identity has none.
func ownSnapshots(dir, runID string) (map[int][]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("checkpoint: %s: %w", dir, bare(err))
	}
	files := map[int][]string{} // by step
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		if !isSnapshot(e.Name()) || !e.Type().IsRegular() || runID == "" {
			continue
		}
		info, _, err := SnapshotHeader(path)
		step, _, _ := strings.Cut(strings.TrimSuffix(e.Name(), ".safetensors"), ".")
		if err == nil && info.RunID == runID && StateName(info.Step) == step {
			files[info.Step] = append(files[info.Step], path)
		}
	}
	return files, nil
}

// alone reports whether dir holds the files of the manifest and nothing else, and no links.
func (m Manifest) alone(dir string) bool {
	entries, err := os.ReadDir(dir)
	other := func(e os.DirEntry) bool { return !e.Type().IsRegular() }
	return err == nil && len(entries) == len(m.Files)+1 && !slices.ContainsFunc(entries, other) // List has seen all of them
}

// drop deletes a state. It renames it first, so that one half deleted does not look like a state.
func drop(path string) error {
	temp := path + tempExt
	if err := removeState(temp); err != nil {
		return err
	}
	if err := os.Rename(path, temp); err != nil {
		return err
	}
	err := removeState(temp)
	if err != nil && exists(filepath.Join(temp, manifestName)) { // nothing is gone yet
		err = errors.Join(err, os.Rename(temp, path))
	}
	return err
}
