package philox

import (
	"fmt"
	"hash/fnv"
)

// Purpose keeps draws apart that share seed, step and image.
type Purpose uint16

// The purposes. The n-th dropout of the tape draws its masks under Dropout + n.
const (
	Order       Purpose = 1 // order of the images of an epoch; the step is the epoch
	Flip        Purpose = 2 // horizontal flip
	Level       Purpose = 3 // noise level of training
	Noise       Purpose = 4 // noise of training
	SampleNoise Purpose = 5 // noise of sampling; the step is the index of the level
	Init        Purpose = 6 // initial weights; the step is NameStep of the parameter
	Class       Purpose = 7 // class of a sample
	Dropout     Purpose = 16
)

const (
	stepBits    = 48
	elementBits = 34 // 2^32 blocks of four words
)

// Stream names the draws of one image for one purpose at one step. Image is the place in the whole batch, in sampling
// the number of the image. Step is below 2^48. Elements count inside one image's tensor and are below 2^34; methods
// panic beyond either, where draws would repeat.
type Stream struct {
	Seed, Step uint64
	Image      uint32
	Purpose    Purpose
}

// The multipliers and the key increments of the Philox4x32 rounds [Philox].
const (
	multiplier0 = 0xd2511f53
	multiplier1 = 0xcd9e8d57
	weyl0       = 0x9e3779b9
	weyl1       = 0xbb67ae85
)

// Block returns the four words of Philox4x32-10 for a key and a counter.
// Source: [Philox].
func Block(key [2]uint32, ctr [4]uint32) [4]uint32 {
	w0, w1, w2, w3 := block(key[0], key[1], ctr[0], ctr[1], ctr[2], ctr[3])
	return [4]uint32{w0, w1, w2, w3}
}

// block is Block on scalars, which the compiler keeps in registers.
func block(k0, k1, c0, c1, c2, c3 uint32) (uint32, uint32, uint32, uint32) {
	for range 10 {
		p0 := multiplier0 * uint64(c0)
		p1 := multiplier1 * uint64(c2)
		c0, c1, c2, c3 = uint32(p1>>32)^c1^k0, uint32(p1), uint32(p0>>32)^c3^k1, uint32(p0)
		k0 += weyl0
		k1 += weyl1
	}
	return c0, c1, c2, c3
}

// Words fills dst with the words of elements first, first+1, …
func (s Stream) Words(dst []uint32, first uint64) {
	if s.Step>>stepBits != 0 {
		panic(fmt.Sprintf("philox: step: got %d, want below 2^%d", s.Step, stepBits))
	}
	checkElements(first, uint64(len(dst)))
	k0, k1 := uint32(s.Seed), uint32(s.Seed>>32)
	c1, c2, c3 := s.Image, uint32(s.Step), uint32(s.Purpose)<<16|uint32(s.Step>>32)
	c0 := uint32(first / 4)
	if skip := int(first % 4); skip != 0 && len(dst) > 0 {
		w := [4]uint32{}
		w[0], w[1], w[2], w[3] = block(k0, k1, c0, c1, c2, c3)
		dst = dst[copy(dst, w[skip:]):]
		c0++
	}
	for len(dst) >= 4 {
		dst[0], dst[1], dst[2], dst[3] = block(k0, k1, c0, c1, c2, c3)
		dst = dst[4:]
		c0++
	}
	if len(dst) > 0 {
		w := [4]uint32{}
		w[0], w[1], w[2], w[3] = block(k0, k1, c0, c1, c2, c3)
		copy(dst, w[:])
	}
}

func checkElements(first, n uint64) {
	const end = 1 << elementBits
	if n > end || first > end-n {
		panic(fmt.Sprintf("philox: elements: got %d from %d, want all below 2^%d", n, first, elementBits))
	}
}

// chunk is how many words the methods below take from Words at a time: a few cache lines on the stack.
const chunk = 64

// Uniforms fills dst with numbers of [0, 1), multiples of 2^-24, of elements first, first+1, …
//
//	(w >> 8)·2^-24
func (s Stream) Uniforms(dst []float32, first uint64) {
	var w [chunk]uint32
	for len(dst) > 0 {
		n := min(len(dst), chunk)
		s.Words(w[:n], first)
		for i, w := range w[:n] {
			dst[i] = float32(w>>8) * 0x1p-24
		}
		dst, first = dst[n:], first+uint64(n)
	}
}

// Float64 returns the i-th number of [0, 1) with 53 random bits, of the words 2i and 2i+1: the uniform of a noise level.
//
//	((w0 >> 5)·2^26 + (w1 >> 6))·2^-53
func (s Stream) Float64(i uint64) float64 {
	checkElements(i, 1) // 2i must not wrap
	var w [2]uint32
	s.Words(w[:], 2*i)
	return float64(uint64(w[0]>>5)<<26|uint64(w[1]>>6)) * 0x1p-53
}

// Coin is true for half of all elements: where the word is below 2^31.
func (s Stream) Coin(element uint64) bool {
	var w [1]uint32
	s.Words(w[:], element)
	return w[0] < 1<<31
}

// Threshold returns ⌊p·2^32⌋. A dropout of probability p keeps where the word is at least the threshold.
// Panics unless p is in [0, 1).
func Threshold(p float32) uint32 {
	if !(p >= 0 && p < 1) {
		panic(fmt.Sprintf("philox: probability: got %v, want one in [0, 1)", p))
	}
	return uint32(float64(p) * 0x1p32)
}

// Permutation returns the order of n images in an epoch, by Fisher–Yates from the end [FisherYates]: for i = n-1 … 0, entry i is
// exchanged with entry j = (word_i·(i+1)) >> 32 ≤ i, word_i being element i of the epoch's Order stream.
// Panics unless n is in [0, 2^32).
func Permutation(seed, epoch uint64, n int) []uint32 {
	if n < 0 || uint64(n) >= 1<<32 {
		panic(fmt.Sprintf("philox: permutation: got %d entries, want 0 to 2^32-1", n))
	}
	order := make([]uint32, n)
	for i := range order {
		order[i] = uint32(i)
	}
	s := Stream{Seed: seed, Step: epoch, Purpose: Order}
	var words [chunk]uint32
	for end := n; end > 0; {
		start := (end - 1) / chunk * chunk
		w := words[:end-start]
		s.Words(w, uint64(start))
		for i := end - 1; i >= start; i-- {
			j := uint64(w[i-start]) * uint64(i+1) >> 32
			order[i], order[j] = order[j], order[i]
		}
		end = start
	}
	return order
}

// NameStep returns the step of a parameter's stream of initial weights (purpose Init, image 0): the low 48 bits of the
// 64-bit FNV-1a hash of its name.
func NameStep(name string) uint64 {
	h := fnv.New64a()
	h.Write([]byte(name))
	return h.Sum64() & (1<<stepBits - 1)
}
