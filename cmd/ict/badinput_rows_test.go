package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"unicode/utf8"

	"github.com/cespare/xxhash/v2"
	"github.com/klauspost/compress/gzip"

	"ict/checkpoint"
	"ict/internal/rundir"
)

// Makers of bad inputs, for mistake.prep.

type maker = func(t testing.TB, dir string)

func both(list ...maker) maker {
	return func(t testing.TB, dir string) {
		for _, f := range list {
			f(t, dir)
		}
	}
}

// file writes a file, and the folders above it.
func file(name, content string) maker {
	return func(t testing.TB, dir string) {
		t.Helper()
		path := filepath.Join(dir, name)
		must(t, os.MkdirAll(filepath.Dir(path), 0o755))
		must(t, os.WriteFile(path, []byte(content), 0o644))
	}
}

func folder(name string, mode os.FileMode) maker {
	return func(t testing.TB, dir string) {
		path := filepath.Join(dir, name)
		must(t, os.MkdirAll(path, 0o755))
		must(t, os.Chmod(path, mode))
		t.Cleanup(func() { os.Chmod(path, 0o755) })
	}
}

func fifo(name string) maker {
	return func(t testing.TB, dir string) { must(t, syscall.Mkfifo(filepath.Join(dir, name), 0o644)) }
}

// change rewrites a file.
func change(name string, f func(b []byte) []byte) maker {
	return func(t testing.TB, dir string) {
		path := filepath.Join(dir, name)
		b, err := os.ReadFile(path)
		must(t, err)
		must(t, os.WriteFile(path, f(b), 0o644))
	}
}

func half(b []byte) []byte { return b[:len(b)/2] }

// flipAt changes a bit of the byte at a share of the file's length.
func flipAt(share float64) func([]byte) []byte {
	return func(b []byte) []byte {
		b[int(share*float64(len(b)))] ^= 0x10
		return b
	}
}

func remove(name string) maker {
	return func(t testing.TB, dir string) { must(t, os.RemoveAll(filepath.Join(dir, name))) }
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func pngOf(w, h int) string {
	var b bytes.Buffer
	img := image.NewRGBA(image.Rect(0, 0, w, h))
	for i := range img.Pix {
		img.Pix[i] = byte(i * 7)
	}
	if err := png.Encode(&b, img); err != nil {
		panic(err)
	}
	return b.String()
}

func jpegOf(w, h int) string {
	var b bytes.Buffer
	img := image.NewGray(image.Rect(0, 0, w, h))
	for i := range img.Pix {
		img.Set(i%w, i/w, color.Gray{byte(i * 7)})
	}
	if err := jpeg.Encode(&b, img, nil); err != nil {
		panic(err)
	}
	return b.String()
}

// bomb is a PNG whose header says 65,535×65,535.
func bomb() string {
	b := []byte(pngOf(8, 8))
	binary.BigEndian.PutUint32(b[16:], 65535)
	binary.BigEndian.PutUint32(b[20:], 65535)
	binary.BigEndian.PutUint32(b[29:], crc32.ChecksumIEEE(b[12:29]))
	return string(b)
}

// idxOf is an idx file whose header says other things than it holds.
func idxOf(bytes int, dims ...uint32) string {
	b := []byte{0, 0, 8, byte(len(dims))}
	for _, d := range dims {
		b = binary.BigEndian.AppendUint32(b, d)
	}
	return string(append(b, make([]byte, bytes)...))
}

func gzipOf(s string) string {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	w.Write([]byte(s))
	w.Close()
	return b.String()
}

// repack changes a number in the header of s.pack and gives it the right checksum.
func repack(at int, n uint32) maker {
	return change("s.pack", func(b []byte) []byte {
		binary.LittleEndian.PutUint32(b[at:], n)
		binary.LittleEndian.PutUint32(b[4092:], crc32.Checksum(b[:4092], crc32.MakeTable(crc32.Castagnoli)))
		return b
	})
}

// stOf is a safetensors file of any header.
func stOf(header string, data int) string {
	b := binary.LittleEndian.AppendUint64(nil, uint64(len(header)))
	return string(append(append(b, header...), make([]byte, data)...))
}

// snap is the newest snapshot of run a.
const snap = "a/snapshots/step-00000020.safetensors"

// resnap writes snap anew, with right checksums, as x.safetensors: for what only its author could have done.
func resnap(f func(info *checkpoint.SnapshotInfo, tensors []checkpoint.Named) []checkpoint.Named) maker {
	return func(t testing.TB, dir string) {
		s, err := checkpoint.OpenSnapshot(filepath.Join(dir, snap))
		must(t, err)
		defer s.Close()
		var all []checkpoint.Named
		for _, name := range s.Names() {
			n, _ := s.Get(name)
			all = append(all, n)
		}
		all = f(&s.SnapshotInfo, all)
		must(t, checkpoint.WriteSnapshot(filepath.Join(dir, "x.safetensors"), s.SnapshotInfo, all))
	}
}

// reconfigured is a snapshot with another text in its configuration.
func reconfigured(old, new string) maker {
	return resnap(func(info *checkpoint.SnapshotInfo, all []checkpoint.Named) []checkpoint.Named {
		b := bytes.Replace(info.Config, []byte(old), []byte(new), 1)
		if bytes.Equal(b, info.Config) {
			panic(fmt.Sprintf("no %s in %s", old, info.Config))
		}
		info.Config = b
		return all
	})
}

// remanifest changes a manifest and gives it the right checksum.
func remanifest(name, old, new string) maker {
	return change(name, func(b []byte) []byte {
		const sealed = 35 // bytes of the line with the manifest's own hash
		body := bytes.Replace(b[:len(b)-sealed], []byte(old), []byte(new), 1)
		return fmt.Appendf(body, ",\n  \"xxhash\": \"%016x\"\n}\n", xxhash.Sum64(body))
	})
}

// npyOf is a NumPy file.
func npyOf(dtype string, bytes int, shape ...int) string {
	return string(append(npyHead(dtype, shape), make([]byte, bytes)...))
}

// locked holds run a as another trainer would.
func locked(t testing.TB, dir string) {
	d, err := rundir.Create(filepath.Join(dir, "a"))
	must(t, err)
	unlock, err := d.Lock()
	must(t, err)
	t.Cleanup(func() {
		must(t, unlock())
		must(t, d.Close())
	})
}

// config is a mistake in c.yaml; where nothing else is wrong its first line is preset: tiny.
func config(input, yaml string, says ...string) mistake {
	shows := ""
	if len(yaml) < 100 && utf8.ValidString(yaml) && !strings.Contains(yaml, "\x00") {
		shows = strings.ReplaceAll(strings.TrimSpace(strings.TrimPrefix(yaml, "preset: tiny\n")), "\t", "⇥")
	}
	return mistake{input: input, shows: shows, prep: file("c.yaml", yaml), args: "train --config c.yaml --data s.pack --out x", code: 2, says: says}
}

// badSetting is a mistake in one value of the configuration.
func badSetting(input, set string, says ...string) mistake {
	return mistake{input: input, args: "train --config tiny.yaml --out x --set " + set, code: 2, says: says}
}

// badInputs are the mistakes, in the order of docs/bad-inputs.md.
func badInputs() []section {
	long := func(n int) string { return strings.Repeat("#", n) }
	return []section{
		{"Words and flags", []mistake{
			{input: "unknown command", args: "trian --preset tiny", code: 2, says: []string{"trian", "did you mean train?", "ict --help"}},
			{input: "unknown sub-command", args: "data imprt photos", code: 2, says: []string{"imprt", "did you mean import?"}},
			{input: "a command without its sub-command", args: "ckpt", code: 2, says: []string{"ckpt", "wants one of: ls, show, verify"}},
			{input: "unknown flag", args: "train --preset tiny --datta s.pack", code: 2, says: []string{"--datta", "did you mean --data?"}},
			{input: "unknown flag, nothing near", args: "train --zzzzzzzz", code: 2, says: []string{"--zzzzzzzz", "ict train --help lists them"}},
			{input: "flag before the command", args: "--preset tiny", code: 2, says: []string{"--preset", "ict --help"}},
			{input: "flag without a value", args: "train --preset", code: 2, says: []string{"--preset", "wants a value"}},
			{input: "flag given twice", args: "train --preset tiny --preset mnist", code: 2, says: []string{"--preset", "twice"}},
			{input: "switch with a value that is neither true nor false", args: "train --preset tiny --data s.pack --dry-run=maybe", code: 2, says: []string{"--dry-run", "maybe", "true or false"}},
			{input: "unknown preset", args: "train --preset cifar --data s.pack", code: 2, says: []string{"--preset", "cifar10", "there are:"}},
			{input: "no preset, no file", args: "train --data s.pack --out x", code: 2, says: []string{"no preset", "--preset", "--config"}},
			{input: "empty preset", args: "train --preset '' --data s.pack --out x", code: 2, says: []string{"no preset", "--preset", "--config"}},
			{input: "no data", args: "train --preset tiny --out x", code: 2, says: []string{"no data", "--data PATH", "ict data make shapes"}},
			{input: "an argument where none is wanted", args: "train s.pack", code: 2, says: []string{"s.pack", "no argument", "ict train --help"}},
			{input: "argument missing", args: "sample --out x.png", code: 2, says: []string{"sample: wants RUN|FILE", "ict sample --help"}},
			{input: "an argument too many", args: "data verify s.pack big.pack", code: 2, says: []string{"takes SET", "got 2 arguments"}},
			{input: "--out missing", args: "data make shapes", code: 2, says: []string{"--out FILE", "shapes.pack"}},
			{input: "unknown kind of set", args: "data make digits --out x.pack", code: 2, says: []string{"digits", "want shapes"}},
			{input: "a word for a number", args: "data make shapes --n many --out x.pack", code: 2, says: []string{`--n: got "many"`, "want a whole number"}},
			{input: "a fraction for a count", args: "data make shapes --n 1.5 --out x.pack", code: 2, says: []string{`--n: got "1.5"`, "want a whole number"}},
			{input: "a unit that counts do not have", args: "data make shapes --n 3G --out x.pack", code: 2, says: []string{`--n: got "3G"`, "400k"}},
			{input: "a number beyond 64 bits", args: "data make shapes --n 99999999999999999999 --out x.pack", code: 2, says: []string{"--n", "want"}},
			{input: "a number beyond any disk", args: "data make shapes --n 9000000000000M --out x.pack", code: 2, says: []string{"--n", "want"}},
			{input: "more images than a set can hold", args: "data make shapes --n 4000M --out x.pack", code: 2, says: []string{"--n", "at most 2,147,483,647"}},
			{input: "a negative number", args: "data make shapes --n -5 --out x.pack", code: 2, says: []string{`--n: got "-5"`, "at least 1"}},
			{input: "zero of something", args: "sample a --n 0 --out x.png", code: 2, says: []string{`--n: got "0"`, "at least 1"}},
			{input: "NaN for a count", args: "sample a --n NaN --out x.png", code: 2, says: []string{`--n: got "NaN"`, "want a whole number"}},
			{input: "empty value for a number", args: "sample a --n '' --out x.png", code: 2, says: []string{"--n", "want a whole number"}},
			{input: "a size out of range", args: "data make shapes --size 4 --out x.pack", code: 2, says: []string{"--size", "8 to 1024"}},
			{input: "a word that is not of the list", args: "data import photos --crop centre --size 8 --out x.pack", code: 2, says: []string{"--crop", "dhariwal, center, fit or none"}},
			{input: "crop without a size", args: "data import photos --crop center --out x.pack", code: 2, says: []string{"--crop center", "--size"}},
			{input: "--out is a file that is no packed set, such as the source", prep: both(file("photos/a.png", pngOf(8, 8)), file("photos.zip", "PK")), args: "data import photos --out photos.zip", code: 2, says: []string{"photos.zip", "no packed set"}},
			{input: "--out is a named pipe", prep: fifo("x.pack"), args: "data make shapes --out x.pack", code: 2, says: []string{"x.pack", "no packed set"}},
			{input: "a share above the whole", args: "data import photos --bad-images skip --max-bad 150% --out x.pack", code: 2, says: []string{"--max-bad", "0.1%"}},
			{input: "unknown device", args: "train --preset tiny --data s.pack --device gpu", code: 2, says: []string{"--device", "auto, cpu, cuda or cuda:1"}},
			{input: "a device that this build has not", args: "train --preset tiny --data s.pack --device cuda --out x", code: 2, says: []string{"without CUDA", "make cuda"}},
			{input: "--quiet and --verbose", args: "train --preset tiny --data s.pack --quiet --verbose", code: 2, says: []string{"--quiet and --verbose", "exclude"}},
			{input: "--steps and --levels", args: "sample a --steps 2 --levels 80,1 --out x.png", code: 2, says: []string{"--steps and --levels", "exclude"}},
			{input: "one key by two flags", args: "train --config tiny.yaml --batch 4 --set train.batch=5 --out x", code: 2, says: []string{"train.batch", "4 by --batch and 5 by --set"}},
			{input: "--set without a value", args: "train --config tiny.yaml --set train.batch --out x", code: 2, says: []string{"train.batch", "want key=value"}},
			{input: "--set of nothing", args: "train --config tiny.yaml --set train.batch= --out x", code: 2, says: []string{"train.batch", "no value; want train.batch=a whole number"}},
			{input: "--set of an unknown key", args: "train --config tiny.yaml --set batch=4 --out x", code: 2, says: []string{"batch", "did you mean train.batch?"}},
			{input: "a misspelt variable", args: "train --config nothing.yaml", env: []string{"ICT_BATCHES=4"}, code: 2, warns: "$ICT_BATCHES is set, and no flag reads it; did you mean $ICT_BATCH?", says: []string{"nothing.yaml", "--config"}},
			{input: "a misspelt variable of any command", args: "ckpt ls nothing", env: []string{"ICT_JSN=1"}, code: 1, warns: "$ICT_JSN is set, and no flag reads it; did you mean $ICT_JSON?", says: []string{"nothing", "no such file"}},
			{input: "a bad value in a variable", args: "train --config tiny.yaml --out x", env: []string{"ICT_BATCH=four"}, code: 2, says: []string{"$ICT_BATCH", "want a whole number"}},
			{input: "a bad number in a global variable", args: "ckpt ls a", env: []string{"ICT_QUIET=perhaps"}, code: 2, says: []string{"ICT_QUIET", "true or false"}},
			{input: "an unknown device in a variable", args: "ckpt ls a", env: []string{"ICT_DEVICE=gpu"}, code: 2, says: []string{"$ICT_DEVICE: got \"gpu\"", "auto, cpu, cuda or cuda:1"}},
			{input: "$ICT_SET beside --set of another key", args: "train --config tiny.yaml --out x --set train.batch=4", env: []string{"ICT_SET=train.seed=-1"}, code: 2, says: []string{"$ICT_SET: train.seed", "want a whole number"}},
			{input: "--stop-at 0", args: "train --config tiny.yaml --stop-at 0 --out x", code: 2, says: []string{"--stop-at", "at least 1"}},
			{input: "--log-file in a folder that is not there", args: "ckpt ls a --log-file nothing/log.jsonl", code: 1, says: []string{"--log-file nothing/log.jsonl", "no such file"}},
			{input: "help of an unknown command", args: "help trian", code: 2, says: []string{"trian", "did you mean train?"}},
			{input: "unknown shell", args: "completion powershell", code: 2, says: []string{"powershell", "bash, zsh and fish"}},
		}},
		{"Configuration", []mistake{
			{input: "file missing", args: "train --config nothing.yaml --out x", code: 2, says: []string{"--config nothing.yaml", "no such file"}},
			{input: "a folder for a file", args: "train --config a --out x", code: 2, says: []string{"--config a", "want a YAML file"}},
			config("unknown key", "preset: tiny\nobjective:\n  p_mean: -1.1\n", "c.yaml:3", "objective.p_mean", "did you mean objective.mean?"),
			config("unknown group", "preset: tiny\nopt:\n  lr: 1\n", "c.yaml:2", "did you mean optim?"),
			config("unknown key, nothing near", "preset: tiny\nnoise:\n  zzzzz: 1\n", "c.yaml:3: unknown key noise.zzzzz", "noise has: min max data rho"),
			config("right key, wrong group", "preset: tiny\ntrain:\n  lr: 0.1\n", "c.yaml:3", "did you mean optim.lr?"),
			config("key given twice", "preset: tiny\ntrain:\n  steps: 10\n  steps: 20\n", "c.yaml:4", "twice", "line 3"),
			config("word for a number", "preset: tiny\ntrain: {batch: many}\n", "c.yaml:2", "train.batch", "want a whole number"),
			config("list for a number", "preset: tiny\ntrain: {batch: [1, 2]}\n", "c.yaml:2", "train.batch", "want a whole number"),
			config("number for a group", "preset: tiny\ntrain: 5\n", "c.yaml:2", "train", "want keys: steps"),
			config("nothing for a value", "preset: tiny\ntrain:\n  batch:\n", "c.yaml:3", "got nothing", "want a whole number"),
			config("NaN", "preset: tiny\noptim: {lr: .nan}\n", "c.yaml:2", "optim.lr", "want a number"),
			config("infinity", "preset: tiny\nnoise: {max: .inf}\n", "c.yaml:2", "noise.max", "want a number"),
			config("broken YAML", "preset: tiny\n\ntrain: {batch: 4\n", "c.yaml:3", "'}'", "want YAML"),
			config("a tab for indentation", "preset: tiny\ntrain:\n\tbatch: 4\n", "c.yaml:3", "want YAML"),
			config("two documents", "preset: tiny\n---\npreset: mnist\n", "c.yaml:2", "want one"),
			config("alias bomb", "a: &a [x,x,x]\nb: &b [*a,*a,*a]\nc: &c [*b,*b,*b]\npreset: tiny\n", "c.yaml:1", "unknown key a"),
			config("alias as a value", "preset: tiny\nmodel: {mult: &m [1, 1], attention: *m}\n", "c.yaml:2", "anchors and aliases are not read"),
			config("a thousand lists in each other", "preset: tiny\nema: "+strings.Repeat("[", 20000)+strings.Repeat("]", 20000)+"\n", "c.yaml", "want"),
			config("2 MiB", "preset: tiny\n"+long(2<<20)+"\n", "c.yaml", "at most 1,048,576"),
			config("binary file", "\x00\x01\x02\xff\xfepreset", "c.yaml", "want a YAML file"),
			config("a .pack for a configuration", "\x89ICTPACK\x01\x00\x00\x00", "c.yaml", "want a YAML file"),
			config("no preset, and not every key", "train:\n  steps: 5\n", "ict: c.yaml: no preset", "preset: NAME", "--preset cifar10"),
			config("empty file", "", "c.yaml", "no preset"),
			badSetting("batch 0", "train.batch=0", "train.batch: got 0", "1 … 1048576"),
			badSetting("batch beyond all bounds", "train.batch=9000000000000000000", "train.batch", "1 … 1048576"),
			badSetting("micro-batch does not divide the batch", "train.micro_batch=3", "train.micro_batch", "divisor"),
			badSetting("micro-batch above the batch", "train.micro_batch=16", "train.micro_batch", "divisor"),
			badSetting("micro-batch −1", "train.micro_batch=-1", "train.micro_batch", "a positive whole number or auto"),
			badSetting("average of rate 1", "ema=1", "ema", "0 ≤ decay < 1"),
			badSetting("no averages", "ema=[]", "ema", "one to four decays"),
			badSetting("five averages", "ema=0.1,0.2,0.3,0.4,0.5", "ema", "one to four decays"),
			badSetting("an average twice", "ema=0.9,0.9", "ema", "each decay once"),
			badSetting("noise.min above noise.max", "noise.min=90", "noise.min: got 90", "less than noise.max, 80"),
			badSetting("noise.min 0", "noise.min=0", "noise.min: got 0", "more than 0"),
			badSetting("noise.max below the grids' second level", "noise.max=0.5", "noise.max", "second level", "0.821"),
			badSetting("s0 above s1", "'objective={s0: 20, s1: 10}'", "objective.s1: got s0 20, s1 10", "want 1 ≤ s0 ≤ s1"),
			badSetting("more stages than steps", "'objective={s0: 1, s1: 1048576}'", "objective.s1", "train longer"),
			badSetting("s0 0", "objective.s0=0", "objective.s0: got 0", "at least 1"),
			badSetting("a spread of 0", "objective.std=0", "objective.std: got 0", "more than 0"),
			badSetting("a proposal beyond every level", "objective.mean=500", "objective.mean", "want"),
			badSetting("steps 0", "train.steps=0", "train.steps: got 0", "at least 1"),
			badSetting("dropout 1", "model.dropout=1", "model.dropout: got 1", "0 ≤ dropout < 1"),
			badSetting("no levels of the network", "model.mult=[]", "model.mult", "1 to 12 factors"),
			badSetting("an odd number of channels", "model.channels=7", "model.channels: got 7", "an even number"),
			badSetting("channels that the groups do not divide", "model.channels=134", "134 channels cannot be split into 32 groups", "model.channels"),
			badSetting("more halvings than the image allows", "model.mult=1,1,1,1,1", "model.mult", "halved"),
			badSetting("attention at no level's resolution", "model.attention=5", "model.attention", "resolutions of the network's levels: [8 4]"),
			badSetting("another resolution than the data's", "model.resolution=16", "model.resolution", "8×8×3"),
			badSetting("other classes than the data's", "model.classes=3", "model.classes: got 3", "the data set's 8"),
			badSetting("unknown objective", "objective.kind=cd", "objective.kind", "want ict"),
			badSetting("unknown optimiser", "optim.kind=sgd", "optim.kind", "radam or adam"),
			badSetting("negative learning rate", "optim.lr=-1", "optim.lr", "0 … 1000"),
			badSetting("unknown precision", "train.precision=fp8", "train.precision", "fp16"),
			badSetting("a loss scale that is no power of two", "train.loss_scale.start=1000", "train.loss_scale", "a power of two"),
			badSetting("an interval without unit or number", "every.grid=often", "every.grid", "steps or a duration like 30m"),
			badSetting("a negative interval", "every.state=-5m", "every.state", "steps or a duration like 30m"),
			badSetting("no state kept", "keep.states=0", "keep.states", "at least 1"),
			badSetting("a seed below 0", "train.seed=-1", "train.seed", "a whole number"),
			{input: "a network too big for the memory", args: "train --config tiny.yaml --set model.channels=8192 --batch 1 --out x", code: 12, says: []string{"out of memory", "a smaller network"}},
			{input: "a batch too big for the memory", args: "train --config tiny.yaml --batch 1M --micro-batch 1M --set model.channels=64 --out x", code: 12, says: []string{"out of memory", "--micro-batch"}},
			{input: "plan without the images' size", args: "plan --preset tiny", code: 2, says: []string{"--data", "model.resolution"}},
		}},
		{"Data", []mistake{
			{input: "set missing", args: "train --preset tiny --data nothing.pack --out x", code: 1, says: []string{"nothing.pack", "no such file", "--data PATH"}},
			{input: "set missing, to look at", args: "data verify nothing", code: 1, says: []string{"ict: nothing: no such file", "want an image set: ict data import --help"}},
			{input: "set missing, to import", args: "data import nothing --out x.pack", code: 1, says: []string{"ict: nothing: no such file", "want an image set"}},
			{input: "set missing, to measure", args: "bench data nothing", code: 1, says: []string{"ict: nothing: no such file", "want an image set"}},
			{input: "empty folder", prep: folder("photos", 0o755), args: "data import photos --out x.pack", code: 1, says: []string{"photos", "no PNG, JPEG"}},
			{input: "a folder of other files", prep: file("photos/readme.txt", "hello"), args: "data import photos --out x.pack", code: 1, says: []string{"photos", "no PNG, JPEG"}},
			{input: "a folder that may not be read", prep: both(file("photos/a.png", pngOf(8, 8)), folder("photos", 0)), args: "data verify photos", other: true, code: 1, says: []string{"photos", "permission denied"}},
			{input: "no set at all", args: "data verify tiny.yaml", code: 1, says: []string{"tiny.yaml", "want one of: a .pack file"}},
			{input: "empty file for a set", prep: file("x.pack", ""), args: "data verify x.pack", code: 1, says: []string{"x.pack", "want one of: a .pack file"}},
			{input: "a text file named .png", prep: both(file("photos/a.png", pngOf(8, 8)), file("photos/b.png", "hello")), args: "data import photos --size 8 --crop center --out x.pack", code: 14, wrote: []string{"x.pack.partial*"}, says: []string{"photos/b.png", "--bad-images skip"}},
			{input: "JPEG cut short", prep: both(file("photos/a.jpg", jpegOf(64, 64)), file("photos/b.jpg", jpegOf(64, 64)[:700])), args: "data import photos --size 8 --crop center --out x.pack", code: 14, wrote: []string{"x.pack.partial*"}, says: []string{"photos/b.jpg", "of 700 bytes", "--bad-images skip"}},
			{input: "empty image file", prep: both(file("photos/a.jpg", jpegOf(64, 64)), file("photos/b.jpg", "")), args: "data import photos --size 8 --crop center --out x.pack", code: 14, wrote: []string{"x.pack.partial*"}, says: []string{"photos/b.jpg", "--bad-images skip"}},
			{input: "PNG that says 65,535×65,535 pixels", prep: both(file("photos/a.png", pngOf(8, 8)), file("photos/b.png", bomb())), args: "data import photos --size 8 --crop center --out x.pack", code: 14, wrote: []string{"x.pack.partial*"}, says: []string{"photos/b.png", "65535×65535", "--bad-images skip"}},
			{input: "more bad images than may be skipped", prep: both(file("photos/a.png", pngOf(8, 8)), file("photos/b.png", "hello")), args: "data import photos --size 8 --crop center --bad-images skip --out x.pack", code: 14, wrote: []string{"x.pack.partial*"}, says: []string{"1 bad images of 2", "--max-bad"}},
			{input: "images of several sizes", prep: both(file("photos/a.png", pngOf(8, 8)), file("photos/b.png", pngOf(9, 8))), args: "data import photos --out x.pack", code: 1, wrote: []string{"x.pack.partial*"}, says: []string{"photos/b.png", "9×8", "--size"}},
			{input: "images that are not square", prep: file("photos/a.png", pngOf(9, 8)), args: "train --preset tiny --data photos --out x", code: 2, says: []string{"9×8", "ict data import"}},
			{input: "images smaller than asked for", prep: file("photos/a.png", pngOf(8, 8)), args: "data import photos --size 9000 --crop fit --out x.pack", code: 2, says: []string{"--size", "1 to 8192"}},
			{input: "a set of another shape than the preset's", args: "train --preset mnist --data s.pack --out x", code: 2, says: []string{"28×28×1", "8×8×3", "ict data import"}},
			{input: "pack cut short", prep: change("s.pack", half), args: "data verify s.pack", code: 14, says: []string{"s.pack", "bytes", "import again"}},
			{input: "pack with a changed pixel", prep: change("s.pack", flipAt(0.6)), args: "data verify s.pack", code: 14, says: []string{"s.pack", "1 of 64 images are bad", "import again"}},
			{input: "pack with a changed pixel, in training", prep: change("s.pack", flipAt(0.6)), args: "train --config tiny.yaml --out x", code: 14, wrote: []string{"x", "x/*", "x/grids/*", "x/tb/*"}, says: []string{"s.pack: image", "checksum", "ict data verify s.pack"}},
			{input: "pack with a changed header", prep: change("s.pack", flipAt(0.001)), args: "data verify s.pack", code: 14, says: []string{"s.pack", "checksum", "import again"}},
			{input: "pack with a changed label", prep: change("s.pack", flipAt(0.97)), args: "data verify s.pack", code: 14, says: []string{"s.pack", "checksum", "import again"}},
			{input: "pack that says 2,000,000 classes", prep: repack(24, 2000000), args: "data verify s.pack", code: 14, says: []string{"s.pack", "impossible classes: 2000000", "import again"}},
			{input: "pack of a newer ict", prep: repack(8, 2), args: "data verify s.pack", code: 2, says: []string{"s.pack: newer format: pack version 2", "reads version 1: use a newer one"}},
			{input: "pack with another magic", prep: change("s.pack", func(b []byte) []byte { b[0] = 'x'; return b }), args: "data verify s.pack", code: 1, says: []string{"s.pack", "want one of: a .pack file"}},
			{input: "idx with fewer images than it says", prep: file("m/train-images-idx3-ubyte", idxOf(100, 60000, 28, 28)), args: "data verify m", code: 14, says: []string{"train-images-idx3-ubyte", "promises 47,040,000 bytes"}},
			{input: "idx with another number of labels", prep: both(file("m/train-images-idx3-ubyte", idxOf(3*64, 3, 8, 8)), file("m/train-labels-idx1-ubyte", idxOf(2, 2))), args: "data verify m", code: 14, says: []string{"train-labels-idx1-ubyte", "want 3, as many as images"}},
			{input: "idx without labels beside it", prep: file("m/train-images-idx3-ubyte", idxOf(3*64, 3, 8, 8)), args: "data verify m", code: 1, says: []string{"train-labels", "--labels none"}},
			{input: "gz cut short", prep: both(file("m/train-images-idx3-ubyte.gz", gzipOf(idxOf(3*64, 3, 8, 8))[:30]), file("m/train-labels-idx1-ubyte", idxOf(3, 3))), args: "data verify m", code: 14, says: []string{"train-images-idx3-ubyte.gz", "unexpected EOF"}},
			{input: "grid that is no grid", args: "data preview s.pack --grid 8 --out x.png", code: 2, says: []string{"--grid", "8x8"}},
			{input: "a grid of a million images", args: "data preview s.pack --grid 1000x1000 --out x.png", code: 2, says: []string{"--grid", "at most"}},
			{input: "a folder for the new pack", prep: folder("x.pack", 0o755), args: "data make shapes --n 8 --out x.pack", code: 2, says: []string{"--out x.pack", "is a folder"}},
			{input: "a new pack in a folder that is not there", args: "data make shapes --n 8 --out nothing/x.pack", code: 1, says: []string{"--out nothing/x.pack: no such file", "make the folder first"}},
		}},
		{"Checkpoints", []mistake{
			{input: "run missing", args: "sample nothing --out x.png", code: 1, says: []string{"nothing", "no such file", "want a run's folder"}},
			{input: "run without a state", prep: folder("r/states", 0o755), args: "sample r --out x.png", code: 2, says: []string{"r: neither a run", "ict ckpt ls"}},
			{input: "snapshot cut short", prep: change(snap, half), args: "sample " + snap + " --out x.png", code: 14, says: []string{snap, "damaged"}},
			{input: "snapshot with a changed weight", prep: change(snap, flipAt(0.9)), args: "sample " + snap + " --out x.png", code: 14, says: []string{snap, "damaged", "crc32c"}},
			{input: "snapshot with a changed header", prep: change(snap, flipAt(0.02)), args: "sample " + snap + " --out x.png", code: 14, says: []string{snap, "damaged"}},
			{input: "the newest snapshot of a run damaged", prep: change(snap, flipAt(0.9)), args: "sample a --out x.png", code: 14, says: []string{snap, "ict ckpt verify a"}},
			{input: "a .pack for a snapshot", args: "ckpt show s.pack", code: 14, says: []string{"s.pack", "safetensors"}},
			{input: "header longer than the file", prep: file("x.safetensors", "\xff\xff\xff\xff\xff\xff\xff\x7f{}"), args: "ckpt show x.safetensors", code: 14, says: []string{"x.safetensors", "header"}},
			{input: "header of a million brackets", prep: file("x.safetensors", stOf(strings.Repeat(`{"a":`, 1<<18), 0)), args: "ckpt show x.safetensors", code: 14, says: []string{"x.safetensors", "header"}},
			{input: "a name twice", prep: file("x.safetensors", stOf(`{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}`, 8)), args: "ckpt show x.safetensors", code: 14, says: []string{"x.safetensors", "twice"}},
			{input: "offsets that overlap", prep: file("x.safetensors", stOf(`{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}`, 12)), args: "ckpt show x.safetensors", code: 14, says: []string{"x.safetensors", `"b"`, "data begin at 4"}},
			{input: "a shape whose product overflows", prep: file("x.safetensors", stOf(`{"a":{"dtype":"F32","shape":[4294967296,4294967296,4],"data_offsets":[0,8]}}`, 8)), args: "ckpt show x.safetensors", code: 14, says: []string{"x.safetensors", `"a"`, "shape"}},
			{input: "safetensors of another program", prep: file("x.safetensors", stOf(`{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}`, 8)), args: "sample x.safetensors --out x.png", code: 2, says: []string{"x.safetensors: not a snapshot of ict", "want \"ict-snapshot-1\""}},
			{input: "snapshot of a newer ict", prep: reformat, args: "sample x.safetensors --out x.png", code: 2, says: []string{"x.safetensors", "ict-snapshot-2", "use a newer"}},
			{input: "snapshot with a tensor of another shape", prep: resnap(func(_ *checkpoint.SnapshotInfo, all []checkpoint.Named) []checkpoint.Named {
				for i, n := range all {
					if len(n.Shape) == 4 {
						all[i].Shape = []int{len(n.Data) / 4}
						return all
					}
				}
				panic("no filter")
			}), args: "sample x.safetensors --out x.png", code: 14, says: []string{"x.safetensors", "got", "want"}},
			{input: "snapshot with a tensor of another type", prep: resnap(func(_ *checkpoint.SnapshotInfo, all []checkpoint.Named) []checkpoint.Named {
				all[0].DType = "I32"
				return all
			}), args: "sample x.safetensors --out x.png", code: 14, says: []string{"x.safetensors", "I32", "want F32"}},
			{input: "snapshot without one of its tensors", prep: resnap(func(_ *checkpoint.SnapshotInfo, all []checkpoint.Named) []checkpoint.Named { return all[1:] }),
				args: "sample x.safetensors --out x.png", code: 14, says: []string{"x.safetensors", "missing", "names do not fit"}},
			{input: "snapshot whose configuration asks for a gigantic network", prep: reconfigured(`"channels":8,`, `"channels":1000000000,`), args: "sample x.safetensors --out x.png", code: 14, says: []string{"x.safetensors", "model.channels", "want an even number up to 8192"}},
			{input: "snapshot whose configuration lists no average", prep: reconfigured(`"ema":[0.98]`, `"ema":[]`), args: "sample x.safetensors --ema 0.5 --out x.png", code: 14, says: []string{"x.safetensors", "ema", "one to four"}},
			{input: "snapshot whose levels are not positive", prep: reconfigured(`"min":0.002`, `"min":-1`), args: "sample x.safetensors --out x.png", code: 14, says: []string{"x.safetensors", "noise.min", "more than 0"}},
			{input: "snapshot with an unknown key in its configuration", prep: reconfigured(`"ema":`, `"shell":"rm","ema":`), args: "sample x.safetensors --out x.png", code: 14, says: []string{"x.safetensors", `unknown field "shell"`, "newer"}},
			{input: "manifest missing", prep: remove("a/states/step-00000020/manifest.json"), args: "ckpt verify a/states/step-00000020", code: 14, says: []string{"a/states/step-00000020", "manifest.json"}},
			{input: "manifest with a changed byte", prep: change("a/states/step-00000020/manifest.json", flipAt(0.3)), args: "ckpt show a/states/step-00000020", code: 14, says: []string{"manifest.json", "damaged"}},
			{input: "state of a newer ict", prep: remanifest("a/states/step-00000020/manifest.json", `"format_version": 1`, `"format_version": 2`), args: "train --out a", code: 2, says: []string{"a/states/step-00000020", "format_version 2", "newer"}},
			{input: "state without one of its files", prep: remove("a/states/step-00000020/optimizer.safetensors"), args: "train --out a", code: 14, says: []string{"a/states", "no state is whole", "--out"}},
			{input: "the only state damaged", prep: change("a/states/step-00000020/weights.safetensors", flipAt(0.9)), args: "train --out a", code: 14, says: []string{"a/states", "no state is whole", "--out"}},
			{input: "verify of a damaged run", prep: change("a/states/step-00000020/weights.safetensors", flipAt(0.9)), args: "ckpt verify a", code: 14, says: []string{"a", "1 of 3"}},
			{input: "verify of nothing", args: "ckpt verify nothing", code: 1, says: []string{"nothing", "no such file"}},
			{input: "--init missing", args: "train --config tiny.yaml --init nothing.safetensors --out x", code: 1, says: []string{"--init nothing.safetensors", "no such file"}},
			{input: "--init damaged", prep: change(snap, flipAt(0.9)), args: "train --config tiny.yaml --out x --init " + snap, code: 14, says: []string{"--init " + snap, "damaged"}},
			{input: "--init of another network", args: "train --config tiny.yaml --set model.channels=16 --out x --init " + snap, code: 2, says: []string{"--init " + snap, "got (8), want (16)", "ict ckpt show"}},
			{input: "parity of a file that is none", args: "parity " + snap, code: 2, says: []string{snap, "want ict-parity-1"}},
			{input: "parity of no safetensors", args: "parity s.pack", code: 14, says: []string{"s.pack", "1 of 1 files could not be run"}},
			{input: "parity of nothing", args: "parity nothing.safetensors", code: 1, says: []string{"nothing.safetensors", "no such file"}},
		}},
		{"Sampling", []mistake{
			{input: "class out of range", args: "sample a --class 8 --out x.png", code: 2, says: []string{"--class", `got "8"`, "0 to 7: circle"}},
			{input: "class of an unknown name", args: "sample a --class cat --out x.png", code: 2, says: []string{"--class", "circle square triangle"}},
			{input: "class of a network without", prep: reconfigured(`"classes":8`, `"classes":0`), args: "sample x.safetensors --class 1 --out x.png", code: 2, says: []string{"--class", "without classes"}},
			{input: "levels that ascend", args: "sample a --levels 0.8,80 --out x.png", code: 2, says: []string{"--levels", "want descending"}},
			{input: "a level above the highest", args: "sample a --levels 100 --out x.png", code: 2, says: []string{"--levels: got 100", "at most σ_max 80"}},
			{input: "a level of 0", args: "sample a --levels 80,0 --out x.png", code: 2, says: []string{"--levels: got 0", "more than σ_min 0.002"}},
			{input: "a level that is no number", args: "sample a --levels 80,NaN --out x.png", code: 2, says: []string{"--levels", "like 80,0.821"}},
			{input: "three steps without levels", args: "sample a --steps 3 --out x.png", code: 2, says: []string{"--steps", "--levels 80,5,0.8"}},
			{input: "heun with levels", args: "sample a --sampler heun --levels 80 --out x.png", code: 2, says: []string{"--levels", "--steps"}},
			{input: "heun with more levels than memory", args: "sample a --sampler heun --steps 900000M --n 1 --out x.png", code: 2, says: []string{"--steps", "at most"}},
			{input: "more images than the grid holds", args: "sample a --grid 2x2 --n 5 --out x.png", code: 2, says: []string{"--n 5", "2x2 has room for 4"}},
			{input: "a grid without columns", args: "sample a --grid 8x --out x.png", code: 2, says: []string{"--grid", "like 8x8"}},
			{input: "a grid for a folder", args: "sample a --grid 2x2 --out x/", code: 2, says: []string{"--grid", "x/", ".png"}},
			{input: "more images than one picture holds", args: "sample a --n 2000M --out x.png", code: 2, says: []string{"--n", "a folder or a .npz"}},
			{input: "more images than memory holds", args: "sample a --n 2000M --out x.npz", code: 12, says: []string{"--n 2,000,000,000", "name a folder"}},
			{input: "more images than numbers for them", args: "sample a --n 9000000M --out x/", code: 2, says: []string{"--n", "at most 2,147,483,647"}},
			{input: "unknown extension of --out", args: "sample a --out x.jpg", code: 2, says: []string{"--out x.jpg", "a .png, a .npz, or a folder"}},
			{input: "a folder that is not empty", args: "sample a --n 2 --out a/states", code: 2, says: []string{"--out a/states", "name a new one"}},
			{input: "an average that the run has not", args: "sample a --ema 0.5 --out x.png", code: 2, says: []string{"0.5", "the run keeps 0.98"}},
			{input: "noise missing", args: "sample a --n 1 --noise nothing.npy --out x.png", code: 1, says: []string{"--noise nothing.npy", "no such file"}},
			{input: "noise of another shape", prep: file("z.npy", npyOf("<f4", 4*16*16*3, 1, 16, 16, 3)), args: "sample a --n 1 --noise z.npy --out x.png", code: 2, says: []string{"--noise z.npy", "got", "want", "8"}},
			{input: "noise of doubles", prep: file("z.npy", npyOf("<f8", 8*8*8*3, 1, 8, 8, 3)), args: "sample a --n 1 --noise z.npy --out x.png", code: 2, says: []string{"--noise z.npy", "<f8", "want little-endian float32"}},
			{input: "noise for fewer images", prep: file("z.npy", npyOf("<f4", 4*8*8*3, 1, 8, 8, 3)), args: "sample a --n 4 --noise z.npy --out x.png", code: 2, says: []string{"--noise z.npy", "1", "4"}},
			{input: "noise cut short", prep: file("z.npy", npyOf("<f4", 100, 1, 8, 8, 3)), args: "sample a --n 1 --noise z.npy --out x.png", code: 2, says: []string{"--noise z.npy", "[1 8 8 3]", "25 numbers follow"}},
			{input: "noise that is no NumPy file", args: "sample a --n 1 --noise tiny.yaml --out x.png", code: 2, says: []string{"--noise tiny.yaml", "not a NumPy file"}},
		}},
		{"Output", []mistake{
			{input: "a file where the run should be", prep: file("x", "mine"), args: "train --config tiny.yaml --out x", code: 2, says: []string{"--out x", "is a file", "folder"}},
			{input: "a run in a folder that may not be written", prep: folder("locked", 0o555), args: "train --config tiny.yaml --out locked/x", other: true, code: 1, says: []string{"--out locked/x", "permission denied"}},
			{input: "a run below a file", args: "train --config tiny.yaml --out s.pack/x", code: 1, says: []string{"s.pack", "not a directory", "--out"}},
			{input: "a link in the run that leads out", prep: both(folder("x", 0o755), func(t testing.TB, dir string) { must(t, os.Symlink("/tmp", filepath.Join(dir, "x", "grids"))) }), args: "train --config tiny.yaml --out x", code: 1, says: []string{"grids is a link that leads out", "remove it"}},
			{input: "a picture in a folder that may not be written", prep: folder("locked", 0o555), args: "sample a --n 1 --out locked/x.png", other: true, code: 1, says: []string{"locked/x.png", "permission denied"}},
			{input: "a picture below a file", args: "sample a --n 1 --out s.pack/x.png", code: 2, says: []string{"--out s.pack/x.png: s.pack is a file", "want a folder"}},
			{input: "a preview of unknown form", args: "data preview s.pack --out x.jpg", code: 2, says: []string{"--out x.jpg", ".png"}},
		}},
		{"Resume", []mistake{
			{input: "another configuration", args: "train --config tiny.yaml --out a --set model.dropout=0.2 --seed 5", code: 2, says: []string{"not resuming", "model.dropout    run 0    now 0.2", "--allow-change model.dropout,train.seed"}},
			{input: "other steps", args: "train --config tiny.yaml --out a --steps 50", code: 2, says: []string{"train.steps", "run 20", "now 50", "--allow-change objective.s1,train.steps"}},
			{input: "another batch", args: "train --config tiny.yaml --out a --steps 30 --batch 16 --allow-change train.batch,train.steps,objective.s1", code: 2, says: []string{"train.batch", "run 8", "now 16", "--init"}},
			{input: "a stop behind the state", args: "train --config tiny.yaml --out a --steps 30 --allow-change train.steps,objective.s1 --stop-at 20", code: 2, says: []string{"--stop-at 20", "at step 20 already"}},
			{input: "another data set", args: "train --config tiny.yaml --out a --data big.pack", code: 2, says: []string{"8×8×3", "16×16×3"}},
			{input: "the data set gone", prep: remove("s.pack"), args: "train --out a", code: 1, says: []string{"s.pack", "no such file", "--data PATH"}},
			{input: "--allow-change of an unknown key", args: "train --out a --allow-change model.dropuot", code: 2, says: []string{"--allow-change", "did you mean model.dropout?"}},
			{input: "--allow-change of a key like none", args: "train --out a --allow-change zzz", code: 2, says: []string{"--allow-change: unknown key zzz", "there are: preset data model"}},
			{input: "a second trainer", prep: locked, args: "train --out a", code: 2, says: []string{"a is in use by process", "stop it first"}},
			{input: "config.yaml of the run broken", prep: file("a/config.yaml", "model: {"), args: "train --out a", code: 2, says: []string{"a/config.yaml:1", "want YAML"}},
			{input: "run.json of the run broken", prep: file("a/run.json", "{"), args: "train --out a --set every.grid=1", code: 1, says: []string{"a: run.json", "unexpected end", "without the file"}},
		}},
	}
}

// reformat is a snapshot of a format that does not exist yet, with the right checksum of its header.
func reformat(t testing.TB, dir string) {
	resnap(func(_ *checkpoint.SnapshotInfo, all []checkpoint.Named) []checkpoint.Named { return all })(t, dir)
	t.Helper()
	change("x.safetensors", func(b []byte) []byte {
		return resealed(bytes.Replace(b, []byte("ict-snapshot-1"), []byte("ict-snapshot-2"), 1))
	})(t, dir)
}

// resealed is a snapshot with the checksum that its header now has.
func resealed(b []byte) []byte {
	head := b[:8+binary.LittleEndian.Uint64(b)]
	const key = `"header_crc32c":"`
	at := bytes.Index(head, []byte(key)) + len(key)
	copy(head[at:], "00000000")
	copy(head[at:], fmt.Sprintf("%08x", crc32.Checksum(head, crc32.MakeTable(crc32.Castagnoli))))
	return b
}
