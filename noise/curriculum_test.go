package noise

import (
	"math"
	"reflect"
	"testing"

	"pgregory.net/rapid"
)

// T-3.
func TestCurriculum(t *testing.T) {
	for _, c := range []struct {
		curriculum Curriculum
		length     int
		steps      map[int]int
	}{
		{Curriculum{10, 1280, 400_000}, 50_000, map[int]int{0: 11, 49_999: 11, 50_000: 21, 99_999: 21, 100_000: 41, 199_999: 81,
			200_000: 161, 349_999: 641, 350_000: 1281, 399_999: 1281, 400_000: 1281}},
		{Curriculum{10, 1280, 800_000}, 100_000, map[int]int{0: 11, 100_000: 21, 700_000: 1281}},
		{Curriculum{10, 1280, 200_000}, 25_000, map[int]int{24_999: 11, 25_000: 21, 174_999: 641, 175_000: 1281}},
		{Curriculum{10, 1280, 100}, 12, map[int]int{0: 11, 11: 11, 12: 21, 23: 21, 24: 41, 83: 641, 84: 1281, 95: 1281, 96: 1281, 99: 1281}},
		{Curriculum{10, 100, 1000}, 231, map[int]int{0: 11, 230: 11, 231: 21, 461: 21, 462: 41, 692: 41, 693: 81, 923: 81, 924: 101, 999: 101}},
		{Curriculum{2, 16, 64}, 16, map[int]int{0: 3, 15: 3, 16: 5, 32: 9, 48: 17, 63: 17}},
	} {
		if err := c.curriculum.Check(); err != nil {
			t.Error(err)
		}
		if got := c.curriculum.StageLength(); got != c.length {
			t.Errorf("%+v: stage of %d steps, want %d", c.curriculum, got, c.length)
		}
		for k, want := range c.steps {
			if got := c.curriculum.N(k); got != want {
				t.Errorf("%+v: N(%d): got %d, want %d", c.curriculum, k, got, want)
			}
		}
	}
	if n := (Curriculum{10, 1280, 400_000}).N(math.MaxInt); n != 1281 {
		t.Errorf("long after the end: got %d, want 1281", n)
	}
}

func TestStages(t *testing.T) {
	got := Curriculum{10, 100, 1000}.Stages()
	want := []Stage{{0, 11, 231}, {231, 21, 231}, {462, 41, 231}, {693, 81, 231}, {924, 101, 76}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	got = Curriculum{10, 1280, 100}.Stages() // eight stages of 12 and a remainder of 4
	if last := got[len(got)-1]; len(got) != 8 || last != (Stage{84, 1281, 16}) {
		t.Errorf("got %v, want eight stages, the last from 84 on", got)
	}
	got = Curriculum{10, 10, 5}.Stages()
	if !reflect.DeepEqual(got, []Stage{{0, 11, 5}}) {
		t.Errorf("s0 = s1: got %v, want one stage", got)
	}
}

func TestStagesCover(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s0 := rapid.IntRange(1, 40).Draw(t, "s0")
		c := Curriculum{S0: s0, S1: rapid.IntRange(s0, 3000).Draw(t, "s1"), Steps: rapid.IntRange(1, 5000).Draw(t, "steps")}
		if c.Check() != nil {
			t.Skip("refused")
		}
		k, n := 0, 0
		for _, s := range c.Stages() {
			if s.First != k || s.Steps < 1 || s.N <= n {
				t.Fatalf("%+v: stage %+v after step %d, N %d", c, s, k, n)
			}
			for ; k < s.First+s.Steps; k++ {
				if c.N(k) != s.N {
					t.Fatalf("%+v: N(%d): got %d, want %d", c, k, c.N(k), s.N)
				}
			}
			n = s.N
		}
		if k != c.Steps {
			t.Fatalf("%+v: stages end at %d", c, k)
		}
	})
}

func TestCurriculumCheck(t *testing.T) {
	mustRefuse(t, Curriculum{10, 1280, 7}.Check(), "at least one a stage")
	if err := (Curriculum{10, 1280, 8}).Check(); err != nil {
		t.Error(err)
	}
	for _, c := range []Curriculum{{0, 10, 100}, {-1, 10, 100}, {20, 10, 100}, {10, maxIntervals + 1, 100}} {
		mustRefuse(t, c.Check(), "noise: curriculum: got s0")
	}
	mustRefuse(t, Curriculum{10, 1280, 0}.Check(), "got 0 steps")
	mustPanic(t, "at least one a stage", func() { Curriculum{10, 1280, 7}.N(0) })
	mustPanic(t, "got step -1", func() { Curriculum{10, 1280, 8}.N(-1) })
	mustPanic(t, "got 0 steps", func() { Curriculum{10, 1280, 0}.Stages() })
}

func TestAutoS1(t *testing.T) {
	for _, c := range []struct{ s0, s1, steps, stageMin, want int }{
		{10, 1280, 400_000, 50_000, 1280}, // the recipe as it is
		{10, 1280, 399_999, 50_000, 640},
		{10, 1280, 10_000, 2000, 160},
		{10, 1280, 4000, 2000, 20},
		{10, 1280, 3999, 2000, 10},
		{10, 1280, 1, 2000, 10},
		{10, 100, 1_000_000, 10, 100}, // s1/s0 no power of two
		{10, 100, 30, 10, 40},
		{10, 1280, math.MaxInt, 1, 1280},
	} {
		if got := AutoS1(c.s0, c.s1, c.steps, c.stageMin); got != c.want {
			t.Errorf("%+v: got %d", c, got)
		}
	}
	mustPanic(t, "noise: auto s1: got s0", func() { AutoS1(10, 5, 100, 10) })
	mustPanic(t, "noise: auto s1: got stages", func() { AutoS1(10, 20, 100, 0) })
}

// Where s1/s0 is a power of two, each stage that AutoS1 leaves has its steps, unless there is only one.
func TestAutoS1Stages(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s0 := rapid.IntRange(1, 20).Draw(t, "s0")
		s1 := s0 << rapid.IntRange(0, 8).Draw(t, "doublings")
		steps := rapid.IntRange(1, 10_000).Draw(t, "steps")
		stageMin := rapid.IntRange(1, 3000).Draw(t, "stageMin")
		c := Curriculum{s0, AutoS1(s0, s1, steps, stageMin), steps}
		if err := c.Check(); err != nil {
			t.Fatal(err)
		}
		stages := c.Stages()
		for _, s := range stages {
			if len(stages) > 1 && s.Steps < stageMin {
				t.Fatalf("%+v: stage %+v is shorter than %d", c, s, stageMin)
			}
		}
		if len(stages) > 1 && stages[len(stages)-1].N != c.S1+1 {
			t.Fatalf("%+v: ends with %+v", c, stages[len(stages)-1])
		}
	})
}

// T-7.
func TestProgressive(t *testing.T) {
	cifar, imagenet := Progressive{2, 150, 800_000}, Progressive{2, 200, 800_000}
	for _, c := range []struct {
		k, n   int
		decay  float64
		n64    int
		dec64  float64
		dividN float64 // what dividing by N(k) gives
	}{
		{0, 2, .81, 2, .9025, .9},
		{1, 3, .9, 3, .95, .9321698},
		{1000, 6, .9587315, 8, .9854516, .9654894},
		{10000, 17, .9869163, 23, .9953478, .9876812},
		{100000, 54, .9960320, 72, .9985562, .9961054},
		{400000, 107, .9980140, 143, .9992778, .9980326},
		{800000, 151, .9985962, 201, .9994872, .9986055},
	} {
		if got := cifar.N(c.k); got != c.n {
			t.Errorf("CIFAR N(%d): got %d, want %d", c.k, got, c.n)
		}
		if got := imagenet.N(c.k); got != c.n64 {
			t.Errorf("ImageNet N(%d): got %d, want %d", c.k, got, c.n64)
		}
		golden(t, "CIFAR decay", cifar.TargetDecay(c.k, .9), c.decay, 7)
		golden(t, "ImageNet decay", imagenet.TargetDecay(c.k, .95), c.dec64, 7)
		not(t, "division by N(k)", cifar.TargetDecay(c.k, .9), c.dividN, 7)
	}
	mustRefuse(t, Progressive{0, 150, 100}.Check(), "noise: progressive: got s0")
	mustRefuse(t, Progressive{2, 150, 0}.Check(), "noise: progressive: got 0 steps")
	mustPanic(t, "noise: progressive: got step 101", func() { Progressive{2, 150, 100}.N(101) })
	mustPanic(t, "noise: progressive: got 0 steps", func() { Progressive{2, 150, 0}.TargetDecay(0, .9) })
}
