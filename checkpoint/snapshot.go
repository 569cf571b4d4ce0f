package checkpoint

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

const (
	snapshotFamily = "ict-snapshot-"
	snapshotFormat = snapshotFamily + "1"
	headerCRC      = "header_crc32c"
	blankCRC       = "00000000" // what headerCRC holds while it is computed
)

// snapshotName matches the files of a folder of snapshots.
var snapshotName = regexp.MustCompile(`^step-\d{8,}(\.ema-[^/]+)?\.safetensors$`)

// SnapshotName is the file of the snapshot of a step: step-00010000.safetensors for the first average (ema empty),
// step-00010000.ema-0.999.safetensors for the one of rate "0.999".
func SnapshotName(step int, ema string) string {
	if ema != "" {
		ema = ".ema-" + ema
	}
	return StateName(step) + ema + ".safetensors"
}

// SnapshotInfo is what a snapshot says about its tensors: all that sampling and export need.
type SnapshotInfo struct {
	RunID    string          // of the run that wrote it: nobody else deletes it
	Config   json.RawMessage // of the run
	Step     int             // steps done
	Images   uint64          // images seen
	EMA      string          // rate of the average in the file; empty: the weights themselves
	Noise    json.RawMessage // constants of the levels
	Classes  []string        // names of the classes, in order; empty: none
	ByteRule string          // how [−1,1] became bytes in the run's grids: floor or round
}

// Snapshot is an open snapshot, mapped, every checksum found right.
type Snapshot struct {
	SnapshotInfo
	*File
}

// WriteSnapshot writes a snapshot to path, which holds the old content or the new, never a part.
func WriteSnapshot(path string, info SnapshotInfo, tensors []Named) error {
	return writeSnapshot(context.Background(), path, info, tensors)
}

func writeSnapshot(ctx context.Context, path string, info SnapshotInfo, tensors []Named) error {
	head, order, err := info.encode(tensors)
	if err != nil {
		return fmt.Errorf("checkpoint: %s: %w", path, err)
	}
	_, err = writeAtomic(ctx, path, head, order)
	return err
}

// encode is the header of a snapshot: the checksums of the tensors, and one of the header itself, in its metadata.
func (info SnapshotInfo) encode(tensors []Named) (head []byte, order []Named, err error) {
	crc := make(map[string]Sum32, len(tensors))
	for _, t := range tensors {
		crc[t.Name] = Sum32(crc32.Checksum(t.Data, castagnoli))
	}
	if !json.Valid(info.Config) || !json.Valid(info.Noise) || info.Step < 0 {
		return nil, nil, fmt.Errorf("snapshot of step %d: config and noise must be JSON", info.Step)
	}
	head, order, err = encodeHeader(tensors, map[string]string{
		"format":    snapshotFormat,
		"run_id":    info.RunID,
		"config":    string(info.Config),
		"step":      strconv.Itoa(info.Step),
		"images":    strconv.FormatUint(info.Images, 10),
		"ema":       info.EMA,
		"noise":     string(info.Noise),
		"classes":   string(mustJSON(append([]string{}, info.Classes...))),
		"byte_rule": info.ByteRule,
		"crc32c":    string(mustJSON(crc)),
		headerCRC:   blankCRC,
	})
	if err != nil {
		return nil, nil, err
	}
	return head, order, sealHeader(head)
}

// sealHeader puts in place of blankCRC the checksum of the header that holds it.
func sealHeader(head []byte) error {
	at, err := findHeaderCRC(head)
	if err != nil {
		return err
	}
	copy(head[at:], Sum32(crc32.Checksum(head, castagnoli)).String())
	return nil
}

// findHeaderCRC finds the digits of the header's own checksum. Inside a JSON string the quotes would be escaped, so the
// first match is the key.
func findHeaderCRC(head []byte) (int, error) {
	key := []byte(`"` + headerCRC + `":"`)
	at := bytes.Index(head, key)
	if at < 0 || at+len(key)+len(blankCRC) > len(head) {
		return 0, damaged("no %s in the metadata", headerCRC)
	}
	return at + len(key), nil
}

// OpenSnapshot opens the snapshot at path after checking its header and the checksum of every tensor.
func OpenSnapshot(path string) (*Snapshot, error) {
	f, err := openMapped(path)
	if err != nil {
		return nil, fmt.Errorf("checkpoint: %s: %w", path, err)
	}
	s, err := f.snapshot()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("checkpoint: %s: %w", path, err), f.Close())
	}
	return s, nil
}

// SnapshotHeader reads what the snapshot at path says, and its size in bytes, after checking the header alone. Whether its
// tensors are whole is [OpenSnapshot]'s and [Verify]'s.
func SnapshotHeader(path string) (info SnapshotInfo, size int64, err error) {
	f, err := openMapped(path)
	if err == nil {
		size = f.Size()
		info, _, err = f.snapshotHeader()
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		return SnapshotInfo{}, 0, fmt.Errorf("checkpoint: %s: %w", path, err)
	}
	return info, size, nil
}

func (f *File) snapshot() (*Snapshot, error) {
	info, crc, err := f.snapshotHeader()
	if err != nil {
		return nil, err
	}
	_, sums, err := f.sums()
	if err != nil {
		return nil, err
	}
	for _, name := range f.names {
		if got, want := Sum32(sums[name]), crc[name]; got != want {
			return nil, damaged("tensor %q: crc32c %v, the header says %v", name, got, want)
		}
	}
	if len(crc) != len(f.names) {
		return nil, damaged("%d tensors, %d checksums", len(f.names), len(crc))
	}
	return &Snapshot{info, f}, nil
}

// snapshotHeader checks and reads the header alone: what the snapshot says, and the checksums of its tensors.
func (f *File) snapshotHeader() (info SnapshotInfo, crc map[string]Sum32, err error) {
	format := f.meta["format"]
	if !f.looksLikeSnapshot() {
		return info, nil, fmt.Errorf("not a snapshot of ict: metadata format is %q, want %q; other files go through import", format, snapshotFormat)
	}
	head := make([]byte, f.start)
	if _, err := f.file.ReadAt(head, 0); err != nil {
		return info, nil, bare(err)
	}
	at, err := findHeaderCRC(head)
	if err != nil {
		return info, nil, err
	}
	want := string(head[at : at+len(blankCRC)])
	copy(head[at:], blankCRC)
	if got := Sum32(crc32.Checksum(head, castagnoli)); got.String() != want {
		return info, nil, damaged("crc32c of the header %v, it says %s", got, want)
	}
	if format != snapshotFormat {
		return info, nil, fmt.Errorf("%w: %q, this ict reads %q: use a newer one", ErrVersion, format, snapshotFormat)
	}
	if info, crc, err = parseSnapshot(f.meta); err != nil {
		return info, nil, damaged("metadata: %v", err)
	}
	return info, crc, nil
}

func parseSnapshot(meta map[string]string) (info SnapshotInfo, crc map[string]Sum32, err error) {
	info.Config, info.Noise = json.RawMessage(meta["config"]), json.RawMessage(meta["noise"])
	info.RunID, info.EMA, info.ByteRule = meta["run_id"], meta["ema"], meta["byte_rule"]
	if !json.Valid(info.Config) || !json.Valid(info.Noise) {
		return info, nil, errors.New("config and noise must be JSON")
	}
	if info.Step, err = strconv.Atoi(meta["step"]); err != nil || info.Step < 0 {
		return info, nil, fmt.Errorf("step %q", meta["step"])
	}
	if info.Images, err = strconv.ParseUint(meta["images"], 10, 64); err != nil {
		return info, nil, fmt.Errorf("images %q", meta["images"])
	}
	if err := json.Unmarshal([]byte(meta["classes"]), &info.Classes); err != nil {
		return info, nil, fmt.Errorf("classes: %w", err)
	}
	if err := json.Unmarshal([]byte(meta["crc32c"]), &crc); err != nil {
		return info, nil, fmt.Errorf("crc32c: %w", err)
	}
	return info, crc, nil
}

// looksLikeSnapshot looks at two places, so that no single damaged byte can turn a snapshot into something else.
func (f *File) looksLikeSnapshot() bool {
	_, sealed := f.meta[headerCRC]
	return sealed || strings.HasPrefix(f.meta["format"], snapshotFamily)
}

// isSnapshot reports whether path has the name of a snapshot.
func isSnapshot(path string) bool { return snapshotName.MatchString(filepath.Base(path)) }
