//go:build cuda

package gpu

import (
	"testing"

	"ict/internal/optest"
)

func TestConv2d(t *testing.T)    { optest.Conv2d(t, open) }
func TestLinear(t *testing.T)    { optest.Linear(t, open) }
func TestGroupNorm(t *testing.T) { optest.GroupNorm(t, open) }
func TestAttention(t *testing.T) { optest.Attention(t, open) }
func TestResample(t *testing.T)  { optest.Resample(t, open) }
func TestPointwise(t *testing.T) { optest.Pointwise(t, open) }
func TestCast(t *testing.T)      { optest.Cast(t, open) }
func TestHalf(t *testing.T)      { optest.Half(t, open) }
func TestPrecond(t *testing.T)   { optest.Precond(t, open) }
func TestEmbed(t *testing.T)     { optest.Embed(t, open) }
func TestRandom(t *testing.T)    { optest.Random(t, open) }
func TestPerturb(t *testing.T)   { optest.Perturb(t, open) }
func TestLoss(t *testing.T)      { optest.Loss(t, open) }
func TestOptim(t *testing.T)     { optest.Optim(t, open) }
func TestReduce(t *testing.T)    { optest.Reduce(t, open) }
