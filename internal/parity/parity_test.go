package parity

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"ict/checkpoint"
	"ict/cpu"
	"ict/model"
	"ict/tensor"
	"ict/train"
)

func device(o cpu.Options) func() (tensor.Backend, error) {
	return func() (tensor.Backend, error) { return cpu.Open(o) }
}

var fast = device(cpu.Options{})

func stored(name string) string { return filepath.Join("testdata", name+".safetensors") }

func files(t testing.TB) []string {
	t.Helper()
	list, err := filepath.Glob(filepath.Join("testdata", "*.safetensors"))
	if err != nil || len(list) == 0 {
		t.Fatalf("no parity files: %v", err)
	}
	return list
}

func logged(t *testing.T, r Report) {
	t.Helper()
	for _, g := range r.Groups {
		ceiling := "not judged"
		if g.Tolerance != nil {
			ceiling = fmt.Sprintf("of %.0e", *g.Tolerance)
		}
		t.Logf("%s %-22s %-9s %8.1e %s  %s", r.Precision, r.Name, g.Name, g.Error, ceiling, g.Tensor)
	}
	if !r.Pass {
		t.Errorf("%s: past its tolerance", r.File)
	}
}

func TestFast(t *testing.T) {
	kinds := map[string]bool{}
	for _, path := range files(t) {
		r, err := Run(fast, FP32, path)
		if err != nil {
			t.Fatal(err)
		}
		kinds[r.Kind] = true
		logged(t, r)
	}
	if len(kinds) != 5 {
		t.Errorf("got files of kinds %v, want all five", slices.Sorted(maps.Keys(kinds)))
	}
}

// The other precisions; what a file does not judge is reported.
func TestPrecisions(t *testing.T) {
	for _, precision := range train.Precisions[1:] {
		for _, path := range files(t) {
			r, err := Run(device(cpu.Options{TF32: precision == "tf32"}), precision, path)
			if err != nil {
				t.Fatal(err)
			}
			logged(t, r)
		}
	}
}

// The reference backend, on files that its direct loops do in little time.
func TestExact(t *testing.T) {
	for _, name := range []string{"optimizer-radam", "sampler-heun", "network-ddpmpp-labels"} {
		if testing.Short() && name != "optimizer-radam" {
			continue
		}
		r, err := Run(device(cpu.Options{Exact: true}), FP32, stored(name))
		if err != nil {
			t.Fatal(err)
		}
		logged(t, r)
	}
}

// altered is a copy of a stored file: change sees every tensor, with data of its own, and the metadata.
func altered(t testing.TB, name string, change func(tensors map[string]*checkpoint.Named, meta map[string]string)) string {
	t.Helper()
	f, err := checkpoint.OpenSafetensors(stored(name))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	tensors := map[string]*checkpoint.Named{}
	for _, n := range f.Names() {
		x, _ := f.Get(n)
		x.Data = slices.Clone(x.Data)
		tensors[n] = &x
	}
	meta := f.Metadata()
	change(tensors, meta)
	var list []checkpoint.Named
	for _, n := range slices.Sorted(maps.Keys(tensors)) {
		list = append(list, *tensors[n])
	}
	path := filepath.Join(t.TempDir(), name+".safetensors")
	if _, err := checkpoint.WriteSafetensors(path, list, meta); err != nil {
		t.Fatal(err)
	}
	return path
}

type (
	tensors = map[string]*checkpoint.Named
	strMap  = map[string]string
)

// flip turns the sign of the largest value of a tensor.
func flip(x *checkpoint.Named) {
	v := checkpoint.Float32s(x.Data)
	at := 0
	for i := range v {
		if math.Abs(float64(v[i])) > math.Abs(float64(v[at])) {
			at = i
		}
	}
	v[at] = -v[at]
}

// What is not the same network, or not its results, fails, in the group and the tensor where it is.
func TestFails(t *testing.T) {
	for _, c := range []struct {
		what, file    string
		group, tensor string
		change        func(tensors, strMap)
	}{
		{"a sign of F", "network-ddpmpp-labels", "out", "out/F", func(x tensors, _ strMap) { flip(x["out/F"]) }},
		{"a sign of a gradient", "network-ddpmpp-labels", "grad", "grad/map_layer0.bias", func(x tensors, _ strMap) { flip(x["grad/map_layer0.bias"]) }},
		{"qkv rows in the order of others", "network-ddpmpp-labels", "out", "out/F", func(x tensors, _ strMap) {
			for n, p := range x {
				if strings.HasPrefix(n, "param/") && model.IsQKV(n) {
					v := checkpoint.Float32s(p.Data)
					copy(v, model.PermuteQKV(v, len(v)/p.Shape[0], 1, model.EDMQKV, model.OursQKV))
				}
			}
		}},
		{"labels that change places", "network-ddpmpp-labels", "out", "out/F", func(x tensors, _ strMap) {
			v := checkpoint.Float32s(x["in/labels"].Data)
			copy(v, append(slices.Clone(v[10:]), v[:10]...))
		}},
		{"another noise factor", "sampler-heun", "out", "out/x", func(_ tensors, m strMap) {
			m["model"] = strings.Replace(m["model"], `"noise_factor": 0.25`, `"noise_factor": 0.26`, 1)
		}},
		{"another step of the optimiser", "optimizer-radam", "out", "out/ema", func(_ tensors, m strMap) {
			m["optimizer"] = strings.Replace(m["optimizer"], `"ema": 0.99`, `"ema": 0.98`, 1)
		}},
		{"a loss", "step-ncsnpp-late", "loss", "out/loss", func(x tensors, _ strMap) {
			checkpoint.Float32s(x["out/loss"].Data)[2] *= 1.001
		}},
		{"another pair", "step-ncsnpp-late", "out", "", func(x tensors, _ strMap) { x["in/i"].Data[0] ^= 3 }},
		{"an average that is the weights", "train-ddpmpp", "ema", "out/ema/*", func(x tensors, _ strMap) {
			for n := range x {
				if rest, ok := strings.CutPrefix(n, "out/ema/"); ok {
					x[n].Data = x["out/param/"+rest].Data
				}
			}
		}},
		{"weights that stand still", "train-ddpmpp", "change", "out/param/*", func(_ tensors, m strMap) {
			m["optimizer"] = strings.Replace(m["optimizer"], `"lr": 0.0001`, `"lr": 0.00009`, 1)
		}},
	} {
		r, err := Run(fast, FP32, altered(t, c.file, c.change))
		if err != nil {
			t.Errorf("%s: %v", c.what, err)
			continue
		}
		at := slices.IndexFunc(r.Groups, func(g Group) bool { return g.Name == c.group })
		if g := r.Groups[at]; r.Pass || g.Pass || c.tensor != "" && g.Tensor != c.tensor {
			t.Errorf("%s: got pass %v, group %+v, want a failure in %s of %s", c.what, r.Pass, g, c.tensor, c.group)
		}
	}
}

// A group without a tolerance is reported and not judged; a result that is not finite never passes.
func TestNotJudged(t *testing.T) {
	r, err := Run(fast, FP32, altered(t, "optimizer-radam", func(x tensors, m strMap) {
		m["tolerance"] = `{"fp32": {"out": null}}`
		flip(x["out/theta"])
	}))
	if err != nil || !r.Pass || r.Groups[0].Error < 1e-3 || r.Groups[0].Tolerance != nil {
		t.Errorf("got %+v, %v, want a large error that passes", r, err)
	}
	m := measures{}
	m.add("out", "a", []float32{float32(math.NaN())}, []float32{1})
	m.add("out", "b", []float32{2}, []float32{1})
	g := m.group("out", nil)
	if b, err := json.Marshal(g); g.Pass || g.Tensor != "a" || err != nil || !strings.Contains(string(b), `"error":null`) {
		t.Errorf("got %+v, %s, %v for a NaN", g, b, err)
	}
}

func TestRelative(t *testing.T) {
	for _, c := range []struct {
		got, ref, start []float32
		want            float64
	}{
		{[]float32{1, 2}, []float32{1, 2}, nil, 0},
		{[]float32{3, 4.5}, []float32{3, 4}, nil, 0.1},
		{[]float32{3, 4.5}, []float32{3, 4}, []float32{3, 3}, 0.5},
		{[]float32{0}, []float32{0}, nil, 0},
		{[]float32{1}, []float32{0}, nil, math.Inf(1)},
		{[]float32{float32(math.Inf(1))}, []float32{1}, nil, math.Inf(1)},
	} {
		var s sums
		s.add(c.got, c.ref, c.start)
		if got := float64(s.relative()); got != c.want {
			t.Errorf("%v against %v from %v: got %v, want %v", c.got, c.ref, c.start, got, c.want)
		}
	}
}

// Files that cannot be run are refused by name, before a device is opened.
func TestRefuses(t *testing.T) {
	closed := func() (tensor.Backend, error) { return nil, errors.New("the device was opened") }
	set := func(field, from, to string) func(tensors, strMap) {
		return func(_ tensors, m strMap) {
			if !strings.Contains(m[field], from) {
				t.Fatalf("%s has no %s", field, from)
			}
			m[field] = strings.Replace(m[field], from, to, 1)
		}
	}
	const net, step, opt, heun = "network-ddpmpp-labels", "step-ncsnpp-late", "optimizer-radam", "sampler-heun"
	for _, c := range []struct {
		file, want string
		is         error
		change     func(tensors, strMap)
	}{
		{opt, "no format", ErrUnknown, func(_ tensors, m strMap) { delete(m, "format") }},
		{opt, `format "ict-parity-2"`, ErrUnknown, set("format", "1", "2")},
		{opt, `kind "resampler"`, ErrUnknown, set("kind", "optimizer", "resampler")},
		{opt, `metadata "mood"`, ErrUnknown, func(_ tensors, m strMap) { m["mood"] = "good" }},
		{opt, `metadata "model"`, ErrUnknown, func(_ tensors, m strMap) { m["model"] = "{}" }},
		{opt, "layout", ErrUnknown, set("layout", "OIHW", "HWIO")},
		{opt, "optimizer.kind", ErrUnknown, set("optimizer", "radam", "lion")},
		{opt, "optimizer.lr", checkpoint.ErrDamaged, set("optimizer", "0.001", `"fast"`)},
		{opt, "optimizer.ema: missing", checkpoint.ErrDamaged, set("optimizer", `, "ema": 0.99`, "")},
		{opt, "optimizer.beta3", ErrUnknown, set("optimizer", `"ema"`, `"beta3": 1, "ema"`)},
		{opt, "optimizer:", checkpoint.ErrDamaged, set("optimizer", "0.999", "1")},
		{opt, "tolerance: no fp32", checkpoint.ErrDamaged, set("tolerance", "fp32", "bf16")},
		{opt, "tolerance.fp8", ErrUnknown, set("tolerance", "fp32", "fp8")},
		{opt, "no group out", checkpoint.ErrDamaged, set("tolerance", "out", "ema")},
		{opt, "tolerance.fp32.out", checkpoint.ErrDamaged, set("tolerance", "5e-06", "-1")},
		{opt, "in/grads: missing", checkpoint.ErrDamaged, func(x tensors, _ strMap) { delete(x, "in/grads") }},
		{opt, "tensor out/momentum", ErrUnknown, func(x tensors, _ strMap) {
			n := *x["out/ema"]
			n.Name = "out/momentum"
			x["out/momentum"] = &n
		}},
		{opt, "out/theta: got (257,40), want (40,257)", checkpoint.ErrDamaged, func(x tensors, _ strMap) { x["out/theta"].Shape = []int{257, 40} }},
		{opt, "in/theta0: got I32, want F32", checkpoint.ErrDamaged, func(x tensors, _ strMap) { x["in/theta0"].DType = checkpoint.I32 }},
		{opt, "in/theta0: a value is not finite", checkpoint.ErrDamaged, func(x tensors, _ strMap) {
			checkpoint.Float32s(x["in/theta0"].Data)[9] = float32(math.NaN())
		}},
		{net, "model.arch", ErrUnknown, set("model", `"song"`, `"dance"`)},
		{net, "model.encoder_type", ErrUnknown, set("model", `"encoder_type": "standard"`, `"encoder_type": "skip"`)},
		{net, "model.channel_mult_noise", ErrUnknown, set("model", `"channel_mult_noise": 1`, `"channel_mult_noise": 2`)},
		{net, "model.out_channels", ErrUnknown, set("model", `"out_channels": 3`, `"out_channels": 6`)},
		{net, "model.dropout", ErrUnknown, set("model", `"arch"`, `"dropout": 0.1, "arch"`)},
		{net, "model.img_resolution", checkpoint.ErrDamaged, set("model", `"img_resolution": 16`, `"img_resolution": 4096`)},
		{net, "model.num_blocks", checkpoint.ErrDamaged, set("model", `"num_blocks": 2`, `"num_blocks": null`)},
		{net, "blocks: got 1000", checkpoint.ErrDamaged, set("model", `"num_blocks": 2`, `"num_blocks": 1000`)},
		{net, "missing", checkpoint.ErrDamaged, set("model", `"num_blocks": 2`, `"num_blocks": 3`)},
		{net, "param/dec.8x8_block1.norm0.weight: got (64), want (48)", checkpoint.ErrDamaged, set("model", `"num_blocks": 2`, `"num_blocks": 1`)},
		{net, "param/map_label.weight: got (16,10), want (8192,10)", checkpoint.ErrDamaged, set("model", `"model_channels": 16`, `"model_channels": 8192`)},
		{net, "noise_factor", checkpoint.ErrDamaged, set("model", "0.25", "1e300")},
		{net, "in/labels: row 1 is not one-hot", checkpoint.ErrDamaged, func(x tensors, _ strMap) {
			checkpoint.Float32s(x["in/labels"].Data)[10] += 0.5
		}},
		{net, "grad/map_layer0.bias: missing", checkpoint.ErrDamaged, func(x tensors, _ strMap) { delete(x, "grad/map_layer0.bias") }},
		{step, "in/i: got 1281", checkpoint.ErrDamaged, func(x tensors, _ strMap) { copy(x["in/i"].Data, "\x01\x05") }},
		{step, "in/i: got -1", checkpoint.ErrDamaged, func(x tensors, _ strMap) { copy(x["in/i"].Data, "\xff\xff\xff\xff\xff\xff\xff\xff") }},
		{step, "objective.kind", ErrUnknown, set("objective", "ict", "ect")},
		{step, "objective.dropout", ErrUnknown, set("objective", `"dropout": 0`, `"dropout": 0.3`)},
		{step, "objective.grid_points", checkpoint.ErrDamaged, set("objective", "1281", "[1281]")},
		{"train-ddpmpp", "objective.grid_points", checkpoint.ErrDamaged, set("objective", "[3, 3,", "[3,")},
		{heun, "sampler.kind", ErrUnknown, set("sampler", "edm-heun", "dpm")},
		{heun, "sampler.steps", checkpoint.ErrDamaged, set("sampler", "6", "1000000000")},
		{"sampler-ncsnpp", "descending", checkpoint.ErrDamaged, set("sampler", "80.0, 0.821", "0.821, 80.0")},
	} {
		path := altered(t, c.file, c.change)
		_, err := Run(closed, FP32, path)
		if !errors.Is(err, c.is) || !strings.Contains(fmt.Sprint(err), c.want) || !strings.Contains(fmt.Sprint(err), path) {
			t.Errorf("%s: got %v, want one that is %q and says %s", c.file, err, c.is, c.want)
		}
	}
	if _, err := Run(closed, "fp8", stored(opt)); !errors.Is(err, ErrUnknown) {
		t.Errorf("precision fp8: got %v", err)
	}
	if _, err := Run(closed, FP32, stored("none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: got %v", err)
	}
	if _, err := Run(closed, FP32, filepath.Join("testdata", "README.md")); !errors.Is(err, checkpoint.ErrDamaged) {
		t.Errorf("no safetensors file: got %v", err)
	}
}

// The grid of each step is this build's, not the file's word.
func TestCurriculum(t *testing.T) {
	path := altered(t, "train-ddpmpp", func(_ tensors, m strMap) {
		m["objective"] = strings.Replace(m["objective"], "3, 5, 5", "5, 5, 5", 1)
	})
	if _, err := Run(fast, FP32, path); err == nil || !strings.Contains(err.Error(), "step 3: got 3 levels") {
		t.Errorf("got %v, want a curriculum that differs at step 3", err)
	}
}

// Whatever the metadata say, they are refused or give a network that is recorded or refused.
func FuzzMeta(f *testing.F) {
	fields := []string{"kind", "tolerance", "model", "objective", "optimizer", "sampler"}
	for _, path := range files(f) {
		c, err := checkpoint.OpenSafetensors(path)
		if err != nil {
			f.Fatal(err)
		}
		m := c.Metadata()
		f.Add(m["kind"], m["tolerance"], m["model"], m["objective"], m["optimizer"], m["sampler"])
		if err := c.Close(); err != nil {
			f.Fatal(err)
		}
	}
	f.Fuzz(func(t *testing.T, kind, tolerance, net, objective, optimizer, sampler string) {
		m := map[string]string{"format": formatName, "layout": layoutName, "name": "fuzz"}
		for i, v := range []string{kind, tolerance, net, objective, optimizer, sampler} {
			if v != "" {
				m[fields[i]] = v
			}
		}
		r, err := parseMeta(m)
		if err != nil {
			if !errors.Is(err, ErrUnknown) && !errors.Is(err, checkpoint.ErrDamaged) {
				t.Errorf("an error of no kind: %v", err)
			}
			return
		}
		if r.model.Kind != "" && r.model.Blocks <= 4 {
			_, _ = r.model.Record(1, model.Options{})
		}
		if len(r.objective.gridPoints) > 0 {
			_, _ = r.trainConfig(2, FP32)
		}
	})
}
