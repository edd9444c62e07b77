package index

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash/crc32"
	"io/fs"
	"slices"
	"strconv"
	"strings"

	"ore/deb/control"
)

const (
	flagEssential = 1 << iota
	flagImportant
	flagAll
)

// maxIndex bounds an index file. All of unstable makes 25 MB, and offsets of
// 32 bits end at four times this.
const maxIndex = 1 << 30

// record is one package on its way into the file.
type record struct {
	name     int // in builder.names
	version  string
	fields   [8]uint32 // name, version, path, and the relations in the order of the format
	size     uint64
	sum      [32]byte
	flags    byte
	priority Priority
	multi    MultiArch
	order    int // in the text
}

// nameEntry is one name; its place in builder.names is its rank.
type nameEntry struct {
	name     string
	packages []int // in builder.records
	provides []provideEntry
}

type provideEntry struct {
	record  int
	version string
}

type builder struct {
	blob    []byte
	offsets map[string]uint32
	ranks   map[string]int
	names   []nameEntry
	records []record
}

// Build makes an index of the Packages file text. Packages of an architecture
// other than amd64 and all are left out. Field names are expected in the case
// that all makers of archives write.
func Build(text string) ([]byte, error) {
	const perPackage = 800 // bytes of text, below which few stanzas stay; only sizes maps
	n := len(text) / perPackage
	b := &builder{offsets: make(map[string]uint32, 4*n), ranks: make(map[string]int, 2*n), blob: []byte{0}}
	for p, err := range control.Paragraphs(text) {
		if err != nil {
			return nil, fmt.Errorf("read packages: %w", err)
		}
		if err := b.add(p); err != nil {
			return nil, fmt.Errorf("read packages: package %q: %w", p.Get("Package"), err)
		}
	}
	return b.encode()
}

// stanza is the fields of one package that matter here.
type stanza struct {
	name, version, arch, path, size, sum   string
	essential, important, protected        string
	multi, priority                        string
	preDepends, depends, conflicts, breaks string
	recommends, suggests, replaces         string
	enhances, provides                     string
}

func readStanza(p control.Paragraph) stanza {
	var s stanza
	for _, f := range p {
		if field := s.field(f.Name); field != nil {
			*field = f.Value
		}
	}
	return s
}

// field returns where the value of a field goes, nil if it is of no use.
func (s *stanza) field(name string) *string {
	switch name {
	case "Package":
		return &s.name
	case "Version":
		return &s.version
	case "Architecture":
		return &s.arch
	case "Filename":
		return &s.path
	case "Size":
		return &s.size
	case "SHA256":
		return &s.sum
	case "Essential":
		return &s.essential
	case "Important":
		return &s.important
	case "Protected":
		return &s.protected
	case "Multi-Arch":
		return &s.multi
	case "Priority":
		return &s.priority
	}
	return s.relation(name)
}

func (s *stanza) relation(name string) *string {
	switch name {
	case "Pre-Depends":
		return &s.preDepends
	case "Depends":
		return &s.depends
	case "Conflicts":
		return &s.conflicts
	case "Breaks":
		return &s.breaks
	case "Recommends":
		return &s.recommends
	case "Suggests":
		return &s.suggests
	case "Replaces":
		return &s.replaces
	case "Enhances":
		return &s.enhances
	case "Provides":
		return &s.provides
	}
	return nil
}

// add takes one paragraph in.
func (b *builder) add(p control.Paragraph) error {
	s := readStanza(p)
	if s.arch != "amd64" && s.arch != "all" {
		return nil
	}
	r, err := s.record()
	if err != nil {
		return err
	}
	r.order = len(b.records)
	r.name = b.mention(s.name)
	// apt reads the fields in this order, and ranks follow it.
	for _, field := range []string{s.preDepends, s.depends, s.conflicts, s.breaks,
		s.recommends, s.suggests, s.replaces, s.enhances} {
		for name := range mentioned(field) {
			b.mention(name)
		}
	}
	provides, err := control.Relations(s.provides)
	if err != nil {
		return err
	}
	for _, group := range provides {
		for _, rel := range group {
			e := &b.names[b.mention(rel.Name)]
			e.provides = append(e.provides, provideEntry{record: r.order, version: rel.Version})
		}
	}
	for i, text := range []string{s.name, s.version, s.path, s.preDepends, s.depends,
		s.recommends, s.conflicts, s.breaks} {
		r.fields[i] = b.intern(text)
	}
	b.names[r.name].packages = append(b.names[r.name].packages, r.order)
	b.records = append(b.records, r)
	return nil
}

// record checks the fields that every package must have.
func (s *stanza) record() (record, error) {
	r := record{version: s.version, priority: parsePriority(s.priority)}
	if err := control.CheckVersion(s.version); err != nil {
		return record{}, err
	}
	if s.name == "" || strings.ContainsAny(s.name, " \n/") {
		return record{}, fmt.Errorf("%q is no name", s.name)
	}
	path := strings.TrimPrefix(s.path, "./")
	if !fs.ValidPath(path) {
		return record{}, fmt.Errorf("file name %q is not a clean relative path", s.path)
	}
	s.path = path
	size, err := strconv.ParseInt(s.size, 10, 64)
	if err != nil || size <= 0 {
		return record{}, fmt.Errorf("size %q is not a positive number", s.size)
	}
	r.size = uint64(size)
	if n, err := hex.Decode(r.sum[:], []byte(s.sum[:min(len(s.sum), 64)])); err != nil || n != len(r.sum) || len(s.sum) != 64 {
		return record{}, fmt.Errorf("SHA256 %q is not 64 hex digits", s.sum)
	}
	if s.essential == "yes" {
		r.flags |= flagEssential
	}
	if s.important == "yes" || s.protected == "yes" {
		r.flags |= flagImportant
	}
	if s.arch == "all" {
		r.flags |= flagAll
	}
	switch s.multi {
	case "same":
		r.multi = MultiArchSame
	case "foreign":
		r.multi = MultiArchForeign
	case "allowed":
		r.multi = MultiArchAllowed
	}
	return r, nil
}

func parsePriority(s string) Priority {
	switch s {
	case "required":
		return PriorityRequired
	case "important":
		return PriorityImportant
	case "standard":
		return PriorityStandard
	case "optional":
		return PriorityOptional
	case "":
		return PriorityNone
	}
	return PriorityExtra // as apt takes words that it does not know
}

// mention returns the rank of name, which is new or was seen before.
func (b *builder) mention(name string) int {
	if rank, ok := b.ranks[name]; ok {
		return rank
	}
	rank := len(b.names)
	b.ranks[name] = rank
	b.names = append(b.names, nameEntry{name: name})
	return rank
}

// mentioned yields the names in a relationship field, without those that have
// an architecture's qualifier: apt counts "python3:any" as another name.
func mentioned(field string) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for field != "" {
			end := strings.IndexAny(field, ",|")
			if end < 0 {
				end = len(field)
			}
			name := strings.TrimSpace(field[:end])
			field = field[min(end+1, len(field)):]
			if cut := strings.IndexAny(name, " (\t\n"); cut >= 0 {
				name = name[:cut]
			}
			if name != "" && strings.IndexByte(name, ':') < 0 && !yield(name) {
				return
			}
		}
	}
}

// intern returns the offset of s in the strings, of which offset 0 is "".
func (b *builder) intern(s string) uint32 {
	if s == "" {
		return 0
	}
	if off, ok := b.offsets[s]; ok {
		return off
	}
	off := uint32(len(b.blob))
	b.offsets[s] = off
	b.blob = binary.AppendUvarint(b.blob, uint64(len(s)))
	b.blob = append(b.blob, s...)
	return off
}

// encode writes the sections.
func (b *builder) encode() ([]byte, error) {
	order := make([]int, len(b.names))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(i, j int) int { return strings.Compare(b.names[i].name, b.names[j].name) })
	place := make([]uint32, len(b.records)) // of each record among the sorted ones
	var names, packages, provides, base []byte
	le := binary.LittleEndian
	sorted := 0
	for _, i := range order {
		for _, rec := range b.newestFirst(b.names[i].packages) {
			place[rec] = uint32(sorted)
			packages = b.records[rec].append(packages)
			sorted++
		}
	}
	sorted = 0
	for _, i := range order {
		n := b.names[i]
		names = le.AppendUint32(names, b.intern(n.name))
		names = le.AppendUint32(names, uint32(i))
		names = le.AppendUint32(names, uint32(sorted))
		names = le.AppendUint32(names, uint32(len(n.packages)))
		names = le.AppendUint32(names, uint32(len(provides)/provideSize))
		names = le.AppendUint32(names, uint32(len(n.provides)))
		for _, p := range n.provides {
			provides = le.AppendUint32(provides, place[p.record])
			provides = le.AppendUint32(provides, b.intern(p.version))
		}
		sorted += len(n.packages)
	}
	for i, r := range b.records {
		if r.flags&flagEssential != 0 || r.priority == PriorityRequired {
			base = le.AppendUint32(base, place[i])
		}
	}
	return b.join(names, packages, provides, base)
}

// newestFirst sorts records of one name.
func (b *builder) newestFirst(records []int) []int {
	slices.SortStableFunc(records, func(i, j int) int {
		return control.Compare(b.records[j].version, b.records[i].version)
	})
	return records
}

func (r *record) append(to []byte) []byte {
	le := binary.LittleEndian
	for _, off := range r.fields {
		to = le.AppendUint32(to, off)
	}
	to = le.AppendUint64(to, r.size)
	to = append(to, r.sum[:]...)
	return append(to, r.flags, byte(r.priority), byte(r.multi), 0)
}

func (b *builder) join(names, packages, provides, base []byte) ([]byte, error) {
	total := headerSize + len(names) + len(packages) + len(provides) + len(base) + len(b.blob)
	if total > maxIndex {
		return nil, fmt.Errorf("build index: %d bytes are more than the limit of %d", total, maxIndex)
	}
	le := binary.LittleEndian
	out := make([]byte, 0, total)
	out = append(out, magic...)
	out = le.AppendUint32(out, 0)
	for i, section := range [][]byte{names, packages, provides, base, b.blob} {
		size := []int{nameSize, packageSize, provideSize, baseSize, 1}[i]
		out = le.AppendUint32(out, uint32(len(section)/size))
	}
	for _, section := range [][]byte{names, packages, provides, base, b.blob} {
		out = append(out, section...)
	}
	sum := crc32.Checksum(out[checksumFrom:], crc32.MakeTable(crc32.Castagnoli))
	le.PutUint32(out[len(magic):], sum)
	return out, nil
}
