package disk

import (
	"errors"
	"os"
	"runtime"
	"runtime/debug"

	"golang.org/x/sys/unix"
)

// ErrUnreadable says that a page of a mapped file was not there when it was looked at.
var ErrUnreadable = errors.New("a mapped page cannot be read; the file was cut after it was opened, or the disk fails")

// Guard runs a function that reads mapped memory in its own goroutine, and returns [ErrUnreadable] if a page cannot be read.
// Other panics pass. It does not see what other goroutines or C read.
func Guard(read func()) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		switch r := recover().(type) {
		case nil:
		case interface {
			runtime.Error
			Addr() uintptr
		}:
			err = ErrUnreadable
		default:
			panic(r)
		}
	}()
	read()
	return nil
}

// SyncDir makes renames in a folder last, where the file system can: some network ones have no such call.
func SyncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	err = d.Sync()
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOTSUP) {
		err = nil
	}
	return errors.Join(err, d.Close())
}
