// Package meter is the backend that computes nothing and counts: a plan listens to it, and `ict plan` prints it.
package meter

import (
	"errors"

	"ict/tensor"
)

// Count is what some launches cost.
type Count struct {
	FLOPs    int64 // multiply-adds count two
	Bytes    int64 // read and written, each operand once
	Launches int
}

// Add is the sum of two counts.
func (c Count) Add(o Count) Count {
	return Count{c.FLOPs + o.FLOPs, c.Bytes + o.Bytes, c.Launches + o.Launches}
}

// Meter is a tensor.Backend without memory. Scratch sizes are those of the backend that will run.
type Meter struct {
	tensor.Sizer
	Count Count
}

var _ tensor.Backend = (*Meter)(nil)

// New counts for the backend whose scratch sizes s tells.
func New(s tensor.Sizer) *Meter { return &Meter{Sizer: s} }

// Memory is the address of nothing.
type Memory int

func (m Memory) Bytes() int   { return int(m) }
func (m Memory) Base() uint64 { return 0 }

func (m *Meter) launch(macs int, ts ...tensor.Tensor) {
	m.Count.FLOPs += 2 * int64(macs)
	m.Count.Launches++
	for _, t := range ts {
		m.Count.Bytes += int64(t.Bytes())
	}
}

var errNoMemory = errors.New("meter: this backend has no memory")

func (m *Meter) Alloc(n int) (tensor.Memory, error)              { return Memory(n), nil }
func (m *Meter) Pinned(int) ([]byte, error)                      { return nil, errNoMemory }
func (m *Meter) Upload(tensor.Tensor, []byte) tensor.Ticket      { panic(errNoMemory) }
func (m *Meter) Download([]byte, tensor.Tensor) tensor.Ticket    { panic(errNoMemory) }
func (m *Meter) Copy(dst, src tensor.Tensor, _ ...tensor.Ticket) { m.launch(0, dst, src) }
func (m *Meter) Capture(step func()) (func(), error)             { return step, nil }
func (m *Meter) Sync() error                                     { return nil }
func (m *Meter) Err() error                                      { return nil }
func (m *Meter) Close() error                                    { return nil }

func macs(y, w tensor.Tensor) int { return y.Elems() * w.Elems() / w.Shape[0] }

func (m *Meter) Conv2dFprop(y, x0, x1, w tensor.Tensor, ep tensor.Epilogue, p tensor.Conv2d) {
	m.launch(macs(y, w), y, x0, x1, w, ep.Bias, ep.Emb, ep.Residual)
}

func (m *Meter) Conv2dDgrad(dx0, dx1 tensor.Acc, dy, wt tensor.Tensor, p tensor.Conv2d) {
	if dx0.Absent() && dx1.Absent() {
		return
	}
	m.launch(dy.Elems()*wt.Elems()/wt.Shape[3], dx0.Tensor, dx1.Tensor, dy, wt)
}

func (m *Meter) Conv2dWgrad(dw tensor.Acc, x0, x1, dy tensor.Tensor, p tensor.Conv2d, ws tensor.Tensor) {
	if !dw.Absent() {
		m.launch(macs(dy, dw.Tensor), dw.Tensor, x0, x1, dy)
	}
}

func (m *Meter) Conv2dPack(wt, w tensor.Tensor) { m.launch(0, wt, w) }

func (m *Meter) LinearFprop(y, x, w, b tensor.Tensor, p tensor.Linear) {
	m.launch(macs(y, w), y, x, w, b)
}

func (m *Meter) LinearDgrad(dx tensor.Acc, dy, x, w tensor.Tensor, p tensor.Linear) {
	m.launch(macs(dy, w), dx.Tensor, dy, x, w)
}

func (m *Meter) LinearWgrad(dw, db tensor.Acc, x, dy tensor.Tensor, p tensor.Linear, ws tensor.Tensor) {
	m.launch(dy.Elems()*x.Shape[1], dw.Tensor, db.Tensor, x, dy)
}

func (m *Meter) GroupNormForward(y, mean, rstd, x0, x1, gamma, beta, ss, step tensor.Tensor, p tensor.GroupNorm) {
	m.launch(0, y, mean, rstd, x0, x1, gamma, beta, ss)
}

func (m *Meter) GroupNormBackward(dx0, dx1, dgamma, dbeta, dss tensor.Acc, dy, x0, x1, mean, rstd, gamma, beta, ss, step tensor.Tensor, p tensor.GroupNorm, ws tensor.Tensor) {
	m.launch(0, dx0.Tensor, dx1.Tensor, dgamma.Tensor, dbeta.Tensor, dss.Tensor, dy, x0, x1, mean, rstd, gamma, beta, ss)
}

func (m *Meter) AttentionForward(o, lse, qkv tensor.Tensor, p tensor.Attention) {
	m.launch(p.MACs(qkv.Shape), o, lse, qkv)
}

func (m *Meter) AttentionBackward(dqkv tensor.Acc, do, o, qkv, lse tensor.Tensor, p tensor.Attention) {
	m.launch(p.MACs(qkv.Shape)*5/2, dqkv.Tensor, do, o, qkv, lse)
}

func (m *Meter) Axpby(y tensor.Acc, a float32, x0 tensor.Tensor, b float32, x1 tensor.Tensor) {
	m.launch(0, y.Tensor, x0, x1)
}
func (m *Meter) ScaleImages(y, x, s tensor.Tensor) { m.launch(0, y, x, s) }
func (m *Meter) BiasBackward(dbias, demb tensor.Acc, dy tensor.Tensor, scale float32, ws tensor.Tensor) {
	m.launch(0, dbias.Tensor, demb.Tensor, dy)
}
func (m *Meter) PrecondForward(f, raw, x, skip, out tensor.Tensor, p tensor.Precond) {
	m.launch(0, f, raw, x, skip, out)
}
func (m *Meter) PrecondBackward(draw tensor.Acc, df, out tensor.Tensor) {
	m.launch(0, draw.Tensor, df, out)
}
func (m *Meter) Cast(dst, src tensor.Tensor)                           { m.launch(0, dst, src) }
func (m *Meter) RandomNormal(dst, step tensor.Tensor, purpose uint16)  { m.launch(0, dst) }
func (m *Meter) ResampleForward(y, x tensor.Tensor, p tensor.Resample) { m.launch(0, y, x) }
func (m *Meter) ResampleBackward(dx tensor.Acc, dy tensor.Tensor, p tensor.Resample) {
	m.launch(0, dx.Tensor, dy)
}
func (m *Meter) EmbedFourier(y, c, freqs tensor.Tensor)                  { m.launch(0, y, c, freqs) }
func (m *Meter) EmbedPositional(y, c tensor.Tensor, p tensor.Positional) { m.launch(0, y, c) }
func (m *Meter) EmbedLabelForward(y tensor.Acc, table, labels, bias tensor.Tensor, scale float32) {
	m.launch(0, y.Tensor, labels, bias)
}
func (m *Meter) EmbedLabelBackward(dtable, dbias tensor.Acc, dy, labels tensor.Tensor, scale float32) {
	m.launch(0, dtable.Tensor, dbias.Tensor, dy, labels)
}
func (m *Meter) ImageLoad(x, bytes, flip tensor.Tensor)                  { m.launch(0, x, bytes, flip) }
func (m *Meter) ImageStore(bytes, x tensor.Tensor, rule tensor.ByteRule) { m.launch(0, bytes, x) }
func (m *Meter) Perturb(d tensor.Perturbed, bytes, flip tensor.Tensor, l tensor.PerturbLevels, step tensor.Tensor) {
	m.launch(0, d.Xt, d.CXt, d.Xr, d.CXr, bytes, flip, l.T, l.R, l.InT, l.InR)
}
func (m *Meter) PseudoHuber(loss, dy, y, target, weight, step tensor.Tensor, p tensor.PseudoHuber) {
	m.launch(0, loss, dy, y, target, weight)
}
func (m *Meter) L2(loss, dy, y, target, weight, step tensor.Tensor, p tensor.L2) {
	m.launch(0, loss, dy, y, target, weight)
}
func (m *Meter) OptimNorm(verdict, g, ws tensor.Tensor) { m.launch(0, verdict, g) }
func (m *Meter) OptimJudge(verdict, scale, step tensor.Tensor, rule tensor.ScaleRule) {
	m.launch(0, verdict, scale, step)
}
func (m *Meter) OptimUpdate(w, mm, v, w16 tensor.Tensor, ema []tensor.Tensor, g, verdict, step tensor.Tensor, p tensor.Adam) {
	m.launch(0, append([]tensor.Tensor{w, w, mm, mm, v, v, w16, g}, append(ema, ema...)...)...)
}
func (m *Meter) ReduceNonFinite(count, x tensor.Tensor) { m.launch(0, count, x) }
func (m *Meter) ReduceHash(hash, x tensor.Tensor)       { m.launch(0, hash, x) }
