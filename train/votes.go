package train

import "ict/tensor"

// Votes are what ranks wish at a step. Acting on a local fact alone — a signal, a switch file, a clock — would leave the
// other ranks in a collective, so wishes ride at the end of the last bucket, are added up with it, and everybody reads
// the same sums one step late.
type Votes struct {
	Stop, Save, Tick, Grid, Snapshot float32
}

func (v Votes) put(dst []float32) {
	clear(dst)
	dst[0], dst[1], dst[2], dst[3], dst[4] = v.Stop, v.Save, v.Tick, v.Grid, v.Snapshot
}

func getVotes(b []byte) Votes {
	f := tensor.Floats(b)
	return Votes{f[0], f[1], f[2], f[3], f[4]}
}

func (v Votes) add(o Votes) Votes {
	return Votes{v.Stop + o.Stop, v.Save + o.Save, v.Tick + o.Tick, v.Grid + o.Grid, v.Snapshot + o.Snapshot}
}
