package cpu_test

import (
	"testing"

	"ict/internal/optest"
)

func TestCast(t *testing.T) {
	optest.Cast(t, fast)
	optest.Cast(t, exact)
}

func TestHalf(t *testing.T) {
	optest.Half(t, fast)
	optest.Half(t, exact)
}
