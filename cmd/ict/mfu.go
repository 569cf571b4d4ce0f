package main

import "strings"

// datasheet holds the rates of devices as their makers state them: dense (no structured sparsity), at boost clocks, in FLOP/s.
// Sources: NVIDIA A100 Tensor Core GPU datasheet; NVIDIA H100 Tensor Core GPU Architecture whitepaper, table 2; NVIDIA H200
// datasheet. A device that is not here has no MFU: a guess would look like a measurement.
var datasheet = []struct {
	is               func(name string) bool
	half, tf32, fp32 float64
}{
	{startsWith("NVIDIA A100"), 312e12, 156e12, 19.5e12},
	{equals("NVIDIA H100 80GB HBM3"), 989.4e12, 494.7e12, 66.9e12},
	{equals("NVIDIA H100 PCIe"), 756e12, 378e12, 51.2e12},
	{equals("NVIDIA H200"), 989.4e12, 494.7e12, 66.9e12},
}

func equals(want string) func(string) bool { return func(name string) bool { return name == want } }

// startsWith leaves out slices of a device.
func startsWith(want string) func(string) bool {
	return func(name string) bool { return strings.HasPrefix(name, want) && !strings.Contains(name, "MIG") }
}

// peakFLOPs is the datasheet rate of a device for a precision of products, in FLOP/s; 0: not known.
func peakFLOPs(device, precision string) float64 {
	for _, d := range datasheet {
		if d.is(device) {
			return map[string]float64{"fp16": d.half, "bf16": d.half, "tf32": d.tf32, "fp32": d.fp32}[precision]
		}
	}
	return 0
}
