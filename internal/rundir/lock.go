package rundir

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/gofrs/flock"
)

// ErrLocked is wrapped by the error of a lock that another process holds.
var ErrLocked = errors.New("in use")

// Holder is who holds a run's lock.
type Holder struct {
	Host    string    `json:"host"`
	PID     int       `json:"pid"`
	Started time.Time `json:"started"`
}

// A LockedError says who holds the lock; Holder is zero if that could not be read.
type LockedError struct {
	Path   string
	Holder Holder
}

func (e *LockedError) Error() string {
	who := "a process that has just started"
	if e.Holder.PID != 0 {
		who = fmt.Sprintf("process %d on %q, started %s", e.Holder.PID, e.Holder.Host, e.Holder.Started.Format("2006-01-02 15:04:05 MST"))
	}
	return fmt.Sprintf("rundir: %s is in use by %s; stop it first, or choose another folder", e.Path, who)
}

func (e *LockedError) Is(target error) bool { return target == ErrLocked }

// Lock takes the run for this process, without waiting. The error is a [LockedError] if another process trains here. The
// system drops the lock when the process ends, however it ends. With it come the run's identity, RunID, made on the first
// start, and the check that nothing in the folder leads out of it.
func (d *Dir) Lock() (unlock func() error, err error) {
	fail := func(err error) (func() error, error) { return nil, fmt.Errorf("rundir: %s: %w", d.path, err) }
	if err := d.checkLinks(); err != nil {
		return fail(err)
	}
	lock := flock.New(d.LockFile(), flock.SetFlag(os.O_CREATE|os.O_RDWR), flock.SetPermissions(0o600))
	ok, err := lock.TryLock()
	if err != nil {
		return fail(fmt.Errorf("lock: %w", err))
	}
	if !ok {
		return nil, &LockedError{d.path, d.holder()}
	}
	if err := d.stillLocked(lock); err != nil { // it went between the opening and the locking
		return fail(errors.Join(err, lock.Unlock()))
	}
	host, _ := os.Hostname() // for the message alone
	b, err := json.Marshal(Holder{host, os.Getpid(), time.Now().Round(time.Second)})
	if err == nil {
		err = d.fill("lock", append(b, '\n'))
	}
	if err == nil {
		err = d.identify()
	}
	if err != nil {
		return fail(errors.Join(err, d.fill("lock", nil), lock.Unlock()))
	}
	d.mu.Lock()
	d.lock = lock
	d.mu.Unlock()
	return func() error {
		if !lock.Locked() {
			return nil
		}
		if d.stillLocked(lock) != nil { // the file of that name is somebody else's by now
			return lock.Unlock()
		}
		return errors.Join(d.fill("lock", nil), lock.Unlock())
	}, nil
}

// StillLocked is nil while the file `lock` at the run's path is the one that Lock took. If somebody removed or replaced that
// file, or moved the folder, another process can lock the run as well: then whoever gets the error must not write any more.
func (d *Dir) StillLocked() error {
	d.mu.Lock()
	lock := d.lock
	d.mu.Unlock()
	err := errors.New("lock: is not held")
	if lock != nil && lock.Locked() {
		err = d.stillLocked(lock)
	}
	if err != nil {
		return fmt.Errorf("rundir: %s: %w", d.path, err)
	}
	return nil
}

func (d *Dir) stillLocked(lock *flock.Flock) error {
	held, err := lock.Stat()
	if err != nil {
		return fmt.Errorf("lock: %w", err)
	}
	there, err := os.Stat(d.LockFile())
	if errors.Is(err, fs.ErrNotExist) {
		return errors.New("lock: the file was removed while the run was in use; another process may train here")
	}
	if err != nil {
		return fmt.Errorf("lock: %w", err)
	}
	if !os.SameFile(held, there) {
		return errors.New("lock: is another file than the one that is held; another process may train here")
	}
	return nil
}

// fill writes into the file itself: a rename would leave the lock on a file that is no longer there.
func (d *Dir) fill(name string, b []byte) error {
	f, err := d.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	return errors.Join(err, f.Close())
}

func (d *Dir) holder() (h Holder) {
	b, err := d.read("lock", 4096)
	if err != nil || json.Unmarshal(b, &h) != nil {
		return Holder{}
	}
	return h
}
