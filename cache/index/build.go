package index

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"hash/crc32"
	"slices"

	"ore"
)

// Package is a package with the id that images name it by. Ids begin at 1.
type Package struct {
	ID uint32
	ore.Package
}

// Image is an image as the index knows it.
type Image struct {
	ID   int64    // what a hit gives back; larger is newer
	Kind uint64   // images of other kinds are never compared
	Set  []uint32 // ids of its packages, ascending
	Name uint64   // by which Named finds it
	Note []byte   // what is kept beside it for who asks
}

// magic begins a file; it changes with the format.
const magic = "oreindx4"

// Sections of a file, in their order.
const (
	secHashes = iota
	secIDs
	secKinds
	secImages
	secPackages
	secColumns
	secNamed
	secLists
	secMembers
	secByID
	secNames
	secNotes
	sections
)

// Sizes of the header and of the entries of sections.
const (
	headerSize = len(magic) + 8 + 8*(sections+1) // magic, sum, offsets and the end
	kindSize   = 8 + 6*4
	imageSize  = 16
	namedSize  = 12
	listSize   = 16
	byIDSize   = 8
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Build returns the file for images, whose packages are among packages.
func Build(packages []Package, images []Image) []byte {
	b := builder{images: slices.Clone(images)}
	slices.SortFunc(b.images, func(a, c Image) int {
		return cmp.Or(cmp.Compare(a.Kind, c.Kind), cmp.Compare(a.ID, c.ID))
	})
	b.addPackages(packages)
	b.addNamed()
	for first := 0; first < len(b.images); {
		end := first
		for end < len(b.images) && b.images[end].Kind == b.images[first].Kind {
			end++
		}
		b.addKind(first, end)
		first = end
	}
	return b.file()
}

type builder struct {
	images []Image
	notes  []int // where the notes of images begin
	out    [sections][]byte
}

func (b *builder) u32(section int, values ...int) {
	for _, v := range values {
		b.out[section] = binary.LittleEndian.AppendUint32(b.out[section], uint32(v))
	}
}

func (b *builder) u64(section int, v uint64) {
	b.out[section] = binary.LittleEndian.AppendUint64(b.out[section], v)
}

func (b *builder) addPackages(packages []Package) {
	type hashed struct {
		hash uint64
		id   uint32
	}
	all := make([]hashed, len(packages))
	for i, p := range packages {
		all[i] = hashed{Hash(p.Package), p.ID}
	}
	slices.SortFunc(all, func(a, c hashed) int { return cmp.Compare(a.hash, c.hash) })
	for _, h := range all {
		b.u64(secHashes, h.hash)
		b.u32(secIDs, int(h.id))
	}
	byID := slices.Clone(packages)
	slices.SortFunc(byID, func(a, c Package) int { return cmp.Compare(a.ID, c.ID) })
	for _, p := range byID {
		b.u32(secByID, int(p.ID), len(b.out[secNames]))
		b.out[secNames] = appendName(b.out[secNames], p)
	}
}

// addNamed writes by which name each image is found, and what is kept beside it.
func (b *builder) addNamed() {
	type named struct {
		name  uint64
		place int
	}
	all := make([]named, len(b.images))
	b.notes = make([]int, len(b.images))
	for i, m := range b.images {
		all[i] = named{m.Name, i}
		set := AppendSet(nil, m.Set)
		body := append(binary.AppendUvarint(make([]byte, 0, len(set)+len(m.Note)+4), uint64(len(set))), set...)
		b.notes[i] = len(b.out[secNotes])
		b.out[secNotes] = appendSummed(b.out[secNotes], uint32(i), append(body, m.Note...))
	}
	slices.SortFunc(all, func(a, c named) int { return cmp.Or(cmp.Compare(a.name, c.name), cmp.Compare(a.place, c.place)) })
	for _, n := range all {
		b.u64(secNamed, n.name)
		b.u32(secNamed, n.place)
	}
}

// addKind writes the images from first to end, which are of one kind.
func (b *builder) addKind(first, end int) {
	members := map[uint32][]uint32{} // package: numbers of the images that have it
	for i, m := range b.images[first:end] {
		b.u64(secImages, uint64(m.ID))
		b.u32(secImages, len(m.Set), b.notes[first+i])
		for _, id := range m.Set {
			members[id] = append(members[id], uint32(i))
		}
	}
	ids := make([]uint32, 0, len(members))
	for id := range members {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	firstPackage, firstColumn := len(b.out[secPackages])/4, len(b.out[secLists])/listSize
	columns := map[string]int{} // by their list
	for _, id := range ids {
		list, lack := members[id], 0
		if len(list) > (end-first)/2 {
			list, lack = complement(list, end-first), 1
		}
		text := appendMembers([]byte{byte(lack)}, list)
		column, known := columns[string(text)]
		if !known {
			column = len(columns)
			columns[string(text)] = column
			b.u32(secLists, len(b.out[secMembers]), len(text)-1, lack)
			entry := b.out[secLists][len(b.out[secLists])-listSize+4:]
			b.u32(secLists, int(listSum(column, entry, text[1:])))
			b.out[secMembers] = append(b.out[secMembers], text[1:]...)
		}
		b.u32(secPackages, int(id))
		b.u32(secColumns, column)
	}
	b.u64(secKinds, b.images[first].Kind)
	b.u32(secKinds, first, end-first, firstPackage, len(ids), firstColumn, len(columns))
}

// complement returns the numbers below n that are not in list, ascending.
func complement(list []uint32, n int) []uint32 {
	out := make([]uint32, 0, n-len(list))
	for i := range uint32(n) {
		if len(list) > 0 && list[0] == i {
			list = list[1:]
			continue
		}
		out = append(out, i)
	}
	return out
}

// appendMembers appends image numbers, each as the distance to the one before.
func appendMembers(b []byte, list []uint32) []byte {
	next := uint32(0)
	for _, n := range list {
		b = binary.AppendUvarint(b, uint64(n-next))
		next = n + 1
	}
	return b
}

func (b *builder) file() []byte {
	out := make([]byte, headerSize)
	copy(out, magic)
	at := len(magic) + 8
	for _, s := range b.out {
		for len(out)%8 != 0 {
			out = append(out, 0)
		}
		binary.LittleEndian.PutUint64(out[at:], uint64(len(out)))
		at += 8
		out = append(out, s...)
	}
	binary.LittleEndian.PutUint64(out[at:], uint64(len(out)))
	lists := binary.LittleEndian.Uint64(out[len(magic)+8+8*secLists:])
	binary.LittleEndian.PutUint64(out[len(magic):], uint64(sum(out[:lists])))
	return out
}

// sum is the CRC of everything after itself.
func sum(main []byte) uint32 { return crc32.Checksum(main[len(magic)+8:], castagnoli) }

// listSum is the CRC of a column's list and of its entry before the CRC.
func listSum(column int, entry, list []byte) uint32 {
	return crc32.Update(crc32.Update(numberSum(uint32(column)), castagnoli, entry), castagnoli, list)
}

// bodySum is the CRC of what names or notes tell of a number.
func bodySum(number uint32, body []byte) uint32 {
	return crc32.Update(numberSum(number), castagnoli, body)
}

func numberSum(n uint32) uint32 {
	return crc32.Checksum(binary.LittleEndian.AppendUint32(make([]byte, 0, 4), n), castagnoli)
}

func appendName(b []byte, p Package) []byte {
	body := binary.AppendUvarint(nil, uint64(max(0, p.Size)))
	for _, s := range []string{p.Name, p.Version, p.Arch} {
		body = append(binary.AppendUvarint(body, uint64(len(s))), s...)
	}
	sum, err := hex.DecodeString(p.Digest.Hex())
	if err != nil || len(sum) != sha256.Size {
		return appendSummed(b, p.ID, append(append(body, digestText), p.Digest...))
	}
	return appendSummed(b, p.ID, append(append(body, digestSum), sum...))
}

// How the digest of a package is written: its sum alone, if it is valid.
const (
	digestText = 0
	digestSum  = 1
)

// appendSummed appends the CRC of body, which is about the package or image with
// this number, its length and itself.
func appendSummed(b []byte, number uint32, body []byte) []byte {
	b = binary.LittleEndian.AppendUint32(b, bodySum(number, body))
	return append(binary.AppendUvarint(b, uint64(len(body))), body...)
}
