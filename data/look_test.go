package data

import (
	"bytes"
	"context"
	"image"
	"image/color"
	"math"
	"os"
	"testing"
)

func TestStats(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, dir+"/a/1.png", plain(t, 2, 2, color.NRGBA{0, 10, 7, 255}))
	writeFile(t, dir+"/a/2.png", plain(t, 2, 2, color.NRGBA{100, 10, 7, 255}))
	writeFile(t, dir+"/b/3.png", plain(t, 2, 2, color.NRGBA{0, 10, 7, 255}))
	writeFile(t, dir+"/b/4.png", plain(t, 2, 2, color.NRGBA{100, 50, 7, 255}))
	calls := 0
	s := must[Statistics](t)(Stats(context.Background(), open(t, dir, Options{}), func(done, total int) { calls += done * total }))
	equal(t, "statistics", s, Statistics{
		Images: 4, Shape: [3]int{2, 2, 3}, Classes: []ClassCount{{"a", 2}, {"b", 2}},
		Mean: []float64{50, 20, 7}, Std: []float64{50, math.Sqrt(300), 0}, Duplicates: 1,
	})
	equal(t, "progress", calls, 4*(1+2+3+4))

	writeFile(t, dir+"/b/5.png", nil)
	ds := open(t, dir, Options{})
	_, err := Stats(context.Background(), ds, nil)
	wantError(t, err, "b/5.png")
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Stats(ctx, ds, nil); err != context.Canceled {
		t.Errorf("stopped: got %v", err)
	}
}

// mislabelled is a set whose labels are too large.
type mislabelled struct{ *numbers }

func (mislabelled) Classes() int { return 2 }

func TestVerify(t *testing.T) {
	calls := 0
	bad := must[[]BadImage](t)(Verify(context.Background(), &numbers{n: 10, fail: 4}, func(done, total int) { calls += done * total }))
	equal(t, "unreadable", bad, []BadImage{{4, "entry 4 cannot be read"}})
	equal(t, "progress", calls, 550)
	bad = must[[]BadImage](t)(Verify(context.Background(), mislabelled{&numbers{n: 4, fail: -1}}, nil))
	equal(t, "mislabelled", bad, []BadImage{{2, "image 2 of 4: label 2, the set has 2 classes"}})
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Verify(ctx, &numbers{n: 10, fail: -1}, nil); err != context.Canceled {
		t.Errorf("stopped: got %v", err)
	}
}

func TestGrid(t *testing.T) {
	a, b := []byte{1, 2, 3, 4}, []byte{5, 6, 7, 8}
	g := Grid([][]byte{a, nil, b}, 2, 2, 1, 2, 1, 3, nil)
	equal(t, "size", g.Bounds(), image.Rect(0, 0, 1+2*7, 1+2*7))
	at := func(g *image.RGBA, x, y int) color.RGBA { return g.RGBAAt(x, y) }
	white := color.RGBA{255, 255, 255, 255}
	for _, c := range []struct {
		x, y int
		want color.RGBA
	}{
		{0, 0, white}, {1, 1, color.RGBA{1, 1, 1, 255}}, {2, 2, color.RGBA{1, 1, 1, 255}}, {3, 3, color.RGBA{1, 1, 1, 255}}, {4, 3, color.RGBA{2, 2, 2, 255}},
		{6, 6, color.RGBA{4, 4, 4, 255}}, {7, 6, white}, {8, 1, white}, {1, 8, color.RGBA{5, 5, 5, 255}}, {6, 13, color.RGBA{8, 8, 8, 255}}, {8, 8, white},
	} {
		equal(t, "pixel", at(g, c.x, c.y), c.want)
	}
	rgb := Grid([][]byte{{1, 2, 3}}, 1, 1, 3, 1, 0, 1, nil)
	equal(t, "colour", at(rgb, 0, 0), color.RGBA{1, 2, 3, 255})

	// Titles add a strip, stay within their columns, and differ.
	cell := make([]byte, 20)
	plain := Grid([][]byte{cell, cell}, 1, 20, 1, 2, 2, 1, []string{"", ""})
	titled := Grid([][]byte{cell, cell}, 1, 20, 1, 2, 2, 1, []string{"WWWWWWWW", ""})
	equal(t, "size", titled.Bounds(), image.Rect(0, 0, 46, 2+13+3))
	ink := 0
	for y := range 13 {
		for x := range 46 {
			if at(titled, x, y) != white {
				ink++
				if x < 2 || x >= 22 {
					t.Errorf("ink at %d,%d, beyond the column", x, y)
				}
			}
			equal(t, "no title", at(plain, x, y), white)
		}
	}
	if ink < 20 {
		t.Errorf("%d pixels of ink", ink)
	}
	wantPanic(t, "image 0: got 1 bytes, want 4", func() { Grid([][]byte{{1}}, 2, 2, 1, 1, 0, 1, nil) })
	wantPanic(t, "cols 0", func() { Grid(nil, 2, 2, 1, 0, 0, 1, nil) })
}

func TestPreview(t *testing.T) {
	ds := &numbers{n: 30, fail: -1} // labels 0, 1, 2
	img := must[image.Image](t)(Preview(ds, 4, 0, 1))
	scale := previewScale(2, 1)
	equal(t, "size", img.Bounds(), image.Rect(0, 0, 3*(2*scale+2)+2, 13+4*(scale+2)+2))
	seen := map[int]bool{}
	for row := range 4 {
		for col := range 3 {
			v := int(img.(*image.RGBA).RGBAAt(2+col*(2*scale+2), 13+2+row*(scale+2)).R)
			if v%3 != col || seen[v] {
				t.Errorf("row %d, column %d: entry %d of class %d", row, col, v, v%3)
			}
			seen[v] = true
		}
	}
	again := must[image.Image](t)(Preview(ds, 4, 5, 1))
	other := must[image.Image](t)(Preview(ds, 4, 0, 2))
	if !bytes.Equal(img.(*image.RGBA).Pix, again.(*image.RGBA).Pix) || bytes.Equal(img.(*image.RGBA).Pix, other.(*image.RGBA).Pix) {
		t.Error("a preview is not a function of its seed")
	}
	for asked, want := range map[int]int{0: 3, 2: 2, 3: 3, 9: 3} {
		equal(t, "columns", PreviewColumns(ds, asked), want)
	}
	equal(t, "two classes", must[image.Image](t)(Preview(ds, 1, 2, 1)).Bounds().Dx(), 2*(2*scale+2)+2)

	dir := t.TempDir()
	for _, name := range []string{"1.png", "2.png", "3.png"} {
		writeFile(t, dir+"/"+name, plain(t, 64, 64, gray(9)))
	}
	flat := open(t, dir, Options{})
	equal(t, "no empty rows", must[image.Image](t)(Preview(&numbers{n: 3, fail: -1}, 8, 2, 1)).Bounds().Dy(), must[image.Image](t)(Preview(&numbers{n: 3, fail: -1}, 2, 2, 1)).Bounds().Dy())
	img = must[image.Image](t)(Preview(flat, 2, 2, 1))
	equal(t, "no titles", img.Bounds(), image.Rect(0, 0, 2*66+2, 2*66+2))
	equal(t, "image", img.At(68, 2), color.Color(color.RGBA{9, 9, 9, 255}))
	equal(t, "blank", img.At(68, 68), color.Color(color.RGBA{255, 255, 255, 255}))
	equal(t, "columns without classes", []int{PreviewColumns(flat, 0), PreviewColumns(flat, 30)}, []int{8, 30})
	for _, bad := range [][2]int{{0, 1}, {1, -1}, {1001, 1}} {
		if _, err := Preview(flat, bad[0], bad[1], 1); err == nil {
			t.Errorf("%v: no error", bad)
		}
	}
	_, err := Preview(&numbers{n: 3, fail: 1}, 1, 3, 1)
	wantError(t, err, "entry 1")
}

func TestMakeShapes(t *testing.T) {
	dir := t.TempDir()
	for name, seed := range map[string]uint64{"a": 1, "b": 1, "c": 2} {
		writeFile(t, dir+"/"+name+".import.json", []byte("of the set that had the name before"))
		if err := MakeShapes(dir+"/"+name, 80, 16, seed); err != nil {
			t.Fatal(err)
		}
	}
	equal(t, "files", contents(t, dir), []string{"a", "b", "c"})
	a, b, c := must[[]byte](t)(os.ReadFile(dir+"/a")), must[[]byte](t)(os.ReadFile(dir+"/b")), must[[]byte](t)(os.ReadFile(dir+"/c"))
	if !bytes.Equal(a, b) || bytes.Equal(a, c) {
		t.Error("shapes are not a function of their seed")
	}
	ds := open(t, dir+"/a", Options{})
	s := must[Statistics](t)(Stats(context.Background(), ds, nil))
	equal(t, "shape", s.Shape, [3]int{16, 16, 3})
	equal(t, "duplicates", s.Duplicates, 0)
	equal(t, "classes", s.Classes, []ClassCount{
		{"circle", 10}, {"square", 10}, {"triangle", 10}, {"ring", 10}, {"cross", 10}, {"star", 10}, {"crescent", 10}, {"bar", 10},
	})
	wantError(t, MakeShapes(dir+"/d", 0, 16, 0), "got 0, want 1 to")
	wantError(t, MakeShapes(dir+"/d", 1, 7, 0), "got 7, want 8 to 1024")
}

// Figures lie inside the unit circle, and have the areas of their formulas.
func TestShapeAreas(t *testing.T) {
	lens := func() float64 { // of the circles of crescent: radii 1 and 0.8, 0.5 apart
		const d, r, s = 0.5, 1, 0.8
		a, b := math.Acos((d*d+r*r-s*s)/(2*d*r)), math.Acos((d*d+s*s-r*r)/(2*d*s))
		return r*r*(a-math.Sin(2*a)/2) + s*s*(b-math.Sin(2*b)/2)
	}()
	sin, cos := math.Sincos(math.Pi / 5)
	want := map[string]float64{
		"circle": math.Pi, "square": 1.4 * 1.4, "triangle": 3 * math.Sqrt(3) / 4, "ring": math.Pi * 0.64,
		"cross": 2*1.9*0.6 - 0.36, "star": 5 * math.Cos(2*math.Pi/5) / cos * sin, "crescent": math.Pi - lens, "bar": 1.9 * 0.6,
	}
	const n = 600
	for _, s := range shapes {
		hits := 0
		for i := range n * n {
			u, v := 3*(float64(i%n)+0.5)/n-1.5, 3*(float64(i/n)+0.5)/n-1.5
			if s.inside(u, v) {
				hits++
				if u*u+v*v > 1+1e-9 {
					t.Fatalf("%s: beyond the unit circle at %v,%v", s.name, u, v)
				}
			}
		}
		if got := 9 * float64(hits) / (n * n); math.Abs(got-want[s.name]) > 0.005 {
			t.Errorf("%s: area %.4f, want %.4f", s.name, got, want[s.name])
		}
	}
}

// A figure is drawn in its picture, antialiased between two colours.
func TestShapeColours(t *testing.T) {
	set := shapeSet{n: 64, size: 32, seed: 5}
	img := make([]byte, 32*32*3)
	for i := range set.n {
		must[int](t)(set.Image(img, i))
		for _, corner := range []int{31, 31 * 32, 32*32 - 1} {
			equal(t, "corner", img[3*corner:3*corner+3], img[:3])
		}
		low, high := byte(255), byte(0)
		levels := map[byte]bool{}
		for j := 0; j < len(img); j += 3 {
			low, high = min(low, img[j]), max(high, img[j])
			levels[img[j]] = true
		}
		if high < 140 || low > 100 || len(levels) < 4 {
			t.Errorf("image %d: red from %d to %d in %d levels", i, low, high, len(levels))
		}
	}
}
