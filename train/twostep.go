package train

// TwoStepLevel is the level of the second call where a sampler is asked for two steps and no levels: 0.821 for CIFAR-10 and what is like
// it, 1.526 from 64 pixels on [iCT]; 2 for the digits, found by looking.
func (c Config) TwoStepLevel() float64 {
	switch {
	case c.Preset == "mnist":
		return 2
	case c.Model.Resolution >= 64:
		return 1.526
	default:
		return 0.821
	}
}
