package cpu_test

import (
	"testing"

	"ict/internal/optest"
)

func TestLinear(t *testing.T) {
	optest.Linear(t, fast)
	optest.Linear(t, exact)
}
