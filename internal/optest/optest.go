// Package optest proves a backend: one exported test per op over one list of cases. A backend's own test is one line,
//
//	func TestGroupNorm(t *testing.T) { optest.GroupNorm(t, open) }
//
// Each test compares the backend with cpu in exact mode (check), and the backward launchers with finite differences
// of the forward ones in exact mode (grad). Golden numbers stand in the tests of package cpu.
package optest

import (
	"fmt"
	"math"
	"testing"

	"ict/cpu"
	"ict/internal/philox"
	"ict/tensor"
)

// Open makes the backend under test. It is called inside the test, on the goroutine that uses it.
type Open func(testing.TB) tensor.Backend

// Exact is the reference.
func Exact(t testing.TB) tensor.Backend {
	d, err := cpu.Open(cpu.Options{Exact: true})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// A Host array is float32 values with a shape, to be put on any backend.
type Host struct {
	Shape tensor.Shape
	V     []float32
}

// Zeros is a host array of zeros.
func Zeros(s ...int) Host { return Host{s, make([]float32, tensor.Shape(s).Elems())} }

// Normal is unit normals, a function of the name and the shape.
func Normal(name string, s ...int) Host {
	h := Zeros(s...)
	philox.Stream{Seed: philox.NameStep(name), Purpose: philox.Init}.Normals(h.V, 0)
	return h
}

// Ints is small integers in [−limit, limit], on which every correct implementation of a sum of products agrees to the bit.
func Ints(name string, limit int, s ...int) Host {
	h := Zeros(s...)
	w := make([]uint32, len(h.V))
	philox.Stream{Seed: philox.NameStep(name), Purpose: philox.Init}.Words(w, 0)
	for i := range h.V {
		h.V[i] = float32(int(w[i]%uint32(2*limit+1)) - limit)
	}
	return h
}

// Map is a new array of f of each value.
func (h Host) Map(f func(float32) float32) Host {
	o := Zeros(h.Shape...)
	for i, v := range h.V {
		o.V[i] = f(v)
	}
	return o
}

// Bytes are the values as the backend stores them.
func (h Host) bytes() []byte {
	b := make([]byte, 4*len(h.V))
	for i, v := range h.V {
		u := math.Float32bits(v)
		b[4*i], b[4*i+1], b[4*i+2], b[4*i+3] = byte(u), byte(u>>8), byte(u>>16), byte(u>>24)
	}
	return b
}

// Put uploads h; an array without a shape becomes the absent tensor.
func Put(t testing.TB, d tensor.Backend, h Host) tensor.Tensor {
	if h.Shape == nil {
		return tensor.Tensor{}
	}
	return PutBytes(t, d, h.bytes(), tensor.F32, h.Shape...)
}

// PutBytes uploads raw bytes.
func PutBytes(t testing.TB, d tensor.Backend, b []byte, dt tensor.DType, s ...int) tensor.Tensor {
	m, err := d.Alloc(max(len(b), 1))
	if err != nil {
		t.Fatal(err)
	}
	x := tensor.Of(m, 0, dt, s...)
	p, err := d.Pinned(len(b))
	if err != nil {
		t.Fatal(err)
	}
	copy(p, b)
	if err := d.Upload(x, p).Wait(); err != nil {
		t.Fatal(err)
	}
	return x
}

// New is a tensor of NaN, so that an element that nobody writes shows.
func New(t testing.TB, d tensor.Backend, s ...int) tensor.Tensor {
	nan := float32(math.NaN())
	return Put(t, d, Zeros(s...).Map(func(float32) float32 { return nan }))
}

// Get downloads a F32 tensor.
func Get(t testing.TB, d tensor.Backend, x tensor.Tensor) Host {
	b := GetBytes(t, d, x)
	h := Zeros(x.Shape...)
	for i := range h.V {
		h.V[i] = math.Float32frombits(uint32(b[4*i]) | uint32(b[4*i+1])<<8 | uint32(b[4*i+2])<<16 | uint32(b[4*i+3])<<24)
	}
	return h
}

// GetBytes downloads the bytes of a tensor.
func GetBytes(t testing.TB, d tensor.Backend, x tensor.Tensor) []byte {
	p, err := d.Pinned(x.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Download(p, x).Wait(); err != nil {
		t.Fatal(err)
	}
	if err := d.Err(); err != nil {
		t.Fatal(err)
	}
	return p
}

// Work is scratch of so many bytes, full of NaN.
func Work(t testing.TB, d tensor.Backend, bytes int) tensor.Tensor {
	if bytes == 0 {
		return tensor.Tensor{}
	}
	w := New(t, d, (bytes+3)/4)
	w.DType, w.Shape = tensor.U8, tensor.Shape{bytes}
	return w
}

// RelErr is ‖got − want‖/‖want‖, +Inf where a value is NaN; ‖got‖ where want is zero.
func RelErr(got, want Host) float64 {
	if !got.Shape.Equal(want.Shape) {
		panic(fmt.Sprintf("optest: %v compared with %v", got.Shape, want.Shape))
	}
	var diff, ref float64
	for i := range got.V {
		e := float64(got.V[i]) - float64(want.V[i])
		diff += e * e
		ref += float64(want.V[i]) * float64(want.V[i])
	}
	if math.IsNaN(diff) {
		return math.Inf(1)
	}
	if ref == 0 {
		return math.Sqrt(diff)
	}
	return math.Sqrt(diff / ref)
}

// Near fails the test where got differs from want by more than tol (RelErr).
func Near(t testing.TB, what string, got, want Host, tol float64) {
	t.Helper()
	if e := RelErr(got, want); !(e <= tol) {
		t.Errorf("%s: relative error %.3g, want at most %.3g", what, e, tol)
	}
}

// Same fails the test unless the bits are equal.
func Same(t testing.TB, what string, got, want Host) {
	t.Helper()
	for i := range want.V {
		if math.Float32bits(got.V[i]) != math.Float32bits(want.V[i]) {
			t.Errorf("%s: element %d got %v, want %v, to the bit", what, i, got.V[i], want.V[i])
			return
		}
	}
}

// Dot is Σ a·b in float64.
func Dot(a, b Host) float64 {
	var s float64
	for i := range a.V {
		s += float64(a.V[i]) * float64(b.V[i])
	}
	return s
}

// Slope is the directional derivative of f at x along dir by central differences: (f(x+h·dir) − f(x−h·dir))/2h.
func Slope(f func(Host) float64, x, dir Host, h float64) float64 {
	shift := func(s float64) Host {
		o := Zeros(x.Shape...)
		for i := range o.V {
			o.V[i] = float32(float64(x.V[i]) + s*float64(dir.V[i]))
		}
		return o
	}
	return (f(shift(h)) - f(shift(-h))) / (2 * h)
}
