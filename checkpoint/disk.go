package checkpoint

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// ErrSpace is wrapped by errors of a disk, quota or file size limit that is exhausted or will be.
var ErrSpace = errors.New("no space")

// A SpaceError says that the next two states would not fit.
type SpaceError struct {
	Path       string
	Free, Need int64 // bytes
}

func (e *SpaceError) Error() string {
	return fmt.Sprintf("%s free under %s, two states need %s; the next save will be skipped unless space is freed",
		bytesText(e.Free), e.Path, bytesText(e.Need))
}

func (e *SpaceError) Is(target error) bool { return target == ErrSpace }

// Room returns a [SpaceError] if fewer than need bytes, those of two states, are free for this user under path, which need
// not exist yet.
func Room(path string, need int64) error {
	free, err := FreeBytes(path)
	if err != nil {
		return err
	}
	if free < need {
		return &SpaceError{Path: path, Free: free, Need: need}
	}
	return nil
}

// FreeBytes is the space this user may still fill on the file system of path, or of its nearest parent that exists.
func FreeBytes(path string) (int64, error) {
	at, err := filepath.Abs(path)
	if err != nil {
		return 0, fmt.Errorf("checkpoint: %s: %w", path, err)
	}
	var s unix.Statfs_t
	for {
		err = unix.Statfs(at, &s)
		up := filepath.Dir(at)
		if !errors.Is(err, fs.ErrNotExist) || up == at {
			break
		}
		at = up
	}
	if err != nil {
		return 0, fmt.Errorf("checkpoint: %s: statfs: %w", path, err)
	}
	return int64(s.Bavail) * s.Frsize, nil
}

// spaceOr marks errors of a full disk with ErrSpace.
func spaceOr(err error) error {
	for _, full := range []error{unix.ENOSPC, unix.EDQUOT, unix.EFBIG} {
		if errors.Is(err, full) {
			return fullError{err}
		}
	}
	return err
}

type fullError struct{ error }

func (e fullError) Unwrap() error        { return e.error }
func (e fullError) Is(target error) bool { return target == ErrSpace }

func bytesText(n int64) string {
	switch {
	case n >= 1<<30:
		return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
	case n >= 1<<20:
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	default:
		return fmt.Sprintf("%.1f KiB", float64(n)/(1<<10))
	}
}
