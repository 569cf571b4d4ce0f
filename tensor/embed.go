package tensor

// EmbedFourier writes y (N,2F) = sin(2π·freqs·c) | cos(2π·freqs·c), c (N), freqs (F) [EDM, after its swap].
//
// EmbedLabelForward adds a row of a table: y = y.Beta·y + scale·table[label] + bias.
//
//	y (N,E) · table (classes,E) · labels (N) I32, −1 adds nothing but the bias · bias (E), may be absent
//
// EmbedLabelBackward: dtable[label] += scale·dy, dbias = Σ_n dy; images in order within a slice, pairwise over slices.
//
// Positional writes y (N,2F) of c (N): angles c·ω_q with
//
//	ω_q = MaxPeriod^(−q/(F−1)) with Endpoint, MaxPeriod^(−q/F) without,   q = 0…F−1
//	y = sin | cos, or cos | sin with CosFirst
//
// SongUNet: endpoint, sin first [EDM]; ADM: no endpoint, cos first [ADM].
type Positional struct {
	MaxPeriod float64
	Endpoint  bool
	CosFirst  bool
}
