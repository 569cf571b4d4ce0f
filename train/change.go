package train

import (
	"encoding/json"
	"fmt"
	"sort"
	"strings"
)

// A Change is one key in which two configurations differ.
type Change struct{ Key, Run, Now string }

// free keys may change between a run and its resume: they decide when, where and how fast, not what.
func free(key string) bool {
	for _, p := range []string{"every.", "keep.", "data.path", "train.micro_batch", "preset"} {
		if key == strings.TrimSuffix(p, ".") || strings.HasSuffix(p, ".") && strings.HasPrefix(key, p) {
			return true
		}
	}
	return false
}

// Changes lists the keys in which a resume's configuration differs from the run's and that may not change freely. Both are
// complete.
func Changes(run, now Config) []Change {
	a, b := flatten(run), flatten(now)
	var list []Change
	for k, v := range a {
		if w := b[k]; w != v && !free(k) {
			list = append(list, Change{k, v, w})
		}
	}
	for k, w := range b {
		if _, ok := a[k]; !ok && !free(k) {
			list = append(list, Change{k, "", w})
		}
	}
	sort.Slice(list, func(i, j int) bool { return list[i].Key < list[j].Key })
	return list
}

// flatten maps dotted keys to values as JSON.
func flatten(c Config) map[string]string {
	b, err := json.Marshal(c)
	if err != nil {
		panic(fmt.Sprintf("train: config: %v", err))
	}
	var tree map[string]any
	if err := json.Unmarshal(b, &tree); err != nil {
		panic(fmt.Sprintf("train: config: %v", err))
	}
	flat := map[string]string{}
	var walk func(prefix string, v any)
	walk = func(prefix string, v any) {
		if m, ok := v.(map[string]any); ok {
			for k, x := range m {
				walk(strings.TrimPrefix(prefix+"."+k, "."), x)
			}
			return
		}
		b, _ := json.Marshal(v)
		flat[prefix] = string(b)
	}
	walk("", tree)
	return flat
}
