package main

import (
	"context"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
)

// interruptible is a context that SIGINT, SIGTERM and SIGUSR1 end; a second SIGINT or SIGTERM leaves at once. For everything but
// training, which has a state to save.
func interruptible(u *ui) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(context.Background())
	ch := make(chan os.Signal, 4)
	signal.Notify(ch, syscall.SIGINT, syscall.SIGTERM, syscall.SIGUSR1)
	done := make(chan struct{})
	go func() {
		for {
			select {
			case s := <-ch:
				if ctx.Err() != nil && s != syscall.SIGUSR1 {
					u.err.clear()
					os.Exit(128 + int(s.(syscall.Signal)))
				}
				cancel(interrupted{s.(syscall.Signal)})
			case <-done:
				return
			}
		}
	}()
	return ctx, func() {
		signal.Stop(ch)
		close(done)
		cancel(nil)
	}
}

// wishes are what signals ask of a training run.
type wishes struct {
	stop, save atomic.Bool
	ch         chan os.Signal
}

// listen begins to heed signals: SIGINT, SIGTERM and SIGUSR1 ask the run to stop, SIGUSR2 to save; a second SIGINT or SIGTERM calls
// leave with its number.
func listen(u *ui, leave func(code int)) *wishes {
	w := &wishes{ch: make(chan os.Signal, 8)}
	signal.Notify(w.ch, syscall.SIGINT, syscall.SIGTERM, syscall.SIGUSR1, syscall.SIGUSR2)
	go func() {
		asked := false // by SIGINT or SIGTERM: a second one does not wait
		for s := range w.ch {
			urgent := s == syscall.SIGINT || s == syscall.SIGTERM
			switch {
			case s == syscall.SIGUSR2:
				w.save.Store(true)
				u.say("%v: saving a state", s)
			case urgent && asked:
				leave(128 + int(s.(syscall.Signal)))
			case urgent:
				u.say("%s: stopping after this step, with a state saved; once more leaves at once", signalName(s))
			case !w.stop.Load():
				u.say("%s: stopping after this step, with a state saved", signalName(s))
			}
			if s != syscall.SIGUSR2 {
				w.stop.Store(true)
				asked = asked || urgent
			}
		}
	}()
	return w
}

func (w *wishes) end() {
	signal.Stop(w.ch)
	close(w.ch)
}
