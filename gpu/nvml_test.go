//go:build cuda

package gpu

import (
	"slices"
	"strings"
	"testing"
)

func TestSensors(t *testing.T) {
	simulated(t)
	list, err := Devices()
	if err != nil {
		t.Fatal(err)
	}
	for numbers, want := range map[string]Sensors{
		"512300,71,1755,0x24,98,1000000,17179869184": {Watts: 512.3, Celsius: 71, Megahertz: 1755, Utilization: 98, Used: 1000000, Total: 1 << 34,
			Throttled: []string{"power cap", "heat"}},
		"-1,30,-1,1": {Watts: -1, Celsius: 30, Megahertz: -1, Utilization: -1, Used: -1, Total: -1, Throttled: []string{}}, // idle
		"":           noSensors,
	} {
		t.Setenv("ICT_SIM_SENSORS", numbers)
		got := ReadSensors(list[0])
		if (got.Throttled == nil) != (want.Throttled == nil) || !slices.Equal(got.Throttled, want.Throttled) {
			t.Errorf("%q: throttled %#v, want %#v", numbers, got.Throttled, want.Throttled)
		}
		got.Throttled, want.Throttled = nil, nil
		if got.Watts != want.Watts || got.Celsius != want.Celsius || got.Megahertz != want.Megahertz || got.Utilization != want.Utilization ||
			got.Used != want.Used || got.Total != want.Total {
			t.Errorf("%q: got %+v, want %+v", numbers, got, want)
		}
	}
}

func TestSystem(t *testing.T) {
	simulated(t)
	s := ReadSystem()
	if s.NoDriver != nil || s.DriverCUDA != s.BuiltCUDA || s.BuiltCUDA < 12000 || s.Stale != nil || s.NVML.Err != nil || !strings.Contains(s.DriverText, "simulator") {
		t.Errorf("got %+v", s)
	}
}

// Without its library, or where it refuses, numbers are absent and nothing else changes.
func TestNoNVML(t *testing.T) {
	simulated(t)
	child(t, "TestChildWithoutNVML", "ICT_SIM_NO_NVML=1", "ICT_SIM_SENSORS=1000,1,1,1,1,1,1")
}

func TestChildWithoutNVML(t *testing.T) {
	isChild(t)
	s := ReadSystem()
	if s.NVML.Err == nil || !strings.Contains(s.NVML.Err.Error(), "code 9") || s.DriverText != "" || s.NoDriver != nil {
		t.Errorf("got %+v, want no NVML and a driver", s)
	}
	if got := ReadSensors(opened(t, Options{}).Info()); got.Watts != -1 || got.Celsius != -1 || got.Throttled != nil {
		t.Errorf("got %+v, want nothing", got)
	}
}

// On a GPU, NVML must speak of the device that CUDA means.
func TestSensorsOfGPU(t *testing.T) {
	i := opened(t, Options{}).Info()
	if i.Simulated {
		t.Skip("about a GPU; the simulator's sensors say what they are told")
	}
	if err := openNVML(); err != nil {
		t.Skipf("no NVML on this machine: %v", err)
	}
	s := ReadSensors(i)
	if s.Used < 1<<20 || s.Used > s.Total || float64(s.Total) < 0.9*float64(i.Memory) || s.Celsius > 120 || s.Watts > 2000 {
		t.Errorf("got %+v of %v", s, i)
	}
}
