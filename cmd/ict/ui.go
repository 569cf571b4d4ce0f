package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unicode/utf8"

	"github.com/schollz/progressbar/v3"
	"github.com/urfave/cli/v2"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"golang.org/x/term"
)

// ui is how a command speaks: results to out, everything else to err.
type ui struct {
	out     *results
	err     *screen
	json    bool
	quiet   bool
	verbose bool

	log      *zap.SugaredLogger // stderr and files
	files    *zap.SugaredLogger // files alone: what stderr has in another form
	sinks    []zapcore.Core
	warnings []warning
	close    []func() error
}

// results is stdout. It keeps its first error for the end of the command: most results are printed line by line, and nothing can be done
// about a line.
type results struct {
	w   io.Writer
	err error
}

// Write never fails; after the first error it drops what comes.
func (r *results) Write(p []byte) (int, error) {
	if r.err == nil {
		_, r.err = r.w.Write(p)
	}
	return len(p), nil
}

// warning is a text and how often it was said.
type warning struct {
	text  string
	times int
}

func (w warning) String() string {
	if w.times == 1 {
		return w.text
	}
	return fmt.Sprintf("%s (%s times)", w.text, comma(w.times))
}

// newUI reads the global flags.
func newUI(c *cli.Context) (*ui, error) {
	u := &ui{out: &results{w: c.App.Writer}, err: newScreen(c.App.ErrWriter), json: c.Bool("json"), quiet: c.Bool("quiet"), verbose: c.Bool("verbose")}
	if u.quiet && u.verbose && given(c, "quiet") != given(c, "verbose") { // the other one stands in the environment
		u.quiet, u.verbose = given(c, "quiet"), given(c, "verbose")
	}
	if u.quiet && u.verbose {
		return nil, usagef("--quiet and --verbose exclude each other")
	}
	if path := c.String("log-file"); path != "" {
		f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
		if err != nil {
			return nil, about("--log-file", path, err)
		}
		u.logInto(f, "")
	}
	u.buildLog()
	return u, nil
}

// encoderConfig names the keys of log entries.
func encoderConfig() zapcore.EncoderConfig {
	return zapcore.EncoderConfig{
		TimeKey: "time", LevelKey: "level", MessageKey: "msg", LineEnding: "\n", ConsoleSeparator: "  ",
		EncodeTime: zapcore.RFC3339TimeEncoder, EncodeLevel: zapcore.LowercaseLevelEncoder, EncodeDuration: zapcore.StringDurationEncoder,
	}
}

func jsonEncoder() zapcore.Encoder { return zapcore.NewJSONEncoder(encoderConfig()) }

func consoleEncoder(timeLayout string) zapcore.Encoder {
	c := encoderConfig()
	c.EncodeTime = zapcore.TimeEncoderOfLayout(timeLayout)
	return zapcore.NewConsoleEncoder(c)
}

// logInto adds an open file that the log is appended to, for people with times in layout, or, layout empty, as JSON.
func (u *ui) logInto(f *os.File, layout string) {
	enc := jsonEncoder()
	if layout != "" {
		enc = consoleEncoder(layout)
	}
	u.close = append(u.close, f.Close)
	u.sinks = append(u.sinks, zapcore.NewCore(enc, zapcore.AddSync(f), zapcore.DebugLevel))
}

// buildLog joins the sinks. That one cannot be written is told once, not at every line.
func (u *ui) buildLog() {
	level := zapcore.InfoLevel
	if u.verbose {
		level = zapcore.DebugLevel
	}
	if u.quiet {
		level = zapcore.WarnLevel
	}
	enc := jsonEncoder()
	if u.err.tty {
		enc = consoleEncoder("15:04:05")
	}
	files := zapcore.NewTee(u.sinks...)
	failed := zap.ErrorOutput(zapcore.AddSync(&lost{u: u}))
	u.files = zap.New(files, failed).Sugar()
	u.log = zap.New(zapcore.NewTee(files, zapcore.NewCore(enc, zapcore.AddSync(u.err), level)), failed).Sugar()
}

// lost is where zap tells of a sink that cannot be written.
type lost struct {
	u    *ui
	told atomic.Bool
}

func (l *lost) Write(p []byte) (int, error) {
	if !l.told.Swap(true) {
		_, text, _ := strings.Cut(strings.TrimSpace(string(p)), "write error: ")
		fmt.Fprintf(l.u.err, "%sthe log lacks lines from here on: %s\n", l.u.err.paint(yellow, "warning: "), text)
	}
	return len(p), nil
}

// repeat lists the warnings at the end, once, if there are at least so many.
func (u *ui) repeat(least int) {
	u.err.clear()
	if n := len(u.warnings); n >= least {
		fmt.Fprintf(u.err, "%d warning%s:\n", n, plural(n))
		for i, w := range u.warnings {
			fmt.Fprintf(u.err, "  %d  %s\n", i+1, w)
		}
	}
	u.warnings = nil
}

// finish ends a command with its error: it tells of results that could not be written, writes the error into the log, and closes the log.
func (u *ui) finish(err error) error {
	u.repeat(2)
	if lost := lostResults(u.out.err); err == nil || exitCode(lost) == exitFailed {
		err = together(err, lost) // a reader that left is news only where nothing else went wrong
	}
	if err != nil && err.Error() != "" {
		u.files.Errorw(message(err), "code", exitCode(err))
	}
	var first error
	for _, c := range u.close {
		if err := c(); err != nil && first == nil {
			first = err
		}
	}
	u.close = nil
	return together(err, first)
}

// lostResults is the error of a command whose results did not reach stdout for err; nil for none. A reader that has enough, as in
// `ict … | head`, ends programs without a word.
func lostResults(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, syscall.EPIPE):
		return withCode(128+int(syscall.SIGPIPE), errors.New(""))
	}
	return fmt.Errorf("%w; what was to be printed is lost in part: run it again with more room for it", about("", "stdout", err))
}

// say writes a line to stderr, unless --quiet, and to the log files.
func (u *ui) say(format string, a ...any) {
	s := fmt.Sprintf(format, a...)
	u.files.Info(strings.TrimSpace(s))
	if !u.quiet {
		fmt.Fprintln(u.err, s)
	}
}

// warn writes a warning to stderr and the log files. The same text is counted; the log has it again the 10th, the 100th … time.
func (u *ui) warn(format string, a ...any) {
	s := fmt.Sprintf(format, a...)
	for i := range u.warnings {
		if w := &u.warnings[i]; w.text == s {
			if w.times++; isPowerOfTen(w.times) {
				u.files.Warn(w.String())
			}
			return
		}
	}
	u.warnings = append(u.warnings, warning{s, 1})
	u.files.Warn(s)
	fmt.Fprintln(u.err, u.err.paint(yellow, "warning: ")+s)
}

func isPowerOfTen(n int) bool {
	for n%10 == 0 && n > 0 {
		n /= 10
	}
	return n == 1
}

// result writes a line to stdout.
func (u *ui) result(format string, a ...any) { fmt.Fprintf(u.out, format+"\n", a...) }

// printJSON writes v to stdout.
func (u *ui) printJSON(v any) error {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return err
	}
	_, err := u.out.Write(b.Bytes())
	return err
}

// bar is the progress of something with a known end, for hooks like data.Import's: a bar on a terminal, elsewhere a line
// every half minute; nil where nobody looks. Rate and remaining time are of what is done here, not of what was there before, from
// this call on: the first image takes its time, too.
func (u *ui) bar(what string) (progress func(done, total int), end func()) {
	if u.quiet {
		return nil, func() {}
	}
	const every = 30 * time.Second
	var b *progressbar.ProgressBar
	begin, first, said := time.Now(), -1, time.Now()
	return func(done, total int) {
			if first < 0 {
				first = max(done, 1) - 1
			}
			if !u.err.tty {
				if time.Since(said) > every {
					said = time.Now()
					u.say("%s", progressText(what, done, total, first, time.Since(begin)))
				}
				return
			}
			if b == nil {
				b = progressbar.NewOptions(total-first, progressbar.OptionSetDescription(what), progressbar.OptionSetWriter(u.err.w),
					progressbar.OptionShowCount(), progressbar.OptionShowIts(), progressbar.OptionThrottle(100e6),
					progressbar.OptionClearOnFinish(), progressbar.OptionSetWidth(20))
			}
			b.Set(done - first)
		}, func() {
			if b != nil {
				b.Clear()
			}
		}
}

// progressText says in a line how far something is that began at first and has taken so long.
func progressText(what string, done, total, first int, took time.Duration) string {
	rate := float64(done-first) / took.Seconds()
	left := time.Duration(float64(total-done) / rate * float64(time.Second))
	return fmt.Sprintf("%s %s of %s, %.3g/s, %s left", what, comma(done), comma(total), rate, left.Round(time.Second))
}

// screen is stderr with, on a terminal, one line of progress at the bottom.
type screen struct {
	w     io.Writer
	tty   bool
	color bool

	mu   sync.Mutex
	line string
}

func newScreen(w io.Writer) *screen {
	s := &screen{w: w}
	if f, ok := w.(*os.File); ok {
		s.tty = term.IsTerminal(int(f.Fd())) && os.Getenv("TERM") != "dumb"
	}
	s.color = s.tty && os.Getenv("NO_COLOR") == ""
	return s
}

const (
	red    = "\x1b[31m"
	yellow = "\x1b[33m"
	reset  = "\x1b[0m"
	erase  = "\r\x1b[K"
)

func (s *screen) paint(color, text string) string {
	if !s.color {
		return text
	}
	return color + text + reset
}

// Write puts whole lines above the line of progress.
func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.line == "" {
		return s.w.Write(p)
	}
	io.WriteString(s.w, erase)
	n, err := s.w.Write(p)
	io.WriteString(s.w, s.fitted())
	return n, err
}

// progress shows a line in place of the last one; where that cannot be, it is a line like any other.
func (s *screen) progress(line string) {
	if !s.tty {
		fmt.Fprintln(s, line)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.line = line
	io.WriteString(s.w, erase+s.fitted())
}

// clear ends the progress; its last line stays.
func (s *screen) clear() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.line != "" {
		s.line = ""
		io.WriteString(s.w, "\n")
	}
}

// fitted is the line cut to the terminal's width.
func (s *screen) fitted() string {
	f, ok := s.w.(*os.File)
	if !ok {
		return s.line
	}
	width, _, err := term.GetSize(int(f.Fd()))
	if err != nil || width < 20 || utf8.RuneCountInString(s.line) < width {
		return s.line
	}
	return string([]rune(s.line)[:width-1])
}
