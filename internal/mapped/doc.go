// Package mapped makes errors of what are crashes otherwise: reading a mapped file whose pages are gone.
package mapped
