package events

import (
	"fmt"
	"math"

	"google.golang.org/protobuf/encoding/protowire"
)

const fileVersion = "brain.Event:2"

// Event is one record. Exactly one of FileVersion, Start, Scalars and Images says something.
type Event struct {
	Time        float64 // seconds since 1970
	Step        int64
	FileVersion string // of the first event of a file
	Start       bool   // a start of the run: what was written before for this step and later ones is void
	Scalars     []Scalar
	Images      []Image
}

// Scalar is a number under its tag.
type Scalar struct {
	Tag   string
	Value float32
}

// Image is a PNG under its tag.
type Image struct {
	Tag           string
	Height, Width int
	Channels      int // 1 gray, 3 RGB, 4 RGBA
	PNG           []byte
}

// Fields of the messages.
const (
	eventTime, eventStep, eventVersion, eventSummary, eventSession = 1, 2, 3, 5, 7

	summaryValue = 1

	valueTag, valueScalar, valueImage = 1, 2, 4

	imageHeight, imageWidth, imageChannels, imageBytes = 1, 2, 3, 4

	sessionStatus, sessionStart = 1, 1
)

// encode is the event in protocol buffers.
func (e Event) encode() []byte {
	b := protowire.AppendTag(nil, eventTime, protowire.Fixed64Type)
	b = protowire.AppendFixed64(b, math.Float64bits(e.Time))
	b = appendInt(b, eventStep, uint64(e.Step))
	var summary []byte
	for _, s := range e.Scalars {
		v := appendBytes(nil, valueTag, []byte(s.Tag))
		v = protowire.AppendTag(v, valueScalar, protowire.Fixed32Type)
		summary = appendBytes(summary, summaryValue, protowire.AppendFixed32(v, math.Float32bits(s.Value)))
	}
	for _, i := range e.Images {
		p := appendInt(nil, imageHeight, uint64(i.Height))
		p = appendInt(p, imageWidth, uint64(i.Width))
		p = appendInt(p, imageChannels, uint64(i.Channels))
		p = appendBytes(p, imageBytes, i.PNG)
		summary = appendBytes(summary, summaryValue, appendBytes(appendBytes(nil, valueTag, []byte(i.Tag)), valueImage, p))
	}
	switch {
	case e.FileVersion != "":
		b = appendBytes(b, eventVersion, []byte(e.FileVersion))
	case e.Start:
		b = appendBytes(b, eventSession, appendInt(nil, sessionStatus, sessionStart))
	case summary != nil:
		b = appendBytes(b, eventSummary, summary)
	}
	return b
}

func appendInt(b []byte, field protowire.Number, v uint64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(b, field, protowire.VarintType), v)
}

func appendBytes(b []byte, field protowire.Number, v []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(b, field, protowire.BytesType), v)
}

// decode is encode backwards. Fields that this package does not write are passed over; broken ones are an error.
func decode(b []byte) (e Event, err error) {
	err = fields(b, func(f field) error {
		switch {
		case f.is(eventTime, protowire.Fixed64Type):
			e.Time = math.Float64frombits(f.number)
		case f.is(eventStep, protowire.VarintType):
			e.Step = int64(f.number)
		case f.is(eventVersion, protowire.BytesType):
			e.FileVersion = string(f.bytes)
		case f.is(eventSession, protowire.BytesType):
			return fields(f.bytes, func(f field) error {
				e.Start = e.Start || f.is(sessionStatus, protowire.VarintType) && f.number == sessionStart
				return nil
			})
		case f.is(eventSummary, protowire.BytesType):
			return fields(f.bytes, func(f field) error {
				if !f.is(summaryValue, protowire.BytesType) {
					return nil
				}
				return e.addValue(f.bytes)
			})
		}
		return nil
	})
	return e, err
}

// addValue reads one value of a summary.
func (e *Event) addValue(b []byte) error {
	tag, scalar, image := "", (*float32)(nil), (*Image)(nil)
	err := fields(b, func(f field) error {
		switch {
		case f.is(valueTag, protowire.BytesType):
			tag = string(f.bytes)
		case f.is(valueScalar, protowire.Fixed32Type):
			v := math.Float32frombits(uint32(f.number))
			scalar = &v
		case f.is(valueImage, protowire.BytesType):
			image = &Image{}
			return fields(f.bytes, func(f field) error {
				switch {
				case f.is(imageHeight, protowire.VarintType):
					image.Height = int(int32(f.number))
				case f.is(imageWidth, protowire.VarintType):
					image.Width = int(int32(f.number))
				case f.is(imageChannels, protowire.VarintType):
					image.Channels = int(int32(f.number))
				case f.is(imageBytes, protowire.BytesType):
					image.PNG = f.bytes
				}
				return nil
			})
		}
		return nil
	})
	if scalar != nil {
		e.Scalars = append(e.Scalars, Scalar{tag, *scalar})
	}
	if image != nil {
		image.Tag = tag
		e.Images = append(e.Images, *image)
	}
	return err
}

// field is one field of a message; number holds varints and fixed ones.
type field struct {
	num    protowire.Number
	typ    protowire.Type
	number uint64
	bytes  []byte
}

func (f field) is(num protowire.Number, typ protowire.Type) bool { return f.num == num && f.typ == typ }

// fields calls f for each field of a message.
func fields(b []byte, f func(field) error) error {
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return fmt.Errorf("event: %w", protowire.ParseError(n))
		}
		b = b[n:]
		x := field{num: num, typ: typ}
		switch typ {
		case protowire.VarintType:
			x.number, n = protowire.ConsumeVarint(b)
		case protowire.Fixed64Type:
			x.number, n = protowire.ConsumeFixed64(b)
		case protowire.Fixed32Type:
			var v uint32
			v, n = protowire.ConsumeFixed32(b)
			x.number = uint64(v)
		case protowire.BytesType:
			x.bytes, n = protowire.ConsumeBytes(b)
		default:
			n = protowire.ConsumeFieldValue(num, typ, b)
		}
		if n < 0 {
			return fmt.Errorf("event: field %d: %w", num, protowire.ParseError(n))
		}
		b = b[n:]
		if err := f(x); err != nil {
			return err
		}
	}
	return nil
}
