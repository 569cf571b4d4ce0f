package checkpoint

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
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
				err = errors.Join(err, removeState(path))
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

// Prune deletes complete states that are older than the newest keep complete ones and for which mine is true ([Owned], and
// whatever else the caller wants to keep). States that are damaged, or that hold files which are not theirs, stay. It
// returns the deleted folders. Panics unless keep ≥ 1: the newest state is never deleted.
func Prune(statesDir string, keep int, mine func(step int) bool) (deleted []string, err error) {
	if keep < 1 {
		panic(fmt.Sprintf("checkpoint: Prune: got keep %d, want at least 1", keep))
	}
	list, err := List(statesDir)
	if err != nil {
		return nil, err
	}
	list = slices.DeleteFunc(list, func(e Entry) bool { return e.Err != nil })
	for _, e := range list[:max(0, len(list)-keep)] {
		if !mine(e.Step) || !e.Manifest.alone(e.Path) {
			continue
		}
		if err := drop(e.Path); err != nil {
			return deleted, fmt.Errorf("checkpoint: %s: %w", e.Path, err)
		}
		deleted = append(deleted, e.Path)
	}
	return deleted, nil
}

// alone reports whether dir holds the files of the manifest and nothing else.
func (m Manifest) alone(dir string) bool {
	entries, err := os.ReadDir(dir)
	return err == nil && len(entries) == len(m.Files)+1 // List has seen all of them
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
	return removeState(temp)
}
