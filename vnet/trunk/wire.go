package trunk

import (
	"encoding/binary"
	"errors"
)

// Kinds of records.
const (
	recordPad   = 0
	recordFrame = 1
	recordPiece = 2
	recordProbe = 3
	recordEcho  = 4
	recordTrain = 5
	recordAsk   = 6
	recordTell  = 7
)

// Sizes of what comes before a record's bytes, its kind included.
const (
	frameHead = 3
	pieceHead = 9
)

// fixed are the sizes of records that have no bytes after them, by kind.
func fixed(kind byte) int {
	switch kind {
	case recordProbe:
		return 13
	case recordEcho:
		return 15
	case recordTrain:
		return 7
	case recordAsk:
		return 3
	case recordTell:
		return 11
	}
	return 0
}

// errMalformed is for what an honest sender does not send.
var errMalformed = errors.New("malformed")

// record is one parsed record. Which fields have a meaning follows from kind.
type record struct {
	kind          byte
	id            uint16 // of a piece's frame, or of a train
	total, offset int    // of a piece
	data          []byte // of a frame or a piece; part of what was parsed
	number        uint32 // of a probe
	time          int64  // of a probe: its sender's clock
	size          int    // of an echo: of the probe's datagram
	index, count  int    // of a train
	bytes, micros uint32 // what came of a train
}

// parse takes the first record from the opened bytes of a datagram. Of padding
// it takes all that is left.
func parse(b []byte) (r record, rest []byte, err error) {
	be := binary.BigEndian
	r.kind = b[0]
	if n := fixed(r.kind); len(b) < n {
		return r, nil, errMalformed
	} else {
		rest = b[n:]
	}
	switch r.kind {
	case recordPad:
		return r, nil, nil
	case recordFrame:
		return parseFrame(b)
	case recordPiece:
		return parsePiece(b)
	case recordProbe:
		r.number, r.time = be.Uint32(b[1:]), int64(be.Uint64(b[5:]))
	case recordEcho:
		r.number, r.time, r.size = be.Uint32(b[1:]), int64(be.Uint64(b[5:])), int(be.Uint16(b[13:]))
	case recordTrain:
		r.id, r.index, r.count = be.Uint16(b[1:]), int(be.Uint16(b[3:])), int(be.Uint16(b[5:]))
		if r.index >= r.count {
			return r, nil, errMalformed
		}
	case recordAsk:
		r.id = be.Uint16(b[1:])
	case recordTell:
		r.id, r.bytes, r.micros = be.Uint16(b[1:]), be.Uint32(b[3:]), be.Uint32(b[7:])
	default:
		return r, nil, errMalformed
	}
	return r, rest, nil
}

func parseFrame(b []byte) (r record, rest []byte, err error) {
	if len(b) < frameHead {
		return r, nil, errMalformed
	}
	end := frameHead + int(binary.BigEndian.Uint16(b[1:]))
	if end == frameHead || end > len(b) {
		return r, nil, errMalformed
	}
	return record{kind: recordFrame, data: b[frameHead:end]}, b[end:], nil
}

func parsePiece(b []byte) (r record, rest []byte, err error) {
	if len(b) < pieceHead {
		return r, nil, errMalformed
	}
	be := binary.BigEndian
	r = record{kind: recordPiece, id: be.Uint16(b[1:]), total: int(be.Uint16(b[3:])), offset: int(be.Uint16(b[5:]))}
	end := pieceHead + int(be.Uint16(b[7:]))
	if end == pieceHead || end > len(b) || r.offset+end-pieceHead > r.total {
		return r, nil, errMalformed
	}
	r.data = b[pieceHead:end]
	return r, b[end:], nil
}

// append adds a record that is neither a frame nor a piece.
func (r record) append(b []byte) []byte {
	be := binary.BigEndian
	b = append(b, r.kind)
	switch r.kind {
	case recordProbe:
		b = be.AppendUint64(be.AppendUint32(b, r.number), uint64(r.time))
	case recordEcho:
		b = be.AppendUint16(be.AppendUint64(be.AppendUint32(b, r.number), uint64(r.time)), uint16(r.size))
	case recordTrain:
		b = be.AppendUint16(be.AppendUint16(be.AppendUint16(b, r.id), uint16(r.index)), uint16(r.count))
	case recordAsk:
		b = be.AppendUint16(b, r.id)
	case recordTell:
		b = be.AppendUint32(be.AppendUint32(be.AppendUint16(b, r.id), r.bytes), r.micros)
	}
	return b
}

// putFrame writes the head of a whole frame of n bytes.
func putFrame(b []byte, n int) {
	b[0] = recordFrame
	binary.BigEndian.PutUint16(b[1:], uint16(n))
}

// putPiece writes the head of a piece of n bytes.
func putPiece(b []byte, r record, n int) {
	be := binary.BigEndian
	b[0] = recordPiece
	be.PutUint16(b[1:], r.id)
	be.PutUint16(b[3:], uint16(r.total))
	be.PutUint16(b[5:], uint16(r.offset))
	be.PutUint16(b[7:], uint16(n))
}
