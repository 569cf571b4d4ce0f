// Package train is what a training step is, and the loop around it.
//
// One step of improved consistency training [iCT], with the identifiers of this package:
//
//	for each image n of the batch, keyed by (seed, k, n):
//	    x = image, mirrored or not            z ~ N(0, I)
//	    i ~ p(i) of the current grid          t = σ[i+1], r = σ[i]            weight = 1/(t − r)
//	    teacher = f(x + r·z, r)               same weights, same dropout masks, no gradient
//	    student = f(x + t·z, t)
//	    loss    = weight·(√(‖student − teacher‖² + HuberC²) − HuberC)
//	gradient of the mean loss by the student alone → RAdam → averages
//
// A [Trainer] owns networks and buffers and does one step at a time; an [Objective] says what a step computes;
// [Run] is the loop with its hooks and votes; [Config] is everything a run needs, and part of every checkpoint.
//
// train decodes nothing, logs nothing and samples nothing: what it has to say goes through [Hooks].
package train
