package train

import (
	"time"

	"ict/model"
)

// A Preset is a complete Config but for the data, with its source and what may be expected of it.
type Preset struct {
	Config
	Source   string // where the values come from
	Expected string // cost and result, and whether measured with this program
}

// Presets are the recipes by name.
func Presets() map[string]Preset {
	ncsnpp := model.Config{
		Kind: model.Song, Channels: 128, Mult: []int{2, 2, 2}, Blocks: 4, Attention: []int{16}, Embedding: model.Fourier, FourierScale: 0.02,
		NoiseScale: 1, Filter: []int{1, 3, 3, 1}, Pyramid: true, Dropout: 0.3, HeadChannels: 64, MinGroupChannels: 4,
	}
	cifar := Config{
		Preset: "cifar10", Data: Data{Flip: true}, Model: ncsnpp,
		Noise:     Noise{Min: 0.002, Max: 80, Data: 0.5, Rho: 7},
		Objective: Objectives{Kind: "ict", S0: 10, S1: PaperS1, Mean: -1.1, Std: 2},
		Optim:     Optim{Kind: "radam", LR: 1e-4, Beta1: 0.9, Beta2: 0.999, Eps: 1e-8},
		EMA:       []float64{0.99993},
		Train: Train{Steps: 400000, StageMin: 300, Batch: 1024, Init: "random", Precision: "auto",
			LossScale: LossScale{Start: 1 << 20, Every: 2000}, MaxSkips: 10},
		Every: Every{Status: Steps(100), Grid: Steps(2000), Snapshot: Steps(10000), State: Wall(30 * time.Minute)},
		Keep:  Keep{States: 2, Snapshots: "all"},
	}
	cifar.Model.Resolution, cifar.Model.ImageChannels = 32, 3

	deep := cifar
	deep.Preset, deep.Model.Blocks = "cifar10-deep", 8

	mnist := cifar
	mnist.Preset, mnist.Data.Flip = "mnist", false
	mnist.Model.Resolution, mnist.Model.ImageChannels, mnist.Model.Channels = 28, 1, 16
	mnist.Model.Mult, mnist.Model.Blocks, mnist.Model.Attention = []int{1, 2, 4}, 1, []int{7}
	mnist.Model.Dropout, mnist.Model.Classes = 0, 10
	mnist.Objective.S1 = 40
	mnist.Optim.LR, mnist.EMA = 2e-3, []float64{0.98}
	mnist.Train.Steps, mnist.Train.Batch = 1200, 32
	mnist.Every = Every{Status: Steps(10), Grid: Steps(200), Snapshot: Steps(600), State: Wall(2 * time.Minute)}

	tiny := mnist
	tiny.Preset, tiny.Data.Flip = "tiny", true
	tiny.Model.Resolution, tiny.Model.ImageChannels, tiny.Model.Classes = 0, 0, 0
	tiny.Model.Channels, tiny.Model.Mult, tiny.Model.Attention = 16, []int{1, 2}, nil
	tiny.Objective.S1 = 0
	tiny.Train.Steps, tiny.Train.StageMin, tiny.Train.Batch = 600, 150, 16
	tiny.Every = Every{Status: Steps(10), Grid: Steps(100), Snapshot: Steps(300), State: Wall(time.Minute)}

	const paper = "[iCT], section 5 of its recipe: the values of the paper, the network of [CM]'s CIFAR-10 code"
	return map[string]Preset{
		"tiny":         {tiny, "made for tests and first steps", "to try the commands, some minutes at most for 16×16 images on two CPU cores; light and dark blobs in noise, no figures"},
		"mnist":        {mnist, "made for the demo", "digits that can be read, after some minutes on two CPU cores (see README for the measured time)"},
		"cifar10":      {cifar, paper, "400,000 steps of 1024, 7.0e19 FLOP; FID 2.83 in one step, 2.46 in two (published; not measured with this program)"},
		"cifar10-deep": {deep, paper + ", eight blocks a level", "400,000 steps of 1024, 1.25e20 FLOP; FID 2.51 in one step, 2.24 in two (published; not measured with this program)"},
	}
}
