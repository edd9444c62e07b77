package node

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"ore"
	"ore/guest"
)

// What a package makes when it is installed so that no two machines have the
// same stands in no image. A machine of an image that has such a package is given
// it at its start, made here: each takes a fraction of a millisecond, which is
// why the keys are on curves and not RSA. What machines of one job must have alike
// is derived from the job's secret.

// maker makes the files of one machine.
type maker struct {
	name, domain string
	secret       []byte // of the job
}

// files makes what stands in no image, for the packages that the machine has.
func (m maker) files(packages []ore.Package) ([]guest.File, error) {
	has := func(wanted string) bool {
		return slices.ContainsFunc(packages, func(p ore.Package) bool { return p.Name == wanted })
	}
	var all []guest.File
	if has("openssh-server") {
		files, err := hostKeys(m.name)
		if err != nil {
			return nil, fmt.Errorf("ssh keys of %s: %w", m.name, err)
		}
		all = append(all, files...)
	}
	if has("ssl-cert") {
		files, err := snakeoil(m.name, m.domain)
		if err != nil {
			return nil, fmt.Errorf("certificate of %s: %w", m.name, err)
		}
		all = append(all, files...)
	}
	if has("munge") {
		file, err := mungeKey(m.secret)
		if err != nil {
			return nil, fmt.Errorf("munge's key of %s: %w", m.name, err)
		}
		all = append(all, file)
	}
	return all, nil
}

// secretSize is what no one guesses: the strength of the hash that keys are
// derived with.
const secretSize = sha256.Size

// NewSecret makes the secret of a job.
func NewSecret() ([]byte, error) {
	s := make([]byte, secretSize)
	if _, err := rand.Read(s); err != nil {
		return nil, fmt.Errorf("make a job's secret: %w", err)
	}
	return s, nil
}

// mungeKeySize is what mungekey(8) makes by itself: 1024 bits.
const mungeKeySize = 128

// mungeKey makes the key by which machines of one job believe each other who a
// user is (munge(7)): the same on all of them, and known to no other job. munged(8)
// wants it to be its own user's and nobody else's.
func mungeKey(secret []byte) (guest.File, error) {
	key, err := hkdf.Key(sha256.New, secret, nil, "munge.key", mungeKeySize)
	return guest.File{Path: "/etc/munge/munge.key", Mode: 0o400, Owner: "munge", Group: "munge", Content: key}, err
}

// hostKeys makes the keys by which an SSH server is known (sshd_config(5),
// HostKey), of the two kinds on curves that it looks for by itself.
func hostKeys(name string) ([]guest.File, error) {
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	var all []guest.File
	for kind, key := range map[string]crypto.Signer{"ed25519": ed, "ecdsa": ec} {
		block, err := ssh.MarshalPrivateKey(key, "root@"+name)
		if err != nil {
			return nil, err
		}
		public, err := ssh.NewPublicKey(key.Public())
		if err != nil {
			return nil, err
		}
		line := strings.TrimSpace(string(ssh.MarshalAuthorizedKey(public))) + " root@" + name + "\n"
		file := "/etc/ssh/ssh_host_" + kind + "_key"
		all = append(all,
			guest.File{Path: file, Mode: 0o600, Content: pem.EncodeToMemory(block)},
			guest.File{Path: file + ".pub", Mode: 0o644, Content: []byte(line)})
	}
	return all, nil
}

// snakeoilYears is how long make-ssl-cert(8) has its certificates valid.
const snakeoilYears = 10

// snakeoil makes what the package ssl-cert does: a key and a certificate that
// says of itself who it is.
func snakeoil(name, domain string) ([]guest.File, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	number, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, err
	}
	full := name
	if domain != "" {
		full += "." + domain
	}
	now := time.Now()
	c := &x509.Certificate{
		SerialNumber: number, Subject: pkix.Name{CommonName: full}, DNSNames: []string{full, name},
		NotBefore: now.Add(-time.Hour), NotAfter: now.AddDate(snakeoilYears, 0, 0), BasicConstraintsValid: true,
	}
	cert, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		return nil, err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return []guest.File{
		{Path: "/etc/ssl/private/ssl-cert-snakeoil.key", Mode: 0o640, Group: "ssl-cert", Content: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})},
		{Path: "/etc/ssl/certs/ssl-cert-snakeoil.pem", Mode: 0o644, Content: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert})},
	}, nil
}
