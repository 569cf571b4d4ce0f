package main

import (
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"
)

func completionCommand() *cli.Command {
	return &cli.Command{
		Name: "completion", Usage: "prints a script that completes commands and flags in a shell", ArgsUsage: "bash|zsh|fish",
		UsageText: "  ict completion bash > ~/.local/share/bash-completion/completions/ict\n  ict completion fish > ~/.config/fish/completions/ict.fish",
		Action: action(1, 1, func(c *cli.Context, u *ui) error {
			shell := c.Args().First()
			switch shell {
			case "bash":
				fmt.Fprint(u.out, bashCompletion(c.App.Commands))
			case "zsh":
				fmt.Fprint(u.out, "#compdef ict\nautoload -U +X bashcompinit && bashcompinit\n"+bashCompletion(c.App.Commands))
			case "fish":
				fmt.Fprint(u.out, fishCompletion(c.App.Commands, nil))
			default:
				return usagef("completion: no script for %s; there are bash, zsh and fish", shell)
			}
			return nil
		}),
	}
}

// bashCompletion offers the commands, then the flags of the one that stands there; files otherwise.
func bashCompletion(commands []*cli.Command) string {
	var b strings.Builder
	b.WriteString("_ict() {\n  local cur=${COMP_WORDS[COMP_CWORD]} words=\n  case \"${COMP_WORDS[1]} ${COMP_WORDS[2]}\" in\n")
	for _, c := range commands {
		for _, s := range c.Subcommands {
			fmt.Fprintf(&b, "    \"%s %s\") words='%s' ;;\n", c.Name, s.Name, strings.Join(flagWords(s), " "))
		}
		words := flagWords(c)
		if len(c.Subcommands) > 0 {
			words = names(c.Subcommands)
		}
		fmt.Fprintf(&b, "    \"%s \"*) words='%s' ;;\n", c.Name, strings.Join(words, " "))
	}
	fmt.Fprintf(&b, "    *) [ \"$COMP_CWORD\" = 1 ] && words='%s' ;;\n  esac\n", strings.Join(names(commands), " "))
	b.WriteString("  COMPREPLY=($(compgen -W \"$words\" -- \"$cur\"))\n}\ncomplete -o default -F _ict ict\n")
	return b.String()
}

// flagWords are the flags of a command as typed.
func flagWords(c *cli.Command) []string {
	var s []string
	for _, f := range c.Flags {
		s = append(s, "--"+f.Names()[0])
	}
	return s
}

// fishCompletion is a line for each command and flag, with what help says of it.
func fishCompletion(commands []*cli.Command, path []string) string {
	var b strings.Builder
	when := "__fish_use_subcommand"
	if len(path) > 0 {
		when = fmt.Sprintf("__fish_seen_subcommand_from %s; and not __fish_seen_subcommand_from %s", path[0], strings.Join(names(commands), " "))
	}
	for _, c := range commands {
		fmt.Fprintf(&b, "complete -c ict -f -n '%s' -a %s -d '%s'\n", when, c.Name, fishQuote(c.Usage))
		if len(c.Subcommands) > 0 {
			b.WriteString(fishCompletion(c.Subcommands, append(path, c.Name)))
			continue
		}
		in := "__fish_seen_subcommand_from " + c.Name
		for _, p := range path {
			in += "; and __fish_seen_subcommand_from " + p
		}
		for _, f := range c.Flags {
			_, text := describe(f.(cli.DocGenerationFlag))
			value := ""
			if flagTakesValue(f) {
				value = " -r"
			}
			fmt.Fprintf(&b, "complete -c ict -n '%s' -l %s%s -d '%s'\n", in, f.Names()[0], value, fishQuote(text))
		}
	}
	return b.String()
}

func fishQuote(s string) string { return strings.ReplaceAll(s, "'", `\'`) }
