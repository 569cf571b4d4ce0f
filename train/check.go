package train

import (
	"encoding/binary"

	"ict/data"
	"ict/nn"
	"ict/tensor"
)

// A BadValue is the first value of a step that is not finite: the op that made it, or the parameter or input that held it.
type BadValue struct {
	Path  string // enc.16x16_block2.attention
	Where string // forward, forward of the teacher, backward, parameter, input
}

func (b BadValue) String() string { return b.Path + ", " + b.Where }

// looker looks after each op of a step for values that are not finite. Everything travels to the host for that.
type looker struct {
	dev   tensor.Backend
	chunk []byte // pinned
	first *BadValue
	err   error
}

const lookBytes = 1 << 20

// Check makes every step from now on run launch by launch, with a look after each op; TakeBad tells what was found. It costs a
// multiple of a step's time.
func (t *Trainer) Check() error {
	l := &looker{dev: t.dev}
	var err error
	if l.chunk, err = t.dev.Pinned(lookBytes); err != nil {
		return err
	}
	t.look = l
	t.stage.Student.Look = l.after("forward")
	t.stage.Target.Look = l.after("forward of the teacher")
	return nil
}

// TakeBad is the first value that was not finite since it was last asked, nil if there was none.
func (t *Trainer) TakeBad() (*BadValue, error) {
	l := t.look
	bad, err := l.first, l.err
	l.first, l.err = nil, nil
	return bad, err
}

// Blame reruns step k on its batch, with a look after each op and without the update, and returns the first value that is not
// finite; nil: there was none. The numbers are those of the step if the weights and the loss scale still are. Afterwards the
// trainer's gradient is that of this step.
func (t *Trainer) Blame(k int, b data.Batch) (*BadValue, error) {
	if t.look == nil {
		if err := t.Check(); err != nil {
			return nil, err
		}
	}
	if _, err := t.TakeBad(); err != nil {
		return nil, err
	}
	now := t.K
	t.K = k
	defer func() { t.K = now }()
	for j := range t.parts {
		if err := t.fill(b, j, &results{}); err != nil {
			return nil, err
		}
		t.objective.Loss(&t.stage)
		t.stage.Student.Backward(nil)
		if bad, err := t.TakeBad(); bad != nil || err != nil {
			return bad, err
		}
	}
	return nil, t.dev.Err()
}

// after is the look after each op of a program whose way forward is called so.
func (l *looker) after(forward string) func(string, bool, []nn.Seen) {
	return func(path string, backward bool, touched []nn.Seen) {
		if l.first != nil || l.err != nil {
			return
		}
		// What was given before what the op made of it.
		for _, given := range []bool{true, false} {
			for _, s := range touched {
				if (s.FromLoss || !backward && s.V.Kind != nn.Activation) != given || l.finite(s.X) {
					continue
				}
				if l.err != nil {
					return
				}
				switch {
				case s.FromLoss:
					l.first = &BadValue{"loss", "backward"}
				case backward:
					l.first = &BadValue{path, "backward"}
				case s.V.Kind == nn.Input:
					l.first = &BadValue{s.V.Name, "input"}
				case s.V.Kind != nn.Activation:
					l.first = &BadValue{s.V.Name, "parameter"}
				default:
					l.first = &BadValue{path, forward}
				}
				return
			}
		}
	}
}

// finite reports whether every value of x is; integers are.
func (l *looker) finite(x tensor.Tensor) bool {
	size := x.DType.Size()
	if x.DType != tensor.F32 && x.DType != tensor.F16 && x.DType != tensor.BF16 || x.Absent() {
		return true
	}
	rows, cols, stride := 1, x.Shape.Elems(), 0
	if x.Row != 0 { // a column of a stack
		rows, cols, stride = x.Shape[0], x.Shape.Elems()/x.Shape[0], x.Row
	}
	for row := range rows {
		begin := x.Off + row*stride*size
		for at, end := begin, begin+cols*size; at < end; at += lookBytes {
			b := l.chunk[:min(lookBytes, end-at)]
			if l.err = l.dev.Download(b, tensor.Of(x.Mem, at, tensor.U8, len(b))).Wait(); l.err != nil {
				return false
			}
			if !finiteBits(b, x.DType) {
				return false
			}
		}
	}
	return true
}

// finiteBits looks for exponents of ones alone.
func finiteBits(b []byte, d tensor.DType) bool {
	if d == tensor.F32 {
		for ; len(b) > 0; b = b[4:] {
			if binary.NativeEndian.Uint32(b)&(0xff<<23) == 0xff<<23 {
				return false
			}
		}
		return true
	}
	exponent := uint16(0x1f << 10)
	if d == tensor.BF16 {
		exponent = 0xff << 7
	}
	for ; len(b) > 0; b = b[2:] {
		if binary.NativeEndian.Uint16(b)&exponent == exponent {
			return false
		}
	}
	return true
}
