package cpu

import (
	"fmt"
	"math"

	"ict/tensor"
)

// attention is one call: n images of t tokens, heads of width d, c channels in all.
type attention struct {
	tensor.Attention
	images, t, c, d int
	tf32            bool // probabilities and their gradients are operands too
	qkv             []float32
}

func (d *Device) attention(op string, o, lse, qkv tensor.Tensor, p tensor.Attention) *attention {
	if err := p.Check(o.Shape, lse.Shape, qkv.Shape); err != nil {
		panic(fmt.Sprintf("cpu: %s: %v", op, err))
	}
	sameDType(op, qkv, o)
	c := o.Shape[3]
	return &attention{
		Attention: p, images: o.Shape[0], t: o.Shape[1] * o.Shape[2], c: c, d: c / p.Heads, tf32: d.tf32, qkv: d.operand(qkv),
	}
}

// qkvOf are the first q, k and v of a head in a tensor like qkv; their rows lie 3·c apart.
func (a *attention) qkvOf(x []float32, image, head int) (q, k, v []float32) {
	x = x[image*a.t*3*a.c+head*a.d : (image+1)*a.t*3*a.c]
	return x, x[a.c:], x[2*a.c:]
}

// headOf is the first row of a head in a tensor like o; its rows lie c apart.
func (a *attention) headOf(x []float32, image, head int) []float32 {
	return x[image*a.t*a.c+head*a.d : (image+1)*a.t*a.c]
}

func (a *attention) lseOf(x []float32, image, head int) []float32 {
	i := (image*a.Heads + head) * a.t
	return x[i : i+a.t]
}

// logitsBlock is about how many logits a worker looks at together: a part of its second-level cache.
const logitsBlock = 48 << 10

// blocks calls f for runs of queries, a multiple of 16 each but the last; T alone decides where they begin.
func (a *attention) blocks(f func(from, rows int)) {
	rows := a.blockRows()
	for from := 0; from < a.t; from += rows {
		f(from, min(rows, a.t-from))
	}
}

func (a *attention) blockRows() int {
	parts := (a.t*a.t + logitsBlock - 1) / logitsBlock
	return min(a.t, ((a.t+parts-1)/parts+15)&^15)
}

// AttentionForward implements tensor.Attender.
func (d *Device) AttentionForward(o, lse, qkv tensor.Tensor, p tensor.Attention) {
	defer d.endLoans()
	a := d.attention("attention_forward", o, lse, qkv, p)
	out, l := d.out(o), d.out(lse)
	d.each(a.images*a.Heads, func(worker, i int) {
		image, head := i/a.Heads, i%a.Heads
		to, ln := a.headOf(out, image, head), a.lseOf(l, image, head)
		if d.exact {
			a.forwardExact(to, ln, image, head)
		} else {
			a.forward(d.blas, to, ln, image, head, d.work(worker, a.blockRows()*(a.t+2)))
		}
	})
	d.store(o, out)
	d.store(lse, l)
}

// AttentionBackward implements tensor.Attender.
func (d *Device) AttentionBackward(dqkv tensor.Acc, do, o, qkv, lse tensor.Tensor, p tensor.Attention) {
	const op = "attention_backward"
	defer d.endLoans()
	a := d.attention(op, o, lse, qkv, p)
	wantShape(op, "do", do, o.Shape)
	wantShape(op, "dqkv", dqkv.Tensor, qkv.Shape)
	if dqkv.Absent() {
		return
	}
	sameDType(op, qkv, do, dqkv.Tensor)
	dx, dout, out, l := d.out(dqkv.Tensor), d.operand(do), d.in(o), d.in(lse)
	d.each(a.images*a.Heads, func(worker, i int) {
		image, head := i/a.Heads, i%a.Heads
		g := a.headOf(dout, image, head)
		if d.exact {
			a.backwardExact(dx, dqkv.Beta, g, image, head)
		} else {
			a.backward(d.blas, dx, dqkv.Beta, g, a.headOf(out, image, head), a.lseOf(l, image, head), image, head,
				d.work(worker, 2*a.blockRows()*a.t))
		}
	})
	d.store(dqkv.Tensor, dx)
}

// forward is the fast path of one head.
func (a *attention) forward(b *blas, o, lse []float32, image, head int, work []float32) {
	q, k, v := a.qkvOf(a.qkv, image, head)
	row := 3 * a.c
	a.blocks(func(from, rows int) {
		s, max, sum := work[:rows*a.t], work[rows*a.t:][:rows], work[rows*(a.t+1):][:rows]
		b.gemm(false, true, rows, a.t, a.d, a.Scale, q[from*row:], row, k, row, 0, s, a.t)
		attentionSoftmax(s, max, sum, a.t)
		for i := range rows {
			lse[from+i] = float32(float64(max[i]) + math.Log(float64(sum[i])))
		}
		if a.tf32 {
			roundTF32(s, s)
		}
		b.gemm(false, false, rows, a.d, a.t, 1, s, a.t, v, row, 0, o[from*a.c:], a.c)
	})
}

// backward is the fast path of one head, from the probabilities computed again: with dp = do·vᵀ,
//
//	ds = p·(dp − Σ do·o) ;  dq = Scale·ds·k ;  dk = Scale·dsᵀ·q ;  dv = pᵀ·do
func (a *attention) backward(b *blas, dqkv []float32, beta float32, do, o, lse []float32, image, head int, work []float32) {
	q, k, v := a.qkvOf(a.qkv, image, head)
	dq, dk, dv := a.qkvOf(dqkv, image, head)
	row := 3 * a.c
	once := beta
	a.blocks(func(from, rows int) {
		p, ds := work[:rows*a.t], work[rows*a.t:][:rows*a.t]
		q, dq, do, o := q[from*row:], dq[from*row:], do[from*a.c:], o[from*a.c:]
		b.gemm(false, true, rows, a.t, a.d, a.Scale, q, row, k, row, 0, p, a.t)
		b.gemm(false, true, rows, a.t, a.d, 1, do, a.c, v, row, 0, ds, a.t)
		attentionSlopes(p, ds, lse[from:from+rows], do, o, a.c, a.d, a.t)
		if a.tf32 {
			roundTF32(p, p)
			roundTF32(ds, ds)
		}
		b.gemm(false, false, rows, a.d, a.t, a.Scale, ds, a.t, k, row, beta, dq, row)
		b.gemm(true, false, a.t, a.d, rows, a.Scale, ds, a.t, q, row, once, dk, row)
		b.gemm(true, false, a.t, a.d, rows, 1, p, a.t, do, a.c, once, dv, row)
		once = 1
	})
}

// forwardExact is the definition.
func (a *attention) forwardExact(o, lse []float32, image, head int) {
	_, _, v := a.qkvOf(a.qkv, image, head)
	p, sum := make([]float64, a.t), make([]float64, a.d)
	for i := range a.t {
		lse[i] = float32(a.probabilities(p, image, head, i))
		a.round(p)
		clear(sum)
		for j := range a.t {
			for c := range sum {
				sum[c] += p[j] * float64(v[j*3*a.c+c])
			}
		}
		for c := range sum {
			o[i*a.c+c] = float32(sum[c])
		}
	}
}

// probabilities writes the softmax of query i and returns its ln Σ exp.
func (a *attention) probabilities(p []float64, image, head, i int) float64 {
	q, k, _ := a.qkvOf(a.qkv, image, head)
	row := 3 * a.c
	max := math.Inf(-1)
	for j := range a.t {
		var s float64
		for c := range a.d {
			s += float64(q[i*row+c]) * float64(k[j*row+c])
		}
		p[j] = s * float64(a.Scale)
		max = math.Max(max, p[j])
	}
	var sum float64
	for j := range p {
		p[j] = math.Exp(p[j] - max)
		sum += p[j]
	}
	for j := range p {
		p[j] /= sum
	}
	return max + math.Log(sum)
}

// round rounds an operand, where operands are.
func (a *attention) round(p []float64) {
	if !a.tf32 {
		return
	}
	for j, v := range p {
		one := []float32{float32(v)}
		roundTF32Go(one, one)
		p[j] = float64(one[0])
	}
}

// backwardExact is the definition; it makes its own probabilities and reads neither o nor lse.
func (a *attention) backwardExact(dqkv []float32, beta float32, do []float32, image, head int) {
	q, k, v := a.qkvOf(a.qkv, image, head)
	row, scale := 3*a.c, float64(a.Scale)
	gq, gk, gv := make([]float64, a.t*a.d), make([]float64, a.t*a.d), make([]float64, a.t*a.d)
	p, dp := make([]float64, a.t), make([]float64, a.t)
	for i := range a.t {
		a.probabilities(p, image, head, i)
		var mean float64
		for j := range a.t {
			dp[j] = 0
			for c := range a.d {
				dp[j] += float64(do[i*a.c+c]) * float64(v[j*row+c])
			}
			mean += p[j] * dp[j]
		}
		for j := range a.t {
			dp[j] = p[j] * (dp[j] - mean)
		}
		a.round(p)
		a.round(dp)
		for j := range a.t {
			for c := range a.d {
				gq[i*a.d+c] += dp[j] * scale * float64(k[j*row+c])
				gk[j*a.d+c] += dp[j] * scale * float64(q[i*row+c])
				gv[j*a.d+c] += p[j] * float64(do[i*a.c+c])
			}
		}
	}
	dq, dk, dv := a.qkvOf(dqkv, image, head)
	for i := range a.t {
		for c := range a.d {
			dq[i*row+c] = blend(dq[i*row+c], beta, gq[i*a.d+c])
			dk[i*row+c] = blend(dk[i*row+c], beta, gk[i*a.d+c])
			dv[i*row+c] = blend(dv[i*row+c], beta, gv[i*a.d+c])
		}
	}
}

// The Go twins of attention.c, with the same lanes and the same bits.

const attentionLanes = 32

func laneSum(lane *[attentionLanes]float32) float32 {
	for half := attentionLanes / 2; half > 0; half /= 2 {
		for i := range half {
			lane[i] += lane[i+half]
		}
	}
	return lane[0]
}

// attentionSoftmaxGo writes the softmax of rows of n in place, and of each row its maximum m and Σ exp(s − m). A row with
// an element that is not finite becomes NaN.
func attentionSoftmaxGo(s, max, sum []float32, n int) {
	for r := range max {
		row := s[r*n : (r+1)*n]
		m := row[0]
		var odd, lane [attentionLanes]float32
		for i, v := range row {
			if v > m {
				m = v
			}
			odd[i%attentionLanes] += v - v
		}
		for i, v := range row {
			row[i] = expMinus(m - v)
			lane[i%attentionLanes] += row[i]
		}
		max[r], sum[r] = m, laneSum(&lane)+laneSum(&odd)
		k := 1 / sum[r]
		for i := range row {
			row[i] *= k
		}
	}
}

// attentionSlopesGo turns rows of n logits into probabilities exp(s − lse), and the gradients dp of these into those of
// the logits. dout and out: rows of width elements, stride apart.
func attentionSlopesGo(s, dp, lse, dout, out []float32, stride, width, n int) {
	for r, l := range lse {
		var lane [attentionLanes]float32
		for i, g := range dout[r*stride : r*stride+width] {
			lane[i%attentionLanes] += float32(g * out[r*stride+i])
		}
		mean := laneSum(&lane)
		for i := r * n; i < (r+1)*n; i++ {
			s[i] = expMinus(l - s[i])
			dp[i] = s[i] * (dp[i] - mean)
		}
	}
}
