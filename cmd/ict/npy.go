package main

import (
	"archive/zip"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"ict/checkpoint"
	"ict/data"
	"ict/tensor"
)

// readNPY reads an array of float32.
func readNPY(path string) (v []float32, shape []int, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, nil, err
	}
	v, shape, err = parseNPY(f, info.Size())
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", path, err)
	}
	return v, shape, nil
}

// parseNPY reads the array of a file of size bytes.
func parseNPY(f io.Reader, size int64) ([]float32, []int, error) {
	h, at, err := data.NPYHeader(f)
	if err != nil {
		return nil, nil, err
	}
	if h.Descr.Type != "<f4" || h.Descr.Fortran {
		return nil, nil, fmt.Errorf("got type %q, Fortran order %v, want little-endian float32, row by row", h.Descr.Type, h.Descr.Fortran)
	}
	room, n := (size-at)/4, int64(1)
	for _, d := range h.Descr.Shape {
		if d < 1 || int64(d) > room/n {
			return nil, nil, fmt.Errorf("the header says %v, and %d numbers follow", h.Descr.Shape, room)
		}
		n *= int64(d)
	}
	if at+4*n != size {
		return nil, nil, fmt.Errorf("the header says %v, and %d bytes follow", h.Descr.Shape, size-at)
	}
	b := make([]byte, 4*n)
	if _, err := io.ReadFull(f, b); err != nil {
		return nil, nil, err
	}
	return checkpoint.Float32s(b), h.Descr.Shape, nil
}

// npyHead is the header of an array of the element type, padded to 64 bytes.
func npyHead(dtype string, shape []int) []byte {
	dims := ""
	for _, d := range shape {
		dims += fmt.Sprintf("%d, ", d)
	}
	if len(shape) > 1 {
		dims = strings.TrimSuffix(dims, " ")
		dims = strings.TrimSuffix(dims, ",")
	}
	h := fmt.Sprintf("{'descr': '%s', 'fortran_order': False, 'shape': (%s), }", dtype, dims)
	const before = 10 // magic, version, length
	pad := 64 - (before+len(h)+1)%64
	h += strings.Repeat(" ", pad%64) + "\n"
	b := append([]byte("\x93NUMPY\x01\x00"), 0, 0)
	binary.LittleEndian.PutUint16(b[8:], uint16(len(h)))
	return append(b, h...)
}

// writeNPY writes an array of float32.
func writeNPY(path string, v []float32, shape tensor.Shape) error {
	return atomically(path, func(w io.Writer) error {
		if _, err := w.Write(npyHead("<f4", shape)); err != nil {
			return err
		}
		_, err := w.Write(checkpoint.Float32Bytes(v))
		return err
	})
}

// writeNPZ writes images (N,H,W,C) as arr_0 and labels, unless nil, as arr_1: what evaluators of samples read. note is the archive's comment.
func writeNPZ(path string, images []byte, shape tensor.Shape, labels []int32, note string) error {
	return atomically(path, func(w io.Writer) error {
		z := zip.NewWriter(w)
		if err := z.SetComment(note); err != nil {
			return err
		}
		put := func(name, dtype string, shape []int, data []byte) error {
			f, err := z.CreateHeader(&zip.FileHeader{Name: name, Method: zip.Store})
			if err == nil {
				_, err = f.Write(npyHead(dtype, shape))
			}
			if err == nil {
				_, err = f.Write(data)
			}
			return err
		}
		if err := put("arr_0.npy", "|u1", shape, images); err != nil {
			return err
		}
		if labels != nil {
			b := make([]byte, 0, 8*len(labels))
			for _, l := range labels {
				b = binary.LittleEndian.AppendUint64(b, uint64(int64(l)))
			}
			if err := put("arr_1.npy", "<i8", []int{len(labels)}, b); err != nil {
				return err
			}
		}
		return z.Close()
	})
}

// atomically writes a file; half of one never has the final name.
func atomically(path string, write func(io.Writer) error) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	if info, err := os.Lstat(path); err == nil && info.Mode().Type()&^fs.ModeSymlink != 0 { // the rename below would replace a device, too
		return fmt.Errorf("%s: something that is no file has this name; choose another", path)
	}
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return about("", path, err)
	}
	err = errors.Join(write(f), f.Chmod(0o644), f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name())
	}
	return err
}
