package model

import (
	"fmt"
	"slices"
)

// Kinds of network and of noise embedding.
const (
	Song       = "song" // NCSN++ and DDPM++ [SDE] [EDM]
	ADM        = "adm"  // [ADM]
	Fourier    = "fourier"
	Positional = "positional"
)

// Config describes a network. Zero values of Resolution and ImageChannels are filled from the data set.
type Config struct {
	Kind             string  `yaml:"kind" json:"kind"`                             // song or adm
	Resolution       int     `yaml:"resolution" json:"resolution"`                 // pixels; images are square; 0: the data set's
	ImageChannels    int     `yaml:"image_channels" json:"image_channels"`         // 0: the data set's
	Channels         int     `yaml:"channels" json:"channels"`                     // base width
	Mult             []int   `yaml:"mult" json:"mult"`                             // width of a level in units of Channels
	Blocks           int     `yaml:"blocks" json:"blocks"`                         // residual blocks of a level; the decoder has one more
	Attention        []int   `yaml:"attention" json:"attention"`                   // resolutions
	Embedding        string  `yaml:"embedding" json:"embedding"`                   // song: fourier or positional; adm: positional
	FourierScale     float64 `yaml:"fourier_scale" json:"fourier_scale"`           // deviation of the frequencies
	NoiseScale       float64 `yaml:"noise_scale" json:"noise_scale"`               // c_noise = noise_scale·¼·ln σ; 1000 for published weights of [CM]
	Filter           []int   `yaml:"filter" json:"filter"`                         // song: [1,1] or [1,3,3,1]
	Pyramid          bool    `yaml:"pyramid" json:"pyramid"`                       // song: residual input pyramid
	Dropout          float64 `yaml:"dropout" json:"dropout"`                       // after the second norm of a block
	DropoutMaxRes    int     `yaml:"dropout_max_res" json:"dropout_max_res"`       // only in blocks whose output is no larger; 0: all
	Classes          int     `yaml:"classes" json:"classes"`                       // 0: unconditional
	HeadChannels     int     `yaml:"head_channels" json:"head_channels"`           // adm: width of an attention head; song has one head
	AdaGN            bool    `yaml:"adagn" json:"adagn"`                           // adm: scale-shift norm
	MinGroupChannels int     `yaml:"min_group_channels" json:"min_group_channels"` // GroupNorm has min(32, C/this) groups
	Augment          int     `yaml:"augment" json:"augment"`                       // width of EDM's augmentation label; 0: none
}

// Check refuses what no network can be built from, whatever the image size; Record refuses the rest by the op's path.
func (c Config) Check() error {
	bad := func(field string, got any, want string) error {
		return fmt.Errorf("model.%s: got %v, want %s", field, got, want)
	}
	switch {
	case c.Kind != Song && c.Kind != ADM:
		return bad("kind", fmt.Sprintf("%q", c.Kind), "song or adm")
	case c.Resolution < 1 || c.Resolution > 4096:
		return bad("resolution", c.Resolution, "1 … 4096")
	case c.ImageChannels < 1 || c.ImageChannels > 64:
		return bad("image_channels", c.ImageChannels, "1 … 64")
	case c.Channels < 1 || c.Channels > 8192 || c.Channels%2 != 0:
		return bad("channels", c.Channels, "an even number up to 8192")
	case len(c.Mult) < 1 || len(c.Mult) > 12 || slices.Min(c.Mult) < 1 || slices.Max(c.Mult) > 64:
		return bad("mult", c.Mult, "1 to 12 factors of 1 … 64, one a level")
	case c.Resolution%(1<<(len(c.Mult)-1)) != 0:
		return bad("mult", c.Mult, fmt.Sprintf("at most so many levels that %d pixels can be halved between them", c.Resolution))
	case c.Blocks < 1 || c.Blocks > 64:
		return bad("blocks", c.Blocks, "1 … 64")
	case c.Kind == Song && c.Embedding != Fourier && c.Embedding != Positional:
		return bad("embedding", fmt.Sprintf("%q", c.Embedding), "fourier or positional")
	case c.Kind == ADM && c.Embedding != Positional:
		return bad("embedding", fmt.Sprintf("%q", c.Embedding), "positional: adm has no other")
	case c.Kind == Song && !slices.Equal(c.Filter, []int{1, 1}) && !slices.Equal(c.Filter, []int{1, 3, 3, 1}):
		return bad("filter", c.Filter, "[1, 1] or [1, 3, 3, 1]")
	case c.Pyramid && !slices.Equal(c.Filter, []int{1, 3, 3, 1}):
		return bad("pyramid", c.Pyramid, "filter [1, 3, 3, 1] with it")
	case c.Kind == ADM && c.Pyramid:
		return bad("pyramid", c.Pyramid, "false: adm has none")
	case c.Dropout < 0 || c.Dropout >= 1:
		return bad("dropout", c.Dropout, "0 ≤ dropout < 1")
	case c.Classes < 0 || c.Classes > 1<<20:
		return bad("classes", c.Classes, "0 … 1048576")
	case c.Kind == ADM && c.HeadChannels < 1:
		return bad("head_channels", c.HeadChannels, "at least 1")
	case c.MinGroupChannels < 1:
		return bad("min_group_channels", c.MinGroupChannels, "at least 1")
	case c.NoiseScale <= 0:
		return bad("noise_scale", c.NoiseScale, "more than 0")
	case c.Embedding == Fourier && c.FourierScale <= 0:
		return bad("fourier_scale", c.FourierScale, "more than 0")
	case c.Augment < 0:
		return bad("augment", c.Augment, "at least 0")
	}
	for _, r := range c.Attention {
		ok := false
		for l := range c.Mult {
			ok = ok || c.Resolution>>l == r
		}
		if !ok {
			return bad("attention", c.Attention, fmt.Sprintf("resolutions of the network's levels: %v", c.levels()))
		}
	}
	return nil
}

func (c Config) levels() []int {
	var r []int
	for l := range c.Mult {
		r = append(r, c.Resolution>>l)
	}
	return r
}

// Pixels is the number of scalars of an image.
func (c Config) Pixels() int { return c.Resolution * c.Resolution * c.ImageChannels }
