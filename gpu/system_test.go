package gpu

import (
	"slices"
	"testing"
)

func TestKernelCode(t *testing.T) {
	for _, c := range []struct {
		sm    int
		archs string
		want  string
	}{
		{75, "80 90a ptx80", ""}, {80, "80 90a ptx80", "sm_80"}, {86, "80 90a ptx80", "sm_80"}, {89, "80 89 90a ptx80", "sm_89"}, {90, "80 90a ptx80", "sm_90a"},
		{100, "80 90a ptx80", "PTX"}, {103, "80 90a 100 ptx80", "sm_100"}, {120, "80 90a 100 ptx80", "PTX"}, {91, "80 90a", ""}, {90, "80 90", "sm_90"},
		{100, "ptx80 80 100", "sm_100"}, {80, "sim", "simulator"}, {80, "", ""},
	} {
		if got := KernelCode(c.sm, c.archs); got != c.want {
			t.Errorf("sm_%d of %q: got %q, want %q", c.sm, c.archs, got, c.want)
		}
	}
}

func TestThrottled(t *testing.T) {
	for bits, want := range map[uint64][]string{
		0: {}, 0x1: {}, 0x2 | 0x100: {}, 0x4: {"power cap"}, 0x20: {"heat"}, 0x8 | 0x40: {"heat"}, 0x8 | 0x80: {"power brake"}, 0x8: {"hardware"},
	} {
		if got := throttled(bits); got == nil || !slices.Equal(got, want) {
			t.Errorf("%#x: got %#v, want %v", bits, got, want)
		}
	}
}

func TestVersions(t *testing.T) {
	if a, b := CUDAText(13000), CUDAText(12090); a != "13.0" || b != "12.9" {
		t.Errorf("got %s and %s, want 13.0 and 12.9", a, b)
	}
	if a, b := DriverRelease(13000), DriverRelease(99000); a != 580 || b != 0 {
		t.Errorf("got %d and %d, want 580 and 0", a, b)
	}
}
