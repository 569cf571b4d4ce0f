package checkpoint

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/cespare/xxhash/v2"
	"golang.org/x/sys/unix"
)

const (
	formatVersion = 1
	manifestName  = "manifest.json"
	maxManifest   = 32 << 20 // bytes
)

// ErrVersion is wrapped by errors about files that a newer ict wrote.
var ErrVersion = errors.New("newer format")

// Manifest describes a state. WriteState fills FormatVersion, Step, Files and Tensors; the rest is the caller's. What
// equal bits after a resume depend on is all in here.
type Manifest struct {
	FormatVersion int             `json:"format_version"`
	RunID         string          `json:"run_id"` // of the run that wrote it: nobody else deletes it
	Config        json.RawMessage `json:"config"` // of the run; compact JSON
	Step          int             `json:"step"`   // steps done
	Images        uint64          `json:"images"` // images seen
	Seed          uint64          `json:"seed"`
	Data          string          `json:"data,omitempty"`    // fingerprint of the image set; empty: not known
	Classes       []string        `json:"classes,omitempty"` // names of its classes, in order; empty: none, or not known
	LossScale     LossScale       `json:"loss_scale"`
	World         int             `json:"world"`       // ranks
	MicroBatch    int             `json:"micro_batch"` // images of one rank at once
	Slice         int             `json:"slice"`       // images whose sum is one leaf of the pairwise sum
	Build         string          `json:"build"`       // commit
	Kernels       string          `json:"kernels"`     // hash of the kernels' sources
	Device        string          `json:"device"`      // model
	BLAS          string          `json:"blas"`        // library and core
	NCCL          string          `json:"nccl"`        // version and algorithm
	Files         []FileEntry     `json:"files,omitempty"`
	Tensors       []TensorEntry   `json:"tensors,omitempty"`
}

// LossScale is the device's loss scale and its counters.
type LossScale struct {
	Scale   float32 `json:"scale"`
	Good    int32   `json:"good"`    // good steps since Scale last changed
	Bad     int32   `json:"bad"`     // steps in a row skipped with Scale at its floor
	Skipped uint64  `json:"skipped"` // steps skipped in all
	Since   uint64  `json:"since"`   // first step of the present row of skips
}

// FileEntry is one file of a state.
type FileEntry struct {
	Name   string `json:"name"`
	Length int64  `json:"length"` // bytes
	XXHash Sum64  `json:"xxhash"` // xxHash64 of the whole file
}

// TensorEntry is one tensor of a state.
type TensorEntry struct {
	File   string `json:"file"`
	Name   string `json:"name"`
	DType  string `json:"dtype"`
	Shape  []int  `json:"shape"`
	CRC32C Sum32  `json:"crc32c"` // of its bytes
}

// Sum64 and Sum32 are checksums, written as 16 and 8 lower-case hexadecimal digits.
type (
	Sum64 uint64
	Sum32 uint32
)

func (s Sum64) String() string               { return fmt.Sprintf("%016x", uint64(s)) }
func (s Sum32) String() string               { return fmt.Sprintf("%08x", uint32(s)) }
func (s Sum64) MarshalText() ([]byte, error) { return []byte(s.String()), nil }
func (s Sum32) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

func (s *Sum64) UnmarshalText(b []byte) error {
	n, err := parseSum(b, 64)
	*s = Sum64(n)
	return err
}

func (s *Sum32) UnmarshalText(b []byte) error {
	n, err := parseSum(b, 32)
	*s = Sum32(n)
	return err
}

func parseSum(b []byte, size int) (uint64, error) {
	n, err := strconv.ParseUint(string(b), 16, size)
	if err != nil || len(b) != size/4 {
		return 0, fmt.Errorf("checksum %q: want %d hexadecimal digits", b, size/4)
	}
	return n, nil
}

// encode is the manifest as stored: one line for each file and tensor, and as its last field the hash of all before it.
func (m Manifest) encode() ([]byte, error) {
	files, tensors := m.Files, m.Tensors
	m.Files, m.Tensors = nil, nil
	b, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return nil, err
	}
	b = bytes.TrimSuffix(b, []byte("\n}"))
	b = appendList(b, "files", files)
	b = appendList(b, "tensors", tensors)
	return append(b, seal(b)...), nil
}

func appendList[T any](b []byte, key string, list []T) []byte {
	b = fmt.Appendf(b, ",\n  %q: [", key)
	for i, v := range list {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(append(b, "\n    "...), mustJSON(v)...)
	}
	return append(b, "\n  ]"...)
}

// seal is the end of a manifest that begins with b.
func seal(b []byte) string {
	return fmt.Sprintf(",\n  \"xxhash\": \"%s\"\n}\n", Sum64(xxhash.Sum64(b)))
}

// decodeManifest is encode backwards; it believes nothing. The seal is part of every version, so a manifest that looks newer
// because a bit flipped is known as damaged.
func decodeManifest(b []byte) (m Manifest, err error) {
	cut := len(b) - len(seal(nil))
	if cut < 0 || seal(b[:cut]) != string(b[cut:]) {
		return m, damaged("%s: its content and its own checksum disagree", manifestName)
	}
	if err := json.Unmarshal(b, &m); err != nil {
		return m, damaged("%s: %v", manifestName, err)
	}
	if m.FormatVersion > formatVersion {
		return m, fmt.Errorf("%w: %s has format_version %d, this ict reads up to %d: use a newer one",
			ErrVersion, manifestName, m.FormatVersion, formatVersion)
	}
	if err := m.check(); err != nil {
		return m, damaged("%s: %v", manifestName, err)
	}
	var config bytes.Buffer
	if err := json.Compact(&config, m.Config); err != nil {
		return m, damaged("%s: config: %v", manifestName, err)
	}
	m.Config = config.Bytes()
	return m, nil
}

// check says what no manifest may hold.
func (m Manifest) check() error {
	if m.FormatVersion != formatVersion {
		return fmt.Errorf("format_version %d, want %d", m.FormatVersion, formatVersion)
	}
	if m.Step < 0 {
		return fmt.Errorf("step %d", m.Step)
	}
	if len(m.Files) == 0 {
		return errors.New("no files")
	}
	files := map[string]bool{}
	for _, f := range m.Files {
		if err := checkFileName(f.Name); err != nil {
			return err
		}
		if files[f.Name] {
			return fmt.Errorf("file %q is there twice", f.Name)
		}
		files[f.Name] = true
	}
	type key struct{ file, name string }
	seen := make(map[key]bool, len(m.Tensors))
	for _, t := range m.Tensors {
		if !files[t.File] || seen[key{t.File, t.Name}] {
			return fmt.Errorf("tensor %q: file %q is not listed, or has it twice", t.Name, t.File)
		}
		seen[key{t.File, t.Name}] = true
	}
	return nil
}

// checkFileName refuses names that are not plain safetensors files inside the state's folder.
func checkFileName(name string) error {
	stem, ok := strings.CutSuffix(name, ".safetensors")
	if !ok || stem == "" || stem[0] == '.' || name != filepath.Base(name) || strings.ContainsAny(name, "\\\x00") {
		return fmt.Errorf("file name %q: want <name>.safetensors", name)
	}
	return nil
}

// readManifest reads the manifest of the state in dir.
func readManifest(dir string) (Manifest, error) {
	f, err := os.OpenFile(filepath.Join(dir, manifestName), os.O_RDONLY|unix.O_NONBLOCK, 0)
	if errors.Is(err, os.ErrNotExist) {
		return Manifest{}, damaged("%s is missing", manifestName)
	}
	if err != nil {
		return Manifest{}, fmt.Errorf("%s: %w", manifestName, bare(err))
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxManifest+1))
	if err != nil {
		return Manifest{}, fmt.Errorf("%s: %w", manifestName, bare(err))
	}
	if len(b) > maxManifest {
		return Manifest{}, damaged("%s: more than %d bytes", manifestName, maxManifest)
	}
	m, err := decodeManifest(b)
	if err != nil {
		return Manifest{}, err
	}
	if step, ok := parseStep(filepath.Base(dir)); ok && step != m.Step {
		return Manifest{}, damaged("%s: step %d in a folder named %s", manifestName, m.Step, filepath.Base(dir))
	}
	return m, nil
}

// compare says where the tensors of a file differ from those the manifest lists for it.
func (m Manifest) compare(name string, f *File, crc map[string]uint32) error {
	n := 0
	for _, t := range m.Tensors {
		if t.File != name {
			continue
		}
		n++
		got, ok := f.tensors[t.Name]
		switch {
		case !ok:
			return damaged("tensor %q is missing", t.Name)
		case got.DType != t.DType || !slices.Equal(got.Shape, t.Shape):
			return damaged("tensor %q: got %s %v, the manifest says %s %v", t.Name, got.DType, got.Shape, t.DType, t.Shape)
		case Sum32(crc[t.Name]) != t.CRC32C:
			return damaged("tensor %q: crc32c %v, the manifest says %v", t.Name, Sum32(crc[t.Name]), t.CRC32C)
		}
	}
	if n != len(f.names) {
		return damaged("%d tensors, the manifest lists %d", len(f.names), n)
	}
	return nil
}
