package train

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"ict/checkpoint"
	"ict/model"
	"ict/noise"
	"ict/tensor"
)

// Config is everything a run needs. Its JSON is in every checkpoint; its YAML, the same names, is the config file.
type Config struct {
	Preset    string       `json:"preset"`
	Data      Data         `json:"data"`
	Model     model.Config `json:"model"`
	Noise     Noise        `json:"noise"`
	Objective Objectives   `json:"objective"`
	Optim     Optim        `json:"optim"`
	EMA       []float64    `json:"ema"` // decays; the first is the one that is sampled
	Train     Train        `json:"train"`
	Every     Every        `json:"every"`
	Keep      Keep         `json:"keep"`
}

// Data names the training set.
type Data struct {
	Path string `json:"path"`
	Flip bool   `json:"flip"` // horizontal, with probability ½
}

// Noise is the range of levels; see noise.Levels.
type Noise struct {
	Min  float64 `json:"min"`
	Max  float64 `json:"max"`
	Data float64 `json:"data"`
	Rho  float64 `json:"rho"`
}

// Levels are the same numbers as noise knows them.
func (n Noise) Levels() noise.Levels {
	return noise.Levels{Min: n.Min, Max: n.Max, Data: n.Data, Rho: n.Rho}
}

// Objectives configures the objective; kind ict.
type Objectives struct {
	Kind   string  `json:"kind"`
	S0     int     `json:"s0"`      // intervals of the first grid
	S1     Auto    `json:"s1"`      // intervals of the last; auto: so many doublings that each stage gets train.stage_min steps
	Mean   float64 `json:"mean"`    // of ln σ in the proposal
	Std    float64 `json:"std"`     // of ln σ in the proposal
	HuberC AutoF   `json:"huber_c"` // auto: 0.00054·√(scalars of an image)
}

// Optim configures the optimiser: radam or adam, constant learning rate.
type Optim struct {
	Kind        string  `json:"kind"`
	LR          float64 `json:"lr"`
	Beta1       float64 `json:"beta1"`
	Beta2       float64 `json:"beta2"`
	Eps         float64 `json:"eps"`
	WeightDecay float64 `json:"weight_decay"`
	Clip        float64 `json:"clip"` // of the gradient's norm; 0: none
}

// Train is the run itself.
type Train struct {
	Steps      int       `json:"steps"`
	StageMin   int       `json:"stage_min"`
	Batch      int       `json:"batch"`       // of the whole run
	MicroBatch Auto      `json:"micro_batch"` // images at a time on one rank; auto: the largest that fits
	Init       string    `json:"init"`        // random, or a file of weights
	Precision  string    `json:"precision"`   // auto, or one of Precisions
	LossScale  LossScale `json:"loss_scale"`  // acts in fp16 alone
	Seed       uint64    `json:"seed"`
	MaxSkips   int       `json:"max_skips"` // skipped steps in a row, with the loss scale at its floor, that are a divergence
}

// Precisions are the types that a run can compute in: fp32; fp32 whose products are of operands rounded to tf32; activations,
// their gradients and the weights that convolutions read in 16 bits.
var Precisions = []string{"fp32", "tf32", "bf16", "fp16"}

// Act is the type of activations. What auto means is for the device to say; until then it is F32.
func (t Train) Act() tensor.DType {
	switch t.Precision {
	case "fp16":
		return tensor.F16
	case "bf16":
		return tensor.BF16
	}
	return tensor.F32
}

// LossScale says where the loss scale starts and after how many good steps it doubles.
type LossScale struct {
	Start float64 `json:"start"`
	Every int     `json:"every"`
}

// Every says how often things happen.
type Every struct {
	Status   Interval `json:"status"`
	Grid     Interval `json:"grid"`
	Snapshot Interval `json:"snapshot"`
	State    Interval `json:"state"`
}

// Keep is what stays on disk.
type Keep struct {
	States    int    `json:"states"`    // the last so many
	Snapshots string `json:"snapshots"` // all, last N, or every N (steps); see checkpoint.Retention
}

// Auto is an integer or "auto", which is 0.
type Auto int

// AutoF is a number or "auto", which is 0.
type AutoF float64

func (a Auto) String() string {
	if a == 0 {
		return "auto"
	}
	return strconv.Itoa(int(a))
}

func (a AutoF) String() string {
	if a == 0 {
		return "auto"
	}
	return strconv.FormatFloat(float64(a), 'g', -1, 64)
}

// MarshalJSON writes "auto" or the number.
func (a Auto) MarshalJSON() ([]byte, error) { return autoJSON(a.String()) }

// MarshalJSON writes "auto" or the number.
func (a AutoF) MarshalJSON() ([]byte, error) { return autoJSON(a.String()) }

func autoJSON(s string) ([]byte, error) {
	if s == "auto" {
		return []byte(`"auto"`), nil
	}
	return []byte(s), nil
}

// UnmarshalJSON reads "auto" or a positive integer.
func (a *Auto) UnmarshalJSON(b []byte) error {
	if string(b) == `"auto"` {
		*a = 0
		return nil
	}
	var n int
	if err := json.Unmarshal(b, &n); err != nil || n < 1 {
		return fmt.Errorf("got %s, want a positive integer or auto", b)
	}
	*a = Auto(n)
	return nil
}

// UnmarshalJSON reads "auto" or a positive number.
func (a *AutoF) UnmarshalJSON(b []byte) error {
	if string(b) == `"auto"` {
		*a = 0
		return nil
	}
	var f float64
	if err := json.Unmarshal(b, &f); err != nil || !(f > 0) {
		return fmt.Errorf("got %s, want a positive number or auto", b)
	}
	*a = AutoF(f)
	return nil
}

// Interval is a number of steps, a wall-clock duration ("30m"), or 0: never.
type Interval struct {
	Steps int
	Wall  time.Duration
}

// Steps is an interval of n steps.
func Steps(n int) Interval { return Interval{Steps: n} }

// Wall is an interval of time.
func Wall(d time.Duration) Interval { return Interval{Wall: d} }

func (i Interval) String() string {
	if i.Wall > 0 {
		s := i.Wall.String() // 30m0s
		if strings.HasSuffix(s, "m0s") {
			s = strings.TrimSuffix(s, "0s")
		}
		if strings.HasSuffix(s, "h0m") {
			s = strings.TrimSuffix(s, "0m")
		}
		return s
	}
	return strconv.Itoa(i.Steps)
}

// MarshalJSON writes the number of steps, or the duration as a string.
func (i Interval) MarshalJSON() ([]byte, error) {
	if i.Wall > 0 {
		return json.Marshal(i.String())
	}
	return json.Marshal(i.Steps)
}

// UnmarshalJSON reads what MarshalJSON writes.
func (i *Interval) UnmarshalJSON(b []byte) error {
	*i = Interval{}
	if len(b) > 0 && b[0] == '"' {
		var s string
		if err := json.Unmarshal(b, &s); err != nil {
			return err
		}
		d, err := time.ParseDuration(s)
		if err != nil || d <= 0 {
			return fmt.Errorf("got %q, want steps or a duration like 30m", s)
		}
		i.Wall = d
		return nil
	}
	if err := json.Unmarshal(b, &i.Steps); err != nil || i.Steps < 0 {
		return fmt.Errorf("got %s, want steps or a duration like 30m", b)
	}
	return nil
}

// DecodeConfig reads the JSON of a Config strictly: unknown fields are errors. Fields that b leaves out keep base's values.
func DecodeConfig(b []byte, base Config) (Config, error) {
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&base); err != nil {
		return base, fmt.Errorf("train: config: %w", err)
	}
	return base, nil
}

// Resolve fills what is left to the data set (image size and channels) and to the run length (s1), and checks the result.
func (c Config) Resolve(height, width, channels, classes int) (Config, error) {
	if height != width {
		return c, fmt.Errorf("train: images are %d×%d; the networks take square ones (ict data import --size %d --crop center)", width, height, min(width, height))
	}
	if c.Model.Resolution == 0 {
		c.Model.Resolution = height
	}
	if c.Model.ImageChannels == 0 {
		c.Model.ImageChannels = channels
	}
	if c.Model.Resolution != height || c.Model.ImageChannels != channels {
		gray := ""
		if c.Model.ImageChannels == 1 {
			gray = " --gray"
		}
		return c, fmt.Errorf("train: the model takes %d×%d×%d images, the data set has %d×%d×%d\n"+
			"  model.resolution and model.image_channels decide; ict data import --size %[1]d%[7]s makes a set of such images",
			c.Model.Resolution, c.Model.Resolution, c.Model.ImageChannels, height, width, channels, gray)
	}
	if c.Model.Classes > 0 && c.Model.Classes != classes {
		return c, fmt.Errorf("train: model.classes: got %d, want the data set's %d (0 trains without labels)", c.Model.Classes, classes)
	}
	return c.Complete()
}

// Complete resolves s1 and huber_c and checks the result.
func (c Config) Complete() (Config, error) {
	if c.Model.Attention == nil {
		c.Model.Attention = []int{} // one way to say none, in files too
	}
	if c.Objective.S1 == 0 {
		if c.Objective.S0 < 1 || c.Train.Steps < 1 || c.Train.StageMin < 1 {
			return c, c.Check()
		}
		c.Objective.S1 = Auto(noise.AutoS1(c.Objective.S0, PaperS1, c.Train.Steps, c.Train.StageMin))
	}
	if c.Objective.HuberC == 0 {
		c.Objective.HuberC = AutoF(noise.HuberC(c.Model.Pixels()))
	}
	return c, c.Check()
}

// PaperS1 is the last number of intervals of [iCT], at which auto ends.
const PaperS1 = 1280

// Curriculum is the objective's, once s1 is resolved.
func (c Config) Curriculum() noise.Curriculum {
	return noise.Curriculum{S0: c.Objective.S0, S1: int(c.Objective.S1), Steps: c.Train.Steps}
}

// Check refuses values that no run can have.
func (c Config) Check() error {
	var errs []error
	bad := func(field string, got any, want string) {
		errs = append(errs, fmt.Errorf("%s: got %v, want %s", field, got, want))
	}
	finite := func(field string, v, lo, hi float64, want string) {
		if !(v >= lo && v <= hi) {
			bad(field, v, want)
		}
	}
	if err := c.Model.Check(); err != nil {
		errs = append(errs, err)
	}
	finite("noise.min", c.Noise.Min, math.SmallestNonzeroFloat64, math.MaxFloat64, "more than 0")
	finite("noise.max", c.Noise.Max, math.SmallestNonzeroFloat64, math.MaxFloat64, "more than 0")
	finite("noise.data", c.Noise.Data, math.SmallestNonzeroFloat64, math.MaxFloat64, "more than 0")
	finite("noise.rho", c.Noise.Rho, math.SmallestNonzeroFloat64, math.MaxFloat64, "more than 0")
	if c.Noise.Min >= c.Noise.Max {
		bad("noise.min", c.Noise.Min, fmt.Sprintf("less than noise.max, %v", c.Noise.Max))
	}
	if c.Objective.Kind != "ict" {
		bad("objective.kind", fmt.Sprintf("%q", c.Objective.Kind), "ict")
	}
	if c.Objective.S0 < 1 {
		bad("objective.s0", c.Objective.S0, "at least 1")
	} else if c.Objective.S1 != 0 && c.Train.Steps >= 1 {
		if err := c.Curriculum().Check(); err != nil {
			errs = append(errs, fmt.Errorf("objective.s1: %s", strings.TrimPrefix(err.Error(), "noise: curriculum: ")))
		}
	}
	finite("objective.std", c.Objective.Std, math.SmallestNonzeroFloat64, math.MaxFloat64, "more than 0")
	law := noise.LogNormal{Mean: c.Objective.Mean, Std: c.Objective.Std}
	if law.Check() == nil && c.Noise.Levels().Check() == nil && !law.Reaches(c.Noise.Min, c.Noise.Max) {
		bad("objective.mean", c.Objective.Mean, fmt.Sprintf("one near ln σ of the levels, %.3g … %.3g: none would be drawn", math.Log(c.Noise.Min), math.Log(c.Noise.Max)))
	}
	if c.Optim.Kind != "radam" && c.Optim.Kind != "adam" {
		bad("optim.kind", fmt.Sprintf("%q", c.Optim.Kind), "radam or adam")
	}
	finite("optim.lr", c.Optim.LR, 0, 1e3, "0 … 1000")
	finite("optim.beta1", c.Optim.Beta1, 0, math.Nextafter(1, 0), "0 ≤ beta1 < 1")
	finite("optim.beta2", c.Optim.Beta2, 0, math.Nextafter(1, 0), "0 ≤ beta2 < 1")
	finite("optim.eps", c.Optim.Eps, math.SmallestNonzeroFloat64, 1, "more than 0, at most 1")
	finite("optim.weight_decay", c.Optim.WeightDecay, 0, 1e3, "0 … 1000")
	finite("optim.clip", c.Optim.Clip, 0, math.MaxFloat32, "0 (none) or more")
	if len(c.EMA) < 1 || len(c.EMA) > 4 {
		bad("ema", c.EMA, "one to four decays")
	}
	seen := map[float64]bool{}
	for _, d := range c.EMA {
		finite("ema", d, 0, math.Nextafter(1, 0), "0 ≤ decay < 1")
		if seen[d] {
			bad("ema", c.EMA, "each decay once")
		}
		seen[d] = true
	}
	if c.Train.Steps < 1 {
		bad("train.steps", c.Train.Steps, "at least 1")
	}
	if c.Train.StageMin < 1 {
		bad("train.stage_min", c.Train.StageMin, "at least 1")
	}
	if c.Train.Batch < 1 || c.Train.Batch > 1<<20 {
		bad("train.batch", c.Train.Batch, "1 … 1048576")
	}
	if c.Train.Precision != "auto" && !slices.Contains(Precisions, c.Train.Precision) {
		bad("train.precision", fmt.Sprintf("%q", c.Train.Precision), "auto, fp32, tf32, bf16 or fp16")
	}
	if c.Train.Init == "" {
		bad("train.init", `""`, "random, or a file of weights")
	}
	if s := c.Train.LossScale; !(s.Start >= 1 && s.Start <= maxScale) || s.Every < 1 || s.Every > math.MaxInt32 || math.Trunc(math.Log2(s.Start)) != math.Log2(s.Start) {
		bad("train.loss_scale", fmt.Sprintf("start %v, every %d", s.Start, s.Every), "a power of two from 1 to 2^24, and 1 … 2147483647 steps")
	}
	if c.Train.MaxSkips < 1 || c.Train.MaxSkips > math.MaxInt32 { // counted in an int32
		bad("train.max_skips", c.Train.MaxSkips, "1 … 2147483647")
	}
	if c.Keep.States < 1 {
		bad("keep.states", c.Keep.States, "at least 1")
	}
	if _, err := checkpoint.ParseRetention(c.Keep.Snapshots); err != nil {
		errs = append(errs, fmt.Errorf("keep.snapshots: %w", err))
	}
	return errors.Join(errs...)
}

// Warnings names values that are usually typos.
func (c Config) Warnings() []string {
	var w []string
	if c.Objective.Mean > 0 {
		w = append(w, fmt.Sprintf("objective.mean is %+g; [iCT] has −1.1, and a positive mean trains the large levels alone", c.Objective.Mean))
	}
	if wrong := 0.00054 * float64(c.Model.Pixels()); math.Abs(float64(c.Objective.HuberC)/wrong-1) < 0.01 {
		w = append(w, fmt.Sprintf("objective.huber_c is 0.00054·%d; the rule is 0.00054·√%[1]d = %.6g", c.Model.Pixels(), noise.HuberC(c.Model.Pixels())))
	}
	if p, ok := Presets()[c.Preset]; ok && p.Optim.LR == c.Optim.LR && (c.Train.Batch*4 <= p.Train.Batch || c.Train.Batch >= p.Train.Batch*4) {
		w = append(w, fmt.Sprintf("train.batch is %d where preset %s has %d, with its learning rate of %g", c.Train.Batch, c.Preset, p.Train.Batch, c.Optim.LR))
	}
	if start := math.Pow(c.EMA[0], float64(c.Train.Steps)); c.Train.Init == "random" && start > 0.01 {
		p, ok := Presets()[c.Preset]
		if !ok {
			p = Presets()["cifar10"]
		}
		rate := math.Pow(p.EMA[0], float64(p.Train.Steps)/float64(c.Train.Steps)) // at the end it has as much of the start as the preset
		digits := 1 + int(math.Ceil(-math.Log10(1-rate)))
		w = append(w, fmt.Sprintf("ema is %g: of the average that is sampled %.2g %% would still be the random weights of the start after %d steps; "+
			"ema=%.*f is to them what %g is to the %d of preset %s", c.EMA[0], 100*start, c.Train.Steps, digits, rate, p.EMA[0], p.Train.Steps, p.Preset))
	}
	return w
}
