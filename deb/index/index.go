// Package index keeps a Packages file of an archive in a compact binary form
// that is read in place: opening it costs one mapping and one checksum, and a
// package is decoded when somebody asks for it.
//
// [Build] makes the form from the text, [Open] maps a file of it. A file holds
// everything that choosing and fetching packages needs and nothing else
// (descriptions, tags and maintainers stay behind). All numbers are
// little-endian, all offsets are into the strings:
//
//	magic     8 bytes "ORE-IDX" 1
//	checksum  u32     CRC-32C of everything behind it
//	counts    u32 x 5 names, packages, provides, base, bytes of strings
//	names     24 bytes each, sorted: name, rank, first package, packages,
//	          first provide, provides
//	packages  76 bytes each, sorted by name, newest version first
//	provides   8 bytes each: package, version offset
//	base       4 bytes each: packages that are essential or of priority
//	          required, in the order of the text
//	strings   uvarint length and bytes, each string once
//
// The checksum is against damage by disks and half-made copies, not against an
// attacker: whoever can write the cache of a user can do worse already. Still,
// no content makes a reader panic.
package index

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"sort"

	"golang.org/x/sys/unix"

	"ore"
)

const (
	magic        = "ORE-IDX\x01"
	headerSize   = len(magic) + 4 + 5*4
	nameSize     = 24
	packageSize  = 76
	provideSize  = 8
	baseSize     = 4
	checksumFrom = len(magic) + 4
)

// ErrDamaged is what is wrong with a file that is not a whole index.
var ErrDamaged = errors.New("the index file is damaged")

// MultiArch is the value of a package's Multi-Arch field.
type MultiArch uint8

// The values of Multi-Arch.
const (
	MultiArchNo MultiArch = iota
	MultiArchSame
	MultiArchForeign
	MultiArchAllowed
)

// Priority is a package's priority (Policy 2.5); smaller is more important,
// and zero stands for none.
type Priority uint8

// The priorities.
const (
	PriorityNone Priority = iota
	PriorityRequired
	PriorityImportant
	PriorityStandard
	PriorityOptional
	PriorityExtra
)

// Package is one version of one package, with its relationship fields as text.
type Package struct {
	Name, Version, Arch string
	Path                string // Filename, relative to the archive's root
	Size                int64
	Digest              ore.Digest
	MultiArch           MultiArch
	Priority            Priority
	Essential           bool // Essential: yes
	Important           bool // Important: yes or Protected: yes, as apt reads them
	PreDepends          string
	Depends             string
	Recommends          string
	Conflicts           string
	Breaks              string
}

// Provide is a package that provides some name.
type Provide struct {
	Package int    // which package of the index
	Version string // of the name provided, "" when the field gives none
}

// Name is what an index knows of one name, whether a package or only mentioned.
type Name struct {
	// Rank says when the name was first mentioned in the text, in the order
	// in which apt reads it. Where apt has no other reason to prefer one
	// provider, it takes the one mentioned last.
	Rank     int
	First    int // the newest of the packages with this name
	Packages int // how many there are
	provides int
	count    int
}

// Index is an index in memory. It is safe for concurrent use until Close.
type Index struct {
	data     []byte
	names    []byte
	packages []byte
	provides []byte
	base     []byte
	strings  []byte
	mapped   bool
}

// Load reads an index from data, which it keeps.
func Load(data []byte) (*Index, error) {
	if len(data) < headerSize || string(data[:len(magic)]) != magic {
		return nil, ErrDamaged
	}
	sum := binary.LittleEndian.Uint32(data[len(magic):])
	if crc32.Checksum(data[checksumFrom:], crc32.MakeTable(crc32.Castagnoli)) != sum {
		return nil, ErrDamaged
	}
	x := &Index{data: data}
	rest := data[headerSize:]
	sections := []*[]byte{&x.names, &x.packages, &x.provides, &x.base, &x.strings}
	for i, size := range []uint64{nameSize, packageSize, provideSize, baseSize, 1} {
		n := size * uint64(binary.LittleEndian.Uint32(data[checksumFrom+4*i:]))
		if n > uint64(len(rest)) {
			return nil, ErrDamaged
		}
		*sections[i], rest = rest[:n], rest[n:]
	}
	if len(rest) != 0 {
		return nil, ErrDamaged
	}
	return x, nil
}

// Open maps the index file at path.
func Open(path string) (*Index, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if info.Size() < int64(headerSize) || info.Size() > maxIndex {
		return nil, fmt.Errorf("open index %s: %w", path, ErrDamaged)
	}
	data, err := unix.Mmap(int(f.Fd()), 0, int(info.Size()), unix.PROT_READ, unix.MAP_SHARED|unix.MAP_POPULATE)
	if err != nil {
		return nil, fmt.Errorf("map index %s: %w", path, err)
	}
	x, err := Load(data)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open index %s: %w", path, err), unix.Munmap(data))
	}
	x.mapped = true
	return x, nil
}

// Close unmaps the file. Nothing that was got from x before depends on it.
func (x *Index) Close() error {
	if !x.mapped {
		return nil
	}
	data := x.data
	*x = Index{}
	return unix.Munmap(data)
}

// Len returns how many packages there are.
func (x *Index) Len() int { return len(x.packages) / packageSize }

// Lookup returns what is known of a name, and whether anything is.
func (x *Index) Lookup(name string) (Name, bool) {
	count := len(x.names) / nameSize
	i := sort.Search(count, func(i int) bool {
		return string(x.bytes(u32(x.names, i*nameSize))) >= name
	})
	if i == count || string(x.bytes(u32(x.names, i*nameSize))) != name {
		return Name{}, false
	}
	at := i * nameSize
	n := Name{
		Rank:     int(u32(x.names, at+4)),
		First:    int(u32(x.names, at+8)),
		Packages: int(u32(x.names, at+12)),
		provides: int(u32(x.names, at+16)),
		count:    int(u32(x.names, at+20)),
	}
	if n.First+n.Packages > x.Len() || n.provides+n.count > len(x.provides)/provideSize {
		return Name{}, false
	}
	return n, true
}

// Provides returns who provides the name, in the order of the text.
func (x *Index) Provides(n Name) []Provide {
	if n.count == 0 || n.provides+n.count > len(x.provides)/provideSize {
		return nil
	}
	list := make([]Provide, n.count)
	for i := range list {
		at := (n.provides + i) * provideSize
		list[i] = Provide{Package: int(u32(x.provides, at)), Version: x.text(u32(x.provides, at+4))}
	}
	return list
}

// Base returns the packages that are essential or of priority required, in the
// order of the text.
func (x *Index) Base() []int {
	list := make([]int, len(x.base)/baseSize)
	for i := range list {
		list[i] = int(u32(x.base, i*baseSize))
	}
	return list
}

// Package decodes the package i; one that does not exist is the zero Package.
func (x *Index) Package(i int) Package {
	if i < 0 || i >= x.Len() {
		return Package{}
	}
	r := x.packages[i*packageSize : (i+1)*packageSize]
	flags := r[72]
	p := Package{
		Name: x.text(u32(r, 0)), Version: x.text(u32(r, 4)), Path: x.text(u32(r, 8)), Arch: "amd64",
		PreDepends: x.text(u32(r, 12)), Depends: x.text(u32(r, 16)), Recommends: x.text(u32(r, 20)),
		Conflicts: x.text(u32(r, 24)), Breaks: x.text(u32(r, 28)),
		Size:      int64(binary.LittleEndian.Uint64(r[32:])),
		Digest:    ore.NewDigest([32]byte(r[40:72])),
		Priority:  Priority(r[73]),
		MultiArch: MultiArch(r[74]),
		Essential: flags&flagEssential != 0,
		Important: flags&flagImportant != 0,
	}
	if flags&flagAll != 0 {
		p.Arch = "all"
	}
	return p
}

// text returns a copy of the string at off.
func (x *Index) text(off uint32) string { return string(x.bytes(off)) }

// bytes returns the string at off as a part of the data, nil if there is none.
func (x *Index) bytes(off uint32) []byte {
	if uint64(off) >= uint64(len(x.strings)) {
		return nil
	}
	s := x.strings[off:]
	n, w := binary.Uvarint(s)
	if w <= 0 || n > uint64(len(s)-w) {
		return nil
	}
	return s[w : w+int(n)]
}

func u32(b []byte, at int) uint32 { return binary.LittleEndian.Uint32(b[at:]) }
