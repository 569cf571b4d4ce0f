package checkpoint

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func testInfo() SnapshotInfo {
	return SnapshotInfo{
		RunID: "run-1", Config: json.RawMessage(`{"preset":"cifar10","x":"header_crc32c\":\"00000000"}`), Step: 10000, Images: math.MaxUint64, EMA: "0.99993",
		Noise: json.RawMessage(`{"min":0.002,"max":80,"data":0.5,"rho":7}`), Classes: []string{"ape", "é\"<"}, ByteRule: "round",
	}
}

func TestSnapshotRoundTrip(t *testing.T) {
	for _, classes := range [][]string{{"ape", "é\"<"}, {}} {
		want := testInfo()
		want.Classes = classes
		path := filepath.Join(t.TempDir(), SnapshotName(10000, "0.99993"))
		if err := WriteSnapshot(path, want, samples()); err != nil {
			t.Fatal(err)
		}
		s, err := OpenSnapshot(path)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		if d := cmp.Diff(want, s.SnapshotInfo); d != "" {
			t.Error(d)
		}
		sameTensors(t, s.File, samples())
		if got := s.Metadata()["format"]; got != "ict-snapshot-1" {
			t.Errorf("format %q", got)
		}
	}
	if got := []string{SnapshotName(5, ""), SnapshotName(5, "0.9")}; cmp.Diff(got, []string{"step-00000005.safetensors", "step-00000005.ema-0.9.safetensors"}) != "" {
		t.Errorf("got %q", got)
	}
	for _, bad := range []SnapshotInfo{{}, {Config: json.RawMessage("{}"), Noise: json.RawMessage("{")}, {Config: json.RawMessage("1"), Noise: json.RawMessage("1"), Step: -1}} {
		if err := WriteSnapshot(filepath.Join(t.TempDir(), "a"), bad, nil); err == nil {
			t.Errorf("%+v was written", bad)
		}
	}
}

// Any single damaged byte is found, by OpenSnapshot and by Verify, whatever the file is called.
func TestSnapshotFlippedBit(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "model.safetensors")
	if err := WriteSnapshot(path, testInfo(), samples()); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for i := 0; i < len(whole); i += stride() {
		b := whole[i]
		if _, err := f.WriteAt([]byte{b ^ 1<<(i%8)}, int64(i)); err != nil {
			t.Fatal(err)
		}
		if s, err := OpenSnapshot(path); err == nil {
			s.Close()
			t.Errorf("a flipped bit of byte %d (%q) was not seen", i, b)
		} else if !errors.Is(err, ErrDamaged) {
			t.Errorf("byte %d: got %v, want damaged", i, err)
		}
		if _, err := Verify(path); !errors.Is(err, ErrDamaged) {
			t.Errorf("Verify: byte %d: got %v, want damaged", i, err)
		}
		if _, err := f.WriteAt([]byte{b}, int64(i)); err != nil {
			t.Fatal(err)
		}
	}
	for _, n := range []int{0, 9, len(whole) / 2, len(whole) - 1} {
		if err := os.WriteFile(path, whole[:n], 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := OpenSnapshot(path); !errors.Is(err, ErrDamaged) {
			t.Errorf("%d of %d bytes: got %v, want damaged", n, len(whole), err)
		}
	}
}

// The header alone is read and checked: what is wrong behind it is not seen.
func TestSnapshotHeader(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.safetensors")
	if err := WriteSnapshot(path, testInfo(), samples()); err != nil {
		t.Fatal(err)
	}
	damage(t, path, func(b []byte) []byte { b[len(b)-1] ^= 1; return b })
	info, size, err := SnapshotHeader(path)
	if d := cmp.Diff(testInfo(), info); d != "" || err != nil || size < 500 {
		t.Errorf("%s, %d bytes, %v", d, size, err)
	}
	damage(t, path, func(b []byte) []byte { b[bytes.Index(b, []byte(`"images":"1`))+10] ^= 1; return b })
	if info, size, err := SnapshotHeader(path); !errors.Is(err, ErrDamaged) || size != 0 || info.RunID != "" {
		t.Errorf("got %+v, %d, %v", info, size, err)
	}
	if _, _, err := SnapshotHeader(path + "x"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}

// Metadata that no writer of ours makes are refused with a reason; other formats and newer ones are not called damaged.
func TestOpenSnapshotRefuses(t *testing.T) {
	for _, c := range []struct {
		key, value, why string
		want            error
	}{
		{"format", "ict-snapshot-2", "use a newer one", ErrVersion},
		{"step", "-1", "step", ErrDamaged},
		{"step", "x", "step", ErrDamaged},
		{"images", "-1", "images", ErrDamaged},
		{"classes", `"x"`, "classes", ErrDamaged},
		{"config", "", "config", ErrDamaged},
		{"noise", "", "noise", ErrDamaged},
		{"crc32c", "[]", "crc32c", ErrDamaged},
		{"crc32c", `{"labels":"123"}`, "8 hexadecimal", ErrDamaged},
		{"crc32c", "{}", "the header says", ErrDamaged},
	} {
		path := filepath.Join(t.TempDir(), "a.safetensors")
		if err := WriteSnapshot(path, testInfo(), samples()); err != nil {
			t.Fatal(err)
		}
		meta := open(t, path).Metadata()
		meta[c.key] = c.value
		meta[headerCRC] = blankCRC
		head, order, err := encodeHeader(samples(), meta)
		if err != nil {
			t.Fatal(err)
		}
		sealHeader(head)
		if _, err := writeAtomic(context.Background(), path, head, order); err != nil {
			t.Fatal(err)
		}
		if _, err := OpenSnapshot(path); !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.why) {
			t.Errorf("%s %q: got %v, want %v: %s", c.key, c.value, err, c.want, c.why)
		}
	}
	path := write(t, samples(), map[string]string{"format": "pt"})
	if _, err := OpenSnapshot(path); err == nil || errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), `metadata format is "pt"`) {
		t.Errorf("got %v", err)
	}
	path = write(t, samples(), map[string]string{"format": "ict-snapshot-1"})
	if _, err := OpenSnapshot(path); !errors.Is(err, ErrDamaged) {
		t.Errorf("got %v, want no checksum", err)
	}
}

// Stopped at any point, the file is what it was before.
func TestSnapshotInterruptedAnywhere(t *testing.T) {
	path := filepath.Join(t.TempDir(), "step-00000001.safetensors")
	before := testInfo()
	if err := WriteSnapshot(path, before, samples()); err != nil {
		t.Fatal(err)
	}
	after := testInfo()
	after.Step = 2
	for points := 0; ; points++ {
		err := writeSnapshot(&looks{context.Background(), points, false}, path, after, samples())
		if left := names(t, filepath.Dir(path)); len(left) != 1 {
			t.Errorf("got %q", left)
		}
		s, openErr := OpenSnapshot(path)
		if openErr != nil {
			t.Fatal(openErr)
		}
		s.Close()
		if err == nil {
			if s.Step != 2 || points < 3 {
				t.Errorf("step %d after %d points", s.Step, points)
			}
			break
		}
		if !errors.Is(err, errStopped) || s.Step != before.Step {
			t.Errorf("point %d: step %d, %v", points, s.Step, err)
		}
	}
}

func TestVerify(t *testing.T) {
	run := t.TempDir()
	states, snapshots := filepath.Join(run, "states"), filepath.Join(run, "snapshots")
	mustWrite(t, states, 1, 2)
	if err := os.Mkdir(snapshots, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, ema := range []string{"", "0.9"} {
		if err := WriteSnapshot(filepath.Join(snapshots, SnapshotName(1, ema)), testInfo(), samples()); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(snapshots, "other.safetensors"), nil, 0o600); err != nil { // not ours
		t.Fatal(err)
	}
	r, err := Verify(run)
	if err != nil || len(r.Items) != 4 {
		t.Fatalf("got %+v, %v", r, err)
	}
	for i, want := range []Item{
		{filepath.Join(states, StateName(1)), "state", 3, 6, 0, []string{}},
		{filepath.Join(states, StateName(2)), "state", 3, 6, 0, []string{}},
		{filepath.Join(snapshots, SnapshotName(1, "0.9")), "snapshot", 1, 8, 0, []string{}},
		{filepath.Join(snapshots, SnapshotName(1, "")), "snapshot", 1, 8, 0, []string{}},
	} {
		if want.Bytes = r.Items[i].Bytes; want.Bytes < 500 {
			t.Errorf("%s: %d bytes", want.Path, want.Bytes)
		}
		if d := cmp.Diff(want, r.Items[i]); d != "" {
			t.Error(d)
		}
	}

	// Every fault is named, not the first alone.
	damage(t, filepath.Join(states, StateName(1), "weights.safetensors"), func(b []byte) []byte { b[len(b)-1] ^= 4; return b })
	damage(t, filepath.Join(states, StateName(1), "optimizer.safetensors"), func(b []byte) []byte { return b[1:] })
	damage(t, filepath.Join(snapshots, SnapshotName(1, "")), func(b []byte) []byte { b[len(b)-1] ^= 4; return b })
	damage(t, filepath.Join(states, "latest"), func([]byte) []byte { return []byte("step-00000009") })
	r, err = Verify(run)
	if !errors.Is(err, ErrDamaged) || len(r.Items) != 5 {
		t.Fatalf("got %+v, %v", r, err)
	}
	for i, want := range []int{2, 0, 1, 0, 1} {
		if len(r.Items[i].Faults) != want {
			t.Errorf("%s: %q, want %d faults", r.Items[i].Path, r.Items[i].Faults, want)
		}
	}
	for _, path := range []string{filepath.Join(states, StateName(1)), filepath.Join(snapshots, SnapshotName(1, ""))} {
		if _, err := Verify(path); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: got %v", path, err)
		}
	}
	if r, err := Verify(filepath.Join(states, StateName(2))); err != nil || len(r.Items) != 1 {
		t.Errorf("got %+v, %v", r, err)
	}
	if r, err := Verify(write(t, samples(), nil)); err != nil || r.Items[0].Kind != "safetensors" {
		t.Errorf("got %+v, %v", r, err)
	}
	for path, want := range map[string]string{
		filepath.Join(states, StateName(2), "manifest.json"): "is checked with its state; verify " + filepath.Join(states, StateName(2)),
		filepath.Join(states, "latest"):                      "is checked with its run; verify " + run,
	} {
		if r, err := Verify(path); err == nil || errors.Is(err, ErrDamaged) || len(r.Items) > 0 || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, %v, want %s", r, err, want)
		}
	}
	empty := t.TempDir()
	if err := errors.Join(os.Mkdir(filepath.Join(empty, "states"), 0o700), os.Mkdir(filepath.Join(empty, "snapshots"), 0o700)); err != nil {
		t.Fatal(err)
	}
	if _, err := Verify(empty); err == nil || errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), "nothing to check") {
		t.Errorf("an empty run: got %v", err)
	}
	if _, err := Verify(t.TempDir()); err == nil || errors.Is(err, ErrDamaged) {
		t.Errorf("an empty folder: got %v", err)
	}
	if _, err := Verify(filepath.Join(run, "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}

// pruneFolder is a folder of the snapshots of run-1 of the given steps, two averages each, with files that are not to be touched.
func pruneFolder(t *testing.T, steps ...int) string {
	t.Helper()
	dir := t.TempDir()
	write := func(name, run string, step int) {
		info := testInfo()
		info.RunID, info.Step = run, step
		if err := WriteSnapshot(filepath.Join(dir, name), info, samples()); err != nil {
			t.Fatal(err)
		}
	}
	for _, s := range steps {
		write(SnapshotName(s, ""), "run-1", s)
		write(SnapshotName(s, "0.9"), "run-1", s)
	}
	write(SnapshotName(1, "0.5"), "run-2", 1)
	write(SnapshotName(2, "0.5"), "", 2)
	write(SnapshotName(3, "0.5"), "run-1", 4) // named for another step
	write("mine.safetensors", "run-1", 5)
	damaged := filepath.Join(dir, SnapshotName(4, "0.5"))
	write(SnapshotName(4, "0.5"), "run-1", 4)
	damage(t, damaged, func(b []byte) []byte { b[100] ^= 1; return b })
	return dir
}

func TestPruneSnapshots(t *testing.T) {
	foreign := []string{"mine.safetensors", SnapshotName(1, "0.5"), SnapshotName(2, "0.5"), SnapshotName(3, "0.5"), SnapshotName(4, "0.5")}
	for _, c := range []struct {
		rule string
		left []int
	}{
		{"all", []int{10, 20, 30, 45}}, {"last 1", []int{45}}, {"last 3", []int{20, 30, 45}}, {"last 9", []int{10, 20, 30, 45}},
		{"every 20", []int{20, 45}}, {"every 1", []int{10, 20, 30, 45}}, {"every 1000", []int{45}}, {"every 1k", []int{45}},
	} {
		dir := pruneFolder(t, 10, 20, 30, 45)
		r, err := ParseRetention(c.rule)
		if err != nil {
			t.Fatal(err)
		}
		before := names(t, dir)
		would, err := PruneSnapshots(dir, "run-1", 1<<30, r, true)
		if d := cmp.Diff(before, names(t, dir)); d != "" || err != nil {
			t.Errorf("%s: a dry run changed the folder: %s, %v", c.rule, d, err)
		}
		got, err := PruneSnapshots(dir, "run-1", 1<<30, r, false)
		if d := cmp.Diff(would, got); d != "" || err != nil {
			t.Errorf("%s: %s, %v", c.rule, d, err)
		}
		want := slices.Clone(foreign)
		for _, s := range c.left {
			want = append(want, SnapshotName(s, ""), SnapshotName(s, "0.9"))
		}
		slices.Sort(want)
		if d := cmp.Diff(want, names(t, dir)); d != "" {
			t.Errorf("%s: %s", c.rule, d)
		}
		if len(got) != 2*(4-len(c.left)) {
			t.Errorf("%s: deleted %q", c.rule, got)
		}
	}
	if got, err := PruneSnapshots(filepath.Join(t.TempDir(), "none"), "run-1", 1<<30, Retention{Last: 1}, false); err != nil || len(got) > 0 {
		t.Errorf("got %q, %v", got, err)
	}
	dir := pruneFolder(t, 10, 20)
	if got, err := PruneSnapshots(dir, "", 1<<30, Retention{Last: 1}, false); err != nil || len(got) > 0 {
		t.Errorf("a run without identity deleted %q, %v", got, err)
	}
	for _, bad := range []string{"", "last", "last 0", "every -1", "every 5 steps", "first 3", "last 3 ", "ALL", "5", "every k", "last 9223372036854776k"} {
		if r, err := ParseRetention(bad); err == nil {
			t.Errorf("%q became %+v", bad, r)
		}
	}
}

// Snapshots beyond the one just written are those that a run left behind when it went back. They push nothing out.
func TestPruneSnapshotsBehind(t *testing.T) {
	dir := pruneFolder(t, 16, 20, 24, 28)
	want := []string{filepath.Join(dir, SnapshotName(16, "0.9")), filepath.Join(dir, SnapshotName(16, "")),
		filepath.Join(dir, SnapshotName(20, "0.9")), filepath.Join(dir, SnapshotName(20, ""))}
	got, err := PruneSnapshots(dir, "run-1", 24, Retention{Last: 1}, false)
	if d := cmp.Diff(want, got); d != "" || err != nil {
		t.Errorf("%s, %v", d, err)
	}
}

// A run that goes back removes its own snapshots beyond the step it goes on from, and nobody else's.
func TestSnapshotsBeyond(t *testing.T) {
	dir := pruneFolder(t, 10, 20, 30)
	if got, err := SnapshotsBeyond(dir, "", 0); err != nil || len(got) > 0 {
		t.Errorf("a run without identity has %q, %v", got, err)
	}
	for step, want := range map[int][]int{30: nil, 29: {30}, 10: {20, 30}, 0: {10, 20, 30}} {
		var paths []string
		for _, s := range want {
			paths = append(paths, filepath.Join(dir, SnapshotName(s, "0.9")), filepath.Join(dir, SnapshotName(s, "")))
		}
		got, err := SnapshotsBeyond(dir, "run-1", step)
		if d := cmp.Diff(paths, got); d != "" || err != nil {
			t.Errorf("beyond %d: %s, %v", step, d, err)
		}
	}
	if got, err := SnapshotsBeyond(filepath.Join(dir, "none"), "run-1", 0); err != nil || len(got) > 0 {
		t.Errorf("got %q, %v", got, err)
	}
}
