package rundir

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"

	"github.com/gofrs/flock"
)

// folders of a run, made by Create; eval and evidence are made when something is put there.
var folders = []string{"grids", "snapshots", "states"}

// written is every name that something writes to by path or by handle: none may be a link out of the folder.
var written = []string{
	"config.yaml", "run.json", "status.json", "stats.jsonl", "log.txt", "log.jsonl", "lock",
	"grids", "snapshots", "states", "tb", "eval", "evidence",
}

// Dir is a run directory. Its methods may be called from several goroutines.
type Dir struct {
	path string
	root *os.Root
	mu   sync.Mutex // one writer of files at a time
	id   string
	lock *flock.Flock // nil: never locked
}

// Create opens the run directory at path, making it, private to the user, if it is not there. A folder that exists keeps
// what is in it and its permissions: it may be the same run again.
func Create(path string) (*Dir, error) {
	if err := os.MkdirAll(filepath.Dir(filepath.Clean(path)), 0o755); err != nil {
		return nil, fmt.Errorf("rundir: %w", err)
	}
	if err := os.Mkdir(path, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("rundir: %w", err)
	}
	d, err := Open(path)
	if err != nil {
		return nil, err
	}
	err = d.checkLinks()
	for _, f := range folders {
		if err == nil {
			err = d.root.MkdirAll(f, 0o700)
		}
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("rundir: %s: %w", path, err), d.Close())
	}
	return d, nil
}

var (
	numbered = regexp.MustCompile(`^(\d{4,9})-`)
	plain    = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*$`)
)

// Next creates the next numbered run directory below parent: parent/0007-mnist-ict. Two that ask at once get two folders.
func Next(parent, preset, objective string) (*Dir, error) {
	if !plain.MatchString(preset) || !plain.MatchString(objective) {
		return nil, fmt.Errorf("rundir: names %q, %q: want letters, digits, dot, dash and underscore", preset, objective)
	}
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return nil, fmt.Errorf("rundir: %w", err)
	}
	entries, err := os.ReadDir(parent)
	if err != nil {
		return nil, fmt.Errorf("rundir: %w", err)
	}
	last := -1
	for _, e := range entries {
		if m := numbered.FindStringSubmatch(e.Name()); m != nil {
			n, _ := strconv.Atoi(m[1]) // nine digits always fit
			last = max(last, n)
		}
	}
	for {
		last++
		path := filepath.Join(parent, fmt.Sprintf("%04d-%s-%s", last, preset, objective))
		if err := os.Mkdir(path, 0o700); err == nil {
			return Create(path)
		} else if !errors.Is(err, fs.ErrExist) {
			return nil, fmt.Errorf("rundir: %w", err)
		}
	}
}

// Open opens a run directory that exists. It writes nothing.
func Open(path string) (*Dir, error) {
	root, err := os.OpenRoot(path)
	if err != nil {
		return nil, fmt.Errorf("rundir: %w", err)
	}
	return &Dir{path: path, root: root}, nil
}

// Close gives back the handle on the folder. It does not unlock.
func (d *Dir) Close() error { return d.root.Close() }

// checkLinks refuses a folder in which one of our names is a link that leads out of it, or nowhere; and one in which a state or
// a snapshot is a link at all: these are replaced and deleted under their names, and what a link leads to is not the run's.
func (d *Dir) checkLinks() error {
	for _, name := range written {
		info, err := d.root.Lstat(name)
		if err != nil || info.Mode()&fs.ModeSymlink == 0 {
			continue
		}
		if _, err := d.root.Stat(name); err != nil {
			return fmt.Errorf("%s is a link that leads out of the run directory, or nowhere; remove it, or choose another folder", name)
		}
	}
	for _, folder := range []string{"states", "snapshots"} {
		entries, err := fs.ReadDir(d.root.FS(), folder)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		for _, e := range entries {
			if strings.HasPrefix(e.Name(), "step-") && e.Type()&fs.ModeSymlink != 0 {
				return fmt.Errorf("%s/%s is a link; put in its place what it leads to, or remove it", folder, e.Name())
			}
		}
	}
	return nil
}

// Path is the folder as it was named. The others are places in it.
func (d *Dir) Path() string       { return d.path }
func (d *Dir) ConfigYAML() string { return filepath.Join(d.path, "config.yaml") }
func (d *Dir) RunJSON() string    { return filepath.Join(d.path, "run.json") }
func (d *Dir) StatusJSON() string { return filepath.Join(d.path, "status.json") }
func (d *Dir) StatsJSONL() string { return filepath.Join(d.path, "stats.jsonl") }
func (d *Dir) LogTxt() string     { return filepath.Join(d.path, "log.txt") }
func (d *Dir) LogJSONL() string   { return filepath.Join(d.path, "log.jsonl") }
func (d *Dir) LockFile() string   { return filepath.Join(d.path, "lock") }
func (d *Dir) StopFile() string   { return filepath.Join(d.path, "STOP") }
func (d *Dir) SaveFile() string   { return filepath.Join(d.path, "SAVE") }
func (d *Dir) TB() string         { return filepath.Join(d.path, "tb") }
func (d *Dir) Grids() string      { return filepath.Join(d.path, "grids") }
func (d *Dir) States() string     { return filepath.Join(d.path, "states") }
func (d *Dir) Snapshots() string  { return filepath.Join(d.path, "snapshots") }
func (d *Dir) Eval() string       { return filepath.Join(d.path, "eval") }
func (d *Dir) Evidence() string   { return filepath.Join(d.path, "evidence") }

// TakeStop reports whether somebody has touched STOP, and removes it.
func (d *Dir) TakeStop() bool { return d.take("STOP") }

// TakeSave reports whether somebody has touched SAVE, and removes it.
func (d *Dir) TakeSave() bool { return d.take("SAVE") }

// take is true for the one who removes the file. A folder or a link of that name is not a switch.
func (d *Dir) take(name string) bool {
	info, err := d.root.Lstat(name)
	return err == nil && info.Mode().IsRegular() && d.root.Remove(name) == nil
}

// WriteFile puts data in place of the file name below the folder ("config.yaml", "grids/final.png"): the file holds the old
// content or the new, also after a power failure. Folders on the way are made.
func (d *Dir) WriteFile(name string, data []byte) error { return d.replace(name, data, true) }

func (d *Dir) replace(name string, data []byte, durable bool) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.put(name, data, durable); err != nil {
		return fmt.Errorf("rundir: %s: %w", filepath.Join(d.path, name), err)
	}
	return nil
}

// put writes a temporary file beside name and renames it. The caller holds mu.
func (d *Dir) put(name string, data []byte, durable bool) error {
	dir, base := filepath.Split(filepath.Clean(name))
	dir = filepath.Clean(dir)
	temp := filepath.Join(dir, "."+base+".tmp")
	if err := d.root.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if err := d.root.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) { // left by a kill
		return err
	}
	f, err := d.root.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil && durable {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = d.root.Rename(temp, name)
	}
	if err != nil {
		return errors.Join(err, d.root.Remove(temp))
	}
	if !durable {
		return nil
	}
	folder, err := d.root.Open(dir)
	if err != nil {
		return err
	}
	folder.Sync() // some network file systems have no such call; the rename stands either way
	return folder.Close()
}

// OpenAppend opens a file below the folder to add to it, and makes it if it is not there: for logs.
func (d *Dir) OpenAppend(name string) (*os.File, error) {
	f, err := d.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return nil, fmt.Errorf("rundir: %s: %w", d.path, err)
	}
	return f, nil
}

// read returns a small file below the folder, refusing one above limit bytes.
func (d *Dir) read(name string, limit int64) ([]byte, error) {
	f, err := d.root.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(b)) > limit {
		err = fmt.Errorf("more than %d bytes", limit)
	}
	return b, err
}
