package checkpoint

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// stateFiles is the content of the state of a step: a function of the step.
func stateFiles(step int) map[string][]Named {
	fill := func(n int) []byte { return bytes.Repeat([]byte{byte(step), byte(step >> 8), 7, byte(n)}, n) }
	return map[string][]Named{
		"weights.safetensors":     {{"a.weight", F32, []int{2, 3}, fill(6)}, {"a.bias", F32, []int{2}, fill(2)}},
		"optimizer.safetensors":   {{"m", F32, []int{8}, fill(8)}, {"v", F32, []int{8}, fill(8)}},
		"ema-0.99993.safetensors": {{"a.weight", F32, []int{2, 3}, fill(6)}, {"a.bias", F32, nil, fill(1)}},
	}
}

func testManifest() Manifest {
	return Manifest{
		RunID: "run-1", Config: json.RawMessage(`{"model":{"channels":128},"ema":[0.99993]}`), Images: 1 << 40, Seed: 1<<64 - 1,
		LossScale: LossScale{Scale: 1 << 22, Good: 17, Bad: 1, Skipped: 3, Since: 9}, World: 2, MicroBatch: 256, Slice: 8,
		Build: "abc", Kernels: "def", Device: "cpu", BLAS: "OpenBLAS Haswell", NCCL: "2.27 Ring",
	}
}

func mustWrite(t testing.TB, dir string, steps ...int) {
	t.Helper()
	for _, step := range steps {
		if err := WriteState(dir, step, stateFiles(step), testManifest()); err != nil {
			t.Fatal(err)
		}
	}
}

// sameState fails unless the state at path is what stateFiles says.
func sameState(t testing.TB, path string, step int) {
	t.Helper()
	s, err := OpenState(path)
	if err != nil {
		t.Error(err)
		return
	}
	defer s.Close()
	if s.Manifest.Step != step || filepath.Base(path) != StateName(step) {
		t.Errorf("%s: step %d, want %d", path, s.Manifest.Step, step)
	}
	for name, want := range stateFiles(step) {
		f, ok := s.File(name)
		if !ok {
			t.Errorf("%s: no %s", path, name)
			continue
		}
		sameTensors(t, f, want)
	}
}

// wantLatest fails unless the newest whole state below dir is that of step, and bad others are named.
func wantLatest(t testing.TB, dir string, step, bad int) []error {
	t.Helper()
	path, notes, err := Latest(dir)
	if err != nil || path != filepath.Join(dir, StateName(step)) || len(notes) != bad {
		t.Errorf("got %s, %d named, %v; want %s, %d named\n%v", path, len(notes), err, StateName(step), bad, errors.Join(notes...))
		return notes
	}
	sameState(t, path, step)
	return notes
}

func names(t testing.TB, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	var list []string
	for _, e := range entries {
		list = append(list, e.Name())
	}
	return list
}

func TestStateRoundTrip(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "states")
	mustWrite(t, dir, 12000)
	path := filepath.Join(dir, "step-00012000")
	if d := cmp.Diff([]string{"latest", "step-00012000"}, names(t, dir)); d != "" {
		t.Error(d)
	}
	want := []string{"ema-0.99993.safetensors", "manifest.json", "optimizer.safetensors", "weights.safetensors"}
	if d := cmp.Diff(want, names(t, path)); d != "" {
		t.Error(d)
	}
	if b, err := os.ReadFile(filepath.Join(dir, "latest")); err != nil || string(b) != "step-00012000\n" {
		t.Errorf("latest holds %q, %v", b, err)
	}
	sameState(t, path, 12000)
	s, err := OpenState(path)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	m := s.Manifest
	if m.FormatVersion != 1 || m.Step != 12000 || len(m.Files) != 3 || len(m.Tensors) != 6 {
		t.Errorf("got %+v", m)
	}
	m.FormatVersion, m.Step, m.Files, m.Tensors = 0, 0, nil, nil
	if d := cmp.Diff(testManifest(), m); d != "" {
		t.Error(d)
	}
	list, err := List(dir)
	if err != nil || len(list) != 1 || list[0].Err != nil || list[0].Step != 12000 || list[0].Bytes < 100 {
		t.Errorf("got %+v, %v", list, err)
	}
}

// Names of fields are the format: snake case, as docs/format-checkpoint.md lists them.
func TestManifestKeys(t *testing.T) {
	dir := t.TempDir()
	mustWrite(t, dir, 1)
	b, err := os.ReadFile(filepath.Join(dir, "step-00000001", "manifest.json"))
	if err != nil {
		t.Fatal(err)
	}
	var m map[string]json.RawMessage
	if err := json.Unmarshal(b, &m); err != nil {
		t.Fatal(err)
	}
	want := strings.Fields("format_version run_id config step images seed loss_scale world micro_batch slice build kernels device blas nccl files tensors xxhash")
	for _, key := range want {
		if _, ok := m[key]; !ok {
			t.Errorf("no %s", key)
		}
	}
	if len(m) != len(want) {
		t.Errorf("got %d keys, want %d", len(m), len(want))
	}
	if got, want := string(m["loss_scale"]), `"scale": 4194304`; !strings.Contains(got, want) {
		t.Errorf("got %s, want %s in it", got, want)
	}
}

func TestNoState(t *testing.T) {
	for _, dir := range []string{t.TempDir(), filepath.Join(t.TempDir(), "missing")} {
		if _, notes, err := Latest(dir); !errors.Is(err, ErrNone) || errors.Is(err, ErrDamaged) || len(notes) > 0 {
			t.Errorf("got %v, %v, want %v", notes, err, ErrNone)
		}
	}
}

func TestWriteStateRefuses(t *testing.T) {
	for name, want := range map[string]string{
		"../x.safetensors": "file name", "x": "file name", ".safetensors": "file name", "a/b.safetensors": "file name",
		"": "file name", ".x.safetensors": "file name", "manifest.json": "file name",
	} {
		dir := t.TempDir()
		err := WriteState(dir, 1, map[string][]Named{name: nil}, testManifest())
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %s", name, err, want)
		}
		if left := names(t, dir); len(left) > 0 {
			t.Errorf("%q: left %q", name, left)
		}
	}
	bad := testManifest()
	bad.Config = json.RawMessage(`{`)
	dir := t.TempDir()
	for why, err := range map[string]error{
		"no files":       WriteState(dir, 1, nil, testManifest()),
		"config":         WriteState(dir, 1, stateFiles(1), bad),
		"step":           WriteState(dir, -1, stateFiles(1), testManifest()),
		"got 0 bytes":    WriteState(dir, 1, map[string][]Named{"w.safetensors": {{"a", F32, []int{1}, nil}}}, testManifest()),
		"no such folder": WriteState("/proc/none", 1, stateFiles(1), testManifest()),
	} {
		if err == nil {
			t.Errorf("%s: no error", why)
		}
	}
	if left := names(t, dir); len(left) > 0 {
		t.Errorf("left %q", left)
	}
}

func TestWriteStateReplaces(t *testing.T) {
	dir := t.TempDir()
	mustWrite(t, dir, 1, 2)
	path := filepath.Join(dir, StateName(2))

	mustWrite(t, dir, 2) // the same run, the same step
	wantLatest(t, dir, 2, 0)
	damage(t, filepath.Join(path, "weights.safetensors"), func(b []byte) []byte { return b[:len(b)/2] })
	wantLatest(t, dir, 1, 1)
	mustWrite(t, dir, 2) // damaged
	wantLatest(t, dir, 2, 0)
	damage(t, filepath.Join(path, "manifest.json"), func(b []byte) []byte { return nil })
	mustWrite(t, dir, 2)
	wantLatest(t, dir, 2, 0)

	other := testManifest()
	other.RunID = "run-2"
	if err := WriteState(dir, 2, stateFiles(2), other); err == nil || !strings.Contains(err.Error(), "another run") {
		t.Errorf("got %v, want a refusal", err)
	}
	wantLatest(t, dir, 2, 0)
	if d := cmp.Diff([]string{"latest", StateName(1), StateName(2)}, names(t, dir)); d != "" {
		t.Error(d)
	}
}

// What a killed save left is in nobody's way; what others put there stays.
func TestWriteStateLeftovers(t *testing.T) {
	dir := t.TempDir()
	temp := filepath.Join(dir, "step-00000001.tmp")
	put := func(name string) {
		if err := errors.Join(os.MkdirAll(temp, 0o700), os.WriteFile(filepath.Join(temp, name), nil, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	put("weights.safetensors")
	put("manifest.json")
	mustWrite(t, dir, 1)
	wantLatest(t, dir, 1, 0)
	put("user.txt")
	if err := WriteState(dir, 1, stateFiles(1), testManifest()); err == nil || !strings.Contains(err.Error(), "step-00000001.tmp holds files that are not a state's") {
		t.Errorf("got %v", err)
	}
	if d := cmp.Diff([]string{"user.txt"}, names(t, temp)); d != "" {
		t.Error(d)
	}
	wantLatest(t, dir, 1, 0)
}

// A step beyond eight digits has a longer name.
func TestStateNames(t *testing.T) {
	dir := t.TempDir()
	mustWrite(t, dir, 123456789, 5, 0, 99999999)
	wantLatest(t, dir, 123456789, 0)
	list, err := List(dir)
	if err != nil {
		t.Fatal(err)
	}
	var steps []int
	for _, e := range list {
		steps = append(steps, e.Step)
	}
	if !slices.Equal(steps, []int{0, 5, 99999999, 123456789}) {
		t.Errorf("got %v", steps)
	}
	for _, name := range []string{"step-5", "step-000000005", "step-0000000x", "step-+0000005", "step--0000005", "step-00000005.tmp", "Step-00000005", "step-00000005 ", ""} {
		if step, ok := parseStep(name); ok {
			t.Errorf("%q: got step %d", name, step)
		}
	}
}

func TestPrune(t *testing.T) {
	dir := t.TempDir()
	mustWrite(t, dir, 1, 2, 3, 4, 5, 6, 7)
	state := func(step int, name string) string { return filepath.Join(dir, StateName(step), name) }
	if err := os.WriteFile(state(2, "notes.txt"), []byte("keep"), 0o600); err != nil { // someone else's
		t.Fatal(err)
	}
	damage(t, state(3, "weights.safetensors"), func(b []byte) []byte { return b[1:] })
	damage(t, state(7, "manifest.json"), func(b []byte) []byte { return b[1:] }) // the newest is not complete
	mine := Owned(dir, "run-1")
	deleted, err := Prune(dir, 1<<30, 2, func(step int) bool { return mine(step) && step != 4 })
	if err != nil || !slices.Equal(deleted, []string{filepath.Join(dir, StateName(1))}) {
		t.Errorf("got %q, %v", deleted, err)
	}
	want := []string{"latest"}
	for step := 2; step <= 7; step++ {
		want = append(want, StateName(step))
	}
	if d := cmp.Diff(want, names(t, dir)); d != "" {
		t.Error(d)
	}
	wantLatest(t, dir, 6, 1)
	nobodys := testManifest()
	nobodys.RunID = ""
	if err := WriteState(dir, 0, stateFiles(0), nobodys); err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"run-2", ""} {
		if deleted, err := Prune(dir, 1<<30, 1, Owned(dir, id)); err != nil || len(deleted) > 0 {
			t.Errorf("run %q: deleted %q, %v", id, deleted, err)
		}
	}
	if deleted, err := Prune(dir, 1<<30, 1, mine); err != nil || len(deleted) != 2 {
		t.Errorf("got %q, %v, want 4 and 5", deleted, err)
	}
	wantLatest(t, dir, 6, 1)
	if deleted, err := Prune(filepath.Join(dir, "none"), 1<<30, 1, mine); err != nil || len(deleted) > 0 {
		t.Errorf("got %q, %v", deleted, err)
	}
	defer func() {
		if recover() == nil {
			t.Error("keep 0 was taken")
		}
	}()
	Prune(dir, 1<<30, 0, mine)
}

// A state ahead of the one just written is one that the run could not go on from. It pushes nothing out.
func TestPruneBehindDamage(t *testing.T) {
	dir := t.TempDir()
	mustWrite(t, dir, 5, 10)
	damage(t, filepath.Join(dir, StateName(10), "weights.safetensors"), func(b []byte) []byte { b[len(b)-1] ^= 1; return b })
	mustWrite(t, dir, 7)
	if got, err := Prune(dir, 7, 1, Owned(dir, "run-1")); err != nil || !slices.Equal(got, []string{filepath.Join(dir, StateName(5))}) {
		t.Errorf("got %q, %v, want the state of step 5 alone", got, err)
	}
	wantLatest(t, dir, 7, 1)
}

// Whoever prunes by hand has the files read: a state whose bits have rotted is not one of those that are kept.
func TestPruneChecked(t *testing.T) {
	dir := t.TempDir()
	mustWrite(t, dir, 1, 2, 3, 4)
	damage(t, filepath.Join(dir, StateName(4), "weights.safetensors"), func(b []byte) []byte { b[len(b)-1] ^= 1; return b })
	mine := Owned(dir, "run-1")
	want := []string{filepath.Join(dir, StateName(1))}
	for _, dry := range []bool{true, false} {
		if got, err := PruneChecked(dir, 2, mine, dry); err != nil || !slices.Equal(got, want) {
			t.Errorf("dry %v: got %q, %v, want %q", dry, got, err, want)
		}
		if left := names(t, dir); slices.Contains(left, StateName(1)) != dry {
			t.Errorf("dry %v: %q are left", dry, left)
		}
	}
	if got, err := Prune(dir, 1<<30, 2, mine); err != nil || !slices.Equal(got, []string{filepath.Join(dir, StateName(2))}) {
		t.Errorf("by lengths alone: got %q, %v", got, err)
	}
}

// CleanTemp removes what this package leaves behind when it is killed, and nothing else.
func TestCleanTemp(t *testing.T) {
	dir := t.TempDir()
	mustWrite(t, dir, 1, 2, 3)
	rename := func(from, to string) {
		if err := os.Rename(filepath.Join(dir, from), filepath.Join(dir, to)); err != nil {
			t.Fatal(err)
		}
	}
	rename(StateName(1), "step-00000009.tmp")
	rename(StateName(2), "step-00000002.replaced.tmp") // killed between two renames: comes back
	mustWrite(t, dir, 4)
	rename(StateName(4), "step-00000003.replaced.tmp") // its successor is there
	for _, name := range []string{".latest123", ".step-00000001.safetensors77", ".step-00000001.ema-0.9.safetensors7", "mine.tmp", "step-1.tmp", ".hidden"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.MkdirAll(filepath.Join(dir, "step-00000008.tmp", "user"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := CleanTemp(dir); err != nil {
		t.Fatal(err)
	}
	want := []string{".hidden", "latest", "mine.tmp", StateName(2), StateName(3), "step-00000008.tmp", "step-1.tmp"}
	if d := cmp.Diff(want, names(t, dir)); d != "" {
		t.Error(d)
	}
	sameState(t, filepath.Join(dir, StateName(2)), 2)
	sameState(t, filepath.Join(dir, StateName(3)), 3)
	if err := CleanTemp(filepath.Join(dir, "none")); err != nil {
		t.Error(err)
	}
}

// A state whose tensors are damaged still says whose it is; a manifest that cannot be read says nothing.
func TestNewestRunID(t *testing.T) {
	dir := t.TempDir()
	want := func(want string) {
		t.Helper()
		if got := NewestRunID(dir); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	want("")
	mustWrite(t, dir, 1, 2)
	other := testManifest()
	other.RunID = "run-2"
	if err := WriteState(dir, 3, stateFiles(3), other); err != nil {
		t.Fatal(err)
	}
	damage(t, filepath.Join(dir, StateName(3), "weights.safetensors"), func(b []byte) []byte { return b[:9] })
	want("run-2")
	damage(t, filepath.Join(dir, StateName(3), "manifest.json"), func(b []byte) []byte { b[20] ^= 1; return b })
	want("run-1")
	if got := NewestRunID(filepath.Join(dir, "none")); got != "" {
		t.Errorf("got %q", got)
	}
}

// Whatever is a link, nothing is deleted through it, and a save says so before it writes.
func TestStateLinks(t *testing.T) {
	outside := t.TempDir()
	for _, name := range []string{"manifest.json", "my-own-model.safetensors", "weights.safetensors"} {
		if err := os.WriteFile(filepath.Join(outside, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want := names(t, outside)
	for _, name := range []string{"step-00000002", "step-00000002.tmp", "step-00000002.replaced.tmp"} {
		dir := t.TempDir()
		mustWrite(t, dir, 1)
		if err := os.Symlink(outside, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
		if err := CleanTemp(dir); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if err := WriteState(dir, 2, stateFiles(2), testManifest()); err == nil || !strings.Contains(err.Error(), name+" is a link") {
			t.Errorf("%s: got %v", name, err)
		}
		if d := cmp.Diff(want, names(t, outside)); d != "" {
			t.Fatalf("%s: %s", name, d)
		}
		if d := cmp.Diff([]string{"latest", StateName(1), name}, names(t, dir)); d != "" {
			t.Errorf("%s: %s", name, d)
		}
		if err := os.Remove(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
		mustWrite(t, dir, 2)
		wantLatest(t, dir, 2, 0)
	}

	// A file where a folder should be is somebody's, too.
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, StateName(2)), []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := WriteState(dir, 2, stateFiles(2), testManifest()); err == nil || !strings.Contains(err.Error(), "is a file, want a folder") {
		t.Errorf("got %v", err)
	}
	if d := cmp.Diff([]string{StateName(2)}, names(t, dir)); d != "" {
		t.Error(d)
	}

	// So is a state with a link among its files: it stays, for good.
	dir = t.TempDir()
	mustWrite(t, dir, 1, 2)
	weights := filepath.Join(dir, StateName(1), "weights.safetensors")
	elsewhere := filepath.Join(t.TempDir(), "w")
	if err := errors.Join(os.Rename(weights, elsewhere), os.Symlink(elsewhere, weights)); err != nil {
		t.Fatal(err)
	}
	sameState(t, filepath.Join(dir, StateName(1)), 1)
	if got, err := Prune(dir, 2, 1, Owned(dir, "run-1")); err != nil || len(got) > 0 {
		t.Errorf("deleted %q, %v", got, err)
	}
	sameState(t, filepath.Join(dir, StateName(1)), 1)
}

// What somebody put into the folder of a state stays there when the state is replaced, whatever the old manifest says, and
// also if the process dies right after the new state is in place.
func TestReplacedStateHandsOver(t *testing.T) {
	mine := []string{"mine.safetensors", "notes.txt"}
	for _, spoiled := range []string{"weights.safetensors", "manifest.json"} {
		for _, kill := range []bool{false, true} {
			dir := t.TempDir()
			mustWrite(t, dir, 1)
			path := filepath.Join(dir, StateName(1))
			for _, name := range mine {
				if err := os.WriteFile(filepath.Join(path, name), []byte(name), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			damage(t, filepath.Join(path, spoiled), func(b []byte) []byte { return b[:len(b)/2] })
			if kill {
				if err := os.Rename(path, path+".replaced.tmp"); err != nil {
					t.Fatal(err)
				}
				whole := t.TempDir()
				mustWrite(t, whole, 1)
				if err := errors.Join(os.Rename(filepath.Join(whole, StateName(1)), path), CleanTemp(dir)); err != nil {
					t.Fatal(err)
				}
			}
			mustWrite(t, dir, 1) // once more, as a third start would
			mustWrite(t, dir, 1)
			sameState(t, path, 1)
			if d := cmp.Diff([]string{"latest", StateName(1)}, names(t, dir)); d != "" {
				t.Errorf("%s, kill %v: %s", spoiled, kill, d)
			}
			for _, name := range mine {
				if b, err := os.ReadFile(filepath.Join(path, name)); err != nil || string(b) != name {
					t.Errorf("%s, kill %v: %q, %v", spoiled, kill, b, err)
				}
			}
		}
	}
}

// A folder named latest is in nobody's way, and is named.
func TestLatestIsAFolder(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "latest", "mine"), 0o700); err != nil {
		t.Fatal(err)
	}
	mustWrite(t, dir, 1)
	mustWrite(t, dir, 2)
	if notes := wantLatest(t, dir, 2, 1); len(notes) == 1 && !strings.Contains(notes[0].Error(), "latest: damaged: not the name of a state") {
		t.Error(notes)
	}
	if _, err := os.Stat(filepath.Join(dir, "latest", "mine")); err != nil {
		t.Error(err)
	}
}
