package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"ict/tensor"
	"ict/train"
)

func completionCommand() *cli.Command {
	return &cli.Command{
		Name: "completion", Usage: "prints a script that completes commands and flags in a shell", ArgsUsage: "bash|zsh|fish",
		UsageText: "  ict completion bash > ~/.local/share/bash-completion/completions/ict\n  ict completion fish > ~/.config/fish/completions/ict.fish",
		Action: action(1, 1, func(c *cli.Context, u *ui) error {
			shell := c.Args().First()
			switch shell {
			case "bash":
				u.result("%s%s", bashCompletion(c.App.Commands), "complete -o default -F _ict ict")
			case "zsh":
				u.result("%s", zshCompletion(c.App.Commands))
			case "fish":
				u.result("%s", fishCompletion(c.App.Commands))
			default:
				return usagef("completion: no script for %s; there are bash, zsh and fish", shell)
			}
			return nil
		}),
	}
}

// bashCompletion is a function that offers the commands, behind a command its flags and the words it takes, behind a flag the words that
// may be its value; where it offers nothing, the shell offers files.
func bashCompletion(commands []*cli.Command) string {
	var b strings.Builder
	fmt.Fprintf(&b, `_ict() {
  local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} line= words= i
  COMPREPLY=()
  [ "$cur" = "=" ] && cur=
  [ "$prev" = "=" ] && prev=${COMP_WORDS[COMP_CWORD-2]}
  for ((i = 1; i < COMP_CWORD; i++)); do
    case ${COMP_WORDS[i]} in
      %s) [ "${COMP_WORDS[i+1]}" = "=" ] && ((i++)); ((i++)) ;;
      -*) ;;
      *) line="$line${COMP_WORDS[i]} " ;;
    esac
  done
  case $line in
`, strings.Join(valueFlags(leaves(commands)...), "|"))
	eachCommand(commands, "", func(path string, c *cli.Command) {
		fmt.Fprintf(&b, "    \"%s \"*)\n      case $prev in\n", path)
		var files []string
		for _, f := range c.Flags {
			if words := flagValues(f); len(words) > 0 {
				fmt.Fprintf(&b, "        %s) words='%s' ;;\n", flagWord(f), strings.Join(words, " "))
			} else if flagTakesValue(f) {
				files = append(files, flagWord(f))
			}
		}
		fmt.Fprintf(&b, "        %s) ;;\n        *) words='%s'; [[ $cur == -* ]] && words='%s' ;;\n      esac ;;\n",
			strings.Join(files, "|"), strings.Join(argWords(c), " "), strings.Join(flagWords(c), " "))
	})
	for _, c := range commands {
		if len(c.Subcommands) > 0 {
			fmt.Fprintf(&b, "    \"%s \") words='%s' ;;\n", c.Name, strings.Join(names(c.Subcommands), " "))
		}
	}
	fmt.Fprintf(&b, "    \"\") words='%s' ;;\n  esac\n", strings.Join(names(commands), " "))
	b.WriteString("  [ -n \"$words\" ] && COMPREPLY=($(compgen -W \"$words\" -- \"$cur\"))\n  return 0\n}\n")
	return b.String()
}

// zshCompletion is bash's by zsh's own translation. A function of fpath defines itself when it is called for the first time; it has to
// complete then, too.
func zshCompletion(commands []*cli.Command) string {
	return "#compdef ict\nautoload -U +X bashcompinit && bashcompinit\n" + bashCompletion(commands) + `complete -o default -F _ict ict
[ "$funcstack[1]" = _ict ] && _bash_complete -o default -F _ict`
}

// eachCommand calls do for every command that does something, with its words.
func eachCommand(commands []*cli.Command, before string, do func(path string, c *cli.Command)) {
	for _, c := range commands {
		if path := before + c.Name; len(c.Subcommands) > 0 {
			eachCommand(c.Subcommands, path+" ", do)
		} else {
			do(path, c)
		}
	}
}

func flagWord(f cli.Flag) string { return "--" + f.Names()[0] }

// flagWords are the flags of a command as typed.
func flagWords(c *cli.Command) []string {
	var s []string
	for _, f := range c.Flags {
		s = append(s, flagWord(f))
	}
	return s
}

// valueFlags are the flags that take a value, each once: a flag means the same in every command.
func valueFlags(commands ...*cli.Command) []string {
	var s []string
	for _, c := range commands {
		for _, f := range c.Flags {
			if w := flagWord(f); flagTakesValue(f) && !slices.Contains(s, w) {
				s = append(s, w)
			}
		}
	}
	return s
}

// flagValues are the words that may be a flag's value; none where they cannot be listed.
func flagValues(f cli.Flag) []string {
	switch name := f.Names()[0]; name {
	case "preset":
		return presetNames()
	case "device":
		return []string{"auto", "cpu", "cuda"}
	case "bytes":
		return []string{tensor.Floor.String(), tensor.Round.String()}
	case "precision":
		if _, ok := f.(*cli.StringFlag); ok { // of the configuration
			return append([]string{"auto"}, train.Precisions...)
		}
	}
	if g, ok := f.(*cli.GenericFlag); ok {
		if v, ok := g.Value.(*value[string]); ok {
			return v.words
		}
	}
	return nil
}

// argWords are the words that a command takes as its argument, where its usage lists them: small letters.
func argWords(c *cli.Command) []string {
	if c.ArgsUsage == "" || strings.ToLower(c.ArgsUsage) != c.ArgsUsage {
		return nil
	}
	return strings.Split(c.ArgsUsage, "|")
}

// fishCompletion is a line for each command and flag, with what help says of it.
func fishCompletion(commands []*cli.Command) string {
	var b strings.Builder
	fmt.Fprintf(&b, `# __ict_at WORDS...: the command line, without flags and their values, begins with these words; __ict_is: it holds no others.
function __ict_path
    set -l words (commandline -opc)
    set -e words[1]
    set -l value 0
    for w in $words
        if test $value = 1
            set value 0
            continue
        end
        switch $w
            case %s
                set value 1
            case '-*'
            case '*'
                echo $w
        end
    end
end
function __ict_is
    set -l line (__ict_path)
    test "$line" = "$argv"
end
function __ict_at
    set -l line (__ict_path)
    string match -q -- "$argv *" "$line "
end
`, strings.Join(valueFlags(leaves(commands)...), " "))
	var offer func(commands []*cli.Command, path string)
	offer = func(commands []*cli.Command, path string) {
		for _, c := range commands {
			fmt.Fprintf(&b, "complete -c ict -f -n '__ict_is%s' -a %s -d '%s'\n", path, c.Name, fishQuote(c.Usage))
			offer(c.Subcommands, path+" "+c.Name)
		}
	}
	offer(commands, "")
	eachCommand(commands, "", func(path string, c *cli.Command) {
		if words := argWords(c); len(words) > 0 {
			fmt.Fprintf(&b, "complete -c ict -f -n '__ict_is %s' -a '%s'\n", path, strings.Join(words, " "))
		}
		for _, f := range c.Flags {
			_, text := describe(f.(cli.DocGenerationFlag))
			value := ""
			if words := flagValues(f); len(words) > 0 {
				value = fmt.Sprintf(" -x -a '%s'", strings.Join(words, " "))
			} else if flagTakesValue(f) {
				value = " -r"
			}
			fmt.Fprintf(&b, "complete -c ict -n '__ict_at %s' -l %s%s -d '%s'\n", path, f.Names()[0], value, fishQuote(text))
		}
	})
	return strings.TrimSuffix(b.String(), "\n")
}

func fishQuote(s string) string { return strings.ReplaceAll(s, "'", `\'`) }
