package tensor

// RandomNormal fills dst (N,D…) F32 with unit normals: element e of image n is Philox's for
// (step.Seed, step.Step, purpose, step.Image0+n, e). See internal/philox.
const _ = 0
