package rundir

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
)

const maxLine = 1 << 20 // bytes of a line of stats.jsonl; a longer one is not ours

// AppendStats adds the JSON of v, which holds a field "step", as one line to stats.jsonl. A line that a kill had torn is
// ended first, so that it spoils nothing but itself.
func (d *Dir) AppendStats(v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("rundir: stats.jsonl: %w", err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	f, err := d.root.OpenFile("stats.jsonl", os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return fmt.Errorf("rundir: %s: %w", d.path, err)
	}
	line := append(b, '\n')
	last := []byte{'\n'}
	size, err := f.Seek(0, io.SeekEnd)
	if err == nil && size > 0 {
		_, err = f.ReadAt(last, size-1)
	}
	if last[0] != '\n' {
		line = append([]byte{'\n'}, line...)
	}
	if err == nil {
		_, err = f.Write(line)
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("rundir: %s: %w", d.StatsJSONL(), err)
	}
	return nil
}

// TruncateAfter cuts stats.jsonl back to the state of a step: it ends after the last line of that step or an earlier one.
// Lines of later steps go, and so does what is torn or unreadable at the end; what is unreadable in between stays. It is
// called when a run resumes, under its lock.
func (d *Dir) TruncateAfter(step int) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	f, err := d.root.OpenFile("stats.jsonl", os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("rundir: %s: %w", d.path, err)
	}
	end, err := endOf(f, int64(step))
	if err == nil {
		err = f.Truncate(end)
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("rundir: %s: %w", d.StatsJSONL(), err)
	}
	return nil
}

// endOf is the offset after the last line of step or before that comes before any line of a later step.
func endOf(r io.Reader, step int64) (end int64, err error) {
	lines := bufio.NewReaderSize(r, maxLine)
	at := int64(0)
	for whole := true; ; {
		line, err := lines.ReadSlice('\n')
		at += int64(len(line))
		if errors.Is(err, bufio.ErrBufferFull) {
			whole = false // the rest of this line comes in further parts
			continue
		}
		if errors.Is(err, io.EOF) {
			return end, nil // a line without its end is torn
		}
		if err != nil {
			return 0, err
		}
		var s struct {
			Step *int64 `json:"step"`
		}
		if whole && json.Unmarshal(line, &s) == nil && s.Step != nil {
			if *s.Step > step {
				return end, nil
			}
			end = at
		}
		whole = true
	}
}
