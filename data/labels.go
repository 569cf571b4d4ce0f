package data

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"path"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// A labelTable says which class each image has. docs/data.md describes the files it is read from.
type labelTable struct {
	class map[string]int32 // by path; an index of words
	words []string         // what the file says of classes: names, or numbers

	index map[string]int32 // of words
	twice []string         // paths that come again
}

const maxWord = 4096 // bytes of a path or a class name

// IsTable tells whether a value of Options.Labels is the path of a table.
func IsTable(labels string) bool { return path.Ext(labels) == ".json" || path.Ext(labels) == ".csv" }

// readTable reads a table, by the extension of its name; nil is one that says there are no labels.
func readTable(name string, f file) (*labelTable, error) {
	b, err := f.read()
	if err != nil {
		return nil, bare(err)
	}
	b = bytes.TrimPrefix(b, []byte("\xef\xbb\xbf")) // a mark that some editors put before UTF-8
	if path.Ext(name) == ".csv" {
		return parseCSVTable(b)
	}
	return parseJSONTable(b)
}

func newTable() *labelTable { return &labelTable{class: map[string]int32{}, index: map[string]int32{}} }

// add notes a line of a table.
func (t *labelTable) add(file, word string) error {
	switch {
	case len(file) > maxWord || len(word) > maxWord:
		return damaged("a path or a class of more than %s bytes", comma(maxWord))
	case !utf8.ValidString(word):
		return damaged("%s: class %q is not UTF-8", Printable(file), word)
	case word == "":
		return damaged("%s: no class", Printable(file))
	case len(t.class) == maxMembers:
		return damaged("more than %s entries", comma(maxMembers))
	}
	file = strings.TrimPrefix(file, "./")
	k, known := t.index[word]
	if !known {
		if len(t.words) == maxClasses {
			return damaged("more than %s classes", comma(maxClasses))
		}
		k = int32(len(t.words))
		t.index[word] = k
		t.words = append(t.words, word)
	}
	if _, known := t.class[file]; known {
		t.twice = append(t.twice, file)
	}
	t.class[file] = k
	return nil
}

// parseCSVTable reads lines of path and class; a first line whose path is no image's is a heading.
func parseCSVTable(b []byte) (*labelTable, error) {
	t := newTable()
	r := csv.NewReader(bytes.NewReader(b))
	r.FieldsPerRecord, r.ReuseRecord = 2, true
	for first := true; ; first = false {
		row, err := r.Read()
		if errors.Is(err, io.EOF) {
			return t, nil
		}
		if err != nil {
			return nil, damaged("%v; want lines of path,label", err)
		}
		if first && !isImage(row[0]) {
			continue
		}
		if err := t.add(strings.Clone(row[0]), strings.Clone(strings.TrimSpace(row[1]))); err != nil {
			return nil, err
		}
	}
}

// parseJSONTable reads {"path": label, …}, or EDM's {"labels": [["path", label], …]}, whose null means no labels. It
// goes token by token, so that neither depth nor repeated keys are missed.
func parseJSONTable(b []byte) (*labelTable, error) {
	d := &tokens{json.NewDecoder(bytes.NewReader(b))}
	d.UseNumber()
	t := newTable()
	err := d.want(json.Delim('{'))
	edm := false
	for n := 0; err == nil && d.More(); n++ {
		var key string
		if key, err = d.text(); err != nil {
			break
		}
		var v json.Token
		if v, err = d.Token(); err != nil {
			break
		}
		if list := v == json.Delim('['); key == "labels" && n == 0 && (list || v == nil) {
			edm = true
			if list {
				err = d.pairs(t)
			} else {
				t = nil
			}
		} else if edm {
			err = damaged("key %s beside labels", Printable(key))
		} else {
			err = t.addToken(key, v)
		}
	}
	if err == nil {
		err = d.want(json.Delim('}'))
	}
	if err == nil {
		if _, e := d.Token(); !errors.Is(e, io.EOF) {
			err = damaged("something behind the last }")
		}
	}
	if err == nil || errors.Is(err, ErrDamaged) {
		return t, err
	}
	return nil, damaged(`%v; want {"path": label, …} or {"labels": [["path", label], …]}`, err)
}

// tokens is a JSON text, piece by piece.
type tokens struct{ *json.Decoder }

func (d *tokens) want(w json.Delim) error {
	v, err := d.Token()
	if err == nil && v != w {
		err = fmt.Errorf("got %v, want %v at byte %d", v, w, d.InputOffset())
	}
	return err
}

func (d *tokens) text() (string, error) {
	v, err := d.Token()
	s, ok := v.(string)
	if err == nil && !ok {
		err = fmt.Errorf("got %v, want a path in quotes at byte %d", v, d.InputOffset())
	}
	return s, err
}

// pairs reads EDM's list, behind its bracket.
func (d *tokens) pairs(t *labelTable) error {
	for d.More() {
		if err := d.want('['); err != nil {
			return err
		}
		file, err := d.text()
		if err != nil {
			return err
		}
		v, err := d.Token()
		if err != nil {
			return err
		}
		if err := t.addToken(file, v); err != nil {
			return err
		}
		if err := d.want(']'); err != nil {
			return err
		}
	}
	return d.want(']')
}

func (t *labelTable) addToken(file string, v json.Token) error {
	switch v := v.(type) {
	case json.Number:
		return t.add(file, v.String())
	case string:
		return t.add(file, v)
	}
	return damaged("%s: got %v as its label, want a number or a name", Printable(file), v)
}

// resolve returns the labels of files and the names of classes. Numbers are used as they are, and must be 0 to K-1 with
// none left out unless there may be classes without images, all told at most so many; names are sorted.
func (t *labelTable) resolve(files []entry, classes int) (labels []int32, names []string, err error) {
	if err := t.compare(files); err != nil {
		return nil, nil, err
	}
	number, err := t.numbers()
	if err != nil {
		return nil, nil, err
	}
	if number == nil {
		names = slices.Sorted(maps.Keys(t.index))
		number = make([]int32, len(names))
		for i, name := range names {
			number[t.index[name]] = int32(i)
		}
		if classes > 0 && len(names) > classes {
			return nil, nil, fmt.Errorf("%s classes, want at most %s", comma(len(names)), comma(classes))
		}
	} else if names, err = numbered(number, classes); err != nil {
		return nil, nil, err
	}
	labels = make([]int32, len(files))
	for i, f := range files {
		labels[i] = number[t.class[f.name]]
	}
	return labels, names, nil
}

// compare holds the table against the files.
func (t *labelTable) compare(files []entry) error {
	var problems []string
	note := func(n int, what string, some []string) {
		if n > 0 {
			for i, s := range some {
				some[i] = Printable(s)
			}
			problems = append(problems, fmt.Sprintf("%s %s: %s", comma(n), what, strings.Join(some, ", ")))
		}
	}
	first := func(s []string) []string { return s[:min(len(s), 3)] }
	note(len(t.twice), "entries come again", first(t.twice))
	var missing []string
	have := make(map[string]bool, len(files))
	for _, f := range files {
		have[f.name] = true
		if _, ok := t.class[f.name]; !ok {
			missing = append(missing, f.name)
		}
	}
	note(len(missing), "of "+comma(len(files))+" images have no entry", first(missing))
	var surplus []string
	for name := range t.class {
		if !have[name] {
			surplus = append(surplus, name)
		}
	}
	slices.Sort(surplus)
	note(len(surplus), "entries have no image", first(surplus))
	if problems == nil {
		return nil
	}
	return damaged("%s", strings.Join(problems, "\n  "))
}

// numbers is the words as numbers, nil if they are names.
func (t *labelTable) numbers() ([]int32, error) {
	number, names, name, odd := make([]int32, len(t.words)), 0, "", ""
	for i, w := range t.words {
		n, err := strconv.Atoi(w)
		switch {
		case err == nil && n >= 0 && n < maxClasses:
			number[i] = int32(n)
		case isNumber(w):
			odd = w
		default:
			name = w
			names++
		}
	}
	switch {
	case names == len(t.words):
		return nil, nil
	case names > 0:
		return nil, damaged("labels are numbers and names, like %s; want one or the other", Printable(name))
	case odd != "":
		return nil, damaged("label %s: want whole numbers from 0 to below %s", odd, comma(maxClasses))
	}
	return number, nil
}

// isNumber tells numbers of any kind from names, like nan.
func isNumber(s string) bool {
	f, err := strconv.ParseFloat(s, 64)
	return errors.Is(err, strconv.ErrRange) || err == nil && !math.IsNaN(f) && !math.IsInf(f, 0)
}

// numbered returns the names of numbered classes.
func numbered(number []int32, classes int) ([]string, error) {
	k := int(slices.Max(number)) + 1
	used := make([]bool, k)
	for _, n := range number {
		used[n] = true
	}
	gap := slices.Index(used, false)
	switch {
	case classes > 0 && k > classes:
		return nil, damaged("label %d, want below %d", k-1, classes)
	case classes == 0 && gap >= 0:
		return nil, damaged("no image has label %d, the largest is %d; number them from 0 without gaps, or say how many classes there are: --classes %d", gap, k-1, k)
	case classes > 0 && classes < maxClasses:
		k = classes
	}
	names := make([]string, k)
	for i := range names {
		names[i] = strconv.Itoa(i)
	}
	return names, nil
}
