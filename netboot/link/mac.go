package link

import (
	"encoding/hex"
	"fmt"
	"strings"
)

// MAC is the address of a network card (EUI-48). The zero value is none.
type MAC [6]byte

// ParseMAC reads six pairs of hex digits, apart by colons, dashes or nothing.
func ParseMAC(s string) (MAC, error) {
	var m MAC
	plain := s
	if len(s) == 17 {
		separator := s[2:3]
		if separator == ":" || separator == "-" {
			plain = strings.ReplaceAll(s, separator, "")
		}
	}
	b, err := hex.DecodeString(plain)
	if err != nil || len(b) != len(m) {
		return MAC{}, fmt.Errorf("card %.40q: not an address of a network card: write it like 52:54:00:12:34:56", s)
	}
	copy(m[:], b)
	if !m.One() {
		return MAC{}, fmt.Errorf("card %s: belongs to no single card", m)
	}
	return m, nil
}

// One says whether the address is of one card: neither nothing nor a group.
func (m MAC) One() bool { return m != MAC{} && m[0]&1 == 0 }

// String returns the address as 52:54:00:12:34:56.
func (m MAC) String() string {
	return fmt.Sprintf("%02x:%02x:%02x:%02x:%02x:%02x", m[0], m[1], m[2], m[3], m[4], m[5])
}

// Path returns the address as a part of a path: 52-54-00-12-34-56.
func (m MAC) Path() string { return strings.ReplaceAll(m.String(), ":", "-") }

// MarshalText writes the address as String does.
func (m MAC) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// UnmarshalText reads what MarshalText wrote.
func (m *MAC) UnmarshalText(b []byte) (err error) {
	if string(b) == (MAC{}).String() {
		*m = MAC{}
		return nil
	}
	*m, err = ParseMAC(string(b))
	return err
}
