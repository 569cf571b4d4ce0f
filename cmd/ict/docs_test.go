package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Commands in README.md and docs/*.md stand in blocks marked sh, and TestDocs runs them in order, each page in a folder of its own that
// holds photos/, a folder tree of pictures, and of the checkout internal/parity/testdata. Whatever else a command needs, a block
// before it has made: a reader has nothing but the page. A comment right before a block says what is different here:
//
//	<!-- run: TEXT → TEXT -->         replaced, to make it small; several lines are several replacements
//	<!-- exits: CODE -->              the last command leaves with this code
//	<!-- not run: REASON -->          the whole block is left out
type block struct {
	line    int
	script  string
	replace [][2]string
	code    int
	excuse  string
}

var directive = regexp.MustCompile(`(?s)^<!-- (run|exits|not run): (.*) -->$`)

// blocks finds the blocks of a page. Errors are places where the rules above are broken.
func blocks(page string) (list []block, errs []error) {
	lines := strings.Split(page, "\n")
	var next block
	for i := 0; i < len(lines); i++ {
		l := lines[i]
		switch {
		case strings.HasPrefix(l, "<!-- "):
			from := i
			for !strings.HasSuffix(lines[i], "-->") && i+1 < len(lines) {
				i++
			}
			m := directive.FindStringSubmatch(strings.Join(lines[from:i+1], "\n"))
			if m == nil {
				continue // a comment like any other
			}
			switch m[1] {
			case "run":
				for part := range strings.SplitSeq(m[2], "\n") {
					old, new, ok := strings.Cut(part, "→")
					if !ok {
						errs = append(errs, fmt.Errorf("line %d: %q: want TEXT → TEXT", from+1, part))
						continue
					}
					next.replace = append(next.replace, [2]string{strings.TrimSpace(old), strings.TrimSpace(new)})
				}
			case "exits":
				if _, err := fmt.Sscan(m[2], &next.code); err != nil {
					errs = append(errs, fmt.Errorf("line %d: %w", from+1, err))
				}
			case "not run":
				next.excuse = m[2]
			}
		case strings.HasPrefix(l, "```"):
			from := i
			for i++; i < len(lines) && lines[i] != "```"; i++ {
			}
			body := strings.Join(lines[from+1:min(i, len(lines))], "\n")
			next.line, next.script = from+1, body
			if kind := strings.TrimPrefix(l, "```"); kind == "sh" {
				list = append(list, next)
			} else if commandLine.MatchString(body) && kind != "text" {
				errs = append(errs, fmt.Errorf("line %d: the block holds commands of ict and is not marked sh", from+1))
			}
			next = block{}
		case strings.TrimSpace(l) != "":
			if !reflect.DeepEqual(next, block{}) {
				errs = append(errs, fmt.Errorf("line %d: the comment above stands before no block", i+1))
			}
			next = block{}
		}
	}
	return list, errs
}

var (
	commandLine = regexp.MustCompile(`(?m)^\s*(build/)?ict [a-z]`)
	inlineCode  = regexp.MustCompile("`(ict [a-z][^`]*)`")
)

// commands is the script that a block is run as.
func (b block) commands() (string, error) {
	s := b.script
	for _, r := range b.replace {
		if !strings.Contains(s, r[0]) {
			return "", fmt.Errorf("line %d: nothing to replace: %q", b.line, r[0])
		}
		s = strings.ReplaceAll(s, r[0], r[1])
	}
	return s, nil
}

func pages(t *testing.T) []string {
	t.Helper()
	list, err := filepath.Glob("../../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	return append(list, "../../README.md")
}

// TestDocs runs every command that the documents show.
func TestDocs(t *testing.T) {
	ict := program(t)
	for _, page := range pages(t) {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		t.Run(filepath.Base(page), func(t *testing.T) {
			t.Parallel()
			list, errs := blocks(string(text))
			for _, err := range errs {
				t.Error(err)
			}
			dir := ""
			for _, b := range list {
				if b.excuse != "" {
					continue
				}
				if dir == "" {
					dir = docsFolder(t, ict)
				}
				script, err := b.commands()
				if err != nil {
					t.Error(err)
					continue
				}
				begin := time.Now()
				cmd := exec.CommandContext(t.Context(), "bash", "-euo", "pipefail", "-c", script)
				cmd.Dir = dir
				cmd.Env = []string{"PATH=" + filepath.Join(dir, "build") + ":" + os.Getenv("PATH"), "ICT_BLAS=gonum", "GOMAXPROCS=2", "HOME=" + dir}
				var out bytes.Buffer
				cmd.Stdout, cmd.Stderr = &out, &out
				cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
				cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) } // whatever it started goes with it
				cmd.WaitDelay = time.Minute
				if err := cmd.Run(); cmd.ProcessState == nil || cmd.ProcessState.ExitCode() != b.code {
					if cmd.Process != nil {
						_ = cmd.Cancel()
					}
					t.Fatalf("line %d: %v, want exit code %d\n%s\n%s", b.line, err, b.code, script, out.String())
				}
				t.Logf("line %d: %v", b.line, time.Since(begin).Round(time.Millisecond))
			}
		})
	}
}

// docsFolder is the folder that a page is run in.
func docsFolder(t *testing.T, ict string) string {
	dir := t.TempDir()
	must(t, os.Mkdir(filepath.Join(dir, "build"), 0o755))
	must(t, os.Symlink(ict, filepath.Join(dir, "build", "ict")))
	must(t, os.MkdirAll(filepath.Join(dir, "internal", "parity"), 0o755))
	numbers, err := filepath.Abs("../../internal/parity/testdata")
	must(t, err)
	must(t, os.Symlink(numbers, filepath.Join(dir, "internal", "parity", "testdata")))
	for i, class := range []string{"cat", "dog"} {
		for k := range 12 {
			file(fmt.Sprintf("photos/%s/%02d.png", class, k), pngOf(40+k, 48+i))(t, dir)
		}
	}
	return dir
}

// Commands in running text name commands and flags that there are.
func TestDocsNameWhatIsThere(t *testing.T) {
	app := newApp(nil, nil)
	for _, page := range pages(t) {
		if filepath.Base(page) == "bad-inputs.md" {
			continue // there to be wrong
		}
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for i, l := range strings.Split(string(text), "\n") {
			for _, m := range inlineCode.FindAllStringSubmatch(l, -1) {
				l, err := arrange(app, strings.Fields(m[1]))
				if err != nil && !(l.command != nil && len(l.command.Subcommands) > 0 && len(l.args) == 1) { // ict bench, as a whole
					t.Errorf("%s:%d: %s: %v", page, i+1, m[1], err)
				}
			}
		}
	}
}

// docs/numbers.md explains every key of stats.jsonl, and none that is not there.
func TestDocsNumbers(t *testing.T) {
	text, err := os.ReadFile("../../docs/numbers.md")
	if err != nil {
		t.Fatal(err)
	}
	var keys []string
	for _, f := range reflect.VisibleFields(reflect.TypeFor[tickStats]()) {
		if !f.Anonymous && f.IsExported() {
			keys = append(keys, fieldName(f))
		}
	}
	_, table, ok := strings.Cut(string(text), "<!-- stats.jsonl -->")
	if !ok {
		t.Fatal("no table of keys")
	}
	var told []string
	for _, m := range regexp.MustCompile("(?m)^\\| ((?:`[a-z_]+`[, ]*)+) \\|").FindAllStringSubmatch(table, -1) {
		for _, k := range regexp.MustCompile("`([a-z_]+)`").FindAllStringSubmatch(m[1], -1) {
			told = append(told, k[1])
		}
	}
	for _, k := range keys {
		if !slices.Contains(told, k) {
			t.Errorf("%s is not explained", k)
		}
	}
	for _, k := range told {
		if !slices.Contains(keys, k) {
			t.Errorf("%s is explained, and is no key", k)
		}
	}
}

func TestBlocks(t *testing.T) {
	fence := "```"
	list, errs := blocks("text\n<!-- run: x → y\n20k → 2 -->\n<!-- exits: 10 -->\n" + fence + "sh\nict x 20k\n" + fence + "\n" +
		fence + "sh\nmake\n" + fence + "\n<!-- not run: slow -->\n\n" + fence + "sh\nmake demo\n" + fence + "\n" + fence + "yaml\na: b\n" + fence + "\n")
	if len(errs) > 0 || len(list) != 3 {
		t.Fatalf("%v, %v", list, errs)
	}
	if s, err := list[0].commands(); err != nil || s != "ict y 2" || list[0].code != 10 || list[1].script != "make" || list[1].excuse != "" || list[2].excuse != "slow" {
		t.Errorf("%q, %v, %+v", s, err, list)
	}
	for _, bad := range []string{
		fence + "\nict train\n" + fence, fence + "console\n  build/ict train\n" + fence, "<!-- exits: 1 -->\ntext", "<!-- run: x -->\n" + fence + "sh\nx\n" + fence, "<!-- exits: x -->\n" + fence + "sh\nx\n" + fence,
	} {
		if _, errs := blocks(bad); len(errs) == 0 {
			t.Errorf("%q has passed", bad)
		}
	}
	if _, err := (block{script: "a", replace: [][2]string{{"b", "c"}}}).commands(); err == nil {
		t.Error("nothing was replaced, and nobody said so")
	}
}
