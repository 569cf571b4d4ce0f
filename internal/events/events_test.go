package events

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// What TensorBoard's own writer (2.20.0) makes of three events:
//
//	w = tensorboard.summary.writer.record_writer.RecordWriter(f)
//	w.write(Event(wall_time=1.5, file_version="brain.Event:2").SerializeToString())
//	w.write(Event(wall_time=2.5, step=300, summary=Summary(value=[
//	  Summary.Value(tag="loss", simple_value=0.25),
//	  Summary.Value(tag="grid", image=Summary.Image(height=1, width=2, colorspace=3, encoded_image_string=b"PNG"))])).SerializeToString())
//	w.write(Event(wall_time=3.5, step=7, session_log=SessionLog(status=SessionLog.START)).SerializeToString())
const golden = "1800000000000000a37f4b2209000000000000f83f1a0d627261696e2e4576656e743a322a28646c300000000000000095f5d05f09000000000000044010ac022a22" +
	"0a0b0a046c6f7373150000803e0a130a0467726964220b0801100218032203504e470a3f2d7f0f000000000000006d532b09090000000000000c4010073a0208018c2b37c8"

var goldenEvents = []Event{
	{Time: 1.5, FileVersion: fileVersion},
	{Time: 2.5, Step: 300, Scalars: []Scalar{{"loss", 0.25}}, Images: []Image{{Tag: "grid", Height: 1, Width: 2, Channels: 3, PNG: []byte("PNG")}}},
	{Time: 3.5, Step: 7, Start: true},
}

// readAll reads events up to the end or to the first fault.
func readAll(b []byte) (list []Event, err error) {
	for r := NewReader(bytes.NewReader(b)); ; {
		e, err := r.Next()
		if errors.Is(err, io.EOF) {
			return list, nil
		}
		if err != nil {
			return list, err
		}
		list = append(list, e)
	}
}

func TestReadsWhatTensorBoardWrites(t *testing.T) {
	b, err := hex.DecodeString(golden)
	if err != nil {
		t.Fatal(err)
	}
	got, err := readAll(b)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(goldenEvents, got); d != "" {
		t.Error(d)
	}
}

// What is written here differs from that alone by the step 0 that protocol buffers leave out.
func TestWritesWhatTensorBoardWrites(t *testing.T) {
	b, err := hex.DecodeString(golden)
	if err != nil {
		t.Fatal(err)
	}
	var got []byte
	for _, e := range goldenEvents[1:] {
		got = appendRecord(got, e.encode())
	}
	first := frameBytes + 24
	if !bytes.Equal(got, b[first:]) {
		t.Errorf("got  %x\nwant %x", got, b[first:])
	}
}

func picture(t testing.TB, img image.Image) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := png.Encode(&b, img); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// folder reads all files of a folder, in order, without times.
func folder(t testing.TB, dir string) (files []string, list []Event) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, filepath.Base(name))
		if !ours.MatchString(filepath.Base(name)) {
			continue
		}
		more, err := readAll(b)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for i := range more {
			more[i].Time = 0
		}
		list = append(list, more...)
	}
	return files, list
}

func open1(t testing.TB, dir string, step int64) *Writer {
	t.Helper()
	w, notes, err := Open(dir, step)
	if err != nil || len(notes) > 0 {
		t.Fatal(notes, err)
	}
	t.Cleanup(func() { w.f.Close() })
	return w
}

func scalars(t testing.TB, w *Writer, steps ...int64) {
	t.Helper()
	for _, s := range steps {
		if err := w.Scalars(s, []Scalar{{"loss", float32(s)}}); err != nil {
			t.Fatal(err)
		}
	}
}

func TestWriter(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "tb")
	w := open1(t, dir, -1)
	if err := w.Scalars(10, []Scalar{{"loss", 0.5}, {"nan", float32(math.Inf(1))}}); err != nil {
		t.Fatal(err)
	}
	gray, rgba := picture(t, image.NewGray(image.Rect(0, 0, 3, 2))), picture(t, &image.NRGBA{Pix: []byte{1, 2, 3, 4}, Stride: 4, Rect: image.Rect(0, 0, 1, 1)})
	opaque := picture(t, &image.Paletted{Pix: []byte{0}, Stride: 1, Rect: image.Rect(0, 0, 1, 1), Palette: color.Palette{color.Black}})
	for _, p := range [][]byte{gray, rgba, opaque} {
		if err := w.Image(10, "grid", p); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Image(10, "grid", []byte("no PNG")); err == nil || !strings.Contains(err.Error(), "grid") {
		t.Errorf("got %v, want an error that names the image", err)
	}
	_, got := folder(t, dir)
	want := []Event{
		{FileVersion: fileVersion}, {Step: 10, Scalars: []Scalar{{"loss", 0.5}, {"nan", float32(math.Inf(1))}}},
		{Step: 10, Images: []Image{{"grid", 2, 3, 1, gray}}}, {Step: 10, Images: []Image{{"grid", 1, 1, 4, rgba}}},
		{Step: 10, Images: []Image{{"grid", 1, 1, 3, opaque}}},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

// A resume leaves what was said up to its step, says that it is a new start, and touches no file of others.
func TestResumeCutsBack(t *testing.T) {
	dir := t.TempDir()
	scalars(t, open1(t, dir, -1), 10, 20, 30)
	scalars(t, open1(t, dir, 20), 25, 30)
	other := filepath.Join(dir, "events.out.tfevents.1.somebody")
	if err := os.WriteFile(other, []byte("not ours"), 0o600); err != nil {
		t.Fatal(err)
	}
	loss := func(s int64) Event { return Event{Step: s, Scalars: []Scalar{{"loss", float32(s)}}} }
	version, start := Event{FileVersion: fileVersion}, func(s int64) Event { return Event{Step: s, Start: true} }
	for _, c := range []struct {
		step  int64
		files int
		want  []Event
	}{
		{25, 3, []Event{version, loss(10), loss(20), version, start(21), loss(25), version, start(26)}},
		{24, 2, []Event{version, loss(10), loss(20), version, start(25)}}, // the second file and the third have nothing left to say
		{-1, 1, []Event{version}},
	} {
		open1(t, dir, c.step)
		files, got := folder(t, dir)
		if d := cmp.Diff(c.want, got); d != "" {
			t.Errorf("step %d: %s", c.step, d)
		}
		if len(files) != c.files+1 {
			t.Errorf("step %d: %q, want %d files and one of somebody's", c.step, files, c.files)
		}
	}
	if b, err := os.ReadFile(other); err != nil || string(b) != "not ours" {
		t.Errorf("got %q, %v", b, err)
	}
}

// What a kill had torn goes at the next start, wherever the tear is.
func TestTornEnd(t *testing.T) {
	dir := t.TempDir()
	w := open1(t, dir, -1)
	scalars(t, w, 10)
	whole := w.size
	scalars(t, w, 20)
	b, err := os.ReadFile(w.f.Name())
	if err != nil {
		t.Fatal(err)
	}
	for end := whole; end < w.size; end++ {
		torn := t.TempDir()
		name := filepath.Join(torn, filepath.Base(w.f.Name()))
		if err := os.WriteFile(name, b[:end], 0o600); err != nil {
			t.Fatal(err)
		}
		open1(t, torn, 100)
		if info, err := os.Stat(name); err != nil || info.Size() != whole {
			t.Fatalf("torn at %d: got %v bytes, %v, want %d", end, info.Size(), err, whole)
		}
	}
}

// Damage that is no torn end costs nothing: the file is kept, what can be read of it stays, and a note says so.
func TestDamageIsKept(t *testing.T) {
	version, start, loss := Event{FileVersion: fileVersion}, Event{Step: 31, Start: true}, Event{Step: 10, Scalars: []Scalar{{"loss", 10}}}
	for _, c := range []struct {
		at, step int64 // the event of step at is damaged, the run goes on from step
		notes    int
		want     []Event
	}{
		{20, 30, 1, []Event{version, loss, version, start}},
		{10, 30, 1, []Event{version, start}}, // nothing before it
		{30, 20, 1, []Event{version, loss, {Step: 20, Scalars: []Scalar{{"loss", 20}}}, version, {Step: 21, Start: true}}}, // nobody can tell its step
		{30, 10, 0, []Event{version, loss, version, {Step: 11, Start: true}}},
		{10, -1, 0, []Event{version}},
	} {
		dir := t.TempDir()
		w := open1(t, dir, -1)
		ends := map[int64]int64{}
		for _, s := range []int64{10, 20, 30} {
			scalars(t, w, s)
			ends[s] = w.size
		}
		b, err := os.ReadFile(w.f.Name())
		if err != nil {
			t.Fatal(err)
		}
		b[ends[c.at]-6] ^= 1 // inside the event
		for i := range 2 {   // the second time, the same file is damaged again
			if err := os.WriteFile(w.f.Name(), b, 0o600); err != nil {
				t.Fatal(err)
			}
			again, notes, err := Open(dir, c.step)
			if err != nil || len(notes) != c.notes {
				t.Fatalf("%+v: got %v, %v", c, notes, err)
			}
			again.Close()
			files, got := folder(t, dir)
			number := ours.FindStringSubmatch(filepath.Base(w.f.Name()))[1]
			aside := []string{"damaged." + number + ".ict", "damaged." + number + ".2.ict"}[i]
			if c.notes > 0 {
				if kept, err := os.ReadFile(filepath.Join(dir, aside)); err != nil || !bytes.Equal(kept, b) {
					t.Errorf("%+v: %s is not the file that was damaged: %v", c, aside, err)
				}
				if text := notes[0].Error(); !errors.Is(notes[0], ErrDamaged) || !strings.Contains(text, "kept as "+aside) || !strings.Contains(text, filepath.Base(w.f.Name())) {
					t.Errorf("%+v: %s", c, text)
				}
			}
			if i == 0 {
				if d := cmp.Diff(c.want, got); d != "" {
					t.Errorf("%+v: %q: %s", c, files, d)
				}
				if err := os.Remove(again.f.Name()); err != nil {
					t.Fatal(err)
				}
			}
			if left, _ := filepath.Glob(filepath.Join(dir, "*.tmp")); len(left) > 0 {
				t.Errorf("%+v: left %q", c, left)
			}
		}
	}
}

// Any flipped bit is seen.
func TestFlippedBit(t *testing.T) {
	b, err := hex.DecodeString(golden)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 8 * len(b) {
		b[i/8] ^= 1 << (i % 8)
		if _, err := readAll(b); !errors.Is(err, ErrDamaged) {
			t.Errorf("bit %d of byte %d flipped: got %v", i%8, i/8, err)
		}
		b[i/8] ^= 1 << (i % 8)
	}
}

// A length that claims more than there is costs no memory.
func TestHugeLength(t *testing.T) {
	for _, n := range []uint64{maxRecord, maxRecord + 1, 1<<64 - 1} {
		b := appendRecord(nil, nil)[:headBytes]
		for i := range 8 {
			b[i] = byte(n >> (8 * i))
		}
		sum := masked(b[:8])
		for i := range 4 {
			b[8+i] = byte(sum >> (8 * i))
		}
		if used := testing.AllocsPerRun(1, func() {
			if _, err := readAll(b); !errors.Is(err, ErrDamaged) {
				t.Errorf("length %d: got %v", n, err)
			}
		}); used > 100 {
			t.Errorf("length %d: %v allocations", n, used)
		}
	}
}

// A full disk costs the events that did not fit, and the file stays one that readers read.
func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	w := open1(t, dir, -1)
	scalars(t, w, 10)
	var was unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_FSIZE, &was); err != nil {
		t.Fatal(err)
	}
	limit := func(n uint64) {
		if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: n, Max: was.Max}); err != nil {
			t.Fatal(err)
		}
	}
	limit(uint64(w.size) + 10)
	err := w.Scalars(20, []Scalar{{"loss", 1}})
	info, _ := os.Stat(w.f.Name())
	limit(was.Cur)
	if !errors.Is(err, unix.EFBIG) || info.Size() != w.size+10 {
		t.Fatalf("got %v, %d bytes, want a part of a record", err, info.Size())
	}
	scalars(t, w, 30)
	_, got := folder(t, dir)
	if len(got) != 3 || got[2].Step != 30 {
		t.Errorf("got %v", got)
	}
}

func TestFolderThatIsNone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tb")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := Open(path, -1); err == nil || !strings.HasPrefix(err.Error(), "events: "+path) {
		t.Errorf("got %v", err)
	}
}

func FuzzReader(f *testing.F) {
	b, err := hex.DecodeString(golden)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b, false)
	f.Add(b[headBytes:len(b)-4], true)
	for _, e := range goldenEvents {
		f.Add(e.encode(), true)
	}
	f.Fuzz(func(t *testing.T, b []byte, sealed bool) {
		if sealed { // as the content of a record whose checksums are right
			b = appendRecord(nil, b)
		}
		list, err := readAll(b)
		if err != nil && !errors.Is(err, ErrDamaged) {
			t.Fatal(err)
		}
		var again []byte
		for _, e := range list {
			again = appendRecord(again, e.encode())
		}
		back, err := readAll(again)
		if err != nil || len(back) != len(list) {
			t.Fatalf("%d events became %d, %v", len(list), len(back), err)
		}
		for i := range list {
			if len(list[i].Scalars)+len(list[i].Images) > 0 && list[i].FileVersion == "" && !list[i].Start &&
				fmt.Sprint(back[i]) != fmt.Sprint(list[i]) {
				t.Errorf("got %v, want %v", back[i], list[i])
			}
		}
		if end, _, err := endOf(bytes.NewReader(b), 1); err != nil && !errors.Is(err, ErrDamaged) || end < 0 || end > int64(len(b)) {
			t.Errorf("end %d of %d, %v", end, len(b), err)
		}
	})
}
