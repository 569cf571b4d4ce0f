package data

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	slash "path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"ict/internal/pickle"
)

// A cifar is a published form of CIFAR: files in a folder, or in a folder of a tar.gz. Images are three planes of 32×32.
type cifar struct {
	train   []string
	test    string
	names   string // file of the classes' names
	sign    []string
	classes int

	// Binary files are records of lead label bytes, the last of which counts (CIFAR-100's first is the coarse label), and
	// 3072 bytes. Python's, with lead 0, are pickled dicts.
	lead             int
	labels, nameList string // keys of the dicts
}

var cifars = func() []cifar {
	var py, bin []string
	for i := 1; i <= 5; i++ {
		py = append(py, fmt.Sprintf("data_batch_%d", i))
		bin = append(bin, fmt.Sprintf("data_batch_%d.bin", i))
	}
	return []cifar{
		{train: py, test: "test_batch", names: "batches.meta", sign: py[:1], classes: 10, labels: "labels", nameList: "label_names"},
		{train: bin, test: "test_batch.bin", names: "batches.meta.txt", sign: bin[:1], classes: 10, lead: 1},
		// train and meta are names of other things too.
		{train: []string{"train"}, test: "test", names: "meta", sign: []string{"train", "meta"}, classes: 100, labels: "fine_labels", nameList: "fine_label_names"},
		{train: []string{"train.bin"}, test: "test.bin", names: "fine_label_names.txt", sign: []string{"train.bin", "fine_label_names.txt"}, classes: 100, lead: 2},
	}
}()

const cifarSide = 32

// member is a file of a folder or an archive.
type member struct {
	name string // for messages
	r    io.ReaderAt
	size int64
}

// folder is where CIFAR's files lie.
type folder struct {
	path    string
	within  string             // folder within an archive
	members map[string]section // of an archive; nil: path is a folder
	files   files
}

// has looks for a file.
func (f *folder) has(name string) bool {
	if f.members == nil {
		return findFile(f.path, []string{name}) != ""
	}
	_, found := f.members[name]
	return found
}

func (f *folder) open(name string) (member, error) {
	if f.members != nil {
		m, found := f.members[name]
		if !found {
			return member{}, damaged("%s: no %s in it", Printable(f.path), Printable(slash.Join(f.within, name)))
		}
		return member{f.path + ": " + slash.Join(f.within, name), io.NewSectionReader(m.r, m.at, m.size), m.size}, nil
	}
	at := filepath.Join(f.path, name)
	r, size, err := f.files.open(at)
	if errors.Is(err, fs.ErrNotExist) {
		err = damaged("%s: missing; the other files of the set are there", Printable(at))
	}
	return member{at, r, size}, err
}

// cifarFile finds the form that a file alone belongs to.
func cifarFile(path string, head []byte) *cifar {
	base := filepath.Base(path)
	for i, c := range cifars {
		if (base == c.test || slices.Contains(c.train, base)) && (c.lead > 0 || isPickle(head)) {
			return &cifars[i]
		}
	}
	return nil
}

// form finds which files these are; nil: none of CIFAR's.
func (f *folder) form() *cifar {
	for i, c := range cifars {
		if !slices.ContainsFunc(c.sign, func(name string) bool { return !f.has(name) }) {
			return &cifars[i]
		}
	}
	return nil
}

func matchCifar(path string, isFolder bool, head []byte) bool {
	if isFolder {
		return (&folder{path: path}).form() != nil
	}
	return cifarFile(path, head) != nil
}

// openCifar opens the training set of a folder, or a single file.
func openCifar(path string, opt Options) (Dataset, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	f := &folder{path: path}
	if info.IsDir() {
		if c := f.form(); c != nil {
			return c.set(f, c.train, path, opt)
		}
	} else {
		head, err := readHead(path, info)
		if err != nil {
			return nil, err
		}
		if c := cifarFile(path, head); c != nil {
			f.path = filepath.Dir(path)
			return c.set(f, []string{filepath.Base(path)}, path, opt)
		}
	}
	return nil, fmt.Errorf("%s: its files went away while they were looked at", Printable(path))
}

// cifar finds the one folder of an archive that holds CIFAR's files; a nil form: there is none.
func (l *listing) cifar(path string) (*folder, *cifar) {
	folders := map[string]map[string]section{}
	for _, e := range l.others {
		within, base := slash.Split(e.name)
		if m, ok := e.file.(section); ok {
			if folders[within] == nil {
				folders[within] = map[string]section{}
			}
			folders[within][base] = m
		}
	}
	for _, within := range slices.Sorted(maps.Keys(folders)) {
		f := &folder{path: path, within: within, members: folders[within], files: l.opened}
		if c := f.form(); c != nil {
			return f, c
		}
	}
	return nil, nil
}

// set opens the named files, and closes all where that fails.
func (c *cifar) set(f *folder, names []string, path string, opt Options) (Dataset, error) {
	b, err := c.open(f, names, opt)
	if err != nil {
		f.files.Close()
		return nil, err
	}
	return adapt(b, path, opt)
}

// open reads all of the named files but their images.
func (c *cifar) open(f *folder, names []string, opt Options) (*batches, error) {
	var classes []string
	if opt.Labels != LabelsNone {
		var err error
		if classes, err = c.classNames(f); err != nil {
			return nil, err
		}
	}
	var parts []batch
	for _, name := range names {
		m, err := f.open(name)
		if err != nil {
			return nil, err
		}
		var p batch
		if c.lead > 0 {
			p, err = cifarRecords(m, c.lead)
		} else {
			p, err = pickledBatch(m, c.labels, opt)
		}
		if err != nil {
			return nil, err
		}
		if p.h != cifarSide || p.w != cifarSide || p.c != 3 {
			return nil, damaged("%s: images of %d×%d×%d, CIFAR's have 32×32×3", Printable(m.name), p.h, p.w, p.c)
		}
		parts = append(parts, p)
	}
	return join(f.path, parts, opt, classes, f.files)
}

// classNames reads the names, if their file is there; else classes are called by their numbers.
func (c *cifar) classNames(f *folder) (names []string, err error) {
	if !f.has(c.names) {
		for i := range c.classes {
			names = append(names, strconv.Itoa(i))
		}
		return names, nil
	}
	m, err := f.open(c.names)
	if err != nil {
		return nil, err
	}
	const most = 1 << 16
	if m.size > most {
		return nil, damaged("%s: %s bytes, want at most %s", Printable(m.name), comma(m.size), comma(most))
	}
	if c.lead > 0 {
		b := make([]byte, m.size)
		if _, err := m.r.ReadAt(b, 0); err != nil {
			return nil, fmt.Errorf("%s: %w", Printable(m.name), err)
		}
		names = strings.Fields(string(b))
	} else {
		v, err := pickle.Load(m.r, m.size)
		if err == nil {
			names, err = pickle.Strings(pickle.Get(v, c.nameList))
		}
		if err != nil {
			return nil, damaged("%s: %s: %v", Printable(m.name), c.nameList, err)
		}
	}
	if len(names) != c.classes {
		return nil, damaged("%s: %d names of classes, want %d", Printable(m.name), len(names), c.classes)
	}
	for _, name := range names {
		if !utf8.ValidString(name) {
			return nil, damaged("%s: class name %q is not UTF-8", Printable(m.name), name)
		}
	}
	return names, nil
}

// cifarRecords reads the labels of a binary file.
func cifarRecords(m member, lead int) (batch, error) {
	record := int64(lead + 3*cifarSide*cifarSide)
	if m.size == 0 || m.size%record != 0 {
		return batch{}, damaged("%s: %s bytes, want records of %s; %s are left over", Printable(m.name), comma(m.size), comma(record), comma(m.size%record))
	}
	b := batch{
		name: m.name, r: m.r, at: int64(lead), stride: record, n: int(m.size / record),
		h: cifarSide, w: cifarSide, c: 3, planes: true,
	}
	r := bufio.NewReaderSize(io.NewSectionReader(m.r, 0, m.size), 1<<20)
	one := make([]byte, record)
	b.labels = make([]int, b.n)
	for i := range b.labels {
		if _, err := io.ReadFull(r, one); err != nil {
			return b, fmt.Errorf("%s: record %s of %s: %w", Printable(m.name), comma(i), comma(b.n), err)
		}
		b.labels[i] = int(one[lead-1])
	}
	return b, nil
}
