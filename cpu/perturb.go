package cpu

import (
	"fmt"

	"ict/internal/philox"
	"ict/tensor"
)

// Images have one definition for both modes: bytes become float32 exactly as written there, and the noisy images are
// summed in float64, where t·z is exact, and rounded once.

// byteValue is u/127.5 − 1, rounded after each operation.
var byteValue = func() (table [256]float32) {
	for u := range table {
		table[u] = float32(u)/127.5 - 1
	}
	return table
}()

// imageShapes panics unless bytes is (N,H,W,C), flip (N) or absent, and every image tensor has the shape of bytes.
func imageShapes(op string, bytes, flip tensor.Tensor, images ...tensor.Tensor) {
	if bytes.Absent() || len(bytes.Shape) != 4 || bytes.Elems() == 0 {
		panic(fmt.Sprintf("cpu: %s: got bytes %v, want (N,H,W,C)", op, bytes.Shape))
	}
	if !flip.Absent() && !flip.Shape.Equal(bytes.Shape[:1]) {
		panic(fmt.Sprintf("cpu: %s: got flip %v beside %v, want (%d)", op, flip.Shape, bytes.Shape, bytes.Shape[0]))
	}
	for _, x := range images {
		if !x.Absent() && !x.Shape.Equal(bytes.Shape) {
			panic(fmt.Sprintf("cpu: %s: got %v beside bytes %v", op, x.Shape, bytes.Shape))
		}
	}
}

// loadRow writes x of one row (W,C) of bytes, mirrored in W if so asked.
func loadRow(x []float32, row []byte, c int, mirror bool) {
	if !mirror {
		for i, u := range row {
			x[i] = byteValue[u]
		}
		return
	}
	for i := 0; i < len(row); i += c {
		pixel := row[len(row)-c-i : len(row)-i]
		for j, u := range pixel {
			x[i+j] = byteValue[u]
		}
	}
}

// ImageLoad is defined in tensor/perturb.go.
func (d *Device) ImageLoad(x, bytes, flip tensor.Tensor) {
	const op = "image_load"
	imageShapes(op, bytes, flip)
	sameElems(op, bytes, x)
	out, in, mirror := d.out(x), d.u8(bytes), d.u8(flip)
	s := bytes.Shape
	row, size := s[2]*s[3], s[1]*s[2]*s[3]
	d.each(s[0], func(_, n int) {
		for i := n * size; i < (n+1)*size; i += row {
			loadRow(out[i:i+row], in[i:i+row], s[3], mirror != nil && mirror[n] != 0)
		}
	})
	d.store(x, out)
}

// ImageStore is defined in tensor/perturb.go. NaN becomes 0.
func (d *Device) ImageStore(bytes, x tensor.Tensor, rule tensor.ByteRule) {
	const op = "image_store"
	sameElems(op, x, bytes)
	if rule != tensor.Floor && rule != tensor.Round {
		panic(fmt.Sprintf("cpu: %s: no byte rule %d", op, rule))
	}
	out, in := d.u8(bytes), d.in(x)
	d.ranges(len(out), pointwiseRun, func(_, from, to int) {
		for i, v := range in[from:to] {
			if rule == tensor.Floor {
				v = float32(v+1) * 127.5
			} else {
				v = float32(v*127.5) + 128
			}
			switch {
			case v >= 255:
				out[from+i] = 255
			case v > 0:
				out[from+i] = byte(v)
			default:
				out[from+i] = 0
			}
		}
	})
}

// Perturb is defined in tensor/perturb.go. Noise belongs to the place in the output: mirroring moves the image under it.
func (d *Device) Perturb(p tensor.Perturbed, bytes, flip tensor.Tensor, l tensor.PerturbLevels, step tensor.Tensor) {
	const op = "perturb"
	if p.Xt.Absent() || p.CXt.Absent() || p.Xr.Absent() != p.CXr.Absent() {
		panic("cpu: perturb: want Xt and CXt, and Xr and CXr both or neither")
	}
	imageShapes(op, bytes, flip, p.Xt, p.CXt, p.Xr, p.CXr)
	perImageScalars(op, bytes, l.T, l.InT)
	if !p.Xr.Absent() {
		perImageScalars(op, bytes, l.R, l.InR)
	}
	s := bytes.Shape
	stream := imageStream(op, d.readStep(op, step), philox.Noise, s[0])
	in, mirror := d.u8(bytes), d.u8(flip)
	xt, cxt, xr, cxr := d.out(p.Xt), d.out(p.CXt), d.out(p.Xr), d.out(p.CXr)
	t, inT, r, inR := d.in(l.T), d.in(l.InT), d.in(l.R), d.in(l.InR)
	row, size := s[2]*s[3], s[1]*s[2]*s[3]
	d.each(s[0], func(worker, n int) {
		image := d.work(worker, 2*size)
		x, z := image[:size], image[size:]
		stream(n).Normals(z, 0)
		for i := 0; i < size; i += row {
			loadRow(x[i:i+row], in[n*size+i:n*size+i+row], s[3], mirror != nil && mirror[n] != 0)
		}
		noisy(xt[n*size:(n+1)*size], cxt[n*size:], x, z, t[n], inT[n])
		if xr != nil {
			noisy(xr[n*size:(n+1)*size], cxr[n*size:], x, z, r[n], inR[n])
		}
	})
	d.store(p.Xt, xt)
	d.store(p.CXt, cxt)
	if xr != nil {
		d.store(p.Xr, xr)
		d.store(p.CXr, cxr)
	}
}

// noisy writes y = x + level·z and scaled = scale·y.
func noisy(y, scaled, x, z []float32, level, scale float32) {
	scaled, x, z = scaled[:len(y)], x[:len(y)], z[:len(y)]
	for i := range y {
		v := float32(float64(x[i]) + float64(level)*float64(z[i]))
		y[i] = v
		scaled[i] = scale * v
	}
}
