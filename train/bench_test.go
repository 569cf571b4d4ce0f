package train

import (
	"context"
	"testing"

	"ict/cpu"
	"ict/data"
	"ict/tensor"
)

// gray is MNIST-like: 28×28, ten classes.
type gray struct{ blobs }

func (gray) Shape() (h, w, c int) { return 28, 28, 1 }
func (gray) Classes() int         { return 10 }
func (gray) Image(dst []byte, i int) (int, error) {
	for p := range dst {
		dst[p] = byte(p * (i + 3))
	}
	return i % 10, nil
}

// The two yardstick networks; `ict bench step` measures the same, with spread.
func BenchmarkStep(b *testing.B) {
	for _, row := range []struct {
		name   string
		change func(*Config)
	}{
		{"demo", func(*Config) {}},
		{"28x28-32", func(c *Config) {
			c.Model.Channels, c.Model.Mult, c.Model.Blocks, c.Model.Attention, c.Model.Classes, c.Train.Batch = 32, []int{1, 2}, 2, []int{14}, 0, 64
		}},
	} {
		b.Run(row.name, func(b *testing.B) {
			c := Presets()["mnist"].Config
			row.change(&c)
			c, err := c.Complete()
			if err != nil {
				b.Fatal(err)
			}
			dev, err := cpu.Open(cpu.Options{})
			if err != nil {
				b.Fatal(err)
			}
			tr, err := New(dev, tensor.Alone{}, c)
			if err != nil {
				b.Fatal(err)
			}
			if err := tr.Init(); err != nil {
				b.Fatal(err)
			}
			l := data.NewLoader(gray{blobs{100}}, data.LoaderOptions{Batch: c.Train.Batch})
			defer l.Close()
			for b.Loop() {
				batch, err := l.Next(context.Background())
				if err != nil {
					b.Fatal(err)
				}
				if err := tr.Step(batch); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(c.Train.Batch)*float64(b.N)/b.Elapsed().Seconds(), "img/s")
		})
	}
}
