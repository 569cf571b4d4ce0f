package mapped

import (
	"errors"
	"runtime"
	"runtime/debug"
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
