package optest

import (
	"fmt"
	"math"
	"testing"

	"ict/internal/philox"
	"ict/tensor"
)

// stepBlock puts a step into device memory and, where s is not nil, a loss scale that the step points to.
func stepBlock(t testing.TB, d tensor.Backend, st tensor.Step, s *tensor.Scale) (step, scale tensor.Tensor) {
	const at = 256
	m, err := d.Alloc(at + tensor.ScaleBytes)
	if err != nil {
		t.Fatal(err)
	}
	step = tensor.Of(m, 0, tensor.U8, tensor.StepBytes)
	if s != nil {
		st.Scale = m.Base() + at
		scale = tensor.Of(m, at, tensor.U8, tensor.ScaleBytes)
		b := make([]byte, tensor.ScaleBytes)
		s.Put(b)
		setBytes(t, d, scale, b)
	}
	b := make([]byte, tensor.StepBytes)
	st.Put(b)
	setBytes(t, d, step, b)
	return step, scale
}

func setBytes(t testing.TB, d tensor.Backend, x tensor.Tensor, b []byte) {
	p, err := d.Pinned(len(b))
	if err != nil {
		t.Fatal(err)
	}
	copy(p, b)
	if err := d.Upload(x, p).Wait(); err != nil {
		t.Fatal(err)
	}
}

// sameWithin fails the test where an element is more than ulps units in the last place away.
func sameWithin(t testing.TB, what string, got, want Host, ulps float64) {
	t.Helper()
	for i, w := range want.V {
		unit := math.Abs(float64(math.Nextafter32(w, float32(math.Inf(1))) - w))
		if e := math.Abs(float64(got.V[i]) - float64(w)); !(e <= ulps*unit) {
			t.Errorf("%s: element %d got %v, want %v within %v ulp", what, i, got.V[i], w, ulps)
			return
		}
	}
}

func randomNormal(t testing.TB, d tensor.Backend, st tensor.Step, purpose uint16, s ...int) Host {
	dst := newWide(t, d, nans(s...))
	step, _ := stepBlock(t, d, st, nil)
	d.RandomNormal(dst.Tensor, step, purpose)
	return dst.get(t, d, fmt.Sprintf("random_normal %v", s))
}

// Random proves RandomNormal.
func Random(t *testing.T, open Open) {
	d := open(t)
	st := tensor.Step{Seed: 0xfedcba9876543210, Step: 3<<32 + 7, Image0: 40}
	for _, s := range []tensor.Shape{{1, 1}, {3, 3}, {2, 7, 5, 3}, {17, 4, 4, 1}, {1, 128, 128, 3}} {
		what := fmt.Sprintf("random_normal %v", s)
		got, size := randomNormal(t, d, st, 4, s...), s.Elems()/s[0]
		want := Zeros(s...)
		for n := range s[0] {
			philox.Stream{Seed: st.Seed, Step: st.Step, Image: uint32(st.Image0) + uint32(n), Purpose: philox.Noise}.Normals(want.V[n*size:(n+1)*size], 0)
		}
		sameWithin(t, what, got, want, 4)

		// an image's noise does not depend on who shares its pass
		for first := range min(s[0], 3) {
			part := st
			part.Image0 += uint64(first)
			one := append(tensor.Shape{1}, s[1:]...)
			Same(t, what+" alone", randomNormal(t, d, part, 4, one...), Host{one, got.V[first*size : (first+1)*size]})
		}
	}
	base := randomNormal(t, d, st, 4, 1, 64)
	for _, other := range []struct {
		name    string
		st      tensor.Step
		purpose uint16
	}{
		{"purpose", st, 5},
		{"seed", tensor.Step{Seed: st.Seed + 1<<32, Step: st.Step, Image0: st.Image0}, 4},
		{"step", tensor.Step{Seed: st.Seed, Step: st.Step + 1<<32, Image0: st.Image0}, 4},
		{"image", tensor.Step{Seed: st.Seed, Step: st.Step, Image0: st.Image0 + 1}, 4},
	} {
		if e := RelErr(randomNormal(t, d, other.st, other.purpose, 1, 64), base); e < 0.5 {
			t.Errorf("random_normal: another %s draws the same noise", other.name)
		}
	}

	// moments 1 to 4 of a million draws, each within five standard errors
	h := randomNormal(t, d, st, 5, 16, 256, 256)
	var m [5]float64
	for _, v := range h.V {
		p := 1.0
		for k := range m {
			m[k] += p
			p *= float64(v)
		}
	}
	n := m[0]
	for k, c := range []struct{ mean, variance float64 }{1: {0, 1}, 2: {1, 2}, 3: {0, 15}, 4: {3, 96}} {
		if k > 0 && math.Abs(m[k]/n-c.mean) > 5*math.Sqrt(c.variance/n) {
			t.Errorf("random_normal: moment %d got %v, want %v", k, m[k]/n, c.mean)
		}
	}
}
