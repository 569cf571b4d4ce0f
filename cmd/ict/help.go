package main

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/urfave/cli/v2"
)

// Help is printed from the flag table: a command's UsageText holds its examples, Description what it does beyond Usage.

const (
	helpWidth  = 108
	flagColumn = 24
)

// printHelp prints the help of the program, of a group of commands or of one.
func printHelp(w io.Writer, app *cli.App, l line) error {
	var b strings.Builder
	c := l.command
	path := strings.Join(append([]string{"ict"}, l.path()...), " ")
	switch {
	case c == nil:
		b.WriteString("  ict data make shapes --out shapes.pack\n" +
			"  ict train --preset tiny --data shapes.pack --out runs/a\n" +
			"  ict sample runs/a --grid 8x8 --out grid.png\n\n" +
			"ict trains and samples consistency models.\n\nUsage: ict COMMAND [flags] [arguments]; ict COMMAND --help says more.\n\nCommands:\n")
		list(&b, "", app.Commands)
	case len(c.Subcommands) > 0:
		fmt.Fprintf(&b, "%s\n\n%s %s.\n\nUsage: %s COMMAND [flags] [arguments]\n\nCommands:\n", c.UsageText, path, c.Usage, path)
		list(&b, "", c.Subcommands)
	default:
		fmt.Fprintf(&b, "%s\n\n%s %s.\n", c.UsageText, path, c.Usage)
		if c.Description != "" {
			b.WriteString("\n" + c.Description + "\n")
		}
		usage := path
		if c.ArgsUsage != "" {
			usage += " " + c.ArgsUsage
		}
		fmt.Fprintf(&b, "\nUsage: %s [flags]\n", usage)
		flags(&b, c.Flags)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// path is the command's words.
func (l line) path() []string {
	for i, a := range l.args {
		if strings.HasPrefix(a, "-") {
			return l.args[:i]
		}
	}
	return l.args
}

// list lists leaves with what they do.
func list(b *strings.Builder, prefix string, commands []*cli.Command) {
	for _, c := range commands {
		if len(c.Subcommands) > 0 {
			list(b, prefix+c.Name+" ", c.Subcommands)
			continue
		}
		row(b, prefix+c.Name, c.Usage)
	}
}

// flags lists flags by category, those without one first.
func flags(b *strings.Builder, all []cli.Flag) {
	var order []string
	groups := map[string][]cli.DocGenerationFlag{}
	for _, f := range all {
		d, c := f.(cli.DocGenerationFlag), ""
		if k, ok := f.(cli.CategorizableFlag); ok {
			c = k.GetCategory()
		}
		if groups[c] == nil {
			order = append(order, c)
		}
		groups[c] = append(groups[c], d)
	}
	for _, c := range order {
		title := "Flags"
		if c != "" {
			title = "Flags " + c
		}
		fmt.Fprintf(b, "\n%s:\n", title)
		for _, f := range groups[c] {
			name, text := describe(f)
			row(b, name, text)
		}
	}
}

// describe is a flag as help shows it: its value stands in backquotes in the usage text.
func describe(f cli.DocGenerationFlag) (name, text string) {
	name, text = "--"+f.(cli.Flag).Names()[0], f.GetUsage()
	if before, rest, ok := strings.Cut(text, "`"); ok {
		value, after, _ := strings.Cut(rest, "`")
		name, text = name+" "+value, before+value+after
	}
	if f.TakesValue() {
		if d := f.GetDefaultText(); d != "" && d != `""` {
			text += " (default " + strings.Trim(d, `"`) + ")"
		}
	}
	if env := f.GetEnvVars(); len(env) > 0 {
		text += " [$" + env[0] + "]"
	}
	return name, text
}

// row is a name and a text beside it, wrapped.
func row(b *strings.Builder, name, text string) {
	fmt.Fprintf(b, "  %-*s", flagColumn, name)
	at := flagColumn
	if utf8.RuneCountInString(name) > flagColumn-2 {
		b.WriteString("\n" + strings.Repeat(" ", flagColumn+2))
	}
	for i, word := range strings.Fields(text) {
		n := utf8.RuneCountInString(word)
		if i > 0 {
			if at+n+1 > helpWidth {
				b.WriteString("\n" + strings.Repeat(" ", flagColumn+2))
				at = flagColumn
			} else {
				b.WriteByte(' ')
				at++
			}
		}
		b.WriteString(word)
		at += n
	}
	b.WriteByte('\n')
}
