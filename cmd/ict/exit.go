package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"syscall"

	"ict/checkpoint"
	"ict/data"
	"ict/train"
)

// Exit codes; a scheduler can act on them.
const (
	exitOK       = 0
	exitFailed   = 1  // I/O, device, bug
	exitUsage    = 2  // wrong use: flag, config, refused resume
	exitStopped  = 10 // stopped on request, state saved
	exitDiverged = 11 // evidence written
	exitMemory   = 12 // out of memory
	exitDamaged  = 14 // data or checkpoint damaged beyond the fallback
)

// coded is an error that knows its exit code.
type coded struct {
	code int
	error
}

func (c *coded) Unwrap() error { return c.error }

// withCode gives an error a code of its own; nil stays nil.
func withCode(code int, err error) error {
	if err == nil {
		return nil
	}
	return &coded{code, err}
}

// usage makes an error one of wrong use.
func usage(err error) error { return withCode(exitUsage, err) }

func usagef(format string, a ...any) error { return usage(said(fmt.Sprintf(format, a...))) }

// said is an error in the words of a command: what stands in front is no package.
type said string

func (s said) Error() string { return string(s) }

// about is an error with the flag and the path that it is about in front, in place of the system call's name.
func about(flag, path string, err error) error {
	if err == nil {
		return nil
	}
	return &aboutError{flag, path, err}
}

type aboutError struct {
	flag, path string
	err        error
}

func (e *aboutError) Error() string {
	text := message(e.err)
	if p, ok := e.err.(*fs.PathError); ok {
		text = p.Err.Error()
	}
	return strings.TrimSpace(e.flag+" "+e.path) + ": " + strings.TrimPrefix(text, e.path+": ")
}

func (e *aboutError) Unwrap() error { return e.err }

// together joins two errors. The code is the first one's; one without a text leaves no empty line.
func together(first, second error) error {
	if first != nil && first.Error() == "" && second != nil {
		return withCode(exitCode(first), second)
	}
	return errors.Join(first, second)
}

// interrupted is the error of something that a signal ended.
type interrupted struct{ signal syscall.Signal }

func (i interrupted) Error() string { return "ended by " + signalName(i.signal) }

// exitCode is what the program leaves with.
func exitCode(err error) int {
	var c *coded
	var sig interrupted
	var diverged *train.Diverged
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &c):
		return c.code
	case errors.As(err, &sig):
		return 128 + int(sig.signal)
	case errors.As(err, &diverged):
		return exitDiverged
	case errors.Is(err, data.ErrDamaged), errors.Is(err, checkpoint.ErrDamaged):
		return exitDamaged
	case errors.Is(err, train.ErrStopped):
		return exitStopped
	case errors.Is(err, checkpoint.ErrVersion), errors.Is(err, data.ErrVersion): // again with the same program, it would be the same
		return exitUsage
	case errors.Is(err, syscall.ENOMEM):
		return exitMemory
	default:
		return exitFailed
	}
}

// cause is the signal that ended ctx, if one did, in place of the error that came of it.
func cause(ctx context.Context, err error) error {
	var sig interrupted
	if err != nil && errors.As(context.Cause(ctx), &sig) {
		return sig
	}
	return err
}

func signalName(s os.Signal) string {
	if n, ok := s.(syscall.Signal); ok {
		switch n {
		case syscall.SIGINT:
			return "SIGINT"
		case syscall.SIGTERM:
			return "SIGTERM"
		case syscall.SIGUSR1:
			return "SIGUSR1"
		}
	}
	return s.String()
}
