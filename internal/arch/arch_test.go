// Package arch checks the house: who may import whom, where build tags and C may stand, and that every op is a whole column.
package arch

import (
	"bytes"
	"encoding/json"
	"go/ast"
	"go/build/constraint"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// floors, lowest first. A package may import those below its own floor; tests may import anything.
var floors = [][]string{
	{"tensor", "noise", "internal/philox", "internal/rundir", "internal/events", "internal/pickle", "internal/disk"},
	{"data", "checkpoint", "internal/meter", "cpu", "gpu"},
	{"nn"},
	{"model"},
	{"train", "sample"},
	{"internal/parity"},
	{"cmd/ict"},
}

// testOnly packages are imported by tests alone.
var testOnly = []string{"internal/optest", "internal/oracle", "internal/arch"}

type pkg struct {
	ImportPath, Dir                                       string
	Imports, Deps, GoFiles, CgoFiles, CFiles, TestImports []string
}

func list(t *testing.T, args ...string) []pkg {
	t.Helper()
	cmd := exec.Command("go", append([]string{"list", "-json=ImportPath,Dir,Imports,Deps,GoFiles,CgoFiles,CFiles,TestImports"}, args...)...)
	cmd.Dir = root(t)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, stderr.String())
	}
	var all []pkg
	for d := json.NewDecoder(bytes.NewReader(out)); d.More(); {
		var p pkg
		if err := d.Decode(&p); err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
	return all
}

func root(t *testing.T) string {
	t.Helper()
	wd, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Dir(filepath.Dir(wd))
}

func floorOf(name string) int {
	return slices.IndexFunc(floors, func(f []string) bool { return slices.Contains(f, name) })
}

func TestImportsRunDownward(t *testing.T) {
	for _, p := range list(t, "./...") {
		name := strings.TrimPrefix(p.ImportPath, "ict/")
		if slices.Contains(testOnly, name) {
			continue
		}
		at := floorOf(name)
		if at < 0 {
			t.Errorf("%s stands on no floor; add it to the list, and to the design", name)
			continue
		}
		for _, imp := range p.Imports {
			switch {
			case strings.HasPrefix(imp, "ict/"):
				imp = strings.TrimPrefix(imp, "ict/")
				if slices.Contains(testOnly, imp) {
					t.Errorf("%s imports %s, which is for tests", name, imp)
				} else if floorOf(imp) >= at {
					t.Errorf("%s (floor %d) imports %s (floor %d)", name, at+1, imp, floorOf(imp)+1)
				}
				if (imp == "cpu" || imp == "gpu") && name != "cmd/ict" {
					t.Errorf("%s imports %s; only cmd chooses a device", name, imp)
				}
			case name != "cmd/ict" && forCmd(imp):
				t.Errorf("%s imports %s, which belongs to cmd", name, imp)
			}
		}
	}
}

// forCmd: loggers, flag parsers, YAML.
func forCmd(imp string) bool {
	for _, p := range []string{"go.uber.org/zap", "github.com/urfave/cli", "go.yaml.in/yaml", "github.com/schollz/progressbar", "flag", "log", "log/slog"} {
		if imp == p || strings.HasPrefix(imp, p+"/") {
			return true
		}
	}
	return false
}

func TestNoAutodiffInTheBinary(t *testing.T) {
	for _, tags := range []string{"", "cuda"} {
		for _, p := range list(t, "-tags", tags, "./cmd/ict") {
			for _, d := range p.Deps {
				if strings.HasPrefix(d, "gorgonia.org/gorgonia") || strings.HasPrefix(d, "gorgonia.org/tensor") {
					t.Errorf("tags %q: the binary depends on %s", tags, d)
				}
			}
		}
	}
}

func TestTagsAndC(t *testing.T) {
	allowed := map[string][]string{"cuda": {"gpu"}, "cgo": {"cpu"}, "!cuda": {"internal/oracle", "gpu"}, "ignore": {"dev"}}
	top := root(t)
	err := filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(top, path)
		if d.IsDir() {
			if rel == ".git" || rel == "build" || d.Name() == "testdata" {
				return fs.SkipDir
			}
			return nil
		}
		dir := filepath.ToSlash(filepath.Dir(rel))
		switch filepath.Ext(path) {
		case ".c", ".h", ".cu", ".cuh", ".cpp":
			if dir != "cpu" && !strings.HasPrefix(dir, "gpu") && !strings.HasPrefix(dir, "kernels") {
				t.Errorf("%s: C belongs to cpu, gpu and kernels", rel)
			}
		case ".go":
			f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ParseComments|parser.ImportsOnly)
			if err != nil {
				return err
			}
			for _, tag := range buildTags(t, f) {
				ok := false
				for _, where := range allowed[tag] {
					ok = ok || dir == where || strings.HasPrefix(dir, where+"/")
				}
				if !ok {
					t.Errorf("%s: build tag %q does not belong here", rel, tag)
				}
			}
			for _, imp := range f.Imports {
				if imp.Path.Value == `"C"` && dir != "cpu" && dir != "gpu" {
					t.Errorf("%s: cgo belongs to cpu and gpu", rel)
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// buildTags lists the tags of a file's constraint; "!cgo" counts as "cgo".
func buildTags(t *testing.T, f *ast.File) (tags []string) {
	for _, g := range f.Comments {
		for _, c := range g.List {
			if c.Pos() > f.Package || !constraint.IsGoBuild(c.Text) {
				continue
			}
			x, err := constraint.Parse(c.Text)
			if err != nil {
				t.Fatal(err)
			}
			if x.String() == "!cuda" {
				tags = append(tags, "!cuda")
				continue
			}
			x.Eval(func(tag string) bool { tags = append(tags, tag); return true })
		}
	}
	return tags
}

// columns: method of tensor.Backend → op. An op is one file of this name in each folder that has it.
var columns = map[string][]string{
	"conv2d":    {"Conv2dFprop", "Conv2dDgrad", "Conv2dWgrad", "Conv2dPack", "Conv2dWgradScratch"},
	"linear":    {"LinearFprop", "LinearDgrad", "LinearWgrad", "LinearWgradScratch"},
	"groupnorm": {"GroupNormForward", "GroupNormBackward", "GroupNormBackwardScratch"},
	"attention": {"AttentionForward", "AttentionBackward"},
	"resample":  {"ResampleForward", "ResampleBackward"},
	"pointwise": {"Axpby", "ScaleImages", "BiasBackward", "BiasBackwardScratch"},
	"precond":   {"PrecondForward", "PrecondBackward"},
	"cast":      {"Cast"},
	"embed":     {"EmbedFourier", "EmbedPositional", "EmbedLabelForward", "EmbedLabelBackward"},
	"random":    {"RandomNormal"},
	"perturb":   {"ImageLoad", "ImageStore", "Perturb"},
	"loss":      {"PseudoHuber", "L2"},
	"optim":     {"OptimNorm", "OptimJudge", "OptimUpdate", "OptimNormScratch"},
	"reduce":    {"ReduceNonFinite", "ReduceHash"},
}

// notOps are the methods of Backend that launch nothing.
var notOps = []string{"Alloc", "Pinned", "Upload", "Download", "Copy", "Capture", "Sync", "Err", "Close"}

// onTape: ops of nn, which has a file for each.
var onTape = []string{"conv2d", "linear", "groupnorm", "attention", "resample", "precond", "embed"}

func TestColumnsAreComplete(t *testing.T) {
	top := root(t)
	want := map[string]bool{}
	for op, methods := range columns {
		for _, m := range methods {
			want[m] = true
		}
		folders := []string{"tensor", "cpu", "internal/optest"}
		if slices.Contains(onTape, op) {
			folders = append(folders, "nn")
		}
		for _, f := range folders {
			if _, err := os.Stat(filepath.Join(top, f, op+".go")); err != nil {
				t.Errorf("column %s: %v", op, err)
			}
		}
		src, err := os.ReadFile(filepath.Join(top, "cpu", op+".go"))
		if err != nil {
			continue
		}
		for _, m := range methods {
			if !bytes.Contains(src, []byte("(d *Device) "+m+"(")) {
				t.Errorf("cpu/%s.go has no %s", op, m)
			}
		}
	}
	f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(top, "tensor", "backend.go"), nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(f, func(n ast.Node) bool {
		spec, ok := n.(*ast.TypeSpec)
		if !ok {
			return true
		}
		iface, ok := spec.Type.(*ast.InterfaceType)
		if !ok || spec.Name.Name == "Communicator" || spec.Name.Name == "Ticket" {
			return false
		}
		for _, m := range iface.Methods.List {
			for _, name := range m.Names {
				if !want[name.Name] && !slices.Contains(notOps, name.Name) {
					t.Errorf("%s belongs to no column", name.Name)
				}
				delete(want, name.Name)
			}
		}
		return false
	})
	for m := range want {
		t.Errorf("tensor.Backend has no %s", m)
	}
}
