package parity

import (
	"slices"
	"strings"

	"ict/checkpoint"
	"ict/model"
	"ict/nn"
)

// params are the weights of a file, and the network that they belong to.
type params struct {
	net     *model.Net
	entries []nn.Entry
	named   map[string]checkpoint.Named // as files hold them, qkv rows in our order
}

// params records the file's network for n images and finds every parameter and buffer of it.
func (f *file) params(n int, o model.Options) (*params, error) {
	o.Act = f.act()
	net, err := f.model.Record(n, o)
	if err != nil {
		return nil, damaged("%v", err)
	}
	p := &params{net: net, entries: nn.NewLayout(net.Tape, nil).Entries, named: map[string]checkpoint.Named{}}
	for _, e := range p.entries {
		shape, v, err := f.param("param/", e)
		if err != nil {
			return nil, err
		}
		p.named[e.Name] = checkpoint.Named{Name: e.Name, DType: checkpoint.F32, Shape: shape, Data: checkpoint.Float32Bytes(v)}
	}
	return p, nil
}

// param reads what the file has of an entry, as files hold it but for the rows of qkv, which are put into our order.
func (f *file) param(prefix string, e nn.Entry) ([]int, []float32, error) {
	v, shape, err := f.floats(prefix+e.Name, nil)
	if err != nil {
		return nil, nil, err
	}
	if _, err := model.FromFile(e, shape, v); err != nil { // refuses other shapes
		return nil, nil, damaged("%s%s", prefix, strings.TrimPrefix(err.Error(), "model: "))
	}
	if model.IsQKV(e.Name) {
		rows := e.Shape[0]
		v = model.PermuteQKV(v, len(v)/rows, f.model.Heads(rows/3), model.EDMQKV, model.OursQKV)
	}
	return shape, v, nil
}

// inMemory reads what the file has of an entry in the order of memory.
func (f *file) inMemory(prefix string, e nn.Entry) ([]float32, error) {
	shape, v, err := f.param(prefix, e)
	if err != nil {
		return nil, err
	}
	return model.FromFile(e, shape, v)
}

// all reads prefix/… of every entry in the order of memory; of buffers what is there, nil otherwise.
func (f *file) all(prefix string, entries []nn.Entry) ([][]float32, error) {
	var list [][]float32
	for _, e := range entries {
		if e.Buffer && !slices.Contains(f.Names(), prefix+e.Name) {
			list = append(list, nil)
			continue
		}
		v, err := f.inMemory(prefix, e)
		if err != nil {
			return nil, err
		}
		list = append(list, v)
	}
	return list, nil
}

// trained are the entries that have a gradient.
func (p *params) trained() []nn.Entry {
	return slices.DeleteFunc(slices.Clone(p.entries), func(e nn.Entry) bool { return e.Buffer })
}

// get is the source of model.LoadWeights.
func (p *params) get(name string) ([]int, []float32, bool) {
	t, ok := p.named[name]
	return t.Shape, checkpoint.Float32s(t.Data), ok
}

// find is the source of train.Trainer.InitFrom.
func (p *params) find(name string) (checkpoint.Named, bool) {
	t, ok := p.named[name]
	return t, ok
}
