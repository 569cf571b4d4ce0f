package checkpoint

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// TestMain lets the test binary be the process that is killed, or that has no space left.
func TestMain(m *testing.M) {
	if dir := os.Getenv("ICT_TEST_WRITER"); dir != "" {
		writer(dir)
	}
	os.Exit(m.Run())
}

// damage rewrites a file.
func damage(t testing.TB, path string, change func([]byte) []byte) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err == nil {
		err = os.WriteFile(path, change(b), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// stride is the distance between two bytes that are damaged.
func stride() int {
	if testing.Short() {
		return 7
	}
	return 1
}

var errStopped = errors.New("stopped")

// looks is a context that is done, or panics as a kill would end the process, when it is looked at for the n-th time.
type looks struct {
	context.Context
	left int
	kill bool
}

func (l *looks) Err() error {
	if l.left--; l.left >= 0 {
		return nil
	}
	if l.kill {
		panic(errStopped)
	}
	return errStopped
}

// killed runs f and reports whether a looks ended it by panic.
func killed(f func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			if r != errStopped {
				panic(r)
			}
			err = errStopped
		}
	}()
	return f()
}

// Stopped at any point, a save leaves nothing; killed at any point, it leaves the state before it, or itself, whole.
func TestStateInterruptedAnywhere(t *testing.T) {
	t.Parallel()
	for _, kill := range []bool{false, true} {
		for _, step := range []int{8, 7} { // after the state of step 7, and in its place
			points := 0
			for ; ; points++ {
				dir := t.TempDir()
				mustWrite(t, dir, 7)
				err := killed(func() error {
					return writeState(&looks{context.Background(), points, kill}, dir, step, stateFiles(step), testManifest())
				})
				if err == nil {
					wantLatest(t, dir, step, 0)
					break
				}
				if !errors.Is(err, errStopped) {
					t.Fatal(err)
				}
				if !kill {
					if d := cmp.Diff([]string{"latest", StateName(7)}, names(t, dir)); d != "" {
						t.Errorf("stopped at %d: %s", points, d)
					}
				} else if err := CleanTemp(dir); err != nil {
					t.Fatal(err)
				}
				wantLatest(t, dir, 7, 0)
				if left, _ := filepath.Glob(filepath.Join(dir, "*tmp*")); len(left) > 0 {
					t.Errorf("point %d: left %q", points, left)
				}
				if kill { // and it goes on
					mustWrite(t, dir, 9)
					wantLatest(t, dir, 9, 0)
				}
			}
			if points < 10 {
				t.Errorf("only %d points to stop at", points)
			}
		}
	}
}

// Any single damaged byte of any file is found, and the state before is used.
func TestStateFlippedBit(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	mustWrite(t, dir, 1, 2)
	path := filepath.Join(dir, StateName(2))
	for _, name := range names(t, path) {
		whole, err := os.ReadFile(filepath.Join(path, name))
		if err != nil {
			t.Fatal(err)
		}
		f, err := os.OpenFile(filepath.Join(path, name), os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		for i := 0; i < len(whole); i += stride() {
			b := whole[i]
			if _, err := f.WriteAt([]byte{b ^ 1<<(i%8)}, int64(i)); err != nil {
				t.Fatal(err)
			}
			if s, err := OpenState(path); err == nil {
				s.Close()
				t.Errorf("%s: a flipped bit of byte %d (%q) was not seen", name, i, b)
			} else if !errors.Is(err, ErrDamaged) {
				t.Errorf("%s: byte %d: got %v, want damaged", name, i, err)
			}
			if i%105 == 0 {
				if notes := wantLatest(t, dir, 1, 1); len(notes) == 1 && !strings.Contains(notes[0].Error(), path) {
					t.Errorf("got %v, want %s named", notes[0], path)
				}
			}
			if _, err := f.WriteAt([]byte{b}, int64(i)); err != nil {
				t.Fatal(err)
			}
		}
	}
	wantLatest(t, dir, 2, 0)
}

func TestStateDamagedFiles(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"weights.safetensors", "optimizer.safetensors", "manifest.json"} {
		for what, change := range map[string]func(path string) error{
			"missing":    os.Remove,
			"empty":      func(p string) error { return os.Truncate(p, 0) },
			"short by 1": func(p string) error { s, err := os.Stat(p); return errors.Join(err, os.Truncate(p, s.Size()-1)) },
			"long by 1":  func(p string) error { s, err := os.Stat(p); return errors.Join(err, os.Truncate(p, s.Size()+1)) },
			"a folder":   func(p string) error { return errors.Join(os.Remove(p), os.Mkdir(p, 0o700)) },
			"a link to nowhere": func(p string) error {
				return errors.Join(os.Remove(p), os.Symlink("none", p))
			},
			"another's": func(p string) error {
				b, err := os.ReadFile(filepath.Join(filepath.Dir(filepath.Dir(p)), StateName(1), filepath.Base(p)))
				return errors.Join(err, os.WriteFile(p, b, 0o600))
			},
		} {
			dir := t.TempDir()
			mustWrite(t, dir, 1, 2)
			if err := change(filepath.Join(dir, StateName(2), name)); err != nil {
				t.Fatal(err)
			}
			if notes := wantLatest(t, dir, 1, 1); len(notes) == 1 && !strings.Contains(notes[0].Error(), name) {
				t.Errorf("%s %s: got %v", name, what, notes)
			}
			mustWrite(t, dir, 2)
			wantLatest(t, dir, 2, 0)
		}
	}
	dir := t.TempDir()
	mustWrite(t, dir, 1, 2)
	for _, step := range []int{1, 2} {
		if err := os.Remove(filepath.Join(dir, StateName(step), "manifest.json")); err != nil {
			t.Fatal(err)
		}
	}
	if _, notes, err := Latest(dir); !errors.Is(err, ErrDamaged) || errors.Is(err, ErrNone) || len(notes) != 2 {
		t.Errorf("got %v, %v, want both damaged", notes, err)
	}
}

// The file latest is a convenience: without it, or with a wrong one, the newest state is found all the same.
func TestLatestFile(t *testing.T) {
	dir := t.TempDir()
	mustWrite(t, dir, 1, 2)
	path := filepath.Join(dir, "latest")
	for content, bad := range map[string]int{
		"step-00000001\n": 0, "step-00000002": 0, "step-00000003\n": 1, "": 1, "../../etc": 1, "\x00\xff": 1, strings.Repeat("x", 100): 1,
	} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		wantLatest(t, dir, 2, bad)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	wantLatest(t, dir, 2, 0)
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
	wantLatest(t, dir, 2, 1)
}

// writer is the child: it writes one state after the other for ever, keeps two, and says which it has written. With
// ICT_TEST_LIMIT it may write no file longer than that, and exits after one state.
func writer(dir string) {
	fail := func(err error) {
		fmt.Println("error", err)
		os.Exit(1)
	}
	if limit, err := strconv.ParseUint(os.Getenv("ICT_TEST_LIMIT"), 10, 64); err == nil {
		signal.Ignore(syscall.SIGXFSZ)
		if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: limit, Max: limit}); err != nil {
			fail(err)
		}
		err := WriteState(dir, 3, stateFiles(3), testManifest())
		fmt.Println(errors.Is(err, ErrSpace), err)
		os.Exit(0)
	}
	fmt.Println("start")
	if err := CleanTemp(dir); err != nil {
		fail(err)
	}
	step := 0
	switch path, notes, err := Latest(dir); {
	case len(notes) > 0 || err != nil && !errors.Is(err, ErrNone):
		fail(errors.Join(append(notes, err)...))
	case err == nil:
		step, _ = parseStep(filepath.Base(path))
	}
	for {
		step++
		for range 1 + step%2 { // every second one is written twice: the rename over an existing state
			if err := WriteState(dir, step, stateFiles(step), testManifest()); err != nil {
				fail(err)
			}
		}
		if _, err := Prune(dir, 1<<30, 2, Owned(dir, "run-1")); err != nil {
			fail(err)
		}
		fmt.Println("step", step)
	}
}

// Killed at random moments, a writer always leaves the last state it reported, or the one it was at, and nothing that looks
// complete and is not.
func TestStateKilled(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "states")
	newest := 0
	lives := 20
	if testing.Short() {
		lives = 5
	}
	for life := range lives {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), "ICT_TEST_WRITER="+dir)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		// Half of them die some time after their start, half after they have reported a state.
		from, reported := []string{"start", "step"}[life%2], newest
		for lines := bufio.NewScanner(out); lines.Scan(); {
			if strings.HasPrefix(lines.Text(), from) {
				from = "done"
				time.AfterFunc(time.Duration(rand.IntN(40))*time.Millisecond, func() { cmd.Process.Kill() })
			}
			if _, err := fmt.Sscanf(lines.Text(), "step %d", &reported); err != nil && lines.Text() != "start" {
				t.Error(lines.Text())
			}
		}
		if err := cmd.Wait(); err == nil || err.Error() != "signal: killed" {
			t.Fatal(err)
		}
		if err := CleanTemp(dir); err != nil {
			t.Fatal(err)
		}
		list, err := List(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range list {
			sameState(t, e.Path, e.Step)
			newest = e.Step
		}
		if newest < reported || newest > reported+1 {
			t.Errorf("newest is %d, reported was %d", newest, reported)
		}
		if newest > 0 {
			wantLatest(t, dir, newest, 0)
		}
	}
	if newest < lives/2 {
		t.Errorf("only %d states were written in %d lives", newest, lives)
	}
	if _, err := Prune(dir, 1<<30, 2, Owned(dir, "run-1")); err != nil {
		t.Error(err)
	}
	if d := cmp.Diff([]string{"latest", StateName(newest - 1), StateName(newest)}, names(t, dir)); d != "" {
		t.Error(d)
	}
}

// A disk that is full while a state is written costs that state alone.
func TestStateDiskFull(t *testing.T) {
	for _, limit := range []string{"0", "100", "170", "1000"} { // bytes: nothing, a part of the first file, of the second, of the manifest
		dir := t.TempDir()
		mustWrite(t, dir, 1, 2)
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), "ICT_TEST_WRITER="+dir, "ICT_TEST_LIMIT="+limit)
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.HasPrefix(string(out), "true checkpoint: ") {
			t.Errorf("limit %s: got %s, %v, want an error of no space", limit, out, err)
		}
		if d := cmp.Diff([]string{"latest", StateName(1), StateName(2)}, names(t, dir)); d != "" {
			t.Error(d)
		}
		wantLatest(t, dir, 2, 0)
	}
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer full.Close()
	if _, err := stream(context.Background(), full, []byte("x"), nil); !errors.Is(spaceOr(err), ErrSpace) || !errors.Is(spaceOr(err), unix.ENOSPC) {
		t.Errorf("got %v, want %v", err, ErrSpace)
	}
	if errors.Is(spaceOr(io.ErrUnexpectedEOF), ErrSpace) || spaceOr(nil) != nil {
		t.Error("other errors became errors of no space")
	}
}

func TestRoom(t *testing.T) {
	dir := t.TempDir()
	for _, path := range []string{dir, filepath.Join(dir, "not", "yet")} {
		free, err := FreeBytes(path)
		if err != nil || free <= 0 {
			t.Fatal(free, err)
		}
		if err := Room(path, 1); err != nil {
			t.Error(err)
		}
		err = Room(path, 1<<62)
		var space *SpaceError
		if !errors.As(err, &space) || !errors.Is(err, ErrSpace) || space.Need != 1<<62 || space.Path != path {
			t.Errorf("got %v", err)
		}
	}
	out, err := exec.Command("df", "--output=avail", "-B1", dir).Output()
	if err != nil {
		t.Fatal(err)
	}
	want, err := strconv.ParseFloat(strings.Fields(string(out))[1], 64)
	if err != nil {
		t.Fatal(err)
	}
	if free, _ := FreeBytes(dir); float64(free) < 0.8*want || float64(free) > 1.2*want {
		t.Errorf("got %d, df says %.0f", free, want)
	}
	got := (&SpaceError{"runs/c10", 31 << 30 / 10, 42 << 30 / 10}).Error()
	if want := "3.1 GiB free under runs/c10, two states need 4.2 GiB; the next save will be skipped unless space is freed"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	sizes := []string{bytesText(512), bytesText(3 << 20), bytesText(1 << 40)}
	if want := []string{"0.5 KiB", "3.0 MiB", "1024.0 GiB"}; !slices.Equal(sizes, want) {
		t.Errorf("got %q, want %q", sizes, want)
	}
}
