package boot

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"strings"
	"unsafe"
)

// strip leaves the debugging information out of a module, which for User Mode
// Linux is three quarters of it and would be read and copied at each start. The
// sections' headers stay, with nothing in them, so that no number changes that
// a symbol or a relocation has (elf(5)).
func strip(module []byte) ([]byte, error) {
	var h elf.Header64
	if _, err := binary.Decode(module, binary.LittleEndian, &h); err != nil {
		return nil, err
	}
	size := int(unsafe.Sizeof(elf.Section64{}))
	if h.Shoff > uint64(len(module)) || int(h.Shentsize) != size || int(h.Shnum)*size > len(module)-int(h.Shoff) {
		return nil, errors.New("section headers: beyond the end of the file")
	}
	parsed, err := elf.NewFile(bytes.NewReader(module))
	if err != nil {
		return nil, err
	}
	out := append([]byte{}, module[:h.Ehsize]...)
	headers := make([]elf.Section64, h.Shnum)
	if _, err := binary.Decode(module[h.Shoff:], binary.LittleEndian, headers); err != nil {
		return nil, err
	}
	for i := range headers {
		s := &headers[i]
		name := strings.TrimPrefix(parsed.Sections[i].Name, ".rela")
		if strings.HasPrefix(name, ".debug_") && s.Flags&uint64(elf.SHF_ALLOC) == 0 {
			*s = elf.Section64{Name: s.Name}
		}
		if t := elf.SectionType(s.Type); t == elf.SHT_NULL || t == elf.SHT_NOBITS {
			continue
		}
		if s.Off > uint64(len(module)) || s.Size > uint64(len(module))-s.Off || s.Addralign > maxAlign {
			return nil, errors.New("a section: beyond the end of the file")
		}
		out = align(out, s.Addralign)
		content := module[s.Off : s.Off+s.Size]
		s.Off = uint64(len(out))
		out = append(out, content...)
	}
	out = align(out, uint64(unsafe.Alignof(uint64(0))))
	h.Shoff = uint64(len(out))
	if _, err := binary.Encode(out, binary.LittleEndian, &h); err != nil {
		return nil, err
	}
	return binary.Append(out, binary.LittleEndian, headers)
}

// maxAlign is the largest alignment of a section: a page.
const maxAlign = 4096

// align fills up to the next multiple of n.
func align(b []byte, n uint64) []byte {
	if n < 2 {
		return b
	}
	if over := uint64(len(b)) % n; over > 0 {
		b = append(b, make([]byte, n-over)...)
	}
	return b
}
