package checkpoint

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// resealed is a manifest file with its content changed and its checksum made right again: damage becomes malice.
func resealed(b []byte, old, new string) []byte {
	b = b[:len(b)-len(seal(nil))]
	b = bytes.Replace(b, []byte(old), []byte(new), 1)
	return append(b, seal(b)...)
}

// hostileManifests are changes to the manifest of step 2, and a part of the reason why each is refused.
var hostileManifests = []struct{ old, new, why string }{
	{`"format_version": 1`, `"format_version": 0`, "format_version"},
	{`"step": 2`, `"step": -2`, "step -2"},
	{`"step": 2`, `"step": 3`, "in a folder named"},
	{`"step": 2`, `"step": "2"`, "cannot unmarshal"},
	{`"images": `, `"images": -`, "cannot unmarshal"},
	{`{"name":"optimizer.safetensors"`, `{"name":"../../x.safetensors"`, "file name"},
	{`{"name":"optimizer.safetensors"`, `{"name":"weights.safetensors"`, "twice"},
	{`{"name":"optimizer.safetensors"`, `{"name":"missing.safetensors"`, "is not listed"},
	{`"name":"v"`, `"name":"m"`, "twice"},
	{`"name":"v"`, `"name":"w"`, "is missing"},
	{`"dtype":"F32","shape":[8]`, `"dtype":"I32","shape":[8]`, "the manifest says I32"},
	{`"shape":[8]`, `"shape":[4,2]`, "the manifest says F32 [4 2]"},
	{`"crc32c":"`, `"crc32c":"g`, "8 hexadecimal digits"},
	{`"crc32c":"`, `"crc32c":"0`, "8 hexadecimal digits"},
	{`"length":`, `"length":-1`, "the manifest says -1"},
	{`"xxhash":"`, `"xxhash":"00000000000000000`, "16 hexadecimal digits"},
	{`"files": [`, `"files": [], "x": [`, "no files"},
	{`"config"`, `"confi"`, "config"},
	{`"run_id"`, strings.Repeat("[", 20000), "manifest.json"},
}

func TestManifestRefuses(t *testing.T) {
	dir := t.TempDir()
	mustWrite(t, dir, 1, 2)
	path := filepath.Join(dir, StateName(2))
	file := filepath.Join(path, "manifest.json")
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range hostileManifests {
		changed := resealed(whole, h.old, h.new)
		if bytes.Equal(changed, whole) {
			t.Fatalf("%s is not in the manifest", h.old)
		}
		if err := os.WriteFile(file, changed, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := OpenState(path); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), h.why) || !strings.Contains(err.Error(), path) {
			t.Errorf("%.60s: got %v, want damaged: %s", h.new, err, h.why)
		}
		wantLatest(t, dir, 1, 1)
	}
	if err := os.WriteFile(file, resealed(whole, "", ""), 0o600); err != nil {
		t.Fatal(err)
	}
	wantLatest(t, dir, 2, 0)
	if err := os.Truncate(file, maxManifest+1); err != nil {
		t.Fatal(err)
	}
	wantLatest(t, dir, 1, 1)
}

// Each checksum and each list stands for itself: one that is wrong is found though all the others are right.
func TestManifestDisagrees(t *testing.T) {
	for why, change := range map[string]func(m *Manifest){
		"xxhash":                 func(m *Manifest) { m.Files[1].XXHash++ },
		"crc32c":                 func(m *Manifest) { m.Tensors[1].CRC32C++ },
		"2 tensors, the manifes": func(m *Manifest) { m.Tensors = m.Tensors[1:] },
		"is missing":             func(m *Manifest) { m.Files = append(m.Files, FileEntry{Name: "x.safetensors"}) },
		"the manifest says 1":    func(m *Manifest) { m.Files[0].Length += 1000 - m.Files[0].Length%1000 },
	} {
		dir := t.TempDir()
		mustWrite(t, dir, 1, 2)
		damage(t, filepath.Join(dir, StateName(2), "manifest.json"), func(b []byte) []byte {
			m, err := decodeManifest(b)
			if err != nil {
				t.Fatal(err)
			}
			change(&m)
			if b, err = m.encode(); err != nil {
				t.Fatal(err)
			}
			return b
		})
		if notes := wantLatest(t, dir, 1, 1); len(notes) == 1 && !strings.Contains(notes[0].Error(), why) {
			t.Errorf("got %v, want %s", notes, why)
		}
	}
}

// A state of a newer program is no damage: nothing older is used in its place, nothing replaces or deletes it.
func TestManifestNewer(t *testing.T) {
	dir := t.TempDir()
	mustWrite(t, dir, 1, 2)
	damage(t, filepath.Join(dir, StateName(2), "manifest.json"), func(b []byte) []byte {
		return resealed(b, `"format_version": 1`, `"format_version": 2`)
	})
	for _, f := range []func() error{
		func() error { _, _, err := Latest(dir); return err },
		func() error { _, err := OpenState(filepath.Join(dir, StateName(2))); return err },
		func() error { return WriteState(dir, 2, stateFiles(2), testManifest()) },
	} {
		if err := f(); !errors.Is(err, ErrVersion) || errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), "format_version 2") {
			t.Errorf("got %v, want %v", err, ErrVersion)
		}
	}
	mustWrite(t, dir, 3, 4)
	if deleted, err := Prune(dir, 1<<30, 1, func(int) bool { return true }); err != nil || len(deleted) != 2 {
		t.Errorf("got %q, %v", deleted, err)
	}
}

func FuzzManifest(f *testing.F) {
	dir := f.TempDir()
	mustWrite(f, dir, 2)
	whole, err := os.ReadFile(filepath.Join(dir, StateName(2), "manifest.json"))
	if err != nil {
		f.Fatal(err)
	}
	body := whole[:len(whole)-len(seal(nil))]
	f.Add(body)
	for _, h := range hostileManifests {
		if len(h.new) < 100 {
			f.Add(bytes.Replace(body, []byte(h.old), []byte(h.new), 1))
		}
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		decodeManifest(body) // without a seal
		m, err := decodeManifest(append(bytes.Clone(body), seal(body)...))
		if err != nil {
			return
		}
		b, err := m.encode()
		if err != nil {
			t.Fatal(err)
		}
		again, err := decodeManifest(b)
		if err != nil {
			t.Fatal(err)
		}
		// Compared as JSON: an empty list and none are the same there.
		x, _ := json.Marshal(m)
		y, _ := json.Marshal(again)
		if d := cmp.Diff(string(x), string(y)); d != "" {
			t.Error(d)
		}
	})
}
