package main

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// parseCount reads a number of things: 400000, 400k, 1.5M.
func parseCount(s string) (int, error) {
	const exact = 1 << 53 // whole numbers of a float64
	bad := fmt.Errorf("got %q, want a whole number, like 400000 or 400k or 1.5M", s)
	digits, unit := s, 1.0
	switch {
	case strings.HasSuffix(s, "k"):
		digits, unit = s[:len(s)-1], 1e3
	case strings.HasSuffix(s, "M"):
		digits, unit = s[:len(s)-1], 1e6
	}
	if unit == 1 {
		n, err := strconv.Atoi(digits)
		if errors.Is(err, strconv.ErrRange) {
			return 0, fmt.Errorf("got %q, want at most %s", s, comma(math.MaxInt))
		}
		if err != nil {
			return 0, bad
		}
		return n, nil
	}
	f, err := strconv.ParseFloat(digits, 64)
	n := math.Round(f * unit)
	if err != nil || math.IsNaN(f) || math.IsInf(f, 0) {
		return 0, bad
	}
	if math.Abs(n) > exact {
		return 0, fmt.Errorf("got %q, want at most %s", s, comma(exact))
	}
	if math.Abs(n-f*unit) > 1e-6 {
		return 0, bad
	}
	return int(n), nil
}

// parseLevels reads noise levels: 80,0.821.
func parseLevels(s string) ([]float64, error) {
	var levels []float64
	for part := range strings.SplitSeq(s, ",") {
		f, err := strconv.ParseFloat(strings.TrimSpace(part), 64)
		if err != nil || math.IsNaN(f) || math.IsInf(f, 0) {
			return nil, fmt.Errorf("got %q, want noise levels, descending, like 80,0.821", s)
		}
		levels = append(levels, f)
	}
	return levels, nil
}

// parseGrid reads rows and columns of a grid: 8x8.
func parseGrid(s string) (rows, cols int, err error) {
	a, b, ok := strings.Cut(strings.ReplaceAll(s, "×", "x"), "x")
	rows, errA := strconv.Atoi(a)
	cols, errB := strconv.Atoi(b)
	if !ok || errA != nil || errB != nil || rows < 1 || cols < 1 || rows > 1000 || cols > 1000 {
		return 0, 0, fmt.Errorf("got %q, want rows and columns like 8x8", s)
	}
	return rows, cols, nil
}

// parseShare reads a part of a whole: 0.1%, or 0.001.
func parseShare(s string) (float64, error) {
	digits, percent := strings.CutSuffix(s, "%")
	f, err := strconv.ParseFloat(strings.TrimSpace(digits), 64)
	if percent {
		f /= 100
	}
	if err != nil || !(f >= 0 && f <= 1) {
		return 0, fmt.Errorf("got %q, want a share like 0.1%% or 0.001", s)
	}
	return f, nil
}

// value makes a flag of any type: parse says what a text means, and text is how it was given.
type value[T any] struct {
	text  string
	v     T
	parse func(string) (T, error)
	words []string // all there are, if they can be listed
}

// Set is called by the parser.
func (f *value[T]) Set(s string) error {
	v, err := f.parse(s)
	if err != nil {
		return err
	}
	f.text, f.v = s, v
	return nil
}

func (f *value[T]) String() string { return f.text }

// count is a flag's value that parseCount reads; text is its default.
func count(text string, least int) *value[int] {
	parse := func(s string) (int, error) {
		n, err := parseCount(s)
		if err == nil && n < least {
			err = fmt.Errorf("got %q, want at least %d", s, least)
		}
		return n, err
	}
	return of(text, parse)
}

// of is a flag's value with a default; "" leaves it empty.
func of[T any](text string, parse func(string) (T, error)) *value[T] {
	f := &value[T]{parse: parse}
	if text != "" {
		if err := f.Set(text); err != nil {
			panic(err)
		}
	}
	return f
}

// oneOf is a flag's value out of a few words.
func oneOf(text string, words ...string) *value[string] {
	f := of(text, func(s string) (string, error) {
		if slices.Contains(words, s) {
			return s, nil
		}
		return "", errors.New("got " + strconv.Quote(s) + ", want " + orList(words))
	})
	f.words = words
	return f
}

func orList(words []string) string {
	if len(words) == 1 {
		return words[0]
	}
	return strings.Join(words[:len(words)-1], ", ") + " or " + words[len(words)-1]
}

// comma writes n with commas between thousands.
func comma[T int | int32 | int64 | uint64](n T) string {
	s := fmt.Sprint(n)
	var b strings.Builder
	for i, r := range s {
		if i > 0 && s[i-1] != '-' && (len(s)-i)%3 == 0 {
			b.WriteByte(',')
		}
		b.WriteRune(r)
	}
	return b.String()
}

// bytesText writes a size: 40.5 GiB.
func bytesText[T int | int64 | uint64](n T) string {
	f := float64(n)
	for _, u := range []string{"B", "KiB", "MiB"} {
		if f < 1024 {
			if u == "B" {
				return fmt.Sprintf("%.0f B", f)
			}
			return tenths(f) + " " + u
		}
		f /= 1024
	}
	return tenths(f) + " GiB"
}

// tenths writes f with one digit behind the point, and with commas: 20,480.0.
func tenths(f float64) string {
	whole, digit, _ := strings.Cut(strconv.FormatFloat(f, 'f', 1, 64), ".")
	n, err := strconv.ParseInt(whole, 10, 64)
	if err != nil { // beyond any size
		return whole + "." + digit
	}
	return comma(n) + "." + digit
}

// imagesText writes a number of images: 640 img, 38.4 kimg, 12.7 Mimg.
func imagesText(n uint64) string {
	switch {
	case n < 1e4:
		return comma(n) + " img"
	case n < 1e6:
		return tenths(float64(n)/1e3) + " kimg"
	default:
		return tenths(float64(n)/1e6) + " Mimg"
	}
}

// rateText writes images a second.
func rateText(r float64) string {
	if r >= 100 {
		return comma(int(math.Round(r))) + " img/s"
	}
	return fmt.Sprintf("%.3g img/s", r)
}

// flopText writes a number of operations: 12.3 GFLOP, 7.0e19 FLOP.
func flopText(n float64) string { return unitText(n, "FLOP") }

// macText writes a number of multiply-adds.
func macText(n float64) string { return unitText(n, "MAC") }

func unitText(n float64, what string) string {
	for i, prefix := range []string{"k", "M", "G", "T", "P"} {
		if unit := math.Pow(1000, float64(i+1)); n < 1000*unit {
			return fmt.Sprintf("%.3g %s%s", n/unit, prefix, what)
		}
	}
	return strings.Replace(fmt.Sprintf("%.1e %s", n, what), "e+", "e", 1)
}

// spanText writes a duration for people: 42 s, 8 min, 3 h 20 min, 1 d 13 h.
func spanText(d time.Duration) string {
	s := int64(d.Round(time.Second) / time.Second)
	switch {
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	case d < 10*time.Second:
		return fmt.Sprintf("%.1f s", d.Seconds())
	case s < 100:
		return fmt.Sprintf("%d s", s)
	case s < 100*60:
		return fmt.Sprintf("%d min", (s+30)/60)
	case s < 48*3600:
		return fmt.Sprintf("%d h %d min", s/3600, s%3600/60)
	default:
		return fmt.Sprintf("%d d %d h", s/86400, s%86400/3600)
	}
}

// levelText writes a noise level as it would be given.
func levelText(f float64) string { return strconv.FormatFloat(f, 'g', -1, 64) }

func levelsText(levels []float64) string {
	s := make([]string, len(levels))
	for i, l := range levels {
		s[i] = levelText(l)
	}
	return strings.Join(s, ",")
}
