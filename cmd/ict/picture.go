package main

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"image"
	"image/png"
	"io"
)

// writePNG writes a picture; note, unless empty, says in it how it was made.
func writePNG(path string, img image.Image, note string) error {
	return atomically(path, func(w io.Writer) error { return encodePNG(w, img, note) })
}

// encodePNG puts the note behind the header of the picture, as text under the keyword ict.
func encodePNG(w io.Writer, img image.Image, note string) error {
	var b bytes.Buffer
	if err := png.Encode(&b, img); err != nil {
		return err
	}
	const header = 8 + 25 // signature and IHDR
	if note == "" || b.Len() < header {
		_, err := w.Write(b.Bytes())
		return err
	}
	chunk := append([]byte("iTXtict\x00\x00\x00\x00\x00"), note...)
	text := binary.BigEndian.AppendUint32(nil, uint32(len(chunk)-4))
	text = binary.BigEndian.AppendUint32(append(text, chunk...), crc32.ChecksumIEEE(chunk))
	for _, part := range [][]byte{b.Bytes()[:header], text, b.Bytes()[header:]} {
		if _, err := w.Write(part); err != nil {
			return err
		}
	}
	return nil
}

// checkPicture refuses grids of more pixels than a picture is made of here: it is held in memory several times.
func checkPicture(rows, cols, side int) error {
	const most = 1 << 26 // 8192²
	side *= gridScale(side)
	if rows*cols > most/(side*side) {
		return usagef("--grid: %d×%d pictures of %d×%d pixels are too many for one; want at most %s", rows, cols, side, side, comma(most/(side*side)))
	}
	return nil
}

// gridScale makes small images some 64 pixels wide.
func gridScale(w int) int { return max(1, (64+w-1)/w) }
