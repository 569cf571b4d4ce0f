//go:build cuda

package gpu

import (
	"bytes"
	"errors"
	"runtime/debug"
	"strings"
	"testing"
	"unsafe"

	"gorgonia.org/cu"

	"ict/internal/optest"
	"ict/tensor"
)

func TestAlloc(t *testing.T) {
	timings(t, func(t *testing.T) {
		d := opened(t, Options{})
		for _, n := range []int{0, 1, 255, 257, 100003} {
			m, err := d.Alloc(n)
			if err != nil {
				t.Fatal(err)
			}
			if m.Bytes() != n || m.Base()%256 != 0 || m.Base() == 0 {
				t.Errorf("alloc %d: got %d bytes at %#x", n, m.Bytes(), m.Base())
			}
			if b := optest.GetBytes(t, d, tensor.Of(m, 0, tensor.U8, n)); !bytes.Equal(b, make([]byte, n)) {
				t.Errorf("alloc %d: not zero", n)
			}
			m, _ = d.Alloc(n + 8)
			x := tensor.Of(m, 0, tensor.U8, n+8)
			d.ReduceHash(tensor.Of(m, 0, tensor.U8, 8), floats(t, d, 1, 3)) // zeroed before launches, too
			if b := optest.GetBytes(t, d, x); !bytes.Equal(b[8:], make([]byte, n)) || bytes.Equal(b[:8], make([]byte, 8)) {
				t.Errorf("alloc %d: got % x after a launch into its first 8 bytes", n+8, b[:min(len(b), 24)])
			}
		}
		if _, err := d.Alloc(-1); err == nil {
			t.Error("alloc -1: no error")
		}
	})
}

func TestOutOfMemory(t *testing.T) {
	simulated(t)
	t.Setenv("ICT_SIM_MEMORY", "1000000")
	d := opened(t, Options{})
	if _, err := d.Alloc(600000); err != nil {
		t.Fatal(err)
	}
	if free, err := d.FreeMemory(); err != nil || free != 400000 {
		t.Errorf("free: got %d, %v, want 400000", free, err)
	}
	_, err := d.Alloc(500000)
	if wantCode(t, "alloc", err, codeOutOfMemory); !errors.Is(err, ErrOutOfMemory) || !strings.Contains(err.Error(), "cuda:0: 0.5 MiB asked for, 0.4 MiB are free") {
		t.Errorf("got %v", err)
	}
	if d.Err() != nil {
		t.Errorf("what does not fit breaks the device: %v", d.Err())
	}
	if _, err := d.Alloc(400000); err != nil {
		t.Errorf("what fits: %v", err)
	}
}

func TestCopies(t *testing.T) {
	timings(t, func(t *testing.T) {
		d := opened(t, Options{})
		h := optest.Normal("x", 1000)
		x := optest.Put(t, d, h)
		optest.Same(t, "round trip", optest.Get(t, d, x), h)
		y := optest.New(t, d, 1000)
		d.Copy(y, x)
		optest.Same(t, "copy", optest.Get(t, d, y), h)
		d.Copy(y.Range(0, 500), x.Range(500, 500))
		got := optest.Get(t, d, y)
		optest.Same(t, "copy of a part", optest.Host{Shape: tensor.Shape{500}, V: got.V[:500]}, optest.Host{Shape: tensor.Shape{500}, V: h.V[500:]})
		if err := d.Sync(); err != nil {
			t.Error(err)
		}
	})
}

// Staging as a training step does it: two blocks in turn, one place that launches read.
func TestStaging(t *testing.T) {
	timings(t, func(t *testing.T) {
		d := opened(t, Options{})
		const n, steps = 1000, 100 // more tickets than pile up
		fixed, sum, one := floats(t, d, 0, n), floats(t, d, 0, n), floats(t, d, 1, n)
		var stage [2]tensor.Tensor
		lost, err := d.Pinned(4)
		if err != nil {
			t.Fatal(err)
		}
		var host, result [2][]byte
		var up, down [2]tensor.Ticket
		for i := range 2 {
			stage[i] = optest.New(t, d, n)
			for _, b := range []*[]byte{&host[i], &result[i]} {
				if *b, err = d.Pinned(4 * n); err != nil {
					t.Fatal(err)
				}
			}
		}
		check := func(k int) {
			if err := down[k%2].Wait(); err != nil {
				t.Fatal(err)
			}
			for _, v := range tensor.Floats(result[k%2]) {
				if want := float32(k*(k+1)/2 + k + 1); v != want {
					t.Fatalf("step %d: got %v, want %v", k, v, want)
				}
			}
		}
		for k := range steps {
			i := k % 2
			if k >= 2 {
				check(k - 2)
				if err := up[i].Wait(); err != nil || !up[i].Done() {
					t.Fatal(err)
				}
			}
			for j := range tensor.Floats(host[i]) {
				tensor.Floats(host[i])[j] = float32(k)
			}
			up[i] = d.Upload(stage[i], host[i])
			d.Copy(fixed, stage[i], up[i])
			add(d, sum, fixed, 1)
			add(d, sum, one, 1)
			down[i] = d.Download(result[i], sum)
			d.Download(lost, sum.Range(0, 1)) // nobody waits for this one
		}
		check(steps - 2)
		check(steps - 1)
		if len(d.pending) > manyPending || len(d.events) > 2*manyPending {
			t.Errorf("%d tickets pending, %d events free", len(d.pending), len(d.events))
		}
	})
}

// Launches after a download must not reach what it reads.
func TestDownloadReadsBeforeLaterLaunches(t *testing.T) {
	timings(t, func(t *testing.T) {
		d := opened(t, Options{})
		x, one := floats(t, d, 1, 100), floats(t, d, 1, 100)
		b, err := d.Pinned(400)
		if err != nil {
			t.Fatal(err)
		}
		add(d, x, one, 1)
		k := d.Download(b, x)
		add(d, x, one, 1)
		d.check("test", d.compute.Synchronize())
		if err := k.Wait(); err != nil {
			t.Fatal(err)
		}
		if got := tensor.Floats(b)[99]; got != 2 {
			t.Errorf("got %v, want 2", got)
		}
	})
}

// The simulator is only worth something if it shows what is wrong.
func TestSimulatorShowsForgottenWait(t *testing.T) {
	simulated(t)
	t.Setenv("ICT_SIM_TIMING", "late")
	t.Setenv("ICT_SIM_SEED", "0")
	for _, wait := range []bool{true, false} {
		d := opened(t, Options{})
		stage, fixed := floats(t, d, 7, 100), floats(t, d, 7, 100)
		b, err := d.Pinned(400)
		if err != nil {
			t.Fatal(err)
		}
		tensor.Floats(b)[0] = 1
		k := d.Upload(stage, b)
		if wait {
			d.Copy(fixed, stage, k)
		} else {
			d.Copy(fixed, stage)
		}
		d.check("test", d.compute.Synchronize())
		got := optest.Get(t, d, fixed).V[0]
		if wait && got != 1 {
			t.Errorf("with the wait: got %v, want 1", got)
		}
		if !wait && got == got {
			t.Errorf("without the wait: got %v, want NaN", got)
		}
	}
}

func TestSimulatorShowsEarlyReuse(t *testing.T) {
	simulated(t)
	t.Setenv("ICT_SIM_TIMING", "late")
	t.Setenv("ICT_SIM_SEED", "0")
	d := opened(t, Options{})
	x := floats(t, d, 0, 10)
	b, err := d.Pinned(40)
	if err != nil {
		t.Fatal(err)
	}
	k := d.Upload(x, b)
	tensor.Floats(b)[3] = 5 // too early
	if err := k.Wait(); err != nil {
		t.Fatal(err)
	}
	if got := optest.Get(t, d, x).V[3]; got != 5 {
		t.Errorf("got %v: the copy has read its source when it was queued", got)
	}
	tensor.Floats(b)[3] = 9
	k = d.Download(b, x)
	if v := tensor.Floats(b)[3]; v == 5 {
		t.Error("a download is there before anybody waited")
	}
	if k.Wait() != nil || tensor.Floats(b)[3] != 5 {
		t.Errorf("got %v, want 5", tensor.Floats(b)[3])
	}
}

func TestUnpinned(t *testing.T) {
	d := opened(t, Options{})
	x := floats(t, d, 1, 4)
	mustPanic(t, "not from Pinned", func() { d.Upload(x, make([]byte, 16)) })
	mustPanic(t, "not from Pinned", func() { d.Download(make([]byte, 16), x) })
	p, err := d.Pinned(32)
	if err != nil {
		t.Fatal(err)
	}
	mustPanic(t, "not from Pinned", func() { d.Upload(x, unsafe.Slice(&p[24], 16)) }) // its end lies outside
	mustPanic(t, "on the host", func() { d.Upload(x, p) })
	if err := d.Upload(x, p[16:]).Wait(); err != nil {
		t.Error(err)
	}
	simulated(t)
	b := make([]byte, 16)
	if err := cu.MemcpyHtoDAsync(devicePtr(d.whole("test", x)), unsafe.Pointer(&b[0]), 16, d.copies); !errors.Is(err, cu.InvalidValue) {
		t.Errorf("the simulator copies from memory that is not page-locked: %v", err)
	}
}

func mustPanic(t *testing.T, want string, f func()) {
	t.Helper()
	defer func() {
		t.Helper()
		if s, _ := recover().(string); !strings.Contains(s, want) {
			t.Errorf("got panic %q, want …%q…", s, want)
		}
	}()
	f()
}

func TestMisuse(t *testing.T) {
	d, other := opened(t, Options{}), opened(t, Options{})
	x := floats(t, d, 1, 8)
	foreign := floats(t, other, 1, 8)
	none := tensor.Tensor{}
	beyond := x
	beyond.Off = 8
	wrong := x
	wrong.DType = tensor.I32
	mustPanic(t, "not memory of this device", func() { d.Copy(x, foreign) })
	mustPanic(t, "leaves its memory", func() { d.Axpby(tensor.Write(x), 1, beyond, 0, none) })
	mustPanic(t, "as many elements", func() { d.Axpby(tensor.Write(x), 1, x.Range(0, 4), 0, none) })
	mustPanic(t, "dtype", func() { d.ScaleImages(x, x, wrong) })
	mustPanic(t, "copy", func() { d.Copy(x, x.Range(0, 4)) })
	mustPanic(t, "linear_fprop", func() { d.LinearFprop(x.As(2, 4), x.As(4, 2), x.As(4, 2), none, tensor.Linear{}) })
	if d.Err() != nil {
		t.Errorf("refused calls broke the device: %v", d.Err())
	}
}

func TestPoison(t *testing.T) {
	t.Setenv("ICT_POISON", "1")
	d := opened(t, Options{})
	x, y, kept := floats(t, d, 1, 12), floats(t, d, 2, 12), floats(t, d, 3, 12)
	column := tensor.Tensor{Mem: x.Mem, Off: 4, Shape: tensor.Shape{3, 2}, DType: tensor.F32, Row: 4}
	l := d.begin("test")
	l.outF(y)
	l.accF(tensor.Acc{Tensor: kept, Beta: 1})
	l.accRows(tensor.Write(column))
	l.spoil()
	gx, gy, gk := optest.Get(t, d, x).V, optest.Get(t, d, y).V, optest.Get(t, d, kept).V
	for i := range 12 {
		inside := i%4 == 1 || i%4 == 2
		if (gx[i] != gx[i]) != inside || gy[i] == gy[i] || gk[i] != 3 {
			t.Fatalf("element %d: got %v (column %v), %v, %v", i, gx[i], inside, gy[i], gk[i])
		}
	}
	// an output that is also an input stays; what is written is right
	d.Axpby(tensor.Write(kept), 2, kept, 0, tensor.Tensor{})
	d.Axpby(tensor.Write(y), 2, kept, 0, tensor.Tensor{})
	if k, y := optest.Get(t, d, kept).V[5], optest.Get(t, d, y).V[5]; k != 6 || y != 12 {
		t.Errorf("got %v and %v, want 6 and 12", k, y)
	}
}

func TestSimulatorCountsLeaks(t *testing.T) {
	simulated(t)
	d := broken(t, Options{})
	if _, err := cu.MemAlloc(100); err != nil {
		t.Fatal(err)
	}
	wantCode(t, "a leak of 100 bytes", d.Close(), 401)
	d = broken(t, Options{})
	d.graphs, d.events = nil, nil
	if _, err := cu.MakeEvent(cu.DisableTiming); err != nil {
		t.Fatal(err)
	}
	wantCode(t, "a leak of an event", d.Close(), 401)
}

func TestSimulatorGuardsMemory(t *testing.T) {
	simulated(t)
	d := broken(t, Options{})
	m, err := d.Alloc(100)
	if err != nil {
		t.Fatal(err)
	}
	*(*byte)(unsafe.Add(m.(*memory).at, 100)) = 1
	wantCode(t, "a byte behind the end", d.Close(), 700)
	d = broken(t, Options{})
	if m, err = d.Alloc(100); err != nil {
		t.Fatal(err)
	}
	*(*byte)(unsafe.Add(m.(*memory).at, -1)) = 1
	wantCode(t, "a byte before the beginning", d.Close(), 700)

	t.Setenv("ICT_SIM_STRICT", "1")
	d = opened(t, Options{})
	x := floats(t, d, 4, 10)
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	faulted := func() (fault bool) {
		defer func() { fault = recover() != nil }()
		sink = *(*byte)(d.whole("test", x))
		return false
	}()
	if !faulted {
		t.Error("strict: the host reads device memory")
	}
	add(d, x, x, 1)
	if got := optest.Get(t, d, x).V[9]; got != 8 {
		t.Errorf("strict: a launch gives %v, want 8", got)
	}

	gone := x.Mem.(*memory)
	d.Close()
	opened(t, Options{}).Alloc(gone.bytes) // may not lie where that one lay
	defer func() {
		if recover() == nil {
			t.Error("freed memory can be read")
		}
	}()
	sink = *(*byte)(gone.at)
}

var sink byte
