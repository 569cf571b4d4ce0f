package main

import (
	"bytes"
	"os/exec"
	"strings"
	"testing"
)

// What bash offers behind a command line; its last word is the one to complete.
func TestBashCompletion(t *testing.T) {
	if _, err := exec.LookPath("bash"); err != nil {
		t.Skip("no bash: ", err)
	}
	script := bashCompletion(newApp(nil, nil).Commands)
	for _, k := range []struct{ line, want string }{
		{"", "train sample data ckpt plan bench parity doctor version completion"},
		{"ver", "version"},
		{"--json ver", "version"},
		{"--device cpu ver", "version"},
		{"data ", "import make preview verify stats"},
		{"--device = cpu data pre", "preview"},
		{"bench data ", ""},
		{"bench data --repe", "--repeats"},
		{"bench ", "step data"},
		{"sample ", ""},
		{"sample --sa", "--save-noise --sampler"},
		{"sample runs/a --sampler ", "multistep heun"},
		{"sample runs/a --sampler = h", "heun"},
		{"sample runs/a --sampler =", "multistep heun"},
		{"sample --bytes ", "floor round"},
		{"train --data ", ""},
		{"train --preset ", "cifar10 cifar10-deep mnist tiny"},
		{"train --preset mnist --dr", "--dry-run"},
		{"train --precision a", "auto"},
		{"sample --precision a", ""},
		{"data import photos --crop c", "center"},
		{"data make ", "shapes"},
		{"completion ", "bash zsh fish"},
		{"completion --js", "--json"},
		{"nothing ", ""},
	} {
		cmd := exec.Command("bash", "-c", script+`COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _ict; echo "${COMPREPLY[*]}"`, "bash", "ict")
		cmd.Args = append(cmd.Args, strings.Split(k.line, " ")...)
		var errs bytes.Buffer
		cmd.Stderr = &errs
		out, err := cmd.Output()
		if got := strings.TrimSpace(string(out)); err != nil || errs.Len() > 0 || got != k.want {
			t.Errorf("ict %s: got %q, want %q (%v, %s)", k.line, got, k.want, err, errs.String())
		}
	}
}

// A command's flags are offered behind its own words alone: bench data is not data.
func TestFishCompletion(t *testing.T) {
	script := fishCompletion(newApp(nil, nil).Commands)
	for _, want := range []string{
		"complete -c ict -f -n '__ict_is data' -a import -d ",
		"complete -c ict -f -n '__ict_is bench' -a data -d ",
		"complete -c ict -n '__ict_at bench data' -l repeats -r -d ",
		"complete -c ict -n '__ict_at data import' -l crop -x -a 'dhariwal center fit none' -d ",
		"complete -c ict -f -n '__ict_is data make' -a 'shapes'\n",
		"            case --preset --config ",
	} {
		if !strings.Contains(script, want) {
			t.Errorf("no %q in\n%s", want, script)
		}
	}
}
