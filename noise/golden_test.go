package noise

import (
	"math"
	"strings"
	"testing"
)

// near compares with a number printed rounded to the given count of significant digits, to one unit of the last: half of
// it is the rounding of the print. 0 must be met exactly.
func near(got, want float64, digits int) bool {
	if want == 0 {
		return got == 0
	}
	unit := math.Pow(10, math.Floor(math.Log10(math.Abs(want)))-float64(digits)+1)
	return math.Abs(got-want) <= unit
}

func golden(t *testing.T, what string, got, want float64, digits int) {
	t.Helper()
	if !near(got, want, digits) {
		t.Errorf("%s: got %.12g, want %.12g", what, got, want)
	}
}

// not asserts that a known mistake's number does not appear.
func not(t *testing.T, mistake string, got, wrong float64, digits int) {
	t.Helper()
	if near(got, wrong, digits) {
		t.Errorf("%s: got %.12g, which is what the mistake gives", mistake, got)
	}
}

func mustPanic(t *testing.T, want string, f func()) {
	t.Helper()
	defer func() {
		t.Helper()
		if got, _ := recover().(string); !strings.Contains(got, want) {
			t.Errorf("panic: got %q, want it to contain %q", got, want)
		}
	}()
	f()
}

func mustRefuse(t *testing.T, err error, want string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("error: got %v, want it to contain %q", err, want)
	}
}

func TestNear(t *testing.T) {
	for _, c := range []struct {
		got, want float64
		digits    int
		near      bool
	}{
		{1.2349, 1.234, 4, true}, {1.2352, 1.234, 4, false}, {1.2328, 1.234, 4, false}, {-999.4, -1000, 4, true},
		{12352, 12340, 4, false}, {1e-300, 0, 4, false}, {0, 0, 4, true}, {math.NaN(), 1, 1, false},
	} {
		if near(c.got, c.want, c.digits) != c.near {
			t.Errorf("near(%v, %v, %d): got %v", c.got, c.want, c.digits, !c.near)
		}
	}
}
