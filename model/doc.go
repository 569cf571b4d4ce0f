// Package model holds the networks: SongUNet (NCSN++ and DDPM++) and DhariwalUNet (ADM), their preconditioning, initial
// weights, and the names and layouts of their parameters in files.
//
//	net, err := cfg.Record(batch, model.Options{})     // a tape; inputs and outputs are fields of Net
//
// What differs between the two families (residual scale, 1×1 on up and down blocks, epsilon, heads, where the embedding
// enters, filters, dropout by resolution) is a field of blockConfig; there is one residual block.
//
// model knows no levels, losses or devices.
package model
