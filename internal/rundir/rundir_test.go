package rundir

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestMain lets the test binary be the other process: it locks a run, says so, and waits to be killed.
func TestMain(m *testing.M) {
	if path := os.Getenv("ICT_TEST_LOCK"); path != "" {
		d, err := Open(path)
		if err == nil {
			_, err = d.Lock()
		}
		fmt.Println("locked", err)
		time.Sleep(time.Minute)
	}
	os.Exit(m.Run())
}

func create(t testing.TB) *Dir {
	t.Helper()
	d, err := Create(filepath.Join(t.TempDir(), "runs", "a"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

func lock(t testing.TB, d *Dir) {
	t.Helper()
	unlock, err := d.Lock()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unlock(); err != nil {
			t.Error(err)
		}
	})
}

func put(t testing.TB, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func content(t testing.TB, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestCreate(t *testing.T) {
	d := create(t)
	info, err := os.Stat(d.Path())
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("got %v, %v, want 0700", info.Mode(), err)
	}
	for _, path := range []string{d.Grids(), d.States(), d.Snapshots()} {
		if info, err := os.Stat(path); err != nil || !info.IsDir() || filepath.Dir(path) != d.Path() {
			t.Errorf("%s: %v", path, err)
		}
	}
	for got, want := range map[string]string{
		d.ConfigYAML(): "config.yaml", d.RunJSON(): "run.json", d.StatusJSON(): "status.json", d.StatsJSONL(): "stats.jsonl",
		d.LogTxt(): "log.txt", d.LogJSONL(): "log.jsonl", d.LockFile(): "lock", d.StopFile(): "STOP", d.SaveFile(): "SAVE",
		d.Eval(): "eval", d.Evidence(): "evidence",
	} {
		if got != filepath.Join(d.Path(), want) {
			t.Errorf("got %s, want %s", got, want)
		}
	}

	// Again: the same folder, with all that is in it.
	put(t, filepath.Join(d.Path(), "notes.txt"), "mine")
	again, err := Create(d.Path() + "/")
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if got := content(t, filepath.Join(d.Path(), "notes.txt")); got != "mine" {
		t.Errorf("got %q", got)
	}
	if _, err := Create(filepath.Join(d.Path(), "notes.txt")); err == nil {
		t.Error("a file became a run")
	}
}

func TestOpen(t *testing.T) {
	if _, err := Open(filepath.Join(t.TempDir(), "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v, want %v", err, fs.ErrNotExist)
	}
	empty := t.TempDir()
	d, err := Open(empty)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if entries, _ := os.ReadDir(empty); len(entries) > 0 {
		t.Errorf("Open made %v", entries)
	}
	if _, err := d.History(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v, want %v", err, fs.ErrNotExist)
	}
}

func TestNext(t *testing.T) {
	parent := filepath.Join(t.TempDir(), "runs")
	next := func(preset, objective, want string) {
		t.Helper()
		d, err := Next(parent, preset, objective)
		if err != nil {
			t.Error(err)
			return
		}
		defer d.Close()
		if d.Path() != filepath.Join(parent, want) {
			t.Errorf("got %s, want %s", d.Path(), want)
		}
	}
	next("mnist", "ict", "0000-mnist-ict")
	next("cifar10-deep", "ect", "0001-cifar10-deep-ect")
	for _, other := range []string{"0007-x-y", "notes", "99999999999-x", "8-x", "0009"} {
		if err := os.Mkdir(filepath.Join(parent, other), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	next("mnist", "ict", "0008-mnist-ict")
	if err := os.Mkdir(filepath.Join(parent, "12345-x"), 0o700); err != nil {
		t.Fatal(err)
	}
	next("mnist", "ict", "12346-mnist-ict")
	for _, bad := range []string{"", "../x", "a/b", ".x", "a b"} {
		if _, err := Next(parent, bad, "ict"); err == nil {
			t.Errorf("%q was taken for a name", bad)
		}
	}

	var group sync.WaitGroup
	var mu sync.Mutex
	seen := map[string]bool{}
	for range 10 {
		group.Go(func() {
			d, err := Next(parent, "tiny", "ct")
			if err != nil {
				t.Error(err)
				return
			}
			defer d.Close()
			mu.Lock()
			defer mu.Unlock()
			if seen[d.Path()] {
				t.Errorf("%s was given twice", d.Path())
			}
			seen[d.Path()] = true
		})
	}
	group.Wait()
}

func TestLock(t *testing.T) {
	d := create(t)
	if d.RunID() != "" {
		t.Error("an identity before the lock")
	}
	unlock, err := d.Lock()
	if err != nil {
		t.Fatal(err)
	}
	id := d.RunID()
	if len(id) != 16 {
		t.Errorf("run id %q", id)
	}
	if _, err := d.Lock(); !errors.Is(err, ErrLocked) {
		t.Errorf("got %v, want %v", err, ErrLocked)
	}
	if err := errors.Join(unlock(), unlock()); err != nil {
		t.Error(err)
	}
	if got := content(t, d.LockFile()); got != "" {
		t.Errorf("an open lock names %s", got)
	}

	// Another process holds it.
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "ICT_TEST_LOCK="+d.Path())
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || line != "locked <nil>\n" {
		t.Errorf("got %q, %v", line, err)
	}
	var locked *LockedError
	host, _ := os.Hostname()
	if _, err := d.Lock(); !errors.As(err, &locked) || locked.Holder.PID != cmd.Process.Pid || locked.Holder.Host != host {
		t.Errorf("got %v, want process %d", err, cmd.Process.Pid)
	} else if want := fmt.Sprintf("%s is in use by process %d on %q, started 20", d.Path(), cmd.Process.Pid, host); !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want %s", err, want)
	}
	put(t, d.LockFile(), "\x00garbage") // the names are for people: nothing depends on them
	if _, err := d.Lock(); !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), "just started") {
		t.Errorf("got %v", err)
	}
	cmd.Process.Kill()
	cmd.Wait()
	lock(t, d) // a killed process holds nothing
	if d.RunID() != id {
		t.Errorf("run id %s, was %s", d.RunID(), id)
	}
}

// The lock is on a file, not on a name: once the file of that name is another one, or gone, a second trainer can start.
func TestStillLocked(t *testing.T) {
	for why, lose := range map[string]func(*Dir) error{
		"was removed": func(d *Dir) error { return os.Remove(d.LockFile()) },
		"another file": func(d *Dir) error {
			return errors.Join(os.Remove(d.LockFile()), os.WriteFile(d.LockFile(), []byte("theirs"), 0o600))
		},
		"removed": func(d *Dir) error { return os.Rename(d.Path(), d.Path()+".moved") },
	} {
		d := create(t)
		if err := d.StillLocked(); err == nil {
			t.Error("held before it was taken")
		}
		unlock, err := d.Lock()
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(d.StillLocked(), d.StillLocked(), lose(d)); err != nil {
			t.Fatal(err)
		}
		if err := d.StillLocked(); err == nil || !strings.Contains(err.Error(), why) || !strings.Contains(err.Error(), d.Path()) {
			t.Errorf("%s: got %v", why, err)
		}
		if err := unlock(); err != nil {
			t.Error(err)
		}
		if b, err := os.ReadFile(d.LockFile()); err == nil && string(b) != "theirs" {
			t.Errorf("unlock wrote %q over the file of another", b)
		}
	}
	d := create(t)
	unlock, err := d.Lock()
	if err != nil {
		t.Fatal(err)
	}
	if err := unlock(); err != nil {
		t.Fatal(err)
	}
	if err := d.StillLocked(); err == nil {
		t.Error("held after it was given back")
	}
	lock(t, d)
	if err := d.StillLocked(); err != nil {
		t.Error(err)
	}
}

func TestSwitches(t *testing.T) {
	d := create(t)
	for path, take := range map[string]func() bool{d.StopFile(): d.TakeStop, d.SaveFile(): d.TakeSave} {
		if take() {
			t.Errorf("%s: seen before it was touched", path)
		}
		put(t, path, "")
		if !take() || take() {
			t.Errorf("%s: want once", path)
		}
		if err := os.Mkdir(path, 0o700); err != nil {
			t.Fatal(err)
		}
		if take() {
			t.Errorf("%s: a folder is no switch", path)
		}
	}
}

func TestHistory(t *testing.T) {
	d := create(t)
	lock(t, d)
	if err := d.AppendStop(Stop{}); err == nil {
		t.Error("a stop without a start")
	}
	starts := []Start{
		{Build: "abc", Kernels: "def", Device: "cpu", World: 2, MicroBatch: 8, Command: []string{"ict", "train"}, Weights: "random"},
		{Build: "abd", Device: "cpu", World: 1, Command: []string{"ict", "train"}, Weights: "state", Step: 100, Allowed: []string{"model.dropout"}},
	}
	stop := Stop{Step: 100, Code: 10, Reason: "STOP"}
	for _, err := range []error{d.AppendStart(starts[0]), d.AppendStop(stop), d.AppendStart(starts[1])} {
		if err != nil {
			t.Fatal(err)
		}
	}
	h, err := d.History()
	if err != nil || len(h.Starts) != 2 || h.RunID != d.RunID() || h.Created.IsZero() {
		t.Fatalf("got %+v, %v", h, err)
	}
	for i := range h.Starts {
		s := &h.Starts[i]
		if s.PID != os.Getpid() || s.Time.IsZero() {
			t.Errorf("got %+v", s)
		}
		s.PID, s.Host, s.Time = 0, "", time.Time{}
	}
	if h.Starts[0].Stop == nil || h.Starts[0].Stop.Time.IsZero() {
		t.Fatalf("got %+v", h.Starts[0])
	}
	h.Starts[0].Stop.Time = time.Time{}
	starts[0].Stop = &stop
	if d := cmp.Diff(starts, h.Starts); d != "" {
		t.Error(d)
	}
	for _, bad := range []string{"", "{", "[]", "{}"} {
		put(t, d.RunJSON(), bad)
		if err := d.AppendStart(Start{}); err == nil || !strings.Contains(err.Error(), "run.json") {
			t.Errorf("%q: got %v", bad, err)
		}
		if got := content(t, d.RunJSON()); got != bad {
			t.Errorf("%q was overwritten", bad)
		}
	}
}

// A damaged run.json is refused with the lock given back, not replaced by a new identity.
func TestLockDamagedHistory(t *testing.T) {
	d := create(t)
	put(t, d.RunJSON(), "{")
	for range 2 {
		if _, err := d.Lock(); err == nil || errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), "run.json") {
			t.Errorf("got %v", err)
		}
	}
	if err := os.Remove(d.RunJSON()); err != nil {
		t.Fatal(err)
	}
	lock(t, d)
}

// A run that has lost its run.json is who its states say; one that has it is who that says.
func TestSetRunID(t *testing.T) {
	d := create(t)
	d.SetRunID("0123456789abcdef")
	lock(t, d)
	if h, err := d.History(); err != nil || h.RunID != "0123456789abcdef" || d.RunID() != h.RunID {
		t.Errorf("got %+v, %s, %v", h, d.RunID(), err)
	}
	other, err := Open(d.Path())
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	other.SetRunID("fedcba9876543210")
	if err := other.identify(); err != nil || other.RunID() != "0123456789abcdef" {
		t.Errorf("got %s, %v", other.RunID(), err)
	}
}

func TestStatus(t *testing.T) {
	d := create(t)
	type status struct{ Step int }
	var got status
	if err := d.ReadStatus(&got); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v, want %v", err, fs.ErrNotExist)
	}
	var group sync.WaitGroup
	for i := range 20 { // whoever reads meanwhile reads a whole one
		group.Go(func() {
			if err := d.WriteStatus(status{i + 1}); err != nil {
				t.Error(err)
			}
			var s status
			if err := d.ReadStatus(&s); err != nil || s.Step == 0 {
				t.Error(s, err)
			}
		})
	}
	group.Wait()
	if err := d.WriteStatus(status{99}); err != nil {
		t.Error(err)
	}
	if err := d.ReadStatus(&got); err != nil || got.Step != 99 {
		t.Error(got, err)
	}
	if err := d.WriteStatus(func() {}); err == nil {
		t.Error("a function was written")
	}
	if left, _ := filepath.Glob(filepath.Join(d.Path(), ".*")); len(left) > 0 {
		t.Errorf("left %q", left)
	}
}

func TestWriteFile(t *testing.T) {
	d := create(t)
	put(t, filepath.Join(d.Grids(), ".final.png.tmp"), "left by a kill")
	for _, name := range []string{"config.yaml", "grids/final.png", "evidence/step-5/images.png"} {
		for _, text := range []string{"one", "two"} {
			if err := d.WriteFile(name, []byte(text)); err != nil {
				t.Fatal(err)
			}
			if got := content(t, filepath.Join(d.Path(), name)); got != text {
				t.Errorf("%s: got %q, want %q", name, got, text)
			}
		}
	}
	if left, _ := filepath.Glob(filepath.Join(d.Path(), "*", ".*")); len(left) > 0 {
		t.Errorf("left %q", left)
	}
	for _, name := range []string{"../x", "/etc/x", "", "grids/../../x"} {
		if err := d.WriteFile(name, nil); err == nil {
			t.Errorf("%q was written", name)
		}
	}
	f, err := d.OpenAppend("log.txt")
	if err != nil {
		t.Fatal(err)
	}
	f.WriteString("a\n")
	f.Close()
	if f, err = d.OpenAppend("log.txt"); err != nil {
		t.Fatal(err)
	}
	f.WriteString("b\n")
	f.Close()
	if got := content(t, d.LogTxt()); got != "a\nb\n" {
		t.Errorf("got %q", got)
	}
}

// A link inside the folder may point anywhere inside it, never outside.
func TestLinks(t *testing.T) {
	for _, name := range written {
		outside := t.TempDir()
		put(t, filepath.Join(outside, "file"), "untouched")
		d := create(t)
		if err := os.RemoveAll(filepath.Join(d.Path(), name)); err != nil {
			t.Fatal(err)
		}
		for _, target := range []string{outside, filepath.Join(outside, "file"), "../../..", "nowhere"} {
			link := filepath.Join(d.Path(), name)
			if err := os.Symlink(target, link); err != nil {
				t.Fatal(err)
			}
			if _, err := d.Lock(); err == nil || !strings.Contains(err.Error(), name+" is a link") {
				t.Errorf("%s → %s: got %v", name, target, err)
			}
			if _, err := Create(d.Path()); err == nil {
				t.Errorf("%s → %s: created", name, target)
			}
			if err := os.Remove(link); err != nil {
				t.Fatal(err)
			}
		}
		if got := content(t, filepath.Join(outside, "file")); got != "untouched" {
			t.Errorf("%s: wrote outside: %q", name, got)
		}
	}

	// Of states and snapshots none may be a link, wherever it leads. Others' names are theirs.
	for _, name := range []string{"states/step-00000030", "states/step-00000030.tmp", "snapshots/step-00000030.safetensors"} {
		d := create(t)
		path := filepath.Join(d.Path(), name)
		if err := errors.Join(os.Mkdir(filepath.Join(d.Path(), "inside"), 0o700), os.Symlink("../inside", path),
			os.Symlink(t.TempDir(), filepath.Join(d.Path(), "snapshots", "best"))); err != nil {
			t.Fatal(err)
		}
		if _, err := d.Lock(); err == nil || !strings.Contains(err.Error(), name+" is a link") {
			t.Errorf("%s: got %v", name, err)
		}
		if _, err := Create(d.Path()); err == nil {
			t.Errorf("%s: created", name)
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		lock(t, d)
	}

	// One that appears later is not followed either.
	d := create(t)
	outside := filepath.Join(t.TempDir(), "file")
	put(t, outside, "untouched")
	lock(t, d)
	for _, name := range []string{"status.json", "stats.jsonl", "log.txt", "config.yaml", "grids/a.png"} {
		if err := os.Symlink(outside, filepath.Join(d.Path(), name)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := d.OpenAppend("log.txt"); err == nil {
		t.Error("log.txt was opened outside")
	}
	if err := d.AppendStats(map[string]int{"step": 1}); err == nil {
		t.Error("stats.jsonl was written outside")
	}
	if err := d.TruncateAfter(0); err == nil {
		t.Error("stats.jsonl was cut outside")
	}
	for _, err := range []error{d.WriteStatus(1), d.WriteFile("config.yaml", nil), d.WriteFile("grids/a.png", nil)} { // these replace the link
		if err != nil {
			t.Error(err)
		}
	}
	if got := content(t, outside); got != "untouched" {
		t.Errorf("wrote outside: %q", got)
	}
	if err := os.RemoveAll(d.Grids()); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Dir(outside), d.Grids()); err != nil {
		t.Fatal(err)
	}
	if err := d.WriteFile("grids/b.png", nil); err == nil {
		t.Error("a picture was written outside")
	}
}

func TestStats(t *testing.T) {
	d := create(t)
	if err := d.TruncateAfter(5); err != nil { // nothing yet
		t.Error(err)
	}
	type tick struct {
		Step int     `json:"step"`
		Loss float64 `json:"loss"`
	}
	add := func(steps ...int) {
		t.Helper()
		for _, s := range steps {
			if err := d.AppendStats(tick{s, 0.5}); err != nil {
				t.Fatal(err)
			}
		}
	}
	steps := func() (list []int) {
		for line := range strings.Lines(content(t, d.StatsJSONL())) {
			var k tick
			if json.Unmarshal([]byte(line), &k) != nil {
				k.Step = -1
			}
			list = append(list, k.Step)
		}
		return list
	}
	want := func(want ...int) {
		t.Helper()
		if d := cmp.Diff(want, steps()); d != "" {
			t.Error(d)
		}
	}
	cut := func(step int) {
		t.Helper()
		if err := d.TruncateAfter(step); err != nil {
			t.Error(err)
		}
	}
	add(100, 200, 300, 400)
	cut(1000)
	want(100, 200, 300, 400)
	cut(399)
	want(100, 200, 300)
	add(400, 500)

	torn := content(t, d.StatsJSONL())
	put(t, d.StatsJSONL(), torn[:len(torn)-9])
	add(600) // without a cut: the torn line spoils itself alone
	want(100, 200, 300, 400, -1, 600)
	cut(600)
	want(100, 200, 300, 400, -1, 600)
	put(t, d.StatsJSONL(), content(t, d.StatsJSONL())+`{"step":7`)
	cut(600)
	want(100, 200, 300, 400, -1, 600)
	put(t, d.StatsJSONL(), content(t, d.StatsJSONL())+"\x00\x00\x00\n{}\n"+`{"step":"x"}`+"\n"+strings.Repeat("y", 3*maxLine)+"\n")
	cut(600)
	want(100, 200, 300, 400, -1, 600)
	cut(500)
	want(100, 200, 300, 400)
	put(t, d.StatsJSONL(), content(t, d.StatsJSONL())+strings.Repeat("y", 2*maxLine)+"\n")
	add(450)
	cut(450) // unreadable in between: kept
	want(100, 200, 300, 400, -1, 450)
	add(200) // of a run that was not cut: what comes after a later step goes with it
	cut(250)
	want(100, 200)
	put(t, d.StatsJSONL(), content(t, d.StatsJSONL())+strings.Repeat("y", maxLine)+`{"step":100}`+"\n") // one line, not two
	cut(250)
	want(100, 200)
	cut(99)
	if got := content(t, d.StatsJSONL()); got != "" {
		t.Errorf("got %q", got)
	}
	if err := d.AppendStats(func() {}); err == nil {
		t.Error("a function was written")
	}
}

func FuzzStats(f *testing.F) {
	for _, s := range []string{"", "{\"step\":1}\n{\"step\":2}\n", "{\"step\":1}\n{\"st", "\x00\n{\"step\":-1}\n\n", "{\"step\":1e3}\n", "{\"step\":null}\n"} {
		f.Add([]byte(s), int64(1))
	}
	f.Fuzz(func(t *testing.T, b []byte, step int64) {
		end, err := endOf(bytes.NewReader(b), step)
		if err != nil {
			t.Fatal(err)
		}
		kept := b[:end]
		if len(kept) > 0 && kept[len(kept)-1] != '\n' {
			t.Fatalf("cut inside a line: %q", kept)
		}
		if again, err := endOf(bytes.NewReader(kept), step); err != nil || again != end {
			t.Fatalf("cut twice: %d, then %d, %v", end, again, err)
		}
	})
}

func FuzzHistory(f *testing.F) {
	for _, s := range []string{"", "{}", `{"run_id":"a","starts":[{"stop":{}}]}`, `{"run_id":"a","starts":null}`, `{"run_id":"a","created":"x"}`} {
		f.Add([]byte(s))
	}
	d := create(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		put(t, d.RunJSON(), string(b))
		put(t, d.LockFile(), string(b))
		d.holder()
		if h, err := d.History(); err == nil && h.RunID == "" {
			t.Fatal("no identity, no error")
		}
	})
}

// Whatever is in status.json: read into what the program keeps there, or an error that names the file.
func FuzzStatus(f *testing.F) {
	for _, s := range []string{"", "{}", `{"state":"training","pid":1,"updated":"2026-01-02T03:04:05Z","step":3}`, `{"step":1e99}`, "null"} {
		f.Add([]byte(s))
	}
	d := create(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		put(t, d.StatusJSON(), string(b))
		var v struct {
			State   string
			PID     int
			Updated time.Time
			Step    int
		}
		if err := d.ReadStatus(&v); err != nil && !strings.Contains(err.Error(), "status.json") {
			t.Errorf("%v", err)
		}
	})
}
