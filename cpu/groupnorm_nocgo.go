//go:build !cgo

package cpu

// Without C the twins do the work.
var (
	groupNormSum     = groupNormSumGo
	groupNormMoments = groupNormMomentsGo
	groupNormApply   = groupNormApplyGo
	groupNormDropout = groupNormDropoutGo
	groupNormSlopes  = groupNormSlopesGo
	groupNormDx      = groupNormDxGo
)
