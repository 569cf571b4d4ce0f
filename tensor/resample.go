package tensor

import "fmt"

// Rate says what Resample does to the size.
type Rate uint8

const (
	Up2    Rate = iota // H×W → 2H×2W
	Down2              // H×W → H/2×W/2
	Smooth             // H×W → H+1×W+1: FIR at stride 1 with padding 2, before the pyramid's strided convolution
)

// Filter is the resampling filter.
type Filter uint8

const (
	Box Filter = iota // down: 2×2 mean; up: nearest. EDM's [1,1]
	FIR               // [1,3,3,1], applied per axis
)

// Resample changes the resolution, per axis and with zeros outside:
//
//	Box  Down2   y[i] = (x[2i] + x[2i+1])/2
//	Box  Up2     y[2i] = y[2i+1] = x[i]
//	FIR  Down2   y[i] = (x[2i−1] + 3x[2i] + 3x[2i+1] + x[2i+2])/8
//	FIR  Up2     y[2i] = (x[i−1] + 3x[i])/4 ; y[2i+1] = (3x[i] + x[i+1])/4
//	FIR  Smooth  y[i] = (x[i−2] + 3x[i−1] + 3x[i] + x[i+1])/8,   i = 0…H
//
// The border loses energy: nothing is clamped or reflected. Backward is the adjoint. Source [EDM].
type Resample struct {
	Rate   Rate
	Filter Filter
}

// Out gives the output shape of input (N,H,W,C).
func (p Resample) Out(x Shape) Shape {
	h, w := x[1], x[2]
	switch p.Rate {
	case Up2:
		h, w = 2*h, 2*w
	case Down2:
		h, w = h/2, w/2
	case Smooth:
		h, w = h+1, w+1
	}
	return Shape{x[0], h, w, x[3]}
}

// Check compares shapes.
func (p Resample) Check(y, x Shape) error {
	switch {
	case len(x) != 4:
		return fmt.Errorf("want x (N,H,W,C), got %v", x)
	case p.Rate == Down2 && (x[1]%2 != 0 || x[2]%2 != 0):
		return fmt.Errorf("%d×%d cannot be halved", x[1], x[2])
	case p.Rate == Smooth && p.Filter != FIR:
		return fmt.Errorf("smoothing is defined for the FIR filter only")
	case !y.Equal(p.Out(x)):
		return fmt.Errorf("output got %v, want %v", y, p.Out(x))
	}
	return nil
}
