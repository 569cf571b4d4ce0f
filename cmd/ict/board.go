package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"

	"ict/internal/events"
)

// board is what a run shows to TensorBoard: tb/. A full disk costs what did not fit, not the run.
type board struct {
	u *ui
	w *events.Writer // nil: there was no room to begin
}

// openBoard begins the run's event file behind the state of a step.
func (r *session) openBoard(step int) error {
	from := int64(step)
	if step == 0 { // init.png and data.png are drawn again
		from = -1
	}
	w, notes, err := events.Open(r.dir.TB(), from)
	for _, n := range notes {
		r.u.warn("%s", message(n))
	}
	r.board = &board{r.u, w}
	if err := r.board.weigh(err); err != nil {
		return err
	}
	if w != nil {
		r.closers = append(r.closers, w.Close)
	}
	return nil
}

// scalars adds the numbers of a line of stats.jsonl, under its keys; those of a list are key/0, key/1, …
func (b *board) scalars(step int, line any) error {
	if b.w == nil {
		return nil
	}
	list, err := scalarsOf(line)
	if err != nil {
		return err
	}
	return b.weigh(b.w.Scalars(int64(step), list))
}

// image adds the picture at path.
func (b *board) image(step int, tag, path string) error {
	if b.w == nil {
		return nil
	}
	picture, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	return b.weigh(b.w.Image(int64(step), tag, picture))
}

func (b *board) weigh(err error) error {
	if err != nil && isFull(err) {
		b.u.warn("%s; going on without", message(err))
		return nil
	}
	return err
}

// scalarsOf is every number of a line but its step, which is the axis. What is null or text is left out.
func scalarsOf(line any) ([]events.Scalar, error) {
	text, err := json.Marshal(line)
	if err != nil {
		return nil, err
	}
	var values map[string]any
	if err := json.Unmarshal(text, &values); err != nil {
		return nil, err
	}
	delete(values, "step")
	var list []events.Scalar
	var add func(tag string, v any)
	add = func(tag string, v any) {
		switch v := v.(type) {
		case float64:
			list = append(list, events.Scalar{Tag: tag, Value: float32(v)})
		case bool:
			one := map[bool]float32{true: 1}
			list = append(list, events.Scalar{Tag: tag, Value: one[v]})
		case []any:
			for i, x := range v {
				add(fmt.Sprintf("%s/%d", tag, i), x)
			}
		}
	}
	for _, key := range slices.Sorted(maps.Keys(values)) {
		add(key, values[key])
	}
	return list, nil
}
