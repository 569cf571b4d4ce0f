package main

import (
	"math"
	"testing"
	"time"

	"ict/train"
)

func TestParseCount(t *testing.T) {
	for s, want := range map[string]int{"400000": 400000, "400k": 400000, "1.5M": 1500000, "0": 0, "-3": -3, "0.5k": 500, "1e2k": 100000} {
		if got, err := parseCount(s); err != nil || got != want {
			t.Errorf("%q: got %d, %v, want %d", s, got, err, want)
		}
	}
	for _, s := range []string{"", "k", "1.5", "many", "1.0005k", "1e300M", "NaNk", "infM", "1,000", "4 k"} {
		if got, err := parseCount(s); err == nil {
			t.Errorf("%q: got %d, want an error", s, got)
		}
	}
}

// A number that is too large is told so, not that it is none.
func TestParseCountSays(t *testing.T) {
	for s, want := range map[string]string{
		"99999999999999999999": `got "99999999999999999999", want at most 9,223,372,036,854,775,807`,
		"9000000000000M":       `got "9000000000000M", want at most 9,007,199,254,740,992`,
		"1K":                   `got "1K", want a whole number, like 400000 or 400k or 1.5M`,
	} {
		if _, err := parseCount(s); err == nil || err.Error() != want {
			t.Errorf("%s: got %v, want %s", s, err, want)
		}
	}
}

func TestQuantile(t *testing.T) {
	for _, k := range []struct {
		sorted      []float64
		share, want float64
	}{{[]float64{122.8, 147.3}, 0.5, 135.05}, {[]float64{1, 2, 4}, 0.5, 2}, {[]float64{1, 2, 4}, 0.75, 3}, {[]float64{7}, 0.25, 7}, {[]float64{1, 2, 4, 8}, 1, 8}, {[]float64{1, 2}, 0, 1}} {
		if got := quantile(k.sorted, k.share); math.Abs(got-k.want) > 1e-9 {
			t.Errorf("%g of %v: got %g, want %g", k.share, k.sorted, got, k.want)
		}
	}
}

func TestParseOthers(t *testing.T) {
	if l, err := parseLevels("80, 0.821"); err != nil || len(l) != 2 || l[1] != 0.821 {
		t.Errorf("levels: %v, %v", l, err)
	}
	for _, s := range []string{"", "80,", "80;1", "NaN", "inf"} {
		if l, err := parseLevels(s); err == nil {
			t.Errorf("levels %q: got %v, want an error", s, l)
		}
	}
	if r, c, err := parseGrid("8x10"); err != nil || r != 8 || c != 10 {
		t.Errorf("grid: %d, %d, %v", r, c, err)
	}
	for _, s := range []string{"", "8", "8x", "0x8", "8x-1", "8x8x8", "1001x1"} {
		if _, _, err := parseGrid(s); err == nil {
			t.Errorf("grid %q: want an error", s)
		}
	}
	for s, want := range map[string]float64{"0.1%": 0.001, "0.001": 0.001, "100%": 1, "0": 0} {
		if got, err := parseShare(s); err != nil || math.Abs(got-want) > 1e-15 {
			t.Errorf("share %q: %v, %v", s, got, err)
		}
	}
	for _, s := range []string{"", "%", "101%", "-1", "NaN"} {
		if _, err := parseShare(s); err == nil {
			t.Errorf("share %q: want an error", s)
		}
	}
	for s, ok := range map[string]bool{"auto": true, "cpu": true, "cuda": true, "cuda:3": true, "cuda:": false, "cuda:-1": false, "tpu": false, "": false} {
		if _, err := parseDevice(s); (err == nil) != ok {
			t.Errorf("device %q: %v", s, err)
		}
	}
}

func TestTexts(t *testing.T) {
	for got, want := range map[string]string{
		comma(1234567):                   "1,234,567",
		comma(-1234):                     "-1,234",
		comma(999):                       "999",
		bytesText(1023):                  "1023 B",
		bytesText(43486543872):           "40.5 GiB",
		bytesText(5 << 42):               "20,480.0 GiB",
		bytesText(1 << 62):               "4,294,967,296.0 GiB",
		imagesText(50e9):                 "50,000.0 Mimg",
		imagesText(999_999):              "1,000.0 kimg",
		imagesText(9999):                 "9,999 img",
		imagesText(38400):                "38.4 kimg",
		imagesText(12697600):             "12.7 Mimg",
		flopText(12.3e9):                 "12.3 GFLOP",
		flopText(7.04e19):                "7.0e19 FLOP",
		rateText(2912.4):                 "2,912 img/s",
		rateText(11.42):                  "11.4 img/s",
		spanText(300 * time.Millisecond): "300 ms",
		spanText(42 * time.Second):       "42 s",
		spanText(8 * time.Minute):        "8 min",
		spanText(200 * time.Minute):      "3 h 20 min",
		spanText(37 * time.Hour):         "37 h 0 min",
		spanText(61 * time.Hour):         "2 d 13 h",
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// The line of product.md, as far as a CPU has numbers for it.
func TestTickLine(t *testing.T) {
	c := train.Presets()["cifar10"].Config
	k := train.Tick{
		Step: 12400, Images: 12697600, Grid: 11, Loss: 0.0831, GradNorm: 0.42, ImagesPerSecond: 2912, Steps: 100, Elapsed: 35 * time.Second,
		DataWait: 140 * time.Millisecond, SinceState: 8 * time.Minute,
	}
	const want = "step 12,400/400,000  3.1 %  12.7 Mimg  N 11  loss 0.0831  grad 0.42  2,912 img/s  data 0.4 %  ETA 37 h 0 min  state 8 min ago"
	if got := tickLine(k, c, 37*time.Hour, gpuStats{}); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	k.Loss, k.Skipped = math.NaN(), 3
	if got := tickLine(k, c, 0, gpuStats{}); got != "step 12,400/400,000  3.1 %  12.7 Mimg  N 11  skipped 3  2,912 img/s  data 0.4 %  state 8 min ago" {
		t.Errorf("got %s", got)
	}
}
