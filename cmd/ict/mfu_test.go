package main

import "testing"

func TestPeakFLOPs(t *testing.T) {
	for _, row := range []struct {
		device, precision string
		want              float64
	}{
		{"NVIDIA A100-SXM4-80GB", "bf16", 312e12},
		{"NVIDIA A100-PCIE-40GB", "fp32", 19.5e12},
		{"NVIDIA A100-SXM4-40GB MIG 1g.5gb", "bf16", 0},
		{"NVIDIA H100 80GB HBM3", "fp16", 989.4e12},
		{"NVIDIA H100 PCIe", "tf32", 378e12},
		{"NVIDIA H100 NVL", "fp16", 0},
		{"NVIDIA H200", "tf32", 494.7e12},
		{"NVIDIA H200 NVL", "tf32", 0},
		{"AMD EPYC 7571", "fp32", 0},
	} {
		if got := peakFLOPs(row.device, row.precision); got != row.want {
			t.Errorf("%s %s: got %g, want %g", row.device, row.precision, got, row.want)
		}
	}
}
