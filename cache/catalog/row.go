package catalog

import (
	"encoding/binary"
	"encoding/hex"
	"strings"

	"ore"
	"ore/cache/index"
)

// Row is a listed image, as far as finding candidates takes it.
type Row struct {
	Seq      int64 // later ones are larger
	Key      ore.Key
	Manifest ore.Digest
	Plain    bool     // it has neither files nor steps
	Kind     int64    // see package kind
	Sources  int64    // hash of its apt sources
	Steps    []string // hashes of the steps that it has run
	Set      []uint32 // ids of its packages, ascending
}

// Image returns r as the index takes it.
func (r Row) Image() index.Image {
	note := make([]byte, 1, 256)
	if r.Plain {
		note[0] = 1
	}
	note = binary.LittleEndian.AppendUint64(note, uint64(r.Sources))
	for _, s := range []string{string(r.Key), string(r.Manifest), strings.Join(r.Steps, " ")} {
		note = append(binary.AppendUvarint(note, uint64(len(s))), s...)
	}
	return index.Image{ID: r.Seq, Kind: uint64(r.Kind), Set: r.Set, Name: name(r.Key), Note: note}
}

// rowOf reads what Image made, but for the kind.
func rowOf(m index.Image) (Row, error) {
	const fixed = 1 + 8
	if len(m.Note) < fixed {
		return Row{}, index.ErrDamaged
	}
	r := Row{Seq: m.ID, Set: m.Set, Plain: m.Note[0] == 1, Sources: int64(binary.LittleEndian.Uint64(m.Note[1:]))}
	var text [3]string
	rest := m.Note[fixed:]
	for i := range text {
		length, n := binary.Uvarint(rest)
		if n <= 0 || length > uint64(len(rest)-n) {
			return Row{}, index.ErrDamaged
		}
		text[i], rest = string(rest[n:n+int(length)]), rest[n+int(length):]
	}
	r.Key, r.Manifest, r.Steps = ore.Key(text[0]), ore.Digest(text[1]), strings.Fields(text[2])
	return r, nil
}

// name is by what the index finds the image of a key: two keys may have one.
func name(k ore.Key) uint64 {
	var b [8]byte
	_, _ = hex.Decode(b[:], []byte(k[:min(len(k), 2*len(b))])) // a key that is no hash is found as well
	return binary.LittleEndian.Uint64(b[:])
}
