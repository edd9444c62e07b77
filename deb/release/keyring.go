package release

import (
	"bytes"
	"crypto"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/clearsign"
	pgperrors "github.com/ProtonMail/go-crypto/openpgp/errors"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
)

// Keyring is the certificates that may sign. The zero Keyring trusts nobody.
type Keyring struct {
	keys openpgp.EntityList
}

const (
	armorBegin = "-----BEGIN PGP PUBLIC KEY BLOCK-----"
	armorEnd   = "-----END PGP PUBLIC KEY BLOCK-----"
)

// ReadKeyring reads certificates, binary or armored; several armored blocks
// may follow each other.
func ReadKeyring(data []byte) (Keyring, error) {
	if !bytes.Contains(data, []byte(armorBegin)) {
		keys, err := openpgp.ReadKeyRing(bytes.NewReader(data))
		return newKeyring(keys, err)
	}
	var all openpgp.EntityList
	for rest := string(data); ; {
		begin := strings.Index(rest, armorBegin)
		if begin < 0 {
			return newKeyring(all, nil)
		}
		end := strings.Index(rest[begin:], armorEnd)
		if end < 0 {
			return Keyring{}, errors.New("keyring: an armored block without an end")
		}
		end += begin + len(armorEnd)
		block, err := armor.Decode(strings.NewReader(rest[begin:end] + "\n"))
		if err != nil {
			return Keyring{}, fmt.Errorf("keyring: %w", err)
		}
		keys, err := openpgp.ReadKeyRing(block.Body)
		if err != nil {
			return Keyring{}, fmt.Errorf("keyring: %w", err)
		}
		all = append(all, keys...)
		rest = rest[end:]
	}
}

func newKeyring(keys openpgp.EntityList, err error) (Keyring, error) {
	if err != nil {
		return Keyring{}, fmt.Errorf("keyring: %w", err)
	}
	if len(keys) == 0 {
		return Keyring{}, errors.New("keyring: no certificate in it")
	}
	return Keyring{keys: keys}, nil
}

// Join returns a keyring with the certificates of both.
func (k Keyring) Join(other Keyring) Keyring {
	return Keyring{keys: append(slices.Clone(k.keys), other.keys...)}
}

// Only returns the certificates whose fingerprint, or that of a subkey, is one
// of the hexadecimal ones given (Signed-By in sources.list(5)).
func (k Keyring) Only(fingerprints []string) Keyring {
	var chosen openpgp.EntityList
	for _, e := range k.keys {
		keys := [][]byte{e.PrimaryKey.Fingerprint}
		for _, sub := range e.Subkeys {
			keys = append(keys, sub.PublicKey.Fingerprint)
		}
		if slices.ContainsFunc(keys, func(f []byte) bool {
			return slices.ContainsFunc(fingerprints, func(want string) bool {
				return strings.EqualFold(strings.TrimSuffix(want, "!"), hex.EncodeToString(f))
			})
		}) {
			chosen = append(chosen, e)
		}
	}
	return Keyring{keys: chosen}
}

// Empty reports whether the ring has no certificate.
func (k Keyring) Empty() bool { return len(k.keys) == 0 }

// SignatureError says why a Release is not to be trusted.
type SignatureError struct {
	Err error
}

// Error gives the cause.
func (e *SignatureError) Error() string { return "signature: " + e.Err.Error() }

// Unwrap returns the cause.
func (e *SignatureError) Unwrap() error { return e.Err }

// Verify returns the Release in an InRelease file that a key of the ring
// signed, at a time when signature and key were valid.
func Verify(inRelease []byte, k Keyring, now time.Time) (Release, error) {
	block, rest := clearsign.Decode(inRelease)
	if block == nil {
		return Release{}, &SignatureError{errors.New("the file is not signed")}
	}
	if !bytes.HasPrefix(inRelease, []byte("-----BEGIN PGP SIGNED MESSAGE-----")) || len(bytes.TrimSpace(rest)) > 0 {
		return Release{}, &SignatureError{errors.New("there is text outside of the signed part")}
	}
	signatures, err := io.ReadAll(io.LimitReader(block.ArmoredSignature.Body, MaxSize))
	if err != nil {
		return Release{}, &SignatureError{err}
	}
	if err := k.check(block.Bytes, signatures, now); err != nil {
		return Release{}, err
	}
	return Parse(string(block.Plaintext))
}

// check looks for one good signature among several. An archive signs with an
// old and a new key for years, and one of them may have expired here.
func (k Keyring) check(text, signatures []byte, now time.Time) error {
	err := pgperrors.ErrUnknownIssuer
	var worst error
	packets := packet.NewReader(bytes.NewReader(signatures))
	for {
		p, next := packets.Next()
		if errors.Is(next, io.EOF) {
			break
		}
		if next != nil {
			return &SignatureError{next}
		}
		sig, ok := p.(*packet.Signature)
		if !ok {
			return &SignatureError{errors.New("there is something else than signatures in it")}
		}
		var one bytes.Buffer
		if err := sig.Serialize(&one); err != nil {
			return &SignatureError{err}
		}
		// A clock that is a little late is no reason to refuse; Release.Check
		// deals with one that is more than that.
		at := now
		if sig.CreationTime.After(now) {
			at = sig.CreationTime
		}
		_, bad := openpgp.CheckDetachedSignature(k.keys, bytes.NewReader(text), &one, config(at))
		if bad == nil {
			return nil
		}
		if !errors.Is(bad, pgperrors.ErrUnknownIssuer) {
			worst = bad
		}
	}
	if worst != nil {
		return signatureError(worst)
	}
	return signatureError(err)
}

// config refuses the hash functions that apt refuses too.
func config(now time.Time) *packet.Config {
	return &packet.Config{
		Time: func() time.Time { return now },
		RejectMessageHashAlgorithms: map[crypto.Hash]bool{
			crypto.MD5: true, crypto.SHA1: true, crypto.RIPEMD160: true,
		},
	}
}

// signatureError puts the library's words into ours.
func signatureError(err error) error {
	switch {
	case errors.Is(err, pgperrors.ErrUnknownIssuer):
		return &SignatureError{errors.New("no trusted key made it")}
	case errors.Is(err, pgperrors.ErrKeyExpired):
		return &SignatureError{errors.New("the key that made it has expired")}
	case errors.Is(err, pgperrors.ErrSignatureExpired):
		return &SignatureError{errors.New("it has expired")}
	}
	return &SignatureError{err}
}
