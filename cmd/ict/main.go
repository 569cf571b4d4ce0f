// Archives whose members have names that lead out of them are refused when they are opened.
//
//go:debug tarinsecurepath=0
//go:debug zipinsecurepath=0

// Ict trains and samples consistency models. See README.md, and ict --help.
//
// This folder is the program and nothing else: flags, configuration files, logs, progress, signals, exit codes, and the wiring of the
// packages that do the work. One file and one script test per command.
package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"regexp"
	"strings"
	"syscall"

	"github.com/urfave/cli/v2"
)

func main() {
	// A reader that leaves, as in `ict train … 2>&1 | head`, must not end a run before its state is saved: writing to it is an error, no more.
	signal.Ignore(syscall.SIGPIPE)
	os.Exit(run(os.Args, os.Stdout, os.Stderr))
}

// run is the program: it returns the exit code.
func run(args []string, stdout, stderr io.Writer) int {
	s := newScreen(stderr)
	defer func() {
		if r := recover(); r != nil {
			s.clear()
			fmt.Fprintln(s, "ict: this is a bug of ict; please report it, with the command and the lines below")
			panic(r)
		}
	}()
	err := dispatch(args, stdout, stderr)
	if err != nil && err.Error() != "" {
		fmt.Fprintln(s, s.paint(red, "ict: ")+message(err))
	}
	return exitCode(err)
}

// dispatch finds the command and runs it.
func dispatch(args []string, stdout, stderr io.Writer) error {
	app := newApp(stdout, stderr)
	if len(args) == 2 && (args[1] == "--version" || args[1] == "-version") {
		args = []string{args[0], "version"}
	}
	if len(args) > 1 && args[1] == "help" {
		args = append([]string{args[0], "--help"}, args[2:]...)
	}
	l, err := arrange(app, args)
	if err != nil {
		return err
	}
	if l.help || l.command == nil {
		return lostResults(printHelp(stdout, app, l))
	}
	app.Metadata["given"] = l.given
	return app.Run(append(args[:1:1], l.args...))
}

func newApp(stdout, stderr io.Writer) *cli.App {
	app := &cli.App{
		Name: "ict", Usage: "trains and samples consistency models",
		Writer: stdout, ErrWriter: stderr, HideHelp: true, HideVersion: true, Metadata: map[string]any{},
		DisableSliceFlagSeparator: true,
		ExitErrHandler:            func(*cli.Context, error) {},
		Commands: []*cli.Command{
			trainCommand(), sampleCommand(), dataCommand(), ckptCommand(), planCommand(), benchCommand(), parityCommand(),
			doctorCommand(), versionCommand(), completionCommand(),
		},
	}
	for _, c := range leaves(app.Commands) {
		c.HideHelp, c.HideHelpCommand = true, true
		c.Flags = append(c.Flags, globalFlags()...)
		c.OnUsageError = func(_ *cli.Context, err error, _ bool) error { return usage(badValue(err)) }
	}
	return app
}

// globalFlags are the flags of every command.
func globalFlags() []cli.Flag {
	const category = "everywhere"
	env := func(name string) []string { return []string{envName(name)} }
	return []cli.Flag{
		&cli.GenericFlag{Name: "device", Value: of("auto", parseDevice), Usage: "compute on `DEVICE`: auto, cpu, cuda or cuda:1", Category: category, EnvVars: env("device")},
		&cli.BoolFlag{Name: "json", Usage: "results as JSON", Category: category, EnvVars: env("json")},
		&cli.BoolFlag{Name: "quiet", Usage: "nothing on stderr but warnings and errors", Category: category, EnvVars: env("quiet")},
		&cli.BoolFlag{Name: "verbose", Usage: "more on stderr", Category: category, EnvVars: env("verbose")},
		&cli.StringFlag{Name: "log-file", Usage: "append the log to `FILE` as JSON lines", Category: category, EnvVars: env("log-file")},
	}
}

// envName is the environment variable of a flag: ICT_MICRO_BATCH.
func envName(flag string) string {
	return "ICT_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// action wraps what a command does: at most most arguments, with a ui.
func action(least, most int, do func(c *cli.Context, u *ui) error) cli.ActionFunc {
	return func(c *cli.Context) error {
		switch n := c.NArg(); {
		case n < least:
			return usagef("%swants %s\n  %s --help shows how", inCommand(c.Command.HelpName), c.Command.ArgsUsage, c.Command.HelpName)
		case most == 0 && n > 0:
			return usagef("%stakes no argument; got %s\n  %s --help lists the flags", inCommand(c.Command.HelpName), c.Args().First(), c.Command.HelpName)
		case most > 0 && n > most:
			return usagef("%stakes %s; got %d arguments: %s", inCommand(c.Command.HelpName), c.Command.ArgsUsage, n, strings.Join(c.Args().Slice(), " "))
		}
		u, err := newUI(c)
		if err != nil {
			return err
		}
		strayVariables(u, c.App.Commands)
		return u.finish(do(c, u))
	}
}

// given reports whether a flag stands on the command line, not in the environment.
func given(c *cli.Context, flag string) bool {
	m, _ := c.App.Metadata["given"].(map[string]bool)
	return m[flag]
}

// val is the value of a flag made by of.
func val[T any](c *cli.Context, flag string) T { return c.Generic(flag).(*value[T]).v }

// The parser's words for values that it cannot read.
var (
	badFlag     = regexp.MustCompile(`(?s)^invalid value ".*" for flag -([a-z-]+): (.*)$`)
	badSwitch   = regexp.MustCompile(`(?s)^invalid boolean value (".*") for -([a-z-]+): `)
	badVariable = regexp.MustCompile(`(?s)^could not parse (".*?")(?: as bool value)? from environment variable "(ICT_[A-Z_]+)"(?: as value)? for flag [a-z-]+: (.*)$`)
)

// badValue puts them as the rest of the program would.
func badValue(err error) error {
	s := err.Error()
	if m := badFlag.FindStringSubmatch(s); m != nil {
		return fmt.Errorf("--%s: %s", m[1], m[2])
	}
	if m := badSwitch.FindStringSubmatch(s); m != nil {
		return fmt.Errorf("--%s: got %s, want true or false", m[2], m[1])
	}
	if m := badVariable.FindStringSubmatch(s); m != nil {
		if strings.HasPrefix(m[3], "strconv.ParseBool") {
			return fmt.Errorf("$%s: got %s, want true or false", m[2], m[1])
		}
		return fmt.Errorf("$%s: %s", m[2], m[3])
	}
	return err
}

// packages whose names begin their errors; users need not know them.
var prefixes = []string{"train: ", "data: ", "checkpoint: ", "sample: ", "model: ", "rundir: ", "noise: ", "cpu: ", "gpu: "}

// message is an error as users see it: without the names of packages in front, and of the system calls that only look.
func message(err error) string {
	s := err.Error()
	if p := (*fs.PathError)(nil); errors.As(err, &p) && (p.Op == "stat" || p.Op == "lstat" || p.Op == "open") {
		call, path := p.Op+" "+p.Path+": ", p.Path+": "
		s = strings.Replace(strings.Replace(s, path+call, path, 1), call, path, 1)
	}
	if own := said(""); errors.As(err, &own) {
		return s
	}
	for {
		cut := s
		for _, p := range prefixes {
			cut = strings.TrimPrefix(cut, p)
		}
		if cut == s {
			return s
		}
		s = cut
	}
}
