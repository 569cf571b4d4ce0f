//go:build !cgo

package cpu

// Without C the twins do the work.
var (
	attentionSoftmax = attentionSoftmaxGo
	attentionSlopes  = attentionSlopesGo
)
