package main

import (
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"time"

	"ict/checkpoint"
	"ict/tensor"
	"ict/train"
)

// tickStats is a line of stats.jsonl. Units are in the names.
type tickStats struct {
	Step     int     `json:"step"`
	Images   uint64  `json:"images"`
	Epoch    float64 `json:"epoch"`
	Seconds  float64 `json:"seconds"`
	Stage    int     `json:"stage"`
	GridSize int     `json:"n_grid"`

	Loss        number                  `json:"loss"`
	LossStd     number                  `json:"loss_std"`
	LossByLevel [train.LevelBins]number `json:"loss_by_level"`
	GradNorm    number                  `json:"grad_norm"`
	Skipped     uint64                  `json:"skipped"`
	LossScale   float32                 `json:"loss_scale"`
	LR          float64                 `json:"lr"`
	EMADecay    float64                 `json:"ema_decay"`

	ImgPerS    number  `json:"img_per_s"`
	MsPerStep  number  `json:"ms_per_step"`
	DataWaitMs float64 `json:"data_wait_ms"`

	gpuStats
	HostRSS  int   `json:"host_rss_bytes,omitempty"`
	DiskFree int64 `json:"disk_free_bytes,omitempty"`
}

// number is null in JSON where it is not finite.
type number float64

func (n number) MarshalJSON() ([]byte, error) {
	if f := float64(n); math.IsNaN(f) || math.IsInf(f, 0) {
		return []byte("null"), nil
	}
	return json.Marshal(float64(n))
}

// statsOf is a tick as stats.jsonl keeps it; seconds are those of training, over all starts of the run.
func statsOf(k train.Tick, c train.Config, seconds float64, run string, g gpuStats) tickStats {
	s := tickStats{
		Step: k.Step, Images: k.Images, Epoch: k.Epoch, Seconds: math.Round(seconds*1e3) / 1e3, Stage: k.Stage, GridSize: k.Grid,
		Loss: number(k.Loss), LossStd: number(k.LossStd), GradNorm: number(k.GradNorm), Skipped: k.Skipped, LossScale: k.Scale.S, LR: k.LR, EMADecay: c.EMA[0],
		ImgPerS: number(k.ImagesPerSecond), MsPerStep: number(perStep(k.Elapsed, k.Steps)), DataWaitMs: float64(k.DataWait) / 1e6,
		gpuStats: g, HostRSS: max(0, residentBytes()),
	}
	for i, l := range k.ByLevel {
		s.LossByLevel[i] = number(l)
	}
	if free, err := checkpoint.FreeBytes(run); err == nil {
		s.DiskFree = free
	}
	return s
}

func perStep(d time.Duration, steps int) float64 {
	if steps == 0 {
		return math.NaN()
	}
	return float64(d) / 1e6 / float64(steps)
}

// scaleText writes a loss scale, a power of two.
func scaleText(s float32) string { return fmt.Sprintf("scale 2^%g", math.Log2(float64(s))) }

// tickLine is a tick for people. left is the expected rest; 0: not known yet.
func tickLine(k train.Tick, c train.Config, left time.Duration, g gpuStats) string {
	parts := []string{
		fmt.Sprintf("step %s/%s", comma(k.Step), comma(c.Train.Steps)),
		fmt.Sprintf("%.1f %%", 100*float64(k.Step)/float64(c.Train.Steps)),
		imagesText(k.Images),
		fmt.Sprintf("N %d", k.Grid),
	}
	if !math.IsNaN(k.Loss) {
		parts = append(parts, fmt.Sprintf("loss %.4g", k.Loss), fmt.Sprintf("grad %.3g", k.GradNorm))
	}
	if c.Train.Act() == tensor.F16 {
		parts = append(parts, scaleText(k.Scale.S))
	}
	if k.Skipped > 0 {
		parts = append(parts, fmt.Sprintf("skipped %s", comma(k.Skipped)))
	}
	if k.Steps > 0 {
		parts = append(parts, rateText(k.ImagesPerSecond), fmt.Sprintf("data %.1f %%", 100*float64(k.DataWait)/float64(k.Elapsed)))
	}
	parts = append(parts, g.texts()...)
	if left > 0 {
		parts = append(parts, "ETA "+spanText(left))
	}
	if k.SinceState > 0 {
		parts = append(parts, fmt.Sprintf("state %s ago", spanText(k.SinceState)))
	}
	return strings.Join(parts, "  ")
}
