package cpu_test

import (
	"testing"

	"ict/internal/optest"
)

func TestConv2d(t *testing.T) {
	optest.Conv2d(t, fast)
	optest.Conv2d(t, exact)
}
