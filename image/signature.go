package image

import (
	"bufio"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// ErrUntrusted is returned for a manifest that no trusted key has signed.
var ErrUntrusted = errors.New("not signed by a trusted key")

// ErrForged is returned for a signature that is not of the manifest.
var ErrForged = errors.New("the signature does not match")

// Unusable says whether err means that there is no image which may be used: it
// is not there, or nobody who is trusted has signed it. Either way it is made or
// fetched, and then stands in the other one's place.
func Unusable(err error) bool {
	return errors.Is(err, ErrMissing) || errors.Is(err, ErrUntrusted) || errors.Is(err, ErrForged)
}

// Signature says who made an image: an Ed25519 signature (RFC 8032, Ed25519ctx)
// over the canonical bytes of its manifest. It stands beside the manifest, so
// that an image has one digest whoever made it.
type Signature struct {
	Key string // the public key: "ed25519:" and base64
	Sig []byte
}

// keyPrefix names the only kind of key in use.
const keyPrefix = "ed25519:"

// signed is the context of the signatures: one made for anything else with the
// same key is none of a manifest.
const signed = "ore image manifest"

func options() *ed25519.Options { return &ed25519.Options{Context: signed, Hash: crypto.Hash(0)} }

// Check says whether s is a signature of manifest by the key that it names. It
// does not say whether that key is trusted.
func (s Signature) Check(manifest []byte) error {
	public, err := parseKey(s.Key)
	if err != nil {
		return err
	}
	if ed25519.VerifyWithOptions(public, manifest, s.Sig, options()) != nil {
		return fmt.Errorf("signature by %s: %w", s.Key, ErrForged)
	}
	return nil
}

func parseKey(s string) (ed25519.PublicKey, error) {
	text, ok := strings.CutPrefix(s, keyPrefix)
	b, err := base64.StdEncoding.DecodeString(text)
	if !ok || err != nil || len(b) != ed25519.PublicKeySize {
		return nil, fmt.Errorf("key %q: not %s and the base64 of %d bytes", s, keyPrefix, ed25519.PublicKeySize)
	}
	return b, nil
}

// Signer signs manifests.
type Signer struct {
	private ed25519.PrivateKey
}

// GenerateSigner returns a signer with a new key, which is kept nowhere.
func GenerateSigner() (*Signer, error) {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make key: %w", err)
	}
	return &Signer{private}, nil
}

// OpenSigner returns the signer whose key is in the file path, which is made at
// first use. It refuses a file that others can read.
func OpenSigner(path string) (*Signer, error) {
	s, err := readSigner(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return s, err
	}
	if s, err = GenerateSigner(); err != nil {
		return nil, err
	}
	if err := s.keep(path); err != nil {
		return nil, fmt.Errorf("keep key: %w", err)
	}
	return readSigner(path) // that of another process, if it was first
}

// keep writes the key to path, whole, unless there is one already.
func (s *Signer) keep(path string) error {
	tmp, err := os.CreateTemp(filepath.Dir(path), ".key-*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	_, err = fmt.Fprintf(tmp, "%s\n", base64.StdEncoding.EncodeToString(s.private.Seed()))
	if err = errors.Join(err, tmp.Sync(), tmp.Close()); err != nil {
		return err
	}
	if err := os.Link(tmp.Name(), path); !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

// maxKeyFile bounds what is read of a file with one key.
const maxKeyFile = 4096

func readSigner(path string) (*Signer, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("read key: %w", err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("read key %s: others can read it (mode %o): chmod 600 it, or remove it if it may be known", path, info.Mode().Perm())
	}
	if info.Size() > maxKeyFile {
		return nil, fmt.Errorf("read key %s: %d bytes are no key", path, info.Size())
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read key: %w", err)
	}
	seed, err := base64.StdEncoding.DecodeString(strings.TrimSpace(string(b)))
	if err != nil || len(seed) != ed25519.SeedSize {
		return nil, fmt.Errorf("read key %s: not the base64 of %d bytes: remove it to have a new one made", path, ed25519.SeedSize)
	}
	return &Signer{ed25519.NewKeyFromSeed(seed)}, nil
}

// Key returns the public key, as a file of trusted keys has it.
func (s *Signer) Key() string {
	return keyPrefix + base64.StdEncoding.EncodeToString(s.private.Public().(ed25519.PublicKey))
}

// Sign signs the canonical bytes of m.
func (s *Signer) Sign(m Manifest) Signature {
	sig, err := s.private.Sign(nil, m.Encode(), options())
	if err != nil {
		panic("image: Ed25519 signs every message: " + err.Error())
	}
	return Signature{Key: s.Key(), Sig: sig}
}

// Keys are those whose signatures are trusted, each with the name that the
// file gives it. The nil map trusts nobody.
type Keys map[string]string

// maxKeys bounds the keys that are read: a large site has some hundred builders.
const maxKeys = 10_000

// ReadKeys reads trusted keys from a file, or from all files of a folder whose
// names end in ".pub". Each line is a key and, after a space, its owner's name;
// empty lines and those that begin with # are left out.
func ReadKeys(path string) (Keys, error) {
	files := []string{path}
	if info, err := os.Stat(path); err != nil {
		return nil, fmt.Errorf("trusted keys: %w", err)
	} else if info.IsDir() {
		if files, err = filepath.Glob(filepath.Join(path, "*.pub")); err != nil {
			return nil, fmt.Errorf("trusted keys %s: %w", path, err)
		}
	}
	keys := Keys{}
	for _, f := range files {
		if err := keys.read(f); err != nil {
			return nil, fmt.Errorf("trusted keys: %w", err)
		}
	}
	return keys, nil
}

func (k Keys) read(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		key, name, _ := strings.Cut(line, " ")
		if _, err := parseKey(key); err != nil {
			return fmt.Errorf("%s:%d: %w", path, n, err)
		}
		if len(k) == maxKeys {
			return fmt.Errorf("%s:%d: more than %d keys", path, n, maxKeys)
		}
		k[key] = strings.TrimSpace(name)
	}
	return lines.Err()
}

// Trusted says whether key is one of them.
func (k Keys) Trusted(key string) bool {
	_, ok := k[key]
	return ok
}

// Verify says whether s is a signature of the canonical bytes of m by a trusted
// key. The error matches ErrUntrusted or ErrForged.
func (k Keys) Verify(m Manifest, s Signature) error {
	if s.Key == "" || !k.Trusted(s.Key) {
		return fmt.Errorf("image %s: %w", m.Key.Short(), ErrUntrusted)
	}
	return s.Check(m.Encode())
}
