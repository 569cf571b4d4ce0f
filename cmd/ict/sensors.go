package main

import (
	"fmt"
	"math"
	"strings"

	"ict/gpu"
)

// gpuStats are the keys of stats.jsonl that only a GPU has; what is not known is absent.
type gpuStats struct {
	MFU       *float64 `json:"mfu,omitempty"`                // share of the datasheet's rate
	Memory    *int     `json:"gpu_mem_bytes,omitempty"`      // in use on the device, whoever took it
	Peak      *int     `json:"gpu_mem_peak_bytes,omitempty"` // the most of it at a tick of this start
	Watts     *float64 `json:"gpu_watts,omitempty"`
	Celsius   *int     `json:"gpu_celsius,omitempty"`
	Throttled *bool    `json:"gpu_throttled,omitempty"` // clocks are held back

	total   int
	reasons []string
}

// gauges reads a GPU's sensors at ticks; the zero value has none.
type gauges struct {
	dev      *gpu.Device
	peak     int
	perImage float64 // share of the datasheet's rate that one image per second takes; 0: not known
}

// read also turns images per second into MFU; a rate that is not a number has none.
func (g *gauges) read(rate float64) gpuStats {
	var s gpuStats
	if g.dev == nil {
		return s
	}
	if mfu := rate * g.perImage; mfu > 0 && !math.IsInf(mfu, 0) {
		s.MFU = &mfu
	}
	info := g.dev.Info()
	if free, err := g.dev.FreeMemory(); err == nil {
		used := info.Memory - free
		g.peak = max(g.peak, used)
		peak := g.peak
		s.Memory, s.Peak, s.total = &used, &peak, info.Memory
	}
	n := gpu.ReadSensors(info)
	if n.Watts >= 0 {
		s.Watts = &n.Watts
	}
	if n.Celsius >= 0 {
		s.Celsius = &n.Celsius
	}
	if n.Throttled != nil {
		held := len(n.Throttled) > 0
		s.Throttled, s.reasons = &held, n.Throttled
	}
	return s
}

// texts are the parts of the progress line: "MFU 50 %", "mem 41.2/79.1 GiB", "73 °C", "throttled (heat)".
func (s gpuStats) texts() []string {
	var parts []string
	if s.MFU != nil {
		parts = append(parts, fmt.Sprintf("MFU %.0f %%", 100**s.MFU))
	}
	if s.Memory != nil {
		parts = append(parts, fmt.Sprintf("mem %.1f/%.1f GiB", float64(*s.Memory)/(1<<30), float64(s.total)/(1<<30)))
	}
	if s.Celsius != nil {
		parts = append(parts, fmt.Sprintf("%d °C", *s.Celsius))
	}
	if len(s.reasons) > 0 {
		parts = append(parts, "throttled ("+strings.Join(s.reasons, ", ")+")")
	}
	return parts
}

// sensorsText is what ict doctor adds to a device: ", 61 °C, 250 W, 1,755 MHz, 98 % busy".
func sensorsText(s gpu.Sensors) string {
	var text string
	if s.Celsius >= 0 {
		text += fmt.Sprintf(", %d °C", s.Celsius)
	}
	if s.Watts >= 0 {
		text += fmt.Sprintf(", %.0f W", s.Watts)
	}
	if s.Megahertz >= 0 {
		text += fmt.Sprintf(", %s MHz", comma(s.Megahertz))
	}
	if s.Utilization >= 0 {
		text += fmt.Sprintf(", %d %% busy", s.Utilization)
	}
	if len(s.Throttled) > 0 {
		text += ", throttled (" + strings.Join(s.Throttled, ", ") + ")"
	}
	return text
}
