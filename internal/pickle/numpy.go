package pickle

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/nlpodyssey/gopickle/types"
)

// Array is an array of numpy: elements of type Dtype, like |u1 or <i8, row by row (column by column if Fortran). Data are
// as many bytes as shape and type say.
type Array struct {
	Dtype   string
	Shape   []int
	Fortran bool
	Data    Bytes

	complete bool
}

// function is something that a pickle may call.
type function func(args []any) (any, error)

func (f function) Call(args ...any) (any, error) { return f(args) }

// class is a class that is only named, as an argument.
type class string

// globals is everything that a pickle may name.
var globals = func() map[string]any {
	g := map[string]any{
		"numpy.ndarray": class("ndarray"), "numpy.dtype": function(newDtype),
		"_codecs.encode":          function(encode),
		"__builtin__.bytes":       function(noBytes),
		"collections.OrderedDict": &types.OrderedDictClass{},
	}
	for _, core := range []string{"numpy.core.", "numpy._core."} { // numpy 1, numpy 2
		g[core+"multiarray._reconstruct"] = function(reconstruct)
		g[core+"multiarray.scalar"] = function(scalar)
		g[core+"numeric._frombuffer"] = function(fromBuffer)
	}
	return g
}()

// noBytes is bytes(), as protocol 2 writes an empty string of bytes.
func noBytes(args []any) (any, error) {
	if len(args) != 0 {
		return nil, errors.New("bytes: got arguments, want none")
	}
	return []byte{}, nil
}

// encode is _codecs.encode(string, "latin1"), as protocol 2 writes bytes.
func encode(args []any) (any, error) {
	if len(args) != 2 || args[1] != "latin1" {
		return nil, errors.New("_codecs.encode: want a string and latin1")
	}
	switch s := args[0].(type) {
	case string:
		b := []byte(s)
		n, err := fromLatin1(b)
		return b[:n], err
	case *coded:
		return s.latin1()
	}
	return nil, fmt.Errorf("_codecs.encode: got %T, want a string", args[0])
}

// dtype is the type of elements: order is <, > or |, kind and size like u1.
type dtype struct {
	kind  byte
	size  int
	order byte
}

func (d *dtype) String() string {
	order := d.order
	if d.size == 1 {
		order = '|'
	}
	return fmt.Sprintf("%c%c%d", order, d.kind, d.size)
}

// newDtype is numpy.dtype(name, align, copy).
func newDtype(args []any) (any, error) {
	if len(args) == 0 {
		return nil, errors.New("dtype: no name")
	}
	name, _ := str(args[0])
	d := &dtype{order: '<'}
	if len(name) > 1 {
		d.kind = name[0]
		d.size, _ = strconv.Atoi(name[1:])
	}
	if !strings.ContainsRune("biuf", rune(d.kind)) || !slices.Contains([]int{1, 2, 4, 8}, d.size) {
		return nil, fmt.Errorf("dtype: got %q, want numbers of 1 to 8 bytes", name)
	}
	return d, nil
}

// PySetState takes (version, order, sub-array, names, fields, size, alignment, flags).
func (d *dtype) PySetState(state any) error {
	t, ok := state.(*types.Tuple)
	if !ok || t.Len() < 5 || t.Get(2) != nil || t.Get(3) != nil || t.Get(4) != nil {
		return errors.New("dtype: fields within elements, want plain numbers")
	}
	switch order, _ := str(t.Get(1)); order {
	case "<", ">":
		d.order = order[0]
	case "|", "=":
	default:
		return fmt.Errorf("dtype: byte order: got %q, want <, > or |", order)
	}
	return nil
}

// reconstruct is numpy's _reconstruct(ndarray, shape, type): an array whose state follows.
func reconstruct(args []any) (any, error) {
	if len(args) != 3 || args[0] != class("ndarray") {
		return nil, errors.New("array: of a class other than ndarray")
	}
	return &Array{}, nil
}

// PySetState takes (version, shape, dtype, Fortran order, data).
func (a *Array) PySetState(state any) error {
	t, ok := state.(*types.Tuple)
	if !ok || t.Len() != 5 {
		return errors.New("array: state: want five values")
	}
	return a.set(t.Get(1), t.Get(2), t.Get(3), t.Get(4))
}

// fromBuffer is numpy's _frombuffer(data, dtype, shape, order), which protocol 5 writes.
func fromBuffer(args []any) (any, error) {
	if len(args) != 4 {
		return nil, errors.New("array: want four values")
	}
	order, _ := str(args[3])
	if order != "C" && order != "F" {
		return nil, fmt.Errorf("array: order: got %q, want C or F", order)
	}
	a := &Array{}
	return a, a.set(args[2], args[1], order == "F", args[0])
}

const maxDims = 32 // numpy's own limit for long

// set checks that the parts of an array fit one another.
func (a *Array) set(shape, kind, fortran, data any) error {
	d, ok := kind.(*dtype)
	if !ok {
		return fmt.Errorf("array: type: got %T, want a dtype", kind)
	}
	if sides, ok := elements(shape); !ok || len(sides) > maxDims {
		return fmt.Errorf("array: shape: got %T of %d, want a tuple of at most %d integers", shape, len(sides), maxDims)
	}
	dims, err := Ints(shape, maxDims)
	if err != nil {
		return fmt.Errorf("array: shape: %w", err)
	}
	b, err := bytesOf(data)
	if err != nil {
		return err
	}
	want, room := int64(d.size), int64(math.MaxInt64)
	for _, n := range dims {
		if n < 0 || n > 0 && want > room/int64(n) {
			return fmt.Errorf("array: impossible shape %v", dims)
		}
		want *= int64(n)
	}
	if b.Size != want {
		return fmt.Errorf("array: shape %v of %s: got %d bytes, want %d", dims, d, b.Size, want)
	}
	f, isBool := fortran.(bool)
	if n, isInt := fortran.(int); isInt {
		f, isBool = n != 0, true
	}
	if !isBool {
		return fmt.Errorf("array: order: got %T, want a bool", fortran)
	}
	*a = Array{Dtype: d.String(), Shape: dims, Fortran: f, Data: *b, complete: true}
	return nil
}

// bytesOf is a string of bytes of any length.
func bytesOf(v any) (*Bytes, error) {
	switch v := v.(type) {
	case *Bytes:
		return v, nil
	case string: // of Python 2
		return inMemory([]byte(v)), nil
	case []byte:
		return inMemory(v), nil
	case *types.ByteArray:
		return inMemory(*v), nil
	}
	return nil, fmt.Errorf("array: data: got %T, want bytes", v)
}

// scalar is numpy's scalar(dtype, data): one number.
func scalar(args []any) (any, error) {
	if len(args) != 2 {
		return nil, errors.New("scalar: want a dtype and data")
	}
	d, ok := args[0].(*dtype)
	data, err := bytesOf(args[1])
	if !ok || err != nil || data.Size != int64(d.size) {
		return nil, errors.New("scalar: want a dtype and as many bytes")
	}
	b := make([]byte, d.size)
	if _, err := data.R.ReadAt(b, data.At); err != nil {
		return nil, err
	}
	if d.kind == 'f' {
		return float(d, b)
	}
	v, err := Integers(d.String(), b)
	if err != nil {
		return nil, err
	}
	return v[0], nil
}

func float(d *dtype, b []byte) (any, error) {
	order := byteOrder(d.order)
	switch d.size {
	case 4:
		return float64(math.Float32frombits(order.Uint32(b))), nil
	case 8:
		return math.Float64frombits(order.Uint64(b)), nil
	}
	return nil, fmt.Errorf("scalar: got %s, want 4 or 8 bytes", d)
}

func byteOrder(order byte) binary.ByteOrder {
	if order == '>' {
		return binary.BigEndian
	}
	return binary.LittleEndian
}

// ints returns the elements of a one-dimensional array of integers, at most so many.
func (a *Array) ints(most int) ([]int, error) {
	if !a.complete || len(a.Shape) != 1 || a.Data.Size > MaxMemory {
		return nil, fmt.Errorf("array of shape %v, want one dimension", a.Shape)
	}
	if a.Shape[0] > most {
		return nil, fmt.Errorf("got %d integers, want at most %d", a.Shape[0], most)
	}
	b := make([]byte, a.Data.Size)
	if _, err := a.Data.R.ReadAt(b, a.Data.At); err != nil {
		return nil, err
	}
	return Integers(a.Dtype, b)
}

// Integers turns the bytes of an array into numbers. The type is numpy's: i or u, of 1, 2, 4 or 8 bytes, after |, < or >.
func Integers(dtype string, b []byte) ([]int, error) {
	if len(dtype) != 3 || !strings.Contains("|<>", dtype[:1]) || !strings.Contains("iu", dtype[1:2]) || !strings.Contains("1248", dtype[2:]) {
		return nil, fmt.Errorf("type: got %s, want integers", short(dtype))
	}
	size, signed, order := int(dtype[2]-'0'), dtype[1] == 'i', byteOrder(dtype[0])
	out := make([]int, len(b)/size)
	for i := range out {
		e, v := b[i*size:], uint64(0)
		switch size {
		case 1:
			v = uint64(e[0])
		case 2:
			v = uint64(order.Uint16(e))
		case 4:
			v = uint64(order.Uint32(e))
		case 8:
			v = order.Uint64(e)
		}
		unused := 64 - 8*size
		if signed {
			out[i] = int(int64(v<<unused) >> unused)
		} else if out[i] = int(v); v > math.MaxInt {
			return nil, fmt.Errorf("entry %d: %d is too large", i, v)
		}
	}
	return out, nil
}
