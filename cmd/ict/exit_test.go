package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"syscall"
	"testing"

	"ict/checkpoint"
	"ict/data"
	"ict/train"
)

func TestExitCode(t *testing.T) {
	for _, k := range []struct {
		err  error
		want int
	}{
		{nil, 0},
		{fs.ErrNotExist, 1},
		{fmt.Errorf("reading: %w", errors.New("broken")), 1},
		{usagef("no"), 2},
		{errors.Join(usage(data.ErrDamaged), nil), 2},
		{fmt.Errorf("x: %w", train.ErrStopped), 10},
		{&train.Diverged{}, 11},
		{fmt.Errorf("x: %w", syscall.ENOMEM), 12},
		{withCode(exitMemory, errors.New("too much")), 12},
		{fmt.Errorf("x: %w", data.ErrDamaged), 14},
		{fmt.Errorf("x: %w", checkpoint.ErrDamaged), 14},
		{interrupted{syscall.SIGINT}, 130},
		{fmt.Errorf("x: %w", interrupted{syscall.SIGTERM}), 143},
	} {
		if got := exitCode(k.err); got != k.want {
			t.Errorf("%v: code %d, want %d", k.err, got, k.want)
		}
	}
	if withCode(exitFailed, nil) != nil {
		t.Error("no error became one")
	}
}

func TestCause(t *testing.T) {
	ctx, cancel := context.WithCancelCause(context.Background())
	broken := errors.New("broken")
	if got := cause(ctx, broken); got != broken {
		t.Errorf("before a signal: %v", got)
	}
	cancel(interrupted{syscall.SIGINT})
	if got := cause(ctx, ctx.Err()); exitCode(got) != 130 {
		t.Errorf("after a signal: %v", got)
	}
	if got := cause(ctx, nil); got != nil {
		t.Errorf("done before the signal: %v", got)
	}
}

func TestMessage(t *testing.T) {
	for _, k := range []struct {
		err  error
		want string
	}{
		{errors.New("train: model: got 1"), "got 1"},
		{errors.New("a.pack: data: broken"), "a.pack: data: broken"},
		{usagef("train: takes no argument"), "train: takes no argument"},
		{errors.Join(usagef("data: wants"), nil), "data: wants"},
	} {
		if got := message(k.err); got != k.want {
			t.Errorf("got %q, want %q", got, k.want)
		}
	}
}

func TestIdentified(t *testing.T) {
	for hash, want := range map[string]bool{"0123456789ab": true, "0123456789ab+changes": false, "unknown": false} {
		if got := identified(hash); got != want {
			t.Errorf("%s: got %v, want %v", hash, got, want)
		}
	}
}
