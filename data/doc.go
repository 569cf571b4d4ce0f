// Package data turns image sets on disk into batches of bytes.
//
// A [Dataset] hands out images of one shape by index; [Open] makes one from a packed file, from the files of MNIST, CIFAR
// and the downsampled ImageNet, from numpy's arrays or from a
// folder, a zip or a tar of images. [Import] writes any of them as a packed
// file (docs/format-pack.md), the form that costs nothing to read. A [Loader] puts a set into the order of a run and stays one batch ahead.
//
//	ds, err := data.Open("cifar10.pack", data.Options{})
//	l := data.NewLoader(ds, data.LoaderOptions{Seed: 1, Batch: 512, Flip: true, First: 512 * step})
//	b, err := l.Next(ctx) // b.Images (512,H,W,C)
//
// # Arrays
//
// Arrays of bytes are the images, unchanged: (N,H,W,C), or planes (C,H,W) that become (H,W,C). They are read where they lie
// in CIFAR's binary files, in pickles, in npy files and, if stored, in npz archives. A compressed tar (CIFAR: some 180 MB) is
// unpacked into a file without a name in the folder for temporary files. Deflated members of an npz (at most 4 GiB of them)
// and pickled arrays that were written as text (protocol 2 of Python 3) are held in memory. An import reads deflated members one after the other, so there it is each that must fit.
//
// Labels are the files'. Beside images under data, as in the downsampled ImageNet, a smallest label of 1 means that they count
// from 1: one is taken off, classes keep their numbers as names, and [Notes] says so. Those of arr_1 count from 0.
//
// # From a file to bytes
//
// Every image becomes bytes (H,W,C), row by row, C = 3 (red, green, blue) or 1 (gray), by these rules, in this order:
//
//   - GIF: the first frame, on the whole canvas. Animated PNG: the default image.
//   - Palettes and bits are expanded. CMYK becomes RGB as image/color does it. Chroma of a JPEG is repeated, not
//     interpolated, and nothing is decoded at reduced size.
//   - Transparency is composited over white, the page that most such pictures are drawn for:
//     v = α·v + (1 − α)·white, in sixteen bits.
//   - Sixteen bits become eight by rounding to the nearest: u = ⌊(v + 128)/257⌋; 0xabab becomes 0xab.
//   - A folder of images has three channels; gray is repeated. With Gray set it has one, and colour becomes
//     ⌊(19595 R + 38470 G + 7471 B + 32768)/65536⌋, luma of ITU-R BT.601.
//   - The EXIF orientation (JPEG, PNG, WebP, TIFF) is applied once. A damaged EXIF block counts as none.
//   - Colour profiles and gamma chunks are not applied.
//   - Size and crop, if asked for: [Options].
//
// Images are untrusted: dimensions are read before pixels and limited, time is limited, a decoder's panic is an error
// of that image, names are escaped in messages.
//
// Errors about a file begin with its path. Those that mean damaged content are [ErrDamaged].
package data
