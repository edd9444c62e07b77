// Package early keeps which bytes of an image's layers machines read first: what
// a boot and the first seconds of a job touch. Sent first, a machine can start
// before the rest has come.
//
// A [Record] is made once for an image, by the first machine that is watched, and
// is a guess for all others: what is missing in it is only slower. A file in a
// [Folder] has the name of the image's digest and
//
//	"oreearl\x01", count of layers, and for each
//	  digest (32 bytes), digest of the list of its chunks (32 bytes),
//	  nanoseconds that the reads took, count of ranges, and for each
//	    offset less the end of the one before (signed), size
//
// with numbers as varints (encoding/binary), ranges in the order in which they were
// read first. That is some hundred bytes for a layer; a folder keeps [MaxRecords].
package early

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"time"

	"ore"
	"ore/image"
)

const (
	// MaxRecords bounds a folder: more images than this are not in use on a site at
	// a time, and a record that is gone is made again.
	MaxRecords = 512
	// maxRanges bounds the ranges of a layer, and with it a record.
	maxRanges = 1 << 16
	// maxSize bounds where a range can be: no file system has larger files.
	maxSize = 1 << 60
	magic   = "oreearl\x01"
)

// ErrDamaged is what errors of damaged records match.
var ErrDamaged = errors.New("damaged record of what is read first")

// Record is what is read first of an image.
type Record struct {
	Layers []Layer
}

// Layer is what is read first of one of its layers.
type Layer struct {
	Digest ore.Digest
	List   [sha256.Size]byte // of the layer's chunks, as who recorded it cut them; zero if it did not
	Ranges []Range           // in the order of reading
	Took   time.Duration     // what reading them cost, over what a plain file would have
}

// Range is a piece of a layer.
type Range struct {
	Offset, Size int64
}

// Layer returns the part of a record that is about a layer.
func (r Record) Layer(d ore.Digest) (Layer, bool) {
	i := slices.IndexFunc(r.Layers, func(l Layer) bool { return l.Digest == d })
	if i < 0 {
		return Layer{}, false
	}
	return r.Layers[i], true
}

// Encode returns the record's bytes.
func (r Record) Encode() []byte {
	b := binary.AppendUvarint([]byte(magic), uint64(len(r.Layers)))
	for _, l := range r.Layers {
		sum, err := hex.DecodeString(l.Digest.Hex())
		if err != nil || len(sum) != sha256.Size {
			panic("image/early: a record of a layer without a digest")
		}
		b = append(append(b, sum...), l.List[:]...)
		b = binary.AppendUvarint(b, uint64(max(0, l.Took)))
		ranges := l.Ranges[:min(len(l.Ranges), maxRanges)]
		b = binary.AppendUvarint(b, uint64(len(ranges)))
		end := int64(0)
		for _, g := range ranges {
			b = binary.AppendVarint(b, g.Offset-end)
			b = binary.AppendUvarint(b, uint64(g.Size))
			end = g.Offset + g.Size
		}
	}
	return b
}

// Decode reads what Encode made. It takes memory in proportion to b.
func Decode(b []byte) (Record, error) {
	rest, ok := bytes.CutPrefix(b, []byte(magic))
	if !ok {
		return Record{}, fmt.Errorf("%w: no magic", ErrDamaged)
	}
	d := decoder{rest: rest}
	var r Record
	for range d.count(image.MaxLayers) {
		r.Layers = append(r.Layers, d.layer())
	}
	if d.bad || len(d.rest) > 0 {
		return Record{}, ErrDamaged
	}
	return r, nil
}

// decoder takes numbers from what is left of a record.
type decoder struct {
	rest []byte
	bad  bool
}

func (d *decoder) layer() Layer {
	var digest [sha256.Size]byte
	var l Layer
	d.sum(&digest)
	d.sum(&l.List)
	l.Digest, l.Took = ore.NewDigest(digest), time.Duration(d.number(math.MaxInt64))
	end := int64(0)
	for range d.count(maxRanges) {
		gap, n := binary.Varint(d.rest)
		if n <= 0 || gap < -maxSize || gap > maxSize {
			d.bad = true
			return l
		}
		d.rest = d.rest[n:]
		g := Range{Offset: end + gap, Size: int64(d.number(maxSize))}
		if g.Offset < 0 || g.Size == 0 || g.Offset+g.Size > maxSize {
			d.bad = true
		}
		if d.bad {
			return l
		}
		l.Ranges, end = append(l.Ranges, g), g.Offset+g.Size
	}
	return l
}

func (d *decoder) sum(to *[sha256.Size]byte) {
	if len(d.rest) < len(to) {
		d.bad, d.rest = true, nil
		return
	}
	d.rest = d.rest[copy(to[:], d.rest):]
}

// number takes a number that is at most so large.
func (d *decoder) number(most uint64) uint64 {
	v, n := binary.Uvarint(d.rest)
	if n <= 0 || v > most {
		d.bad, d.rest = true, nil
		return 0
	}
	d.rest = d.rest[n:]
	return v
}

// count takes how many things follow, each of which has at least a byte.
func (d *decoder) count(most int) int {
	n := d.number(uint64(most))
	if n > uint64(len(d.rest)) {
		d.bad, n = true, 0
	}
	return int(n)
}

// Folder is where records are kept, by the digests of images. "" keeps none.
type Folder string

// Load returns the record of an image. One that is damaged counts as none.
func (f Folder) Load(img ore.Digest) (Record, bool) {
	if f == "" || img.Hex() == "" {
		return Record{}, false
	}
	b, err := os.ReadFile(filepath.Join(string(f), img.Hex()))
	if err != nil {
		return Record{}, false
	}
	r, err := Decode(b)
	return r, err == nil
}

// Save keeps the record of an image, and removes the oldest ones above
// [MaxRecords].
func (f Folder) Save(img ore.Digest, r Record) error {
	if f == "" || img.Hex() == "" {
		return nil
	}
	if err := os.MkdirAll(string(f), 0o755); err != nil {
		return fmt.Errorf("record what is read first: %w", err)
	}
	tmp, err := os.CreateTemp(string(f), ".new-*")
	if err != nil {
		return fmt.Errorf("record what is read first: %w", image.Full(err))
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.Write(r.Encode())
	if err = errors.Join(err, tmp.Close()); err == nil {
		err = os.Rename(tmp.Name(), filepath.Join(string(f), img.Hex()))
	}
	if err != nil {
		return fmt.Errorf("record what is read first: %w", image.Full(err))
	}
	return f.trim(MaxRecords)
}

// trim leaves the most recent records.
func (f Folder) trim(most int) error {
	list, err := os.ReadDir(string(f))
	if err != nil || len(list) <= most {
		return err
	}
	age := map[string]time.Time{}
	for _, e := range list {
		if info, err := e.Info(); err == nil {
			age[e.Name()] = info.ModTime()
		}
	}
	slices.SortFunc(list, func(a, b os.DirEntry) int {
		return cmp.Or(age[b.Name()].Compare(age[a.Name()]), cmp.Compare(a.Name(), b.Name()))
	})
	for _, e := range list[most:] {
		if err := os.Remove(filepath.Join(string(f), e.Name())); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("record what is read first: %w", err)
		}
	}
	return nil
}
