package ore

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
)

// digestPrefix names the only hash in use: SHA-256 (FIPS 180-4), as OCI does.
const digestPrefix = "sha256:"

// Digest names bytes that were made: "sha256:" and 64 lower-case hex digits.
// The zero value names nothing and is not valid.
type Digest string

// NewDigest returns the digest whose SHA-256 sum is sum.
func NewDigest(sum [sha256.Size]byte) Digest {
	return Digest(digestPrefix + hex.EncodeToString(sum[:]))
}

// DigestOf returns the digest of b.
func DigestOf(b []byte) Digest { return NewDigest(sha256.Sum256(b)) }

// ParseDigest checks that s has the form of a digest.
func ParseDigest(s string) (Digest, error) {
	h, ok := strings.CutPrefix(s, digestPrefix)
	if !ok || !isHex256(h) {
		return "", fmt.Errorf("digest %q: not sha256: and 64 lower-case hex digits", s)
	}
	return Digest(s), nil
}

// Hex returns the 64 hex digits, or "" if d is not valid.
func (d Digest) Hex() string {
	h, ok := strings.CutPrefix(string(d), digestPrefix)
	if !ok || !isHex256(h) {
		return ""
	}
	return h
}

// Short returns the first 12 hex digits, for people to read.
func (d Digest) Short() string {
	if h := d.Hex(); h != "" {
		return h[:12]
	}
	return string(d)
}

// Key names an environment that was asked for: the 64 hex digits of the
// SHA-256 of its canonical form (see [Environment.Key]).
type Key string

// Short returns the first 12 digits of the key, for people to read.
func (k Key) Short() string { return string(k[:min(12, len(k))]) }

// ParseKey checks that s has the form of a key.
func ParseKey(s string) (Key, error) {
	if !isHex256(s) {
		return "", fmt.Errorf("key %q: not 64 lower-case hex digits", s)
	}
	return Key(s), nil
}

func isHex256(s string) bool {
	if len(s) != 2*sha256.Size {
		return false
	}
	for _, c := range []byte(s) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}
