package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"ict/train"
)

// The JSON of train.Config is the truth: its names are the keys, its types the values. YAML is walked against them, so that every key
// that is unknown, given twice or of the wrong type is refused by line.

// patch is one value for one key, as JSON, and where it comes from.
type patch struct {
	key    string
	json   json.RawMessage
	origin string
}

const maxConfig = 1 << 20 // bytes of a configuration file

// readConfig reads a YAML configuration file.
func readConfig(path string) ([]patch, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.IsDir() {
		return nil, fmt.Errorf("--config %s: is a folder, want a YAML file", path)
	}
	if info.Size() > maxConfig {
		return nil, fmt.Errorf("%s: %s bytes, want at most %s", path, comma(info.Size()), comma(maxConfig))
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxConfig+1)) // a pipe or a device does not say how long it is
	if err != nil {
		return nil, err
	}
	if len(b) > maxConfig {
		return nil, fmt.Errorf("%s: more than %s bytes, want at most that", path, comma(maxConfig))
	}
	return parseConfig(path, b)
}

// parseConfig reads the YAML b of a file called name.
func parseConfig(name string, b []byte) ([]patch, error) {
	if bytes.IndexByte(b, 0) >= 0 || !utf8.Valid(b) {
		return nil, fmt.Errorf("%s: this is no text; want a YAML file", name)
	}
	var doc, second yaml.Node
	d := yaml.NewDecoder(bytes.NewReader(b))
	err := d.Decode(&doc)
	if errors.Is(err, io.EOF) {
		return nil, nil
	}
	if err == nil {
		switch err = d.Decode(&second); {
		case err == nil:
			return nil, fmt.Errorf("%s:%d: a second document; want one", name, second.Line)
		case errors.Is(err, io.EOF):
			err = nil
		}
	}
	if err != nil {
		line, text := yamlFault(err)
		if last := bytes.Count(bytes.TrimRight(b, " \t\r\n"), []byte("\n")) + 1; line > last {
			line = last // what is missing at the end is missing behind the last line, not somewhere below it
		}
		if line > 0 {
			name = fmt.Sprintf("%s:%d", name, line)
		}
		return nil, fmt.Errorf("%s: %s; want YAML", name, text)
	}
	w := walk{at: func(n *yaml.Node) string { return fmt.Sprintf("%s:%d", name, n.Line) }}
	w.value(doc.Content[0], reflect.TypeFor[train.Config](), "")
	return w.patches, w.err
}

// What the YAML library says of a text that it cannot read. It counts the lines of what its parser (unlike its scanner) finds from 0, and
// leaves out line 0 and what it would say of the first.
var (
	yamlSays   = regexp.MustCompile(`(?s)^yaml: (?:line ([0-9]+): )?(.*)$`)
	yamlParser = regexp.MustCompile(`^(did not find expected ([<',]|node content|key)|found (undefined tag handle|duplicate|incompatible))`)
	yamlPlaced = regexp.MustCompile(`^(did not|found|could not|mapping|block) `)
)

// yamlFault is the line of an error of the YAML library, 0 where it is not known, and what is wrong there.
func yamlFault(err error) (line int, text string) {
	m := yamlSays.FindStringSubmatch(err.Error())
	if m == nil {
		return 0, err.Error()
	}
	line, _ = strconv.Atoi(m[1]) // "" is 0
	if m[1] != "" && yamlParser.MatchString(m[2]) || m[1] == "" && yamlPlaced.MatchString(m[2]) {
		line++
	}
	return line, m[2]
}

// parseSet reads the value of --set key.path=value, which is YAML.
func parseSet(s, flag string) ([]patch, error) {
	key, text, ok := strings.Cut(s, "=")
	if !ok {
		return nil, fmt.Errorf("%s %s: want key=value, like train.batch=64", flag, s)
	}
	key = strings.TrimSpace(key)
	t, known := reflect.TypeFor[train.Config](), true
	path := ""
	for part := range strings.SplitSeq(key, ".") {
		f, found := fields(t)[part]
		if isValue(t) || !found {
			known = false
			break
		}
		t, path = f, join(path, part)
	}
	if !known {
		return nil, fmt.Errorf("%s: unknown key %s%s", flag, key, suggestKey(path, strings.TrimPrefix(key[len(path):], ".")))
	}
	var doc yaml.Node
	if err := yaml.Unmarshal([]byte(text), &doc); err != nil {
		_, fault := yamlFault(err)
		return nil, fmt.Errorf("%s %s: %s", flag, key, fault)
	}
	if len(doc.Content) == 0 {
		return nil, fmt.Errorf("%s %s: no value; want %s=%s", flag, key, key, want(t))
	}
	w := walk{at: func(*yaml.Node) string { return flag }}
	w.value(doc.Content[0], t, key)
	return w.patches, w.err
}

// walk turns YAML nodes into patches and stops at the first error.
type walk struct {
	at      func(*yaml.Node) string // where a node stands
	patches []patch
	err     error
}

func (w *walk) fail(n *yaml.Node, format string, a ...any) {
	if w.err == nil {
		w.err = fmt.Errorf("%s: %s", w.at(n), fmt.Sprintf(format, a...))
	}
}

func (w *walk) value(n *yaml.Node, t reflect.Type, key string) {
	if n.Kind == yaml.AliasNode || n.Anchor != "" {
		w.fail(n, "%s: anchors and aliases are not read", key)
		return
	}
	if isValue(t) {
		b, err := toJSON(n, t)
		if err != nil {
			w.fail(n, "%s: %v", key, err)
			return
		}
		w.patches = append(w.patches, patch{key, b, w.at(n)})
		return
	}
	if n.Kind != yaml.MappingNode {
		w.fail(n, "%sgot %s, want keys: %s", strings.TrimPrefix(key+": ", ": "), got(n), strings.Join(fieldNames(t), " "))
		return
	}
	known, seen := fields(t), map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k := n.Content[i]
		name := k.Value
		switch f, ok := known[name]; {
		case k.Kind != yaml.ScalarNode || !ok:
			w.fail(k, "unknown key %s%s", join(key, name), suggestKey(key, name))
		case seen[name] > 0:
			w.fail(k, "%s is given twice, first in line %d", join(key, name), seen[name])
		default:
			seen[name] = k.Line
			w.value(n.Content[i+1], f, join(key, name))
		}
		if w.err != nil {
			return
		}
	}
}

// toJSON is the JSON of a node for type t, checked by decoding it.
func toJSON(n *yaml.Node, t reflect.Type) (json.RawMessage, error) {
	b, err := encodeNode(n, t)
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(b, reflect.New(t).Interface()); err != nil {
		return nil, fmt.Errorf("got %s, want %s", got(n), want(t))
	}
	return b, nil
}

func encodeNode(n *yaml.Node, t reflect.Type) ([]byte, error) {
	bad := fmt.Errorf("got %s, want %s", got(n), want(t))
	if t.Kind() == reflect.Slice {
		return encodeList(n, t, bad)
	}
	if n.Kind != yaml.ScalarNode || n.Tag == "!!null" {
		return nil, bad
	}
	switch {
	case t == reflect.TypeFor[train.Interval]():
		if c, err := parseCount(n.Value); err == nil {
			return []byte(strconv.Itoa(c)), nil
		}
		return json.Marshal(n.Value)
	case (t == reflect.TypeFor[train.Auto]() || t == reflect.TypeFor[train.AutoF]()) && n.Value == "auto":
		return []byte(`"auto"`), nil
	}
	switch t.Kind() {
	case reflect.Bool:
		if n.Tag == "!!bool" {
			return []byte(strings.ToLower(n.Value)), nil
		}
	case reflect.Int:
		c, err := parseCount(n.Value)
		return []byte(strconv.Itoa(c)), err
	case reflect.Uint64:
		c, err := strconv.ParseUint(n.Value, 10, 64)
		if errors.Is(err, strconv.ErrRange) {
			return nil, fmt.Errorf("got %s, want at most %s", got(n), comma(uint64(math.MaxUint64)))
		}
		if err == nil {
			return []byte(strconv.FormatUint(c, 10)), nil
		}
	case reflect.Float64:
		if f, err := strconv.ParseFloat(n.Value, 64); err == nil {
			return json.Marshal(f) // infinities and NaN fail
		}
	case reflect.String:
		if utf8.ValidString(n.Value) {
			return json.Marshal(n.Value)
		}
	}
	return nil, bad
}

// encodeList takes a sequence, or a scalar with commas.
func encodeList(n *yaml.Node, t reflect.Type, bad error) ([]byte, error) {
	items := n.Content
	switch {
	case n.Kind == yaml.ScalarNode && n.Tag != "!!null":
		items = nil
		for part := range strings.SplitSeq(n.Value, ",") {
			items = append(items, &yaml.Node{Kind: yaml.ScalarNode, Value: strings.TrimSpace(part)})
		}
	case n.Kind != yaml.SequenceNode:
		return nil, bad
	}
	parts := make([][]byte, len(items))
	for i, item := range items {
		var err error
		if item.Kind != yaml.ScalarNode {
			return nil, bad
		}
		if parts[i], err = encodeNode(item, t.Elem()); err != nil {
			return nil, bad
		}
	}
	return []byte("[" + string(bytes.Join(parts, []byte(","))) + "]"), nil
}

// isValue reports whether a type is a value, not a group of keys.
func isValue(t reflect.Type) bool {
	return t.Kind() != reflect.Struct || reflect.PointerTo(t).Implements(reflect.TypeFor[json.Unmarshaler]())
}

// fields are the keys of a group and their types.
func fields(t reflect.Type) map[string]reflect.Type {
	m := map[string]reflect.Type{}
	if t.Kind() == reflect.Struct {
		for i := range t.NumField() {
			m[fieldName(t.Field(i))] = t.Field(i).Type
		}
	}
	return m
}

func fieldNames(t reflect.Type) []string {
	var s []string
	for i := range t.NumField() {
		s = append(s, fieldName(t.Field(i)))
	}
	return s
}

func fieldName(f reflect.StructField) string {
	name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
	return name
}

// keys are all keys of values, in order.
func keys() []string {
	var list []string
	var add func(t reflect.Type, prefix string)
	add = func(t reflect.Type, prefix string) {
		for i := range t.NumField() {
			key := join(prefix, fieldName(t.Field(i)))
			if f := t.Field(i).Type; isValue(f) {
				list = append(list, key)
			} else {
				add(f, key)
			}
		}
	}
	add(reflect.TypeFor[train.Config](), "")
	return list
}

func join(prefix, name string) string {
	if prefix == "" {
		return name
	}
	return prefix + "." + name
}

// suggestKey looks for a key like name: in the same group, then with such a last word anywhere; where nothing is near, it lists the group.
func suggestKey(group, name string) string {
	var here []string // keys and groups in group
	last := map[string]string{}
	for _, k := range keys() {
		word := k[strings.LastIndexByte(k, '.')+1:]
		if _, ok := last[word]; !ok {
			last[word] = k
		}
		rest, in := strings.CutPrefix(k, strings.TrimPrefix(group+".", "."))
		if first, _, _ := strings.Cut(rest, "."); in && !slices.Contains(here, first) {
			here = append(here, first)
		}
	}
	word := name[strings.LastIndexByte(name, '.')+1:]
	full := func(s string) string { return "; did you mean " + s + "?" }
	if k, ok := last[word]; ok { // the right key in the wrong group
		return full(k)
	}
	if n := nearest(name, here); n != "" {
		return full(join(group, n))
	}
	if n := nearest(name, keys()); n != "" {
		return full(n)
	}
	if n := nearest(word, slices.Sorted(maps.Keys(last))); n != "" {
		return full(last[n])
	}
	what := "there are"
	if group != "" {
		what = group + " has"
	}
	return fmt.Sprintf("\n  %s: %s", what, strings.Join(here, " "))
}

// got describes a node in a message.
func got(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "keys"
	case yaml.SequenceNode:
		return "a list"
	}
	if n.Tag == "!!null" {
		return "nothing"
	}
	return strconv.Quote(n.Value)
}

// want describes a type in a message.
func want(t reflect.Type) string {
	switch t {
	case reflect.TypeFor[train.Interval]():
		return "steps or a duration like 30m"
	case reflect.TypeFor[train.Auto]():
		return "a positive whole number or auto"
	case reflect.TypeFor[train.AutoF]():
		return "a positive number or auto"
	}
	switch t.Kind() {
	case reflect.Bool:
		return "true or false"
	case reflect.Int, reflect.Uint64:
		return "a whole number"
	case reflect.Float64:
		return "a number"
	case reflect.String:
		return "text"
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Int {
			return "whole numbers like [1, 2]"
		}
		return "numbers like [0.99, 0.999]"
	}
	return "keys: " + strings.Join(fieldNames(t), " ")
}

// configYAML is a configuration as a file, in the order of its fields; comments, where given, stand behind the keys they are for.
func configYAML(c train.Config, comments map[string]string) ([]byte, error) {
	b, err := json.Marshal(c)
	if err != nil {
		return nil, err
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(b, &doc); err != nil {
		return nil, err
	}
	plain(doc.Content[0], "", comments)
	var out bytes.Buffer
	e := yaml.NewEncoder(&out)
	e.SetIndent(2)
	if err := e.Encode(&doc); err != nil {
		return nil, err
	}
	return out.Bytes(), e.Close()
}

// plain takes JSON's style from a node: groups become blocks, lists of numbers stay on a line, quotes go.
func plain(n *yaml.Node, key string, comments map[string]string) {
	n.Style = 0
	if n.Kind == yaml.SequenceNode {
		n.Style = yaml.FlowStyle
	}
	for i, c := range n.Content {
		if n.Kind != yaml.MappingNode {
			plain(c, key, comments)
			continue
		}
		c.Style = 0
		if i%2 == 1 {
			k := join(key, n.Content[i-1].Value)
			plain(c, k, comments)
			if text, ok := comments[k]; ok && c.Kind != yaml.MappingNode {
				c.LineComment = "# " + text
			}
		}
	}
}
