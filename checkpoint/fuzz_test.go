package checkpoint

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// FuzzSnapshot changes the metadata of a snapshot and mends the checksum of its header, so that changes get past it.
func FuzzSnapshot(f *testing.F) {
	keys := []string{"format", "config", "step", "images", "ema", "noise", "classes", "byte_rule", "crc32c"}
	info := SnapshotInfo{Config: []byte(`{"preset":"tiny"}`), Step: 20, Images: 160, EMA: "0.98", Noise: []byte(`{"min":0.002}`), Classes: []string{"circle"}, ByteRule: "round"}
	head, order, err := info.encode(samples())
	if err != nil {
		f.Fatal(err)
	}
	for _, n := range order {
		head = append(head, n.Data...)
	}
	whole, err := decode(head)
	if err != nil {
		f.Fatal(err)
	}
	m := whole.Metadata()
	f.Add(m["format"], m["config"], m["step"], m["images"], m["ema"], m["noise"], m["classes"], m["byte_rule"], m["crc32c"])
	f.Add("ict-snapshot-2", "{", "-1", "1e9", "", "null", "[1]", "", `{"a":"00"}`)
	path := filepath.Join(f.TempDir(), "x.safetensors")
	f.Fuzz(func(t *testing.T, format, config, step, images, ema, noise, classes, rule, crc string) {
		meta := map[string]string{headerCRC: blankCRC}
		for i, v := range []string{format, config, step, images, ema, noise, classes, rule, crc} {
			meta[keys[i]] = v
		}
		head, order, err := encodeHeader(samples(), meta)
		if err != nil {
			return
		}
		if err := sealHeader(head); err != nil {
			t.Fatal(err)
		}
		for _, n := range order {
			head = append(head, n.Data...)
		}
		if err := os.WriteFile(path, head, 0o644); err != nil {
			t.Fatal(err)
		}
		s, err := OpenSnapshot(path)
		if err != nil {
			if !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrVersion) {
				t.Errorf("got %v, want ErrDamaged or ErrVersion", err)
			}
			return
		}
		defer s.Close()
		if s.Step < 0 || s.EMA != ema || s.ByteRule != rule {
			t.Errorf("got %+v", s.SnapshotInfo)
		}
	})
}
