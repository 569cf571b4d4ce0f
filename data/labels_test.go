package data

import (
	"archive/zip"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
)

func TestLabelTables(t *testing.T) {
	dir := t.TempDir()
	members := []packed{{"a/1.png", plain(t, 2, 2, gray(1))}, {"a/2.png", plain(t, 2, 2, gray(2))}, {"b.png", plain(t, 2, 2, gray(3))}}
	for _, m := range members {
		writeFile(t, dir+"/folder/"+m.name, m.content)
	}
	writeFile(t, dir+"/set.zip", zipFile(t, zip.Store, members, nil))
	writeFile(t, dir+"/set.tar", tarFile(t, in("./", members), nil))
	const three = "3 of 3 images have no entry: a/1.png, a/2.png, b.png"
	for _, c := range []struct {
		name, file string
		classes    int
		labels     []int
		names      []string
		err        string
	}{
		{"n.csv", "path,label\nb.png,1\na/1.png,0\n./a/2.png, 1\n", 0, []int{0, 1, 1}, []string{"0", "1"}, ""},
		{"n.csv", "\xef\xbb\xbfb.png,dog\na/1.png,\"cat, black\"\na/2.png,dog\n", 0, []int{0, 1, 1}, []string{"cat, black", "dog"}, ""},
		{"n.json", `{"b.png": "z", "a/1.png": "y", "a/2.png": "x"}`, 0, []int{1, 0, 2}, []string{"x", "y", "z"}, ""},
		{"n.json", `{"b.png": 0, "a/1.png": 2, "a/2.png": 1}`, 0, []int{2, 1, 0}, []string{"0", "1", "2"}, ""},
		{"n.json", `{"labels": [["b.png", 0], ["a/1.png", 1], ["a/2.png", 0]]}`, 0, []int{1, 0, 0}, []string{"0", "1"}, ""},
		{"n.json", `{"labels": null}`, 0, []int{-1, -1, -1}, nil, ""},
		{"n.json", `{"b.png": 10, "a/1.png": 2, "a/2.png": 1}`, 11, []int{2, 1, 10}, []string{"0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10"}, ""},
		{"n.csv", "b.png,2\na/1.png,0\na/2.png,0\n", 0, nil, nil, "no image has label 1, the largest is 2; number them from 0 without gaps, or say how many classes there are: --classes 3"},
		{"n.csv", "b.png,2\na/1.png,0\na/2.png,0\n", 2, nil, nil, "label 2, want below 2"},
		{"n.csv", "b.png,x\na/1.png,y\na/2.png,z\n", 2, nil, nil, "3 classes, want at most 2"},
		{"n.csv", "b.png,0\nb.png,0\na/1.png,1\nc.png,1\n", 0, nil, nil, "1 entries come again: b.png\n  1 of 3 images have no entry: a/2.png\n  1 entries have no image: c.png"},
		{"n.json", `{"b.png": 0, "b.png": 1, "a/1.png": 1, "a/2.png": 1}`, 0, nil, nil, "1 entries come again: b.png"},
		{"n.json", `{}`, 0, nil, nil, three},
		{"n.csv", ``, 0, nil, nil, three},
		{"n.csv", "b.png\n", 0, nil, nil, "wrong number of fields; want lines of path,label"},
		{"n.csv", "b.png,\n", 0, nil, nil, "b.png: no class"},
		{"n.csv", "b.png,\xff\n", 0, nil, nil, "not UTF-8"},
		{"n.csv", "b.png,1.5\na/1.png,1\na/2.png,0", 0, nil, nil, "label 1.5: want whole numbers"},
		{"n.csv", "b.png,-1\na/1.png,1\na/2.png,0", 0, nil, nil, "label -1: want whole numbers"},
		{"n.json", `{"b.png": 0, "a/1.png": "x", "a/2.png": 1}`, 0, nil, nil, "numbers and names, like x"},
		{"n.json", `{"b.png": "0", "a/1.png": "cat", "a/2.png": "1"}`, 0, nil, nil, "numbers and names, like cat"},
		{"n.csv", "b.png,3\na/1.png,cat\na/2.png,3", 0, nil, nil, "numbers and names, like cat"},
		{"n.csv", "b.png,nan\na/1.png,0\na/2.png,1", 0, nil, nil, "numbers and names, like nan"},
		{"n.csv", "b.png,1.5\na/1.png,cat\na/2.png,1e999", 0, nil, nil, "numbers and names, like cat"},
		{"n.csv", "b.png,1e999\na/1.png,0\na/2.png,0", 0, nil, nil, "label 1e999: want whole numbers"},
		{"n.csv", "b.png,nan\na/1.png,inf\na/2.png,inf", 0, []int{0, 0, 1}, []string{"inf", "nan"}, ""},
		{"n.json", "\xef\xbb\xbf" + `{"b.png": "z", "a/1.png": "y", "a/2.png": "y"}`, 0, []int{0, 0, 1}, []string{"y", "z"}, ""},
		{"n.json", `{"b.png": [1]}`, 0, nil, nil, "b.png: got [ as its label"},
		{"n.json", `{"labels": [["b.png", 0]], "more": 1}`, 0, nil, nil, "key more beside labels"},
		{"n.json", `{"labels": [["b.png", 0, 1]]}`, 0, nil, nil, "got 1, want ]"},
		{"n.json", `{"labels": [[0, 1]]}`, 0, nil, nil, "got 0, want a path in quotes"},
		{"n.json", `{"labels": [1]}`, 0, nil, nil, "got 1, want ["},
		{"n.json", `[]`, 0, nil, nil, "got [, want {"},
		{"n.json", `{"b.png": 0} x`, 0, nil, nil, "something behind the last }"},
		{"n.json", `{"b.png": 0`, 0, nil, nil, "EOF"},
		{"n.csv", strings.Repeat("x", 5000) + ".png,0\n", 0, nil, nil, "a path or a class of more than 4,096 bytes"},
	} {
		table := dir + "/" + c.name
		writeFile(t, table, []byte(c.file))
		for _, set := range []string{"folder", "set.zip", "set.tar"} {
			ds, err := Open(dir+"/"+set, Options{Labels: table, Classes: c.classes})
			if c.err != "" {
				wantError(t, err, table+": ", c.err)
				continue
			}
			if err != nil {
				t.Errorf("%s: %v", c.file, err)
				continue
			}
			_, labels := images(t, ds)
			equal(t, c.file, []any{labels, ds.ClassNames()}, []any{c.labels, c.names})
			ds.Close()
		}
	}
	_, err := Open(dir+"/folder", Options{Labels: dir + "/none.csv"})
	if wantError(t, err, dir+"/none.csv: no such file"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v is not of a missing file", err)
	}
	_, err = Open(dir+"/folder", Options{Classes: 3})
	wantError(t, err, "classes: got 3", "with a table")
}

// Blanks belong to a path, not to a label.
func TestLabelTableBlanks(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, dir+"/set/ a.png", plain(t, 2, 2, gray(1)))
	writeFile(t, dir+"/set/b.png", plain(t, 2, 2, gray(2)))
	writeFile(t, dir+"/t.csv", []byte(" a.png,x\nb.png, y \n"))
	ds := open(t, dir+"/set", Options{Labels: dir + "/t.csv"})
	_, labels := images(t, ds)
	equal(t, "labels", []any{labels, ds.ClassNames()}, []any{[]int{0, 1}, []string{"x", "y"}})
}

func FuzzLabelsJSON(f *testing.F) {
	f.Add([]byte(`{"labels": [["a.png", 3], ["b.png", "x"]]}`))
	f.Add([]byte(`{"labels": null}`))
	f.Add([]byte(`{"a.png": 0, "b.png": 1}`))
	f.Add([]byte(`{"a.png": {"x": [[[[]]]]}}`))
	fuzzTable(f, parseJSONTable)
}

func FuzzLabelsCSV(f *testing.F) {
	f.Add([]byte("path,label\na.png,0\nb.png,1\n"))
	f.Add([]byte("a.png,\"x\"\"y\"\nb.png,x\n"))
	fuzzTable(f, parseCSVTable)
}

func fuzzTable(f *testing.F, parse func([]byte) (*labelTable, error)) {
	files := []entry{{name: "a.png"}, {name: "b.png"}}
	f.Fuzz(func(t *testing.T, b []byte) {
		table, err := parse(b)
		if err != nil || table == nil {
			if err != nil && !errors.Is(err, ErrDamaged) {
				t.Errorf("%v is no ErrDamaged", err)
			}
			return
		}
		for _, classes := range []int{0, 2, 1000} {
			labels, names, err := table.resolve(files, classes)
			if err != nil {
				continue
			}
			for i, l := range labels {
				if l < 0 || int(l) >= len(names) {
					t.Fatal(fmt.Sprintf("label %d of %d", l, len(names)), i)
				}
			}
		}
	})
}
