package data

import (
	"fmt"
	"image"
	"image/color"
	"image/draw"

	"golang.org/x/image/font"
	"golang.org/x/image/font/basicfont"
	"golang.org/x/image/math/fixed"
)

// Grid draws images (h,w,c), c being 1 or 3, row by row with cols in a row, each pixel as scale×scale, pad pixels of
// white around each. A nil image leaves its place white. titles, unless nil, stand above the columns, cut to their
// width. Panics if an image has another length.
func Grid(images [][]byte, h, w, c, cols, pad, scale int, titles []string) *image.RGBA {
	if cols < 1 || pad < 0 || scale < 1 || c != 1 && c != 3 {
		panic(fmt.Sprintf("data: grid: got cols %d, pad %d, scale %d, channels %d", cols, pad, scale, c))
	}
	rows := (len(images) + cols - 1) / cols
	cellW, cellH, top := w*scale+pad, h*scale+pad, pad
	if titles != nil {
		top += basicfont.Face7x13.Height
	}
	dst := image.NewRGBA(image.Rect(0, 0, cols*cellW+pad, top+rows*cellH))
	draw.Draw(dst, dst.Bounds(), image.White, image.Point{}, draw.Src)
	for i, title := range titles[:min(len(titles), cols)] {
		drawTitle(dst, title, pad+i*cellW, w*scale)
	}
	for i, img := range images {
		if img == nil {
			continue
		}
		if len(img) != h*w*c {
			panic(fmt.Sprintf("data: grid: image %d: got %d bytes, want %d", i, len(img), h*w*c))
		}
		x0, y0 := pad+i%cols*cellW, top+i/cols*cellH
		for y := range h * scale {
			for x := range w * scale {
				at := (y/scale*w + x/scale) * c
				dst.SetRGBA(x0+x, y0+y, color.RGBA{img[at], img[at+c/2], img[at+c-1], 255})
			}
		}
	}
	return dst
}

// drawTitle writes as many characters as fit into width pixels.
func drawTitle(dst draw.Image, title string, x, width int) {
	face := basicfont.Face7x13
	runes := []rune(title)
	d := font.Drawer{Dst: dst, Src: image.Black, Face: face, Dot: fixed.P(x, face.Ascent)}
	d.DrawString(string(runes[:min(len(runes), width/face.Advance)]))
}
