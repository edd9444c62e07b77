package seal

import (
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
)

// Key is a secret of a job or of a pair of its hosts.
type Key [32]byte

// NewKey makes the key of a job.
func NewKey() Key {
	var k Key
	rand.Read(k[:]) // never fails: crypto/rand ends the program instead
	return k
}

// PairKey derives from a job's key the key of the link between two of its hosts,
// in whatever order they are named. Whoever holds the job's key gives each host
// the keys of its own links only, so that none can speak for another.
func PairKey(job Key, a, b string) Key {
	if b < a {
		a, b = b, a
	}
	return derive(job[:], nil, "ore trunk pair "+strconv.Quote(a)+" "+strconv.Quote(b))
}

// derive is HKDF-SHA256 (RFC 5869) for one key.
func derive(secret, salt []byte, info string) Key {
	b, err := hkdf.Key(sha256.New, secret, salt, info, len(Key{}))
	if err != nil {
		panic("trunk: hkdf refuses 32 bytes: " + err.Error()) // its limit is 255 times as much
	}
	return Key(b)
}

// String hides the key from logs.
func (k Key) String() string { return "(secret)" }

// MarshalText gives the key as hex digits, for the one who is to have it.
func (k Key) MarshalText() ([]byte, error) { return []byte(hex.EncodeToString(k[:])), nil }

// UnmarshalText reads what MarshalText gives.
func (k *Key) UnmarshalText(b []byte) error {
	if hex.DecodedLen(len(b)) != len(k) {
		return fmt.Errorf("key: not %d hex digits", 2*len(k))
	}
	if _, err := hex.Decode(k[:], b); err != nil {
		return fmt.Errorf("key: %w", err)
	}
	return nil
}
