// Package oracle holds tests that compare ops and a whole residual block with gorgonia, an independent automatic
// differentiation, in float64: values, losses and every gradient. It is imported by nobody.
//
// gorgonia has a tag cuda of its own, which would pull in cuDNN, hence the constraint on its files.
package oracle
