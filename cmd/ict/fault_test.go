package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ict/internal/rundir"
)

// faulty is a run for faults to happen to: the program, a set of images, and the run's folder.
type faulty struct {
	*testing.T
	ict, pack, run string
	flags          []string
}

// newFaulty makes a set; the run goes to run, or, empty, to a folder of its own. flags are those of the training.
func newFaulty(t *testing.T, run string, flags ...string) *faulty {
	t.Helper()
	dir := t.TempDir()
	f := &faulty{T: t, ict: program(t), pack: filepath.Join(dir, "s.pack"), run: run}
	if run == "" {
		f.run = filepath.Join(dir, "run")
	}
	config := filepath.Join(dir, "tiny.yaml")
	if err := os.WriteFile(config, []byte(`preset: tiny
model: {channels: 8, mult: [1, 1]}
train: {batch: 8, stage_min: 10}
every: {status: 1, grid: 0, snapshot: 0, state: 1h}
`), 0o600); err != nil {
		t.Fatal(err)
	}
	f.flags = append([]string{"--config", config}, flags...)
	f.must(0, "data", "make", "shapes", "--n", "64", "--size", "8", "--out", f.pack)
	return f
}

// started is a run of the program.
type started struct {
	*exec.Cmd
	text bytes.Buffer // stdout and stderr
	done chan struct{}
	code int
}

func (f *faulty) start(cmd *exec.Cmd) *started {
	f.Helper()
	s := &started{Cmd: cmd, done: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = &s.text, &s.text
	if err := cmd.Start(); err != nil {
		f.Fatal(err)
	}
	go func() {
		_ = cmd.Wait() // the code says it
		s.code = cmd.ProcessState.ExitCode()
		close(s.done)
	}()
	f.Cleanup(func() {
		_ = cmd.Process.Kill() // it has usually ended
		<-s.done
	})
	return s
}

// train starts `ict train` for good.
func (f *faulty) train(more ...string) *started {
	f.Helper()
	return f.start(exec.Command(f.ict, f.trainArgs(more...)...))
}

func (f *faulty) trainArgs(more ...string) []string {
	return slices.Concat([]string{"train", "--data", f.pack, "--out", f.run}, f.flags, more)
}

// ends waits for the end of a start and wants its exit code and what it says.
func (f *faulty) ends(s *started, code int, says ...string) string {
	f.Helper()
	select {
	case <-s.done:
	case <-time.After(2 * time.Minute):
		f.Fatalf("%v: still running", s.Args)
	}
	text := s.text.String()
	if s.code != code {
		f.Fatalf("%v: code %d, want %d\n%s", s.Args, s.code, code, text)
	}
	for _, want := range says {
		if !regexp.MustCompile(want).MatchString(text) {
			f.Errorf("%v: %q is not said:\n%s", s.Args, want, text)
		}
	}
	return text
}

// must runs a command to its end.
func (f *faulty) must(code int, args ...string) string {
	f.Helper()
	return f.ends(f.start(exec.Command(f.ict, args...)), code)
}

// until waits for a file of the run, with text in it.
func (f *faulty) until(s *started, name, text string) {
	f.Helper()
	for end := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
		if b, err := os.ReadFile(filepath.Join(f.run, name)); err == nil && strings.Contains(string(b), text) {
			return
		}
		select {
		case <-s.done:
			f.Fatalf("ended before %s held %q:\n%s", name, text, s.text.String())
		default:
		}
		if time.Now().After(end) {
			f.Fatalf("%s: no %q in a minute", name, text)
		}
	}
}

// longer waits until stats.jsonl is longer than it is now.
func (f *faulty) longer(s *started) {
	f.Helper()
	f.until(s, "stats.jsonl", f.read("stats.jsonl")+"{")
}

func (f *faulty) read(name string) string {
	f.Helper()
	b, err := os.ReadFile(filepath.Join(f.run, name))
	if err != nil {
		f.Fatal(err)
	}
	return string(b)
}

// whole wants every state to be whole, and nothing half-written beside them.
func (f *faulty) whole() {
	f.Helper()
	f.must(0, "ckpt", "verify", f.run)
	if left, _ := filepath.Glob(filepath.Join(f.run, "*", "*tmp*")); len(left) > 0 {
		f.Errorf("%q are left", left)
	}
}

// mount puts a file system of some MiB at a new folder, where that may be done.
func mount(t *testing.T, mib int) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%dm", mib)); err != nil {
		t.Skipf("no file system can be mounted here: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// A disk that fills up while a run trains costs what does not fit. The run goes on to its end, says that its last state is missing
// (code 1), and after space was freed the same command makes the rest, with the bits of a run that nothing happened to.
func TestFaultDiskFull(t *testing.T) {
	disk := mount(t, 14)
	flags := []string{"--steps", "160", "--set", "every.state=30", "--set", "every.grid=20", "--set", "every.snapshot=40"}
	f := newFaulty(t, filepath.Join(disk, "run"), flags...)
	s := f.train()
	f.until(s, "states/latest", "step-00000030")
	filler, err := os.Create(filepath.Join(disk, "filler"))
	if err != nil {
		t.Fatal(err)
	}
	for n := 1 << 20; n > 0; n /= 2 { // to the last byte
		for err = nil; err == nil; {
			_, err = filler.Write(make([]byte, n))
		}
	}
	if e := filler.Close(); e != nil || !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err, e)
	}
	f.ends(s, 1, "the state was not saved: .*free under", "the grid .* was not drawn: .*no space left", "stats.jsonl: .*no space left.*; going on without",
		"the snapshot was not saved", "step 160/160", "is complete, but its last state could not be saved; free space, and the same command makes the rest again")
	if err := os.Remove(filler.Name()); err != nil {
		t.Fatal(err)
	}
	f.whole()
	f.ends(f.train(), 0, "resumed from .*/states/step-", "done: step 160 of 160")
	f.whole()
	calm := newFaulty(t, "", flags...)
	calm.ends(calm.train(), 0)
	for _, file := range []string{"weights", "optimizer", "ema-0.98"} {
		name := "states/step-00000160/" + file + ".safetensors"
		if f.read(name) != calm.read(name) {
			t.Errorf("%s differs from that of a run that nothing happened to", name)
		}
	}
}

// A limit that strikes in the middle of a file is a full disk as well: no part of a state or snapshot stays.
func TestFaultFileSizeLimit(t *testing.T) {
	f := newFaulty(t, "", "--steps", "30", "--set", "every.state=10", "--set", "every.snapshot=10", "--set", "every.grid=5")
	s := f.start(exec.Command("bash", append([]string{"-c", `ulimit -f 40 && exec "$0" "$@"`, f.ict}, f.trainArgs()...)...)) // of 1,024 bytes
	text := f.ends(s, 1, "a save was dropped: .*/states/.*file too large", "a save was dropped: .*/snapshots/.*file too large", "events: .*file too large; going on without", "step 30/30")
	if !regexp.MustCompile(`(?s)a save was dropped: [^\n]*/states/step-00000010.*step 19/30`).MatchString(text) {
		t.Errorf("the state of step 10 is not missed before step 19:\n%s", text)
	}
	if n := strings.Count(text, "file too large"); n != len(regexp.MustCompile(`(?m)^(warning: |\{|  [0-9]+  ).*file too large$|file too large; going on`).FindAllString(text, -1)) {
		t.Errorf("a cause is told more than once in a line:\n%s", text)
	}
	if regexp.MustCompile(`state .* ago`).MatchString(text) {
		t.Errorf("the progress line knows a state that is not there:\n%s", text)
	}
	if left, _ := filepath.Glob(filepath.Join(f.run, "s[tn]a*s", "*")); len(left) > 0 {
		t.Errorf("%q are left", left)
	}
	f.ends(f.train(), 0, "done: step 30 of 30")
	f.whole()
}

// A run directory that nobody may write to is named at the start.
func TestFaultReadOnly(t *testing.T) {
	dir := ""
	if os.Geteuid() == 0 { // whom permissions do not stop
		dir = filepath.Join(mount(t, 14), "run")
	}
	f := newFaulty(t, dir, "--steps", "30")
	f.ends(f.train("--stop-at", "3"), 10)
	if dir == "" {
		if err := os.Chmod(f.run, 0o500); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { os.Chmod(f.run, 0o700) })
	} else if err := unix.Mount("", filepath.Dir(dir), "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	f.ends(f.train(), 1, regexp.QuoteMeta(f.run)+".*(read-only file system|permission denied)")
}

// A packed set that is cut under a trainer ends it with code 14, not with a crash; the states stand.
func TestFaultPackCut(t *testing.T) {
	f := newFaulty(t, "", "--steps", "1M", "--set", "every.state=5")
	s := f.train()
	f.until(s, "states/latest", "step")
	if err := os.Truncate(f.pack, 4096); err != nil {
		t.Fatal(err)
	}
	text := f.ends(s, 14, "s.pack: a mapped page cannot be read; the file was cut after it was opened")
	if strings.Contains(text, "goroutine") {
		t.Errorf("a crash:\n%s", text)
	}
	f.whole()
	if !strings.Contains(f.read("run.json"), `"code": 14`) {
		t.Error("run.json does not know the end")
	}
}

// A packed set that is deleted stays readable for who has it open; the next start does not find it.
func TestFaultPackGone(t *testing.T) {
	f := newFaulty(t, "", "--steps", "1M")
	s := f.train()
	f.until(s, "stats.jsonl", "step")
	if err := os.Remove(f.pack); err != nil {
		t.Fatal(err)
	}
	f.longer(s)
	if err := s.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	f.ends(s, 10)
	f.ends(f.train(), 1, "s.pack: no such file")
}

// writeImages makes a folder of images.
func writeImages(t *testing.T, dir string, n int) {
	t.Helper()
	for i := range n {
		img := image.NewNRGBA(image.Rect(0, 0, 8, 8))
		for x := range 64 {
			img.Set(x%8, x/8, color.NRGBA{uint8(i), uint8(x), 7, 255})
		}
		var b bytes.Buffer
		if err := png.Encode(&b, img); err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("%03d.png", i)), b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// A file that vanishes from a folder of images is named, with code 14.
func TestFaultImageGone(t *testing.T) {
	f := newFaulty(t, "", "--steps", "1M", "--set", "model.classes=0")
	f.pack = filepath.Join(t.TempDir(), "images")
	writeImages(t, f.pack, 70)
	s := f.train()
	f.until(s, "stats.jsonl", "step")
	if err := os.Remove(filepath.Join(f.pack, "042.png")); err != nil {
		t.Fatal(err)
	}
	f.ends(s, 14, "images/042.png: is gone; it was there when the set was opened")
}

// Another set at the place of the run's is refused with both fingerprints, unless it is admitted.
func TestFaultDataSwapped(t *testing.T) {
	f := newFaulty(t, "", "--steps", "30")
	f.ends(f.train("--stop-at", "3"), 10)
	f.must(0, "data", "make", "shapes", "--n", "64", "--size", "8", "--seed", "5", "--out", f.pack)
	f.ends(f.train(), 2, "was trained with another configuration; not resuming", `\n  data    run 64 images, [0-9a-f]{16}    now 64 images, [0-9a-f]{16}\n`,
		"to change it on purpose: --allow-change data;")
	f.ends(f.train("--allow-change", "data", "--stop-at", "5"), 10, "data changes from 64 images, .* as --allow-change admits")
	if !strings.Contains(f.read("run.json"), `"data=64 images, `) {
		t.Error("run.json does not say what was admitted")
	}
	f.ends(f.train("--stop-at", "7"), 10) // it is the run's set from now on
	moved := f.pack + ".moved"
	if err := os.Rename(f.pack, moved); err != nil {
		t.Fatal(err)
	}
	f.pack = moved
	f.ends(f.train("--stop-at", "9"), 10) // a set may move
}

// The lock of a process that died is nobody's; that of one that lives names it.
func TestFaultLock(t *testing.T) {
	f := newFaulty(t, "", "--steps", "1M", "--set", "every.state=5")
	s := f.train()
	f.until(s, "states/latest", "step")
	f.ends(f.train(), 2, fmt.Sprintf("is in use by process %d on", s.Process.Pid), "started 2")
	if err := s.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-s.done
	if !strings.Contains(f.read("lock"), fmt.Sprint(s.Process.Pid)) {
		t.Error("the lock does not name who died")
	}
	if err := os.WriteFile(filepath.Join(f.run, "STOP"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	f.ends(f.train(), 10, "resumed from .*/states/step-")
}

// The heartbeat moves while steps go on, and stays where it was when the process is gone.
func TestFaultHeartbeat(t *testing.T) {
	f := newFaulty(t, "", "--steps", "1M")
	s := f.train()
	beat := func() (b status) {
		if err := json.Unmarshal([]byte(f.read("status.json")), &b); err != nil {
			t.Fatal(err)
		}
		return b
	}
	f.until(s, "stats.jsonl", "step")
	first := beat()
	f.longer(s)
	f.longer(s)
	if b := beat(); b.State != "training" || b.PID != s.Process.Pid || b.Step <= first.Step || b.Updated.Before(first.Updated) {
		t.Errorf("got %+v, and before it %+v", b, first)
	}
	if err := s.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-s.done
	if b := beat(); b.State != "training" || b.PID != s.Process.Pid {
		t.Errorf("after a kill: %+v", b)
	}
}

// A damaged newest state is named and the one before used; --strict refuses; two damaged ones are code 14.
func TestFaultStates(t *testing.T) {
	f := newFaulty(t, "", "--steps", "30", "--set", "every.state=5")
	f.ends(f.train("--stop-at", "10"), 10)
	spoil := func(step string) {
		path := filepath.Join(f.run, "states", step, "optimizer.safetensors")
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		b[len(b)-3] ^= 4
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	spoil("step-00000010")
	f.ends(f.train("--strict"), 14, "step-00000010/optimizer.safetensors: .*crc32c", "--strict refuses to use an older state")
	f.ends(f.train("--stop-at", "7"), 10, "warning: .*step-00000010/optimizer.safetensors", "using .*step-00000005 instead")
	spoil("step-00000005")
	spoil("step-00000007")
	f.ends(f.train(), 14, "no state is whole")
}

// nobody makes what is there belong to a user whom permissions stop, and starts trainings as that user.
func (f *faulty) nobody() func(more ...string) *started {
	const id = 65534
	if os.Geteuid() == 0 {
		passable(f.run)
		for _, path := range []string{filepath.Dir(f.run), f.pack, f.flags[1]} {
			if err := os.Chown(path, id, id); err != nil {
				f.Fatal(err)
			}
		}
	}
	return func(more ...string) *started {
		cmd := exec.Command(f.ict, f.trainArgs(more...)...)
		if os.Geteuid() == 0 {
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: id, Gid: id}}
		}
		return f.start(cmd)
	}
}

// An old state that cannot be deleted is told, stays what it was, and stops nothing.
func TestFaultStateStays(t *testing.T) {
	f := newFaulty(t, "", "--steps", "20", "--set", "every.state=5", "--set", "keep.states=1")
	train := f.nobody()
	f.ends(train("--stop-at", "5"), 10)
	old := filepath.Join(f.run, "states", "step-00000005")
	if err := os.Chmod(old, 0o500); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Chmod(old, 0o700) })
	f.ends(train(), 0, "warning: an old state could not be deleted, and stays: .*step-00000005", "done: step 20")
	f.must(0, "ckpt", "verify", old)
	left, err := filepath.Glob(filepath.Join(f.run, "states", "step-*"))
	if want := []string{old, filepath.Join(f.run, "states", "step-00000020")}; err != nil || !slices.Equal(left, want) {
		t.Errorf("got %v, %v, want %v", left, err, want)
	}
	f.ends(train(), 0, "complete")
}

// What has the name under which a save writes, and is not a save's, ends the run with its name; it is not deleted.
func TestFaultLeftover(t *testing.T) {
	f := newFaulty(t, "", "--steps", "20", "--set", "every.state=5")
	f.ends(f.train("--stop-at", "5"), 10)
	notes := filepath.Join(f.run, "states", "step-00000010.tmp", "notes.txt")
	if err := os.MkdirAll(filepath.Dir(notes), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(notes, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	f.ends(f.train(), 1, "step-00000010.tmp holds files that are not a state's; move it away")
	if _, err := os.Stat(notes); err != nil {
		t.Error(err)
	}
	if err := os.RemoveAll(filepath.Dir(notes)); err != nil {
		t.Fatal(err)
	}
	f.ends(f.train(), 0)
}

// A state that this user may not read is not taken for damaged: an older one would not be what was meant.
func TestFaultStateUnreadable(t *testing.T) {
	f := newFaulty(t, "", "--steps", "20", "--set", "every.state=5")
	train := f.nobody()
	f.ends(train("--stop-at", "10"), 10)
	path := filepath.Join(f.run, "states", "step-00000010", "weights.safetensors")
	if err := os.Chmod(path, 0); err != nil {
		t.Fatal(err)
	}
	text := f.ends(train(), 1, "step-00000010/weights.safetensors: permission denied")
	if strings.Contains(text, "damaged") {
		t.Error(text)
	}
}

// A limit announced by SIGUSR1 is not yet impatience: the SIGTERM that follows lets the step end, the next one does not.
func TestFaultSignalsInTurn(t *testing.T) {
	f := newFaulty(t, "", "--steps", "1M", "--batch", "2048", "--micro-batch", "2048")
	s := f.train()
	f.until(s, "grids/init.png", "")
	for _, x := range []struct {
		signal syscall.Signal
		logged string
	}{{syscall.SIGUSR1, "SIGUSR1: stopping"}, {syscall.SIGTERM, "SIGTERM: stopping"}} {
		if err := s.Process.Signal(x.signal); err != nil {
			t.Fatal(err)
		}
		f.until(s, "log.txt", x.logged)
	}
	f.ends(s, 10, "stopped on request")
}

// A lock that is removed under a trainer lets another one in; the first stops and leaves the run to it.
func TestFaultLockRemoved(t *testing.T) {
	f := newFaulty(t, "", "--steps", "1M", "--set", "every.state=5")
	first := f.train()
	f.until(first, "states/latest", "step")
	if err := os.Remove(filepath.Join(f.run, "lock")); err != nil {
		t.Fatal(err)
	}
	f.ends(first, 1, "lock: the file was removed while the run was in use")
	if strings.Contains(f.read("status.json"), `"state":"failed"`) || strings.Contains(f.read("run.json"), `"stop"`) {
		t.Error("it wrote although the run was another's")
	}
}

// After a resume the heartbeat tells the images of the run from its first beat.
func TestFaultHeartbeatOfAResume(t *testing.T) {
	f := newFaulty(t, "", "--steps", "1M")
	f.ends(f.train("--stop-at", "20"), 10)
	s := f.train("--set", "every.status=1h")
	f.until(s, "status.json", `"state":"training"`)
	if got := f.read("status.json"); !strings.Contains(got, `"images":160,`) {
		t.Errorf("got %s, want 160 images", got)
	}
	if err := s.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	f.ends(s, 10)
}

// A start that is refused for want of space leaves no run behind.
func TestFaultNoRoomToStart(t *testing.T) {
	f := newFaulty(t, filepath.Join(mount(t, 1), "run"), "--steps", "30")
	f.ends(f.train(), 1, "free under .*, two states need .*; free some, or choose another --out")
	if _, err := os.Stat(f.run); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%s is there: %v", f.run, err)
	}
}

// A start that fails before its first step notes where it stood.
func TestFailedStartKnowsItsStep(t *testing.T) {
	dir, err := rundir.Create(filepath.Join(t.TempDir(), "run"))
	must(t, err)
	unlock, err := dir.Lock()
	must(t, err)
	defer unlock()
	must(t, dir.AppendStart(rundir.Start{Step: 20}))
	r := &session{dir: dir, step: 20}
	if err := r.failed(syscall.EIO); !errors.Is(err, syscall.EIO) {
		t.Error(err)
	}
	h, err := dir.History()
	must(t, err)
	if s := h.Starts[0].Stop; s == nil || s.Step != 20 || s.Code != 1 {
		t.Errorf("got %+v, want a stop at step 20 with code 1", s)
	}
}

// Without run.json a run is who its states say: it replaces its own damaged state when it comes by, and retires old ones.
func TestFaultRunJSONGone(t *testing.T) {
	f := newFaulty(t, "", "--steps", "15", "--set", "every.state=5", "--set", "keep.states=2")
	f.ends(f.train("--stop-at", "10"), 10)
	if err := errors.Join(os.Truncate(filepath.Join(f.run, "states", "step-00000010", "weights.safetensors"), 99), os.Remove(filepath.Join(f.run, "run.json"))); err != nil {
		t.Fatal(err)
	}
	f.ends(f.train(), 0, "using .*step-00000005 instead")
	if text := f.must(0, "ckpt", "ls", f.run); strings.Contains(text, "step-00000005") || !strings.Contains(text, "step-00000010") {
		t.Errorf("want the two newest states, got\n%s", text)
	}
}

// A state that lies elsewhere, with a link in its place, is refused and left alone.
func TestFaultStateLink(t *testing.T) {
	f := newFaulty(t, "", "--steps", "15", "--set", "every.state=5")
	f.ends(f.train("--stop-at", "10"), 10)
	state, store := filepath.Join(f.run, "states", "step-00000010"), filepath.Join(t.TempDir(), "store")
	if err := errors.Join(os.Rename(state, store), os.Symlink(store, state)); err != nil {
		t.Fatal(err)
	}
	f.ends(f.train(), 1, "states/step-00000010 is a link; put in its place what it leads to")
	f.must(0, "ckpt", "verify", store)
	if err := errors.Join(os.Remove(state), os.Rename(store, state)); err != nil {
		t.Fatal(err)
	}
	f.ends(f.train(), 0, "weights .*step-00000010")
}

// A damaged event file is named and kept.
func TestFaultEventFile(t *testing.T) {
	f := newFaulty(t, "", "--steps", "15")
	f.ends(f.train("--stop-at", "10"), 10)
	files, err := filepath.Glob(filepath.Join(f.run, "tb", "events.out.tfevents.*.ict"))
	if err != nil || len(files) != 1 {
		t.Fatal(files, err)
	}
	b, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)/2] ^= 1
	if err := os.WriteFile(files[0], b, 0o600); err != nil {
		t.Fatal(err)
	}
	f.ends(f.train(), 0, `warning: .*tfevents.*damaged: record at byte \d+: .*kept as damaged\.\d+\.ict`)
	kept, err := filepath.Glob(filepath.Join(f.run, "tb", "damaged.*.ict"))
	if err != nil || len(kept) != 1 {
		t.Fatal(kept, err)
	}
	if got, err := os.ReadFile(kept[0]); err != nil || !bytes.Equal(got, b) {
		t.Errorf("%s is not the file that was damaged: %v", kept[0], err)
	}
}

// Every fault of docs/faults.md is backed by tests that exist.
func TestFaultsAreTested(t *testing.T) {
	doc, err := os.ReadFile("../../docs/faults.md")
	if err != nil {
		t.Fatal(err)
	}
	var sources []byte
	for _, pattern := range []string{"*_test.go", "../../checkpoint/*_test.go", "../../train/*_test.go", "../../data/*_test.go", "../../internal/*/*_test.go"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			t.Fatal(pattern, err)
		}
		for _, name := range files {
			b, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			sources = append(sources, b...)
		}
	}
	rows := 0
	for line := range strings.Lines(string(doc)) {
		if !strings.HasPrefix(line, "| ") || strings.HasPrefix(line, "| fault ") {
			continue
		}
		rows++
		names := regexp.MustCompile(`Test[A-Z]\w+|\w+\.txtar`).FindAllString(line, -1)
		if len(names) == 0 {
			t.Errorf("no test: %s", line)
		}
		for _, name := range names {
			if _, err := os.Stat(filepath.Join("testdata", name)); err != nil && !bytes.Contains(sources, []byte("func "+name+"(")) {
				t.Errorf("there is no %s: %s", name, line)
			}
		}
	}
	if rows < 10 {
		t.Errorf("%d rows", rows)
	}
}
