package data

import (
	"bytes"
	"encoding/binary"
)

// Fields of a TIFF structure, as EXIF has it too, and some of their values.
const (
	compressionTag = 0x0103
	group3, group4 = 3, 4
	photometricTag = 0x0106
	whiteIsZero    = 0
	orientationTag = 0x0112

	shortType = 3
)

// orientation returns the EXIF orientation, 1 to 8, of an image file: of the first EXIF block of a JPEG (APP1), PNG
// (eXIf) or WebP (EXIF), or of the first directory of a TIFF. Anything missing or malformed is 1, upright.
func orientation(file []byte) int {
	switch {
	case bytes.HasPrefix(file, []byte("\xff\xd8")):
		return tiffOrientation(exifOfJPEG(file[2:]))
	case bytes.HasPrefix(file, []byte("\x89PNG\r\n\x1a\n")):
		return tiffOrientation(exifOfPNG(file[8:]))
	case len(file) >= 12 && string(file[:4]) == "RIFF" && string(file[8:12]) == "WEBP":
		return tiffOrientation(exifOfWebP(file[12:]))
	}
	return tiffOrientation(file)
}

// exifHeader stands before the TIFF structure in a JPEG, and in some WebP files.
var exifHeader = []byte("Exif\x00\x00")

// exifOfJPEG walks the segments up to the first scan.
func exifOfJPEG(b []byte) []byte {
	for len(b) >= 4 && b[0] == 0xff {
		switch marker := b[1]; {
		case marker == 0xff: // fill byte
			b = b[1:]
			continue
		case marker == 0xda || marker == 0xd9: // scan, end of image
			return nil
		case marker == 0x01 || marker >= 0xd0 && marker <= 0xd7: // no length
			b = b[2:]
			continue
		}
		n := int(binary.BigEndian.Uint16(b[2:]))
		if n < 2 || n > len(b)-2 {
			return nil
		}
		if payload := b[4 : 2+n]; b[1] == 0xe1 && bytes.HasPrefix(payload, exifHeader) {
			return payload[len(exifHeader):]
		}
		b = b[2+n:]
	}
	return nil
}

// exifOfPNG walks the chunks: length, type, data, CRC.
func exifOfPNG(b []byte) []byte {
	for len(b) >= 12 {
		n := uint64(binary.BigEndian.Uint32(b))
		if n > uint64(len(b)-12) {
			return nil
		}
		if string(b[4:8]) == "eXIf" {
			return b[8 : 8+n]
		}
		b = b[12+n:]
	}
	return nil
}

// exifOfWebP walks the chunks: type, length, data, padding to even.
func exifOfWebP(b []byte) []byte {
	for len(b) >= 8 {
		n := uint64(binary.LittleEndian.Uint32(b[4:]))
		if n > uint64(len(b)-8) {
			return nil
		}
		if string(b[:4]) == "EXIF" {
			return bytes.TrimPrefix(b[8:8+n], exifHeader)
		}
		b = b[8+min(n+n&1, uint64(len(b)-8)):]
	}
	return nil
}

// tiffOrientation is the orientation in a TIFF structure, a field of type SHORT.
func tiffOrientation(b []byte) int {
	if v := tiffNumber(b, orientationTag); v >= 1 && v <= 8 {
		return v
	}
	return 1
}

// tiffNumber looks for a field of one SHORT in the first directory of a TIFF structure; -1: there is none.
func tiffNumber(b []byte, tag uint16) int {
	if len(b) < 8 {
		return -1
	}
	var order binary.ByteOrder
	switch string(b[:4]) {
	case "II*\x00":
		order = binary.LittleEndian
	case "MM\x00*":
		order = binary.BigEndian
	default:
		return -1
	}
	at := uint64(order.Uint32(b[4:]))
	if at+2 > uint64(len(b)) {
		return -1
	}
	entries := int(order.Uint16(b[at:]))
	b = b[at+2:]
	for ; entries > 0 && len(b) >= 12; entries-- {
		if order.Uint16(b) == tag {
			if order.Uint16(b[2:]) == shortType && order.Uint32(b[4:]) == 1 {
				return int(order.Uint16(b[8:]))
			}
			return -1
		}
		b = b[12:]
	}
	return -1
}
