package data

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"

	"ict/internal/philox"
)

// shapesPurpose keeps the draws of MakeShapes apart from those of a run with the same seed.
const shapesPurpose philox.Purpose = 8

// shape is a class of MakeShapes: a figure inside the unit circle.
type shape struct {
	name   string
	inside func(u, v float64) bool
}

var shapes = []shape{
	{"circle", func(u, v float64) bool { return u*u+v*v <= 1 }},
	{"square", func(u, v float64) bool { return max(math.Abs(u), math.Abs(v)) <= 0.7 }},
	{"triangle", func(u, v float64) bool { return max(-u, u/2+math.Abs(v)*math.Sqrt(3)/2) <= 0.5 }},
	{"ring", func(u, v float64) bool { r := u*u + v*v; return r <= 1 && r >= 0.36 }},
	{"cross", func(u, v float64) bool {
		u, v = math.Abs(u), math.Abs(v)
		return min(u, v) <= 0.3 && max(u, v) <= 0.95
	}},
	{"star", insideStar},
	{"crescent", func(u, v float64) bool { return u*u+v*v <= 1 && (u-0.5)*(u-0.5)+v*v > 0.64 }},
	{"bar", func(u, v float64) bool { return math.Abs(u) <= 0.95 && math.Abs(v) <= 0.3 }},
}

// insideStar counts the lines of a pentagram that a point lies beyond: one in a tip, none in the pentagon.
func insideStar(u, v float64) bool {
	beyond := 0
	for _, n := range starNormals {
		if u*n[0]+v*n[1] > starDistance {
			beyond++
		}
	}
	return beyond <= 1
}

// The lines of a pentagram with tips at radius 1: distance from the middle, and unit normals.
var (
	starDistance = math.Cos(2 * math.Pi / 5)
	starNormals  = func() (n [5][2]float64) {
		for k := range n {
			n[k][1], n[k][0] = math.Sincos(2 * math.Pi * float64(k) / 5)
		}
		return n
	}()
)

// shapeSet is the set that MakeShapes writes.
type shapeSet struct {
	n, size int
	seed    uint64
}

func (s shapeSet) Len() int             { return s.n }
func (s shapeSet) Shape() (h, w, c int) { return s.size, s.size, 3 }
func (s shapeSet) Classes() int         { return len(shapes) }
func (s shapeSet) Close() error         { return nil }

func (s shapeSet) ClassNames() []string {
	names := make([]string, len(shapes))
	for i, s := range shapes {
		names[i] = s.name
	}
	return names
}

func (s shapeSet) Image(dst []byte, i int) (int, error) {
	checkImage(dst, i, s.n, s.size*s.size*3)
	label := i % len(shapes)
	drawShape(dst, s.size, shapes[label].inside, philox.Stream{Seed: s.seed, Image: uint32(i), Purpose: shapesPurpose})
	return label, nil
}

// MakeShapes writes a packed set of n synthetic size×size RGB images: antialiased figures of random colour, place, size
// and rotation on a plain ground. Image i shows class i mod 8: circle, square, triangle, ring, cross, star, crescent,
// bar. Everything is a function of (seed, i).
func MakeShapes(dst string, n, size int, seed uint64) error {
	if n < 1 || n > math.MaxInt32 {
		return fmt.Errorf("data: shapes: number of images: got %d, want 1 to %d", n, math.MaxInt32)
	}
	if size < 8 || size > 1024 {
		return fmt.Errorf("data: shapes: size: got %d, want 8 to 1024", size)
	}
	ctx, set := context.Background(), shapeSet{n, size, seed}
	p, err := newPackWriter(dst, size, size, 3, set.ClassNames())
	if err != nil {
		return err
	}
	err = each(ctx, set, n, 0, identity, func(_ int, img []byte, label int, _ error) error { return p.add(img, label) })
	if err == nil {
		err = p.complete(ctx)
	}
	if err == nil {
		if err = os.Remove(dst + reportEnd); errors.Is(err, fs.ErrNotExist) { // of an import that had the name before
			err = nil
		}
	}
	if err == nil {
		err = p.publish()
	}
	if err != nil {
		p.abort()
	}
	return err
}

// drawShape draws a figure with 4×4 samples a pixel.
func drawShape(img []byte, size int, inside func(u, v float64) bool, s philox.Stream) {
	const grid = 4
	draws := uint64(0)
	between := func(low, high float64) float64 {
		draws++
		return low + (high-low)*s.Float64(draws-1)
	}
	radius := float64(size) * between(0.22, 0.42)
	cx, cy := between(radius, float64(size)-radius), between(radius, float64(size)-radius)
	sin, cos := math.Sincos(between(0, 2*math.Pi))
	var ground, ink [3]float64 // one dark, one light
	for k := range 3 {
		ground[k], ink[k] = between(0, 100), between(140, 255)
	}
	if between(0, 1) < 0.5 {
		ground, ink = ink, ground
	}
	for y := range size {
		for x := range size {
			hits := 0
			samples := grid * grid
			if math.Hypot(float64(x)+0.5-cx, float64(y)+0.5-cy) > radius+1 {
				samples = 0
			}
			for i := range samples {
				dx := float64(x) + (float64(i%grid)+0.5)/grid - cx
				dy := float64(y) + (float64(i/grid)+0.5)/grid - cy
				if inside((cos*dx+sin*dy)/radius, (cos*dy-sin*dx)/radius) {
					hits++
				}
			}
			share := float64(hits) / (grid * grid)
			for k := range 3 {
				img[(y*size+x)*3+k] = byte(math.Round(ground[k] + share*(ink[k]-ground[k])))
			}
		}
	}
}
