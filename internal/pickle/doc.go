// Package pickle reads Python pickles that hold data and refuses all others.
//
// [Load] knows plain containers, numbers, strings and numpy's arrays. A pickle can name any function of any Python module;
// here a name is looked up in a fixed table, and one that is not in it is refused by its name. No code is run.
//
//	v, err := pickle.Load(f, size)
//	array, _ := pickle.Get(v, "data").(*pickle.Array)
//	labels, err := pickle.Ints(pickle.Get(v, "labels"), images)
//
// A file is read in two passes. The first walks over the opcodes: it checks lengths and names, charges every opcode for what
// it can make the machine allocate, and cuts long strings out, which stay where they are in the file. What is left is small,
// and the second pass, gopickle's machine, builds the values from it. So a batch of images of 1.5 GB takes no memory to open,
// and a hostile pickle at most [MaxMemory].
//
// Values are those of github.com/nlpodyssey/gopickle: nil, bool, int, float64, string (also Python 2's str), []byte,
// *types.List, *types.Tuple, *types.Dict, *types.OrderedDict; and [*Array] and, for a long string, [*Bytes]. A pickle can
// make a list that holds itself: walk over values only as deep as you know them.
package pickle
