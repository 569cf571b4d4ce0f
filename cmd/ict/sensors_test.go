package main

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"ict/gpu"
	"ict/train"
)

// What a GPU tells stands in the statistics and the progress line; what it does not tell is absent, not zero.
func TestGPUStats(t *testing.T) {
	used, celsius, watts, held, mfu := 3<<30, 0, 512.5, true, 0.5
	known := gpuStats{MFU: &mfu, Memory: &used, Peak: &used, Watts: &watts, Celsius: &celsius, Throttled: &held, total: 80 << 30, reasons: []string{"power cap", "heat"}}
	c := train.Presets()["mnist"].Config
	for _, w := range []struct {
		g          gpuStats
		line, json string
	}{
		{known, "data 0.0 %  MFU 50 %  mem 3.0/80.0 GiB  0 °C  throttled (power cap, heat)  ETA ",
			`"mfu":0.5,"gpu_mem_bytes":3221225472,"gpu_mem_peak_bytes":3221225472,"gpu_watts":512.5,"gpu_celsius":0,"gpu_throttled":true`},
		{gpuStats{}, "data 0.0 %  ETA ", ""},
	} {
		k := train.Tick{Step: 1, Steps: 1, Elapsed: time.Second}
		if line := tickLine(k, c, time.Hour, w.g); !strings.Contains(line, w.line) {
			t.Errorf("got %s, want %s in it", line, w.line)
		}
		b, err := json.Marshal(statsOf(k, c, 1, t.TempDir(), w.g))
		if err != nil || !strings.Contains(string(b), w.json) || w.json == "" && (strings.Contains(string(b), "gpu_") || strings.Contains(string(b), "mfu")) {
			t.Errorf("got %s, %v, want %s in it", b, err, w.json)
		}
	}
	if s := (&gauges{perImage: 1}).read(1); s.Memory != nil || len(s.texts()) > 0 {
		t.Errorf("without a GPU: %+v", s)
	}
}

func TestSensorsText(t *testing.T) {
	if got := sensorsText(gpu.Sensors{Watts: 250.4, Celsius: 61, Megahertz: 1755, Utilization: 98, Throttled: []string{"heat"}}); got != ", 61 °C, 250 W, 1,755 MHz, 98 % busy, throttled (heat)" {
		t.Errorf("got %s", got)
	}
	if got := sensorsText(gpu.Sensors{Watts: -1, Celsius: -1, Megahertz: -1, Utilization: -1}); got != "" {
		t.Errorf("got %s, want nothing", got)
	}
}
