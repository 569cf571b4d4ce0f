//go:build cuda

package gpu

import (
	"runtime"
	"strings"
	"testing"

	"gorgonia.org/cu"

	"ict/internal/optest"
	"ict/internal/philox"
	"ict/tensor"
)

// captured is a step that reads what changes through a pointer: x += noise of the step; sum += x.
type captured struct {
	d               *Device
	x, sum, z, step tensor.Tensor
	host            []byte
}

func newCaptured(t testing.TB, d *Device) *captured {
	c := &captured{d: d, x: floats(t, d, 0, 50).As(2, 25), sum: floats(t, d, 0, 50).As(2, 25), z: optest.New(t, d, 2, 25)}
	c.step = optest.PutBytes(t, d, make([]byte, tensor.StepBytes), tensor.U8, tensor.StepBytes)
	var err error
	if c.host, err = d.Pinned(tensor.StepBytes); err != nil {
		t.Fatal(err)
	}
	return c
}

func (c *captured) run() {
	c.d.RandomNormal(c.z, c.step, uint16(philox.Noise))
	add(c.d, c.x, c.z, 1)
	add(c.d, c.sum, c.x, 1)
	c.d.Copy(c.z, c.x)
}

func (c *captured) at(t testing.TB, k int) {
	tensor.Step{Seed: 3, Step: uint64(k)}.Put(c.host)
	if err := c.d.Sync(); err != nil {
		t.Fatal(err)
	}
	if err := c.d.Upload(c.step, c.host).Wait(); err != nil {
		t.Fatal(err)
	}
}

func TestCaptureEqualsEager(t *testing.T) {
	timings(t, func(t *testing.T) {
		var want []optest.Host
		for _, o := range []Options{{NoGraph: true}, {}} {
			c := newCaptured(t, opened(t, o))
			var replay func()
			for k := range 5 {
				c.at(t, k)
				if replay != nil {
					replay()
					continue
				}
				c.run()
				before := optest.Get(t, c.d, c.sum)
				var err error
				if replay, err = c.d.Capture(c.run); err != nil {
					t.Fatal(err)
				}
				optest.Same(t, "capture runs nothing", optest.Get(t, c.d, c.sum), before)
			}
			got := []optest.Host{optest.Get(t, c.d, c.x), optest.Get(t, c.d, c.sum), optest.Get(t, c.d, c.z)}
			if o.NoGraph {
				want = got
				if len(c.d.graphs) != 0 {
					t.Error("a graph in spite of NoGraph")
				}
				continue
			}
			for i := range got {
				optest.Same(t, "replayed", got[i], want[i])
			}
			if g := c.d.graphs; len(g) != 1 || g[0].nodes < 4 {
				t.Errorf("got %d graphs, want one of at least 4 launches", len(g))
			}
		}
	})
}

func TestCaptureForbids(t *testing.T) {
	d := opened(t, Options{})
	c := newCaptured(t, d)
	c.run()
	ticket := d.Download(c.host, c.step)
	for what, f := range map[string]func(){
		"alloc":    func() { d.Alloc(1) },
		"pinned":   func() { d.Pinned(1) },
		"upload":   func() { d.Upload(c.step, c.host) },
		"download": func() { d.Download(c.host, c.step) },
		"sync":     func() { d.Sync() },
		"capture":  func() { d.Capture(func() {}) },
		"copy":     func() { d.Copy(c.x, c.z, d.Download(c.host, c.step)) },
	} {
		mustPanic(t, "not allowed inside Capture", func() {
			d.Capture(func() {
				c.run()
				f()
			})
		})
		if d.Err() != nil {
			t.Fatalf("%s: %v", what, d.Err())
		}
	}
	if err := ticket.Wait(); err != nil { // all of them left the device as it was
		t.Fatal(err)
	}
	replay, err := d.Capture(c.run)
	if err != nil {
		t.Fatal(err)
	}
	replay()
	if err := d.Sync(); err != nil {
		t.Error(err)
	}
}

// What Go does not see the driver refuses.
func TestCaptureInvalidated(t *testing.T) {
	d := broken(t, Options{})
	c := newCaptured(t, d)
	c.run()
	_, err := d.Capture(func() {
		c.run()
		if _, err := cu.MemAlloc(1); err == nil {
			t.Error("the driver allocates inside a capture")
		}
	})
	wantCode(t, "capture", err, 901)
	wantCode(t, "sticky", d.Err(), 901)
}

func TestWrongThread(t *testing.T) {
	d := broken(t, Options{})
	x := floats(t, d, 1, 4)
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // this thread has no context, and ends with the goroutine
		add(d, x, x, 1)
	}()
	<-done
	simulated(t) // a real driver's runtime would make a context of its own
	e := wantCode(t, "launch on another thread", d.Err(), 201)
	if e.Op != "axpby" {
		t.Errorf("got op %q, want axpby", e.Op)
	}
}

// The goroutine that opened a device stays on its thread, whatever others take meanwhile.
func TestOneThread(t *testing.T) {
	d := opened(t, Options{})
	x := floats(t, d, 1, 4)
	release := make(chan struct{})
	defer close(release)
	for range 20 {
		taken := make(chan struct{})
		go func() {
			runtime.LockOSThread() // takes the thread that this test waited on, were it free
			defer runtime.UnlockOSThread()
			close(taken)
			<-release
		}()
		<-taken
		add(d, x, x, 0)
		if err := d.Sync(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestStickyErrors(t *testing.T) {
	simulated(t)
	t.Setenv("ICT_SIM_FAIL", "cuLaunchKernel:2:719")
	d := broken(t, Options{})
	x, y := floats(t, d, 1, 4), floats(t, d, 1, 5)
	b, err := d.Pinned(16)
	if err != nil {
		t.Fatal(err)
	}
	add(d, y, y, 1)
	k := d.Download(b, x)
	add(d, x, x, 1) // fails
	add(d, y, y, 1) // does nothing
	e := wantCode(t, "launch", d.Err(), 719)
	if e.Op != "axpby" || len(e.Shapes) == 0 || !e.Shapes[0].Equal(tensor.Shape{4}) || !strings.Contains(e.Text, "fail") {
		t.Errorf("got %v, want axpby of (4)", e)
	}
	_, err1 := d.Alloc(1)
	_, err2 := d.Capture(func() {})
	for _, err := range []error{k.Wait(), d.Sync(), err1, err2, d.Upload(x, b).Wait(), d.Close()} {
		if err != e {
			t.Errorf("later: got %v, want the first error", err)
		}
	}
}

// A fault shows late and stays; ICT_SYNC=1 gives it its name.
func TestFaults(t *testing.T) {
	simulated(t)
	t.Setenv("ICT_SIM_FAIL", "launch:2:700")
	for _, sync := range []string{"", "1"} {
		t.Setenv("ICT_SYNC", sync)
		d := broken(t, Options{})
		x := floats(t, d, 1, 4)
		add(d, x, x, 1)
		d.ScaleImages(x.As(2, 2), x.As(2, 2), floats(t, d, 1, 2))
		if sync == "1" {
			if e := wantCode(t, "fault", d.Err(), 700); e.Op != "scale_images" {
				t.Errorf("got op %q, want scale_images", e.Op)
			}
		}
		add(d, x, x, 1)
		wantCode(t, "fault", d.Sync(), 700)
		wantCode(t, "fault", d.Close(), 700)
		if replay, err := d.Capture(func() {}); err == nil {
			t.Errorf("a closed device captures: %v", replay != nil)
		}
	}
}

func TestSyncMeansNoGraph(t *testing.T) {
	t.Setenv("ICT_SYNC", "1")
	d := opened(t, Options{})
	ran := false
	replay, err := d.Capture(func() { ran = true })
	if err != nil || ran {
		t.Fatalf("got %v, step run: %v", err, ran)
	}
	if replay(); !ran {
		t.Error("replay is not the step itself")
	}
}
