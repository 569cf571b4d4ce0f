// Package events writes the event files that TensorBoard reads, scalars and PNG pictures, and reads them back.
//
// A file is a row of records, each one Event in protocol buffers; numbers are little endian:
//
//	length  uint64           of data
//	crc     uint32           masked CRC-32C of length
//	data    Event            wall_time=1 double, step=2 int64, file_version=3 string | summary=5 | session_log=7
//	crc     uint32           masked CRC-32C of data
//
// masked(c) = (c>>15 | c<<17) + 0xa282ead8. The first event holds file_version "brain.Event:2". Source: the format's own
// description in tensorflow/core/lib/io/record_writer and tensorflow/core/util/event.proto.
//
// Each start of a run writes a file of its own, and what earlier files hold of steps behind the state it goes on from is cut
// off first: a reader that follows the folder while it happens sees a new file, not one that shrank under it. A file in which
// something cannot be read is kept as damaged.<number>.ict; the part before it stays.
//
//	w, notes, err := events.Open("runs/a/tb", 12000) // after a resume from step 12,000
//	err = w.Scalars(12100, []events.Scalar{{"loss", 0.083}})
//	err = w.Image(12100, "grid", pngBytes)
package events
