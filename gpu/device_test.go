//go:build cuda

package gpu

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"gorgonia.org/cu"

	"ict/internal/optest"
	"ict/tensor"
)

// opened is a device that must work, and give everything back.
func opened(t testing.TB, o Options) *Device {
	t.Helper()
	d := broken(t, o)
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return d
}

// broken is a device that a test is going to break.
func broken(t testing.TB, o Options) *Device {
	t.Helper()
	d, err := Open(o)
	if errors.Is(err, ErrNoDriver) {
		t.Skipf("needs a GPU, or the simulator (make test-sim): %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

func open(t testing.TB) tensor.Backend { return opened(t, Options{}) }

// simulated skips a test that asks the stand-in driver for something.
func simulated(t testing.TB) {
	t.Helper()
	list, err := Devices()
	if err != nil || len(list) == 0 || !list[0].Simulated {
		t.Skipf("needs the simulator (make test-sim): %v %v", list, err)
	}
}

// timings runs f with work done as late and as early as the simulator can, and at random.
func timings(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	for _, m := range [][2]string{{"late", "0"}, {"late", "7"}, {"early", "0"}} {
		t.Run(m[0]+m[1], func(t *testing.T) {
			t.Setenv("ICT_SIM_TIMING", m[0])
			t.Setenv("ICT_SIM_SEED", m[1])
			f(t)
		})
	}
}

// wantCode demands an Error with this code.
func wantCode(t testing.TB, what string, err error, code int) *Error {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) || e.Code != code {
		t.Fatalf("%s: got %v, want code %d", what, err, code)
	}
	return e
}

func floats(t testing.TB, d *Device, v float32, n int) tensor.Tensor {
	t.Helper()
	return optest.Put(t, d, optest.Zeros(n).Map(func(float32) float32 { return v }))
}

// add queues x += v·one.
func add(d *Device, x, one tensor.Tensor, v float32) {
	d.Axpby(tensor.Acc{Tensor: x, Beta: 1}, v, one, 0, tensor.Tensor{})
}

func TestOpen(t *testing.T) {
	d := opened(t, Options{})
	list, err := Devices()
	if err != nil || len(list) < 1 {
		t.Fatalf("devices: %v, %v", list, err)
	}
	if d.Info() != list[0] || !list[0].Usable || list[0].Memory < 1<<20 || list[0].Name == "" {
		t.Errorf("device %+v, listed as %+v", d.Info(), list[0])
	}
	if _, err := Open(Options{Device: len(list)}); !errors.Is(err, ErrNoDevice) {
		t.Errorf("device %d: got %v, want ErrNoDevice", len(list), err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Errorf("closed twice: %v", err)
	}
	if _, err := d.Alloc(1); err == nil || d.Err() == nil {
		t.Error("a closed device gives memory")
	}
}

func TestSeveralDevices(t *testing.T) {
	simulated(t)
	t.Setenv("ICT_SIM_DEVICES", "3")
	if list, err := Devices(); err != nil || len(list) != 3 {
		t.Fatalf("got %v, %v, want three devices", list, err)
	}
	if d := opened(t, Options{Device: 2}); d.Info().Device != 2 {
		t.Errorf("opened %v", d.Info())
	}
}

func TestStaleKernels(t *testing.T) {
	opened(t, Options{}) // skips without a driver
	linked := kernelsSHA
	defer func() { kernelsSHA = linked }()
	for _, sha := range []string{"", "0123456789abcdef"} {
		kernelsSHA = sha
		if _, err := Open(Options{}); !errors.Is(err, ErrStaleKernels) {
			t.Errorf("linked with %q: got %v, want ErrStaleKernels", sha, err)
		}
	}
}

func TestOldDevice(t *testing.T) {
	simulated(t)
	t.Setenv("ICT_SIM_SM", "75")
	if _, err := Open(Options{}); !errors.Is(err, ErrArch) || !strings.Contains(err.Error(), "(sm_75)") {
		t.Errorf("got %v, want ErrArch", err)
	}
	t.Setenv("ICT_SIM_SM", "90")
	if d := opened(t, Options{}); d.exec.sm != 90 {
		t.Errorf("launchers are told sm %d, want 90", d.exec.sm)
	}
}

// What fails on the way is given back: the census of the simulator would say so at the last release.
func TestOpenFails(t *testing.T) {
	simulated(t)
	for _, call := range []string{"cuDevicePrimaryCtxRetain:1:2", "cuStreamCreate:2:2", "cuEventCreate:1:2"} {
		t.Setenv("ICT_SIM_FAIL", call)
		_, err := Open(Options{})
		wantCode(t, call, err, 2)
		t.Setenv("ICT_SIM_FAIL", "")
		opened(t, Options{}).Close()
	}
}

// child runs one test of this program in a process of its own.
func child(t *testing.T, test string, env ...string) string {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^"+test+"$", "-test.v")
	cmd.Env = append(append(os.Environ(), "ICT_TEST_CHILD=1"), env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s with %v: %v\n%s", test, env, err, out)
	}
	return string(out)
}

func isChild(t *testing.T) {
	t.Helper()
	if os.Getenv("ICT_TEST_CHILD") == "" {
		t.Skip("run by another test, in a process of its own")
	}
}

// libraryOf is the file of a loaded library.
func libraryOf(t *testing.T, name string) string {
	t.Helper()
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		t.Fatal(err)
	}
	for l := range strings.Lines(string(maps)) {
		if f := strings.Fields(l); strings.HasPrefix(filepath.Base(f[len(f)-1]), name) {
			return f[len(f)-1]
		}
	}
	t.Skipf("%s is linked in", name)
	return ""
}

func TestNoDriver(t *testing.T) {
	simulated(t)
	kernels := libraryOf(t, "libictkernels.so")
	alone := t.TempDir()
	if err := os.Symlink(kernels, filepath.Join(alone, filepath.Base(kernels))); err != nil {
		t.Fatal(err)
	}
	if out := child(t, "TestChildWithoutDriver", "LD_LIBRARY_PATH="+alone); !strings.Contains(out, "libcuda.so.1") {
		t.Errorf("the reason is missing:\n%s", out)
	}
	if out := child(t, "TestChildWithoutDriver", "ICT_SIM_FAIL=cuInit:1:999"); !strings.Contains(out, "code 999") {
		t.Errorf("the reason is missing:\n%s", out)
	}
}

func TestChildWithoutDriver(t *testing.T) {
	isChild(t)
	_, err := Open(Options{})
	_, err2 := Devices()
	if !errors.Is(err, ErrNoDriver) || !errors.Is(err2, ErrNoDriver) {
		t.Errorf("got %v and %v, want ErrNoDriver", err, err2)
	}
	if n, err := cu.NumDevices(); n != 0 || err != nil {
		t.Errorf("the driver that is not there counts %d devices, %v", n, err)
	}
	if _, err := cu.MemAlloc(1); !errors.Is(err, cu.NoDevice) {
		t.Errorf("the driver that is not there allocates: %v", err)
	}
	t.Log(err)
}

// A library that takes a signal without SA_ONSTACK would end the program at the next one.
func TestSignalStacks(t *testing.T) {
	simulated(t)
	child(t, "TestChildSignals", "ICT_SIM_SIGNALS=1")
}

func TestChildSignals(t *testing.T) {
	isChild(t)
	const saOnStack = 0x08000000
	action := func(sig syscall.Signal) (a struct{ handler, flags, restorer, mask uintptr }) {
		if _, _, e := syscall.RawSyscall6(syscall.SYS_RT_SIGACTION, uintptr(sig), 0, uintptr(unsafe.Pointer(&a)), 8, 0, 0); e != 0 {
			t.Fatal(e)
		}
		return a
	}
	before := action(syscall.SIGCHLD)
	opened(t, Options{})
	after := action(syscall.SIGCHLD)
	if after.handler == before.handler {
		t.Fatal("the simulator has not taken the signal")
	}
	if after.flags&saOnStack == 0 {
		t.Error("SIGCHLD is handled on whatever stack it meets")
	}
	for range 3 {
		if err := exec.Command("/bin/true").Run(); err != nil { // ends with a SIGCHLD
			t.Fatal(err)
		}
	}
}
