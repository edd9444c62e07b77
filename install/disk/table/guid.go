package table

import (
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
)

// GUID is an identifier in the order of its text. On a disk its first three
// groups are little-endian (UEFI specification 2.10, appendix A).
type GUID [16]byte

// The types of partitions that are used here (UEFI specification 2.10, table
// 5.7; for the others the Discoverable Partitions Specification).
const (
	TypeSystem = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b" // EFI system partition
	TypeBIOS   = "21686148-6449-6e6f-744e-656564454649" // where GRUB puts its core for BIOS
	TypeLinux  = "0fc63daf-8483-4772-8e79-3d69d8477de4"
	TypeSwap   = "0657fd6d-a4ab-43c4-84e5-0933c84b4f4f"
	TypeRAID   = "a19d880f-05fc-4d3b-a006-743f0f84911e"
	TypeLVM    = "e6d6d379-f507-44c2-a23c-238f2a3df928"
)

var errGUID = errors.New("no GUID")

// ParseGUID reads the form of RFC 9562, 8-4-4-4-12 hexadecimal digits.
func ParseGUID(s string) (GUID, error) {
	var g GUID
	groups := strings.Split(s, "-")
	if len(s) != 36 || len(groups) != 5 || len(groups[0]) != 8 || len(groups[1]) != 4 || len(groups[2]) != 4 || len(groups[3]) != 4 {
		return g, fmt.Errorf("%q: %w", s, errGUID)
	}
	b, err := hex.DecodeString(strings.Join(groups, ""))
	if err != nil {
		return g, fmt.Errorf("%q: %w", s, errGUID)
	}
	return GUID(b), nil
}

// String returns the form of RFC 9562 in lower case.
func (g GUID) String() string {
	h := hex.EncodeToString(g[:])
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}

// swapped returns the identifier as it stands on a disk, and back.
func (g GUID) swapped() GUID {
	return GUID{g[3], g[2], g[1], g[0], g[5], g[4], g[7], g[6], g[8], g[9], g[10], g[11], g[12], g[13], g[14], g[15]}
}
