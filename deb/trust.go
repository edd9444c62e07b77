package deb

import (
	_ "embed"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"ore"
	"ore/deb/release"
)

// debianKeys is the keyring of Debian's package debian-archive-keyring, for
// hosts that have no such package (see keys/README).
//
//go:embed keys/debian-archive-keyring.gpg
var debianKeys []byte

// Where hosts keep the certificates that apt trusts.
const (
	debianKeyring = "usr/share/keyrings/debian-archive-keyring.gpg"
	trustedParts  = "etc/apt/trusted.gpg.d"
)

// trust is the certificates for a source, unread: reading them takes longer
// than everything else that a warm start does.
type trust struct {
	rings        [][]byte
	fingerprints []string // if any, only these of the certificates count
	digest       ore.Digest
}

// keyring reads the certificates.
func (t trust) keyring() (release.Keyring, error) {
	var all release.Keyring
	for _, data := range t.rings {
		k, err := release.ReadKeyring(data)
		if err != nil {
			return release.Keyring{}, err
		}
		all = all.Join(k)
	}
	if len(t.fingerprints) > 0 {
		all = all.Only(t.fingerprints)
	}
	return all, nil
}

func newTrust(rings [][]byte, fingerprints []string) trust {
	var all []byte
	for _, r := range rings {
		d := ore.DigestOf(r)
		all = append(all, d...)
	}
	return trust{rings: rings, fingerprints: fingerprints,
		digest: ore.DigestOf(append(all, strings.Join(fingerprints, " ")...))}
}

// trust finds the certificates for s: a further repository's own key, the
// keyring of the call, what the source's Signed-By says, or the host's.
func (c Config) trust(s source) (trust, error) {
	switch {
	case s.further:
		return newTrust([][]byte{s.key}, nil), nil
	case c.Keyring != "":
		data, err := os.ReadFile(c.Keyring)
		if err != nil {
			return trust{}, fmt.Errorf("keyring: %w: give a file of OpenPGP certificates", err)
		}
		return newTrust([][]byte{data}, nil), nil
	case strings.Contains(s.signedBy, "BEGIN PGP"):
		return newTrust([][]byte{[]byte(s.signedBy)}, nil), nil
	case s.signedBy != "":
		return c.signedBy(s)
	}
	rings, err := c.hostRings()
	return newTrust(rings, nil), err
}

// signedBy reads the files and fingerprints of a Signed-By field.
func (c Config) signedBy(s source) (trust, error) {
	var rings [][]byte
	var fingerprints []string
	for _, word := range strings.FieldsFunc(s.signedBy, func(r rune) bool { return strings.ContainsRune(" ,\n\t", r) }) {
		if !strings.HasPrefix(word, "/") {
			fingerprints = append(fingerprints, word)
			continue
		}
		data, err := os.ReadFile(filepath.Join("/", c.Root, word))
		if err != nil {
			return trust{}, fmt.Errorf("source %s: Signed-By: %w: install that keyring, or name one with --keyring", s, err)
		}
		rings = append(rings, data)
	}
	if len(rings) > 0 {
		return newTrust(rings, fingerprints), nil
	}
	rings, err := c.hostRings()
	return newTrust(rings, fingerprints), err
}

// hostRings returns the keyring of the host's distribution, or all that the
// host's apt trusts, or, on a host that knows of none, Debian's own.
func (c Config) hostRings() ([][]byte, error) {
	root := filepath.Join("/", c.Root)
	data, err := os.ReadFile(filepath.Join(root, debianKeyring))
	if err == nil {
		return [][]byte{data}, nil
	}
	if !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	parts, err := os.ReadDir(filepath.Join(root, trustedParts))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	var rings [][]byte
	for _, p := range parts {
		if !slices.Contains([]string{".gpg", ".asc"}, filepath.Ext(p.Name())) {
			continue
		}
		data, err := os.ReadFile(filepath.Join(root, trustedParts, p.Name()))
		if err != nil {
			return nil, err
		}
		rings = append(rings, data)
	}
	if len(rings) == 0 {
		rings = [][]byte{debianKeys}
	}
	return rings, nil
}
