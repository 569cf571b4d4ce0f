package checkpoint

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/renameio/v2"
	"golang.org/x/sys/unix"

	"ict/internal/disk"
)

const (
	latestName  = "latest"
	tempExt     = ".tmp"          // a state being written, or being deleted
	replacedExt = ".replaced.tmp" // a state whose successor of the same step is being put in place
)

// ErrNone says that there is no state at all; then a run is a fresh one.
var ErrNone = errors.New("no state")

// StateName is the folder of the state of a step: step-00012000.
func StateName(step int) string { return fmt.Sprintf("step-%08d", step) }

func parseStep(name string) (step int, ok bool) {
	if n, err := fmt.Sscanf(name, "step-%d", &step); n != 1 || err != nil {
		return 0, false
	}
	return step, step >= 0 && StateName(step) == name
}

// WriteState writes the state of a step below statesDir: the folder step-N.tmp with one safetensors file for each entry of
// files (weights.safetensors, …), each flushed; then the manifest; then the rename to step-N, and the file latest. Whatever
// interrupts it, step-N either is complete or is what it was before. An error leaves no temporary folder; errors of a full
// disk wrap [ErrSpace]. A state of the same step is replaced if the same run wrote it or if its manifest is damaged; what else
// lies in that folder comes along. A link where a folder should be is an error: nothing is deleted through one.
func WriteState(statesDir string, step int, files map[string][]Named, m Manifest) error {
	return writeState(context.Background(), statesDir, step, files, m)
}

// writeState is WriteState until ctx is done. It looks at ctx before each thing it does to the disk.
func writeState(ctx context.Context, statesDir string, step int, files map[string][]Named, m Manifest) (err error) {
	final := filepath.Join(statesDir, StateName(step))
	temp := final + tempExt
	created := false
	defer func() {
		if err != nil {
			if created {
				err = errors.Join(err, removeState(temp))
			}
			err = fmt.Errorf("checkpoint: %s: %w", final, spaceOr(err))
		}
	}()
	if step < 0 {
		return fmt.Errorf("step %d", step)
	}
	if err := cmp.Or(checkFolder(final), checkFolder(temp), checkFolder(final+replacedExt)); err != nil {
		return err
	}
	if old, err := readManifest(final); errors.Is(err, ErrVersion) {
		return err
	} else if err == nil && old.RunID != m.RunID {
		return fmt.Errorf("is the state of another run, run_id %q, this is %q; not replaced", old.RunID, m.RunID)
	}
	if err := os.MkdirAll(statesDir, 0o700); err != nil {
		return err
	}
	if err := removeState(temp); err != nil { // left by a save that was killed
		return err
	}
	if exists(temp) {
		return fmt.Errorf("%s holds files that are not a state's; move it away", filepath.Base(temp))
	}
	if err := os.Mkdir(temp, 0o700); err != nil {
		return err
	}
	created = true

	m.FormatVersion, m.Step, m.Files, m.Tensors = formatVersion, step, nil, nil
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if err := writeStateFile(ctx, temp, name, files[name], &m); err != nil {
			return fmt.Errorf("%s: %w", name, bare(err))
		}
	}
	if err := m.check(); err != nil {
		return err
	}
	text, err := m.encode()
	if err != nil {
		return err
	}
	if _, err := writeSynced(ctx, filepath.Join(temp, manifestName), text, nil); err != nil {
		return err
	}
	if err := disk.SyncDir(temp); err != nil {
		return err
	}
	if err := replace(ctx, temp, final); err != nil {
		return err
	}
	if err := disk.SyncDir(statesDir); err != nil {
		return err
	}
	if err := writeLatest(statesDir, step); err != nil {
		return fmt.Errorf("the state is complete, but not so the file %s: %w", latestName, err)
	}
	if err := settle(final+replacedExt, final); err != nil {
		return fmt.Errorf("%s: the one before it %w: %w", filepath.Base(final), ErrKept, err)
	}
	return nil
}

// ErrKept says that what was to be saved is complete, but that something older is still there.
var ErrKept = errors.New("could not be deleted, and stays")

// writeLatest names the newest state, for people. A folder of that name is somebody's; checkLatest names it at the next start.
func writeLatest(statesDir string, step int) error {
	path := filepath.Join(statesDir, latestName)
	if info, err := os.Lstat(path); err == nil && info.IsDir() {
		return nil
	}
	return renameio.WriteFile(path, []byte(StateName(step)+"\n"), 0o644, renameio.WithTempDir(statesDir))
}

// writeStateFile writes one file of a state and enters it in the manifest.
func writeStateFile(ctx context.Context, dir, name string, tensors []Named, m *Manifest) error {
	if err := checkFileName(name); err != nil {
		return err
	}
	head, order, err := encodeHeader(tensors, nil)
	if err != nil {
		return err
	}
	for _, t := range order {
		m.Tensors = append(m.Tensors, TensorEntry{
			File: name, Name: t.Name, DType: t.DType, Shape: append([]int{}, t.Shape...), CRC32C: Sum32(crc32.Checksum(t.Data, castagnoli)),
		})
	}
	info, err := writeSynced(ctx, filepath.Join(dir, name), head, order)
	m.Files = append(m.Files, FileEntry{Name: name, Length: info.Size, XXHash: Sum64(info.XXH64)})
	return err
}

// writeSynced writes a new file and flushes it.
func writeSynced(ctx context.Context, path string, head []byte, order []Named) (FileInfo, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return FileInfo{}, err
	}
	info, err := stream(ctx, f, head, order)
	if err == nil {
		err = f.Sync()
	}
	return info, errors.Join(err, f.Close())
}

// replace renames temp to final. A folder that is there already steps aside first; if the process dies in between,
// CleanTemp puts it back.
func replace(ctx context.Context, temp, final string) error {
	aside := final + replacedExt
	if err := ctx.Err(); err != nil {
		return err
	}
	if _, err := os.Lstat(final); err != nil {
		return os.Rename(temp, final)
	}
	if err := settle(aside, final); err != nil {
		return err
	}
	if err := os.Rename(final, aside); err != nil {
		return err
	}
	err := ctx.Err()
	if err == nil {
		err = os.Rename(temp, final)
	}
	if err != nil {
		return errors.Join(err, os.Rename(aside, final))
	}
	return nil
}

// settle removes the folder of a state whose successor is in place, after moving what is not of the state into the
// successor. What a damaged manifest does not tell counts as the state's if the successor has a file of that name.
func settle(aside, final string) error {
	if err := cmp.Or(checkFolder(aside), checkFolder(final)); err != nil {
		return err
	}
	entries, err := os.ReadDir(aside)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	old := map[string]bool{manifestName: true}
	if m, err := readManifest(aside); err == nil {
		for _, f := range m.Files {
			old[f.Name] = true
		}
	}
	for _, e := range entries {
		to := filepath.Join(final, e.Name())
		if _, err := os.Lstat(to); old[e.Name()] || !errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err := os.Rename(filepath.Join(aside, e.Name()), to); err != nil {
			return err
		}
	}
	return removeState(aside)
}

// checkFolder refuses a path at which something else than a folder is: what a link leads to is not the run's.
func checkFolder(path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.IsDir():
		return nil
	case info.Mode()&os.ModeSymlink != 0:
		return fmt.Errorf("%s is a link, want a folder; move it away", filepath.Base(path))
	}
	return fmt.Errorf("%s is a file, want a folder; move it away", filepath.Base(path))
}

// removeState deletes what a state is made of, manifest first, and the folder if nothing else is in it.
func removeState(dir string) error {
	if err := checkFolder(dir); err != nil {
		return err
	}
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := os.Remove(filepath.Join(dir, manifestName)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	foreign := false
	for _, e := range entries {
		switch {
		case e.Name() == manifestName:
		case checkFileName(e.Name()) == nil && e.Type().IsRegular():
			if err := os.Remove(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		default:
			foreign = true
		}
	}
	if foreign {
		return nil
	}
	return os.Remove(dir)
}

// State is an open state: every file mapped, every checksum found right.
type State struct {
	Dir      string
	Manifest Manifest
	files    map[string]*File
}

// OpenState opens the state in dir after checking the manifest, the length and hash of every file and the name, shape,
// dtype and checksum of every tensor. An error that wraps [ErrDamaged] names the first that is wrong; one that wraps
// [ErrVersion] says that a newer program wrote it.
func OpenState(dir string) (*State, error) {
	m, err := readManifest(dir)
	if err != nil {
		return nil, fmt.Errorf("checkpoint: %s: %w", dir, err)
	}
	s := &State{Dir: dir, Manifest: m, files: map[string]*File{}}
	for _, e := range m.Files {
		f, err := m.open(dir, e)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("checkpoint: %s: %w", filepath.Join(dir, e.Name), err), s.Close())
		}
		s.files[e.Name] = f
	}
	return s, nil
}

// open opens one file of the state in dir and checks all of it.
func (m Manifest) open(dir string, e FileEntry) (*File, error) {
	path := filepath.Join(dir, e.Name)
	stat, err := os.Stat(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, damaged("is missing")
	}
	if err != nil {
		return nil, bare(err)
	}
	if stat.Size() != e.Length {
		return nil, damaged("%d bytes, the manifest says %d", stat.Size(), e.Length)
	}
	f, err := openMapped(path)
	if err != nil {
		return nil, err
	}
	whole, crc, err := f.sums()
	if err == nil {
		err = m.compare(e.Name, f, crc)
	}
	if err == nil && Sum64(whole) != e.XXHash {
		err = damaged("xxhash %v, the manifest says %v", Sum64(whole), e.XXHash)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// File is one file of the state: weights.safetensors, …
func (s *State) File(name string) (*File, bool) {
	f, ok := s.files[name]
	return f, ok
}

// Close closes all files.
func (s *State) Close() error {
	var errs []error
	for _, f := range s.files {
		errs = append(errs, f.Close())
	}
	s.files = nil
	return errors.Join(errs...)
}

// Entry is a state in a listing. Err says why it is not complete, by its manifest and the lengths of its files; checksums
// are [OpenState]'s and [Verify]'s.
type Entry struct {
	Path     string
	Step     int
	Manifest Manifest
	Bytes    int64 // of its files
	Err      error
}

// List is the states below statesDir, oldest first; temporary folders and whatever else is there are left out. A folder that
// does not exist holds no states.
func List(statesDir string) ([]Entry, error) {
	dir, err := os.ReadDir(statesDir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("checkpoint: %s: %w", statesDir, bare(err))
	}
	var list []Entry
	for _, d := range dir {
		step, ok := parseStep(d.Name())
		if !ok || !d.IsDir() {
			continue
		}
		e := Entry{Path: filepath.Join(statesDir, d.Name()), Step: step}
		if e.Manifest, e.Err = readManifest(e.Path); e.Err == nil {
			e.Bytes, e.Err = e.Manifest.measure(e.Path)
		}
		if e.Err != nil {
			e.Err = fmt.Errorf("checkpoint: %s: %w", e.Path, e.Err)
		}
		list = append(list, e)
	}
	slices.SortFunc(list, func(a, b Entry) int { return a.Step - b.Step })
	return list, nil
}

// measure adds up the lengths of the files in dir, and compares each.
func (m Manifest) measure(dir string) (sum int64, err error) {
	for _, f := range m.Files {
		stat, err := os.Stat(filepath.Join(dir, f.Name))
		switch {
		case errors.Is(err, os.ErrNotExist):
			return 0, damaged("%s is missing", f.Name)
		case err != nil:
			return 0, fmt.Errorf("%s: %w", f.Name, bare(err))
		case stat.Size() != f.Length:
			return 0, damaged("%s: %d bytes, the manifest says %d", f.Name, stat.Size(), f.Length)
		}
		sum += f.Length
	}
	return sum, nil
}

// OpenLatest opens the newest state below statesDir that is complete and whole. Newer ones that are not are named in
// notes, each with the reason; so is a file latest that names something else than a state. It needs that file for nothing
// else. The error is [ErrNone] if there are no states, wraps ErrDamaged if all are damaged, and ErrVersion if a newer
// program wrote the newest. A state that is not damaged, but may not be read, is an error too.
func OpenLatest(statesDir string) (s *State, notes []error, err error) {
	list, err := List(statesDir)
	if err != nil {
		return nil, nil, err
	}
	newest := -1
	if len(list) > 0 {
		newest = list[len(list)-1].Step
	}
	if err := checkLatest(statesDir, newest); err != nil {
		notes = append(notes, err)
	}
	for _, e := range slices.Backward(list) {
		s, err := OpenState(e.Path)
		if err == nil {
			return s, notes, nil
		}
		switch { // a state of a newer program or of another user is no reason to take an older one, nor is a lack of memory or files
		case errors.Is(err, ErrVersion), errors.Is(err, fs.ErrPermission), errors.Is(err, unix.ENOMEM), errors.Is(err, unix.EMFILE), errors.Is(err, unix.ENFILE):
			return nil, notes, err
		case !errors.Is(err, ErrDamaged): // a folder in place of a file, a disk that cannot read it any more
			err = fmt.Errorf("%w: %w", err, ErrDamaged)
		}
		notes = append(notes, err)
	}
	if len(notes) > 0 {
		return nil, notes, fmt.Errorf("checkpoint: %s: %w: no state is whole", statesDir, ErrDamaged)
	}
	return nil, nil, fmt.Errorf("checkpoint: %s: %w", statesDir, ErrNone)
}

// Latest is [OpenLatest] for those who want to know which it would be.
func Latest(statesDir string) (path string, notes []error, err error) {
	s, notes, err := OpenLatest(statesDir)
	if err != nil {
		return "", notes, err
	}
	return s.Dir, notes, s.Close()
}

// checkLatest reads the file latest. One that is missing or behind is normal after a kill; one that is ahead of all states,
// or garbage, means that something was lost.
func checkLatest(statesDir string, newest int) error {
	path := filepath.Join(statesDir, latestName)
	stat, err := os.Lstat(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("checkpoint: %s: %w", path, bare(err))
	}
	if !stat.Mode().IsRegular() || stat.Size() > 64 {
		return fmt.Errorf("checkpoint: %s: %w: not the name of a state", path, ErrDamaged)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("checkpoint: %s: %w", path, bare(err))
	}
	name := strings.TrimSuffix(string(text), "\n")
	step, ok := parseStep(name)
	if !ok {
		return fmt.Errorf("checkpoint: %s: %w: %q is not the name of a state", path, ErrDamaged, name)
	}
	if step > newest {
		return fmt.Errorf("checkpoint: %s: %w: %s is missing", path, ErrDamaged, name)
	}
	return nil
}
