package main

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// mistake is something that a user does wrong, and what the program must say to it.
type mistake struct {
	input string                         // what is wrong, and how it was made
	prep  func(t testing.TB, dir string) // makes it in a folder that holds what bench makes; nil: nothing to make
	shows string                         // the input itself, for the document; empty: nothing that could be shown
	args  string                         // after ict; words in '' hold spaces
	code  int                            // exit code
	says  []string                       // what the message must hold: the file, flag or key, and the remedy or what is wanted
	warns string                         // what is warned of before the message
	wrote []string                       // what may be there, or have changed, afterwards: patterns of paths
	env   []string                       // ICT_ variables
	other bool                           // run by a user whom files of mode 0 shut out
}

// section is a part of docs/bad-inputs.md.
type section struct {
	title string
	rows  []mistake
}

// benchYAML is the configuration of run a, which every mistake finds.
const benchYAML = `preset: tiny
data: {path: s.pack}
model: {channels: 8, mult: [1, 1], classes: 8}
train: {steps: 20, batch: 8, stage_min: 10}
every: {status: 10, grid: 0, snapshot: 10, state: 1h}
`

// program is a copy of this test binary which is the program; a copy, because other users cannot enter the folder of go test.
func program(t testing.TB) string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	ict := filepath.Join(t.TempDir(), "ict")
	if err := os.WriteFile(ict, b, 0o755); err != nil {
		t.Fatal(err)
	}
	passable(ict)
	return ict
}

// passable lets other users into the folders of a test that lead to a path.
func passable(path string) {
	for d := filepath.Dir(path); d != os.TempDir() && d != "/"; d = filepath.Dir(d) {
		if os.Chmod(d, 0o755) != nil {
			return // not ours: passable already, or nobody gets in
		}
	}
}

// words splits a command line at spaces outside of ”.
func words(s string) []string {
	var list []string
	for i, part := range strings.Split(s, "'") {
		if i%2 == 1 {
			list = append(list, part)
			continue
		}
		list = append(list, strings.Fields(part)...)
	}
	return list
}

// ictIn runs the program in a folder, with little of this process's environment.
func ictIn(ict, dir string, env []string, args ...string) (cmd *exec.Cmd, stdout, stderr *bytes.Buffer) {
	cmd = exec.Command(ict, args...)
	cmd.Dir = dir
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "ICT_BLAS=gonum", "GOMAXPROCS=1", "TMPDIR=" + os.TempDir()}, env...)
	stdout, stderr = new(bytes.Buffer), new(bytes.Buffer)
	cmd.Stdout, cmd.Stderr = stdout, stderr
	return cmd, stdout, stderr
}

// tree is every path below a folder with its mode and a checksum.
func tree(t testing.TB, dir string) map[string]string {
	t.Helper()
	m := map[string]string{}
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			if errors.Is(err, fs.ErrPermission) {
				return nil
			}
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(dir, p)
		m[rel] = info.Mode().String()
		if info.Mode().IsRegular() {
			b, err := os.ReadFile(p)
			if err != nil && !errors.Is(err, fs.ErrPermission) {
				return err
			}
			m[rel] += fmt.Sprintf(" %d %08x", info.Size(), crc32.ChecksumIEEE(b))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// changes are the paths that differ between two trees, but for those that match a pattern.
func changes(before, after map[string]string, allowed []string) []string {
	var list []string
	for p := range after {
		if before[p] != after[p] {
			list = append(list, p)
		}
	}
	for p := range before {
		if _, ok := after[p]; !ok {
			list = append(list, p+" (gone)")
		}
	}
	slices.Sort(list)
	return slices.DeleteFunc(list, func(p string) bool {
		return p == "." || slices.ContainsFunc(allowed, func(pattern string) bool {
			ok, _ := path.Match(pattern, p)
			return ok
		})
	})
}

// varying are the parts of messages that differ from machine to machine.
var varying = []struct {
	re *regexp.Regexp
	to string
}{
	{regexp.MustCompile(`[0-9.]+ [KMG]iB (are free|free under)`), "… GiB $1"},
	{regexp.MustCompile(`process \d+ on "[^"]*", started [0-9-]+ [0-9:]+ [A-Z0-9+]+`), "process 4711 on \"host\", started 2026-01-02 03:04:05 UTC"},
	{regexp.MustCompile(`(crc32c|header|says|got|want|checksum) [0-9a-f]{8}\b`), "$1 ########"},
	{regexp.MustCompile(`--micro-batch \d+   needs [0-9.]+ [KMG]iB; same batch of (\d+) in \d+ parts`), "--micro-batch …   needs … GiB; same batch of $1 in … parts"},
	{regexp.MustCompile(`needs [0-9.]+ [KMG]iB`), "needs … GiB"},
}

// messageIn is the message in stderr: from "ict: " on, without what varies.
func messageIn(stderr, dir string) string {
	at := strings.LastIndex("\n"+stderr, "\nict: ")
	if at < 0 {
		return ""
	}
	s := strings.TrimRight(stderr[at:], "\n")
	s = strings.ReplaceAll(s, dir, "…")
	for _, v := range varying {
		s = v.re.ReplaceAllString(s, v.to)
	}
	return s
}

// TestBadInputs makes every mistake of badInputs and compares what the program says with docs/bad-inputs.md.
func TestBadInputs(t *testing.T) {
	ict := program(t)
	bench := t.TempDir()
	if err := os.WriteFile(filepath.Join(bench, "tiny.yaml"), []byte(benchYAML), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, args := range []string{
		"data make shapes --n 64 --size 8 --out s.pack",
		"data make shapes --n 8 --size 16 --out big.pack",
		"train --config tiny.yaml --out a --quiet",
	} {
		cmd, _, stderr := ictIn(ict, bench, nil, words(args)...)
		if err := cmd.Run(); err != nil {
			t.Fatalf("ict %s: %v\n%s", args, err, stderr)
		}
	}
	got := map[string]*string{} // messages
	sections := badInputs()
	t.Run("rows", func(t *testing.T) {
		for _, s := range sections {
			for _, m := range s.rows {
				if got[m.input] != nil {
					t.Fatalf("%q is there twice", m.input)
				}
				message := new(string)
				got[m.input] = message
				t.Run(m.input, func(t *testing.T) {
					t.Parallel()
					*message = makeMistake(t, ict, bench, m)
				})
			}
		}
	})
	var doc strings.Builder
	doc.WriteString(badInputsHead)
	n := 0
	for _, s := range sections {
		fmt.Fprintf(&doc, "\n## %s\n\n| input | command | message | code |\n|---|---|---|---|\n", s.title)
		for _, m := range s.rows {
			n++
			if m.shows != "" {
				m.shows = " " + codeLines(m.shows)
			}
			fmt.Fprintf(&doc, "| %s%s | `%s` | %s | %d |\n", m.input, m.shows, inTable(strings.Join(append(m.env, "ict "+m.args), " ")), codeLines(*got[m.input]), m.code)
		}
	}
	if n < 80 {
		t.Errorf("%d mistakes, want at least 80", n)
	}
	compareDoc(t, filepath.Join("..", "..", "docs", "bad-inputs.md"), doc.String())
}

// makeMistake runs one row and returns its message.
func makeMistake(t *testing.T, ict, bench string, m mistake) string {
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(bench)); err != nil {
		t.Fatal(err)
	}
	if m.prep != nil {
		m.prep(t, dir)
	}
	before := tree(t, dir)
	cmd, stdout, stderr := ictIn(ict, dir, m.env, words(m.args)...)
	if m.other && os.Geteuid() == 0 { // nothing shuts root out
		passable(filepath.Join(dir, "x"))
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	}
	hung := time.AfterFunc(30*time.Second, func() {
		if cmd.Process != nil {
			_ = cmd.Process.Signal(syscall.SIGQUIT)
		}
	})
	err := cmd.Run()
	if !hung.Stop() {
		t.Fatalf("not over after 30 s:\n%s", stderr)
	}
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	text := stderr.String()
	if code := cmd.ProcessState.ExitCode(); code != m.code {
		t.Errorf("exit code %d, want %d", code, m.code)
	}
	for _, bad := range []string{"panic", "goroutine ", "this is a bug", "%!"} {
		if strings.Contains(text+stdout.String(), bad) {
			t.Errorf("%q in what it says", bad)
		}
	}
	message := messageIn(text, dir)
	if message == "" {
		t.Error("no line that begins with ict: ")
	}
	for _, want := range m.says {
		if !strings.Contains(message, want) {
			t.Errorf("no %q in the message", want)
		}
	}
	if m.warns != "" {
		w := "warning: " + m.warns
		if !strings.Contains(text, w+"\n") {
			t.Errorf("no line %q", w)
		}
		message = w + "\n" + message
	}
	if len(m.says) < 2 {
		t.Errorf("the row wants %q alone: name the file, flag or key, and the remedy or what is wanted", m.says)
	}
	for _, l := range strings.Split(message, "\n") {
		if n := len([]rune(l)); n > 200 {
			t.Errorf("a line of %d columns", n)
		}
	}
	if c := changes(before, tree(t, dir), m.wrote); len(c) > 0 {
		t.Errorf("written: %s", strings.Join(c, ", "))
	}
	if t.Failed() {
		t.Logf("ict %s\n%s", m.args, text)
	}
	return message
}

const badInputsHead = `# What happens when something is wrong

Each line is a test: the command is run where the input has been made, and must leave with this code, say this, and write nothing.
Codes: 1 failed, 2 wrong use, 10 stopped on request, 11 diverged, 12 out of memory, 14 damaged. In the folder are: ` + "`s.pack`" + `, 64 shapes of
8×8×3 in 8 classes; ` + "`big.pack`" + `, 8 of 16×16×3; ` + "`tiny.yaml`" + `, a configuration; ` + "`a`" + `, a complete run of it. Checksums are shown as ` + "`########`" + `.

Generated by ` + "`make help-docs`" + `.
`

// inTable escapes what would end a cell.
func inTable(s string) string { return strings.ReplaceAll(s, "|", `\|`) }

// codeLines is a message as a cell: each line as code.
func codeLines(s string) string {
	var cells []string
	for _, l := range strings.Split(s, "\n") {
		cells = append(cells, "`"+inTable(strings.ReplaceAll(l, "`", "'"))+"`")
	}
	return strings.Join(cells, "<br>")
}

// compareDoc compares a generated document with the one that is kept, or writes it.
func compareDoc(t *testing.T, file, text string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	kept, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if string(kept) == text {
		return
	}
	was, now := strings.Split(string(kept), "\n"), strings.Split(text, "\n")
	for i := range max(len(was), len(now)) {
		a, b := "", ""
		if i < len(was) {
			a = was[i]
		}
		if i < len(now) {
			b = now[i]
		}
		if a != b {
			t.Errorf("%s:%d\n  kept %s\n  now  %s", file, i+1, a, b)
		}
	}
	t.Error("-update writes it anew")
}
