package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// line is a command line that was looked at before the parser sees it.
type line struct {
	args    []string // the command, then its flags as --name=value, then "--" and its arguments
	command *cli.Command
	help    bool
	given   map[string]bool // flags on the command line, by their names
}

// arrange finds the command, checks the names of flags and moves them in front of the arguments: the parser stops looking for flags
// at the first argument. "--" ends the flags. Errors are wrong use.
func arrange(app *cli.App, args []string) (line, error) {
	l := line{given: map[string]bool{}}
	takesValue, all := map[string]bool{}, []string(nil)
	for _, c := range leaves(app.Commands) {
		for _, f := range c.Flags {
			for _, n := range f.Names() {
				takesValue[n] = flagTakesValue(f)
				all = append(all, n)
			}
		}
	}
	var flags, words, rest []string
	commands, path := app.Commands, "ict"
	args = args[1:]
	for len(args) > 0 {
		a := args[0]
		args = args[1:]
		switch {
		case a == "--":
			rest, args = args, nil
		case a == "-h" || a == "--help" || a == "-help":
			l.help = true
		case len(a) > 1 && a[0] == '-':
			name, _, joined := strings.Cut(strings.TrimLeft(a, "-"), "=")
			if takesValue[name] && !joined {
				if len(args) == 0 || strings.HasPrefix(args[0], "--") {
					return l, usagef("flag --%s wants a value", name)
				}
				a, args = a+"="+args[0], args[1:]
			}
			flags = append(flags, "--"+strings.TrimLeft(a, "-"))
		case l.command == nil || len(l.command.Subcommands) > 0:
			c := find(commands, a)
			if c == nil {
				return l, unknownCommand(path, a, commands)
			}
			l.command, commands, path = c, c.Subcommands, path+" "+a
			l.args = append(l.args, a)
		default:
			words = append(words, a)
		}
	}
	if l.command == nil {
		if len(flags) > 0 && !l.help {
			if name, _, _ := strings.Cut(flags[0][2:], "="); !slices.Contains(all, name) {
				return l, usagef("unknown flag %s%s\n  ict --help lists the commands; ict COMMAND --help their flags", dashed(name), didYouMean(name, all, "--"))
			}
			return l, usagef("%s stands before no command\n  ict --help lists the commands", flags[0])
		}
		return l, nil
	}
	if len(l.command.Subcommands) > 0 {
		if !l.help {
			return l, usagef("%swants one of: %s", inCommand(path), strings.Join(names(commands), ", "))
		}
		return l, nil
	}
	if err := l.checkFlags(path, flags); err != nil {
		return l, err
	}
	l.args = append(append(append(l.args, flags...), "--"), append(words, rest...)...)
	return l, nil
}

// checkFlags refuses unknown and repeated flags.
func (l *line) checkFlags(path string, flags []string) error {
	for _, f := range flags {
		name, _, _ := strings.Cut(f[2:], "=")
		var have cli.Flag
		var known []string
		for _, k := range l.command.Flags {
			known = append(known, k.Names()...)
			if slices.Contains(k.Names(), name) {
				have = k
			}
		}
		if have == nil {
			return usagef("%sunknown flag %s%s\n  %s --help lists them", inCommand(path), dashed(name), didYouMean(name, known, "--"), path)
		}
		if _, list := have.(*cli.StringSliceFlag); l.given[have.Names()[0]] && !list {
			return usagef("%sflag --%s is given twice", inCommand(path), name)
		}
		l.given[have.Names()[0]] = true
	}
	return nil
}

// dashed is a flag as it would be typed: -v, --verbose.
func dashed(name string) string {
	if len(name) == 1 {
		return "-" + name
	}
	return "--" + name
}

func unknownCommand(path, name string, commands []*cli.Command) error {
	return usagef("%sunknown command %s%s\n  %s --help lists them", inCommand(path), name, didYouMean(name, names(commands), ""), path)
}

// inCommand is the beginning of a message about the words of a command; the program's own name stands before it already.
func inCommand(path string) string {
	if path == "ict" {
		return ""
	}
	return strings.TrimPrefix(path, "ict ") + ": "
}

func names(commands []*cli.Command) []string {
	var s []string
	for _, c := range commands {
		s = append(s, c.Name)
	}
	return s
}

func find(commands []*cli.Command, name string) *cli.Command {
	for _, c := range commands {
		if c.HasName(name) {
			return c
		}
	}
	return nil
}

// leaves are the commands that do something.
func leaves(commands []*cli.Command) []*cli.Command {
	var list []*cli.Command
	for _, c := range commands {
		if len(c.Subcommands) > 0 {
			list = append(list, leaves(c.Subcommands)...)
			continue
		}
		list = append(list, c)
	}
	return list
}

func flagTakesValue(f cli.Flag) bool {
	d, ok := f.(cli.DocGenerationFlag)
	return ok && d.TakesValue()
}

// didYouMean is "; did you mean X?", or nothing where nothing is near.
func didYouMean(got string, known []string, prefix string) string {
	if n := nearest(got, known); n != "" {
		return fmt.Sprintf("; did you mean %s%s?", prefix, n)
	}
	return ""
}

// nearest is the known name with the fewest edits to got; "" if that is no misspelling: a third of the letters may be wrong.
func nearest(got string, known []string) string {
	best, fewest := "", (len(got)+1)/3+1
	for _, k := range known {
		d := edits(got, k)
		if strings.HasPrefix(k, got) { // begun, not ended
			d = min(d, 1)
		}
		if strings.HasSuffix(got, "_"+k) || strings.HasSuffix(got, "-"+k) { // a word too many
			d = min(d, 2)
		}
		if d < fewest {
			best, fewest = k, d
		}
	}
	return best
}

// edits is the Levenshtein distance, with a swap of neighbours counted as one.
func edits(a, b string) int {
	before, row := []int(nil), make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		next := make([]int, len(b)+1)
		next[0] = i
		for j := 1; j <= len(b); j++ {
			change := 1
			if a[i-1] == b[j-1] {
				change = 0
			}
			next[j] = min(row[j]+1, next[j-1]+1, row[j-1]+change)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				next[j] = min(next[j], before[j-2]+1)
			}
		}
		before, row = row, next
	}
	return row[len(b)]
}
