package serve

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"time"

	"ore/cache/serve/revoke"
	"ore/cache/serve/whole"
)

// How long certificates that we make are valid: the server's own is pinned by
// its digest, so that its end would only be a nuisance; a client's is a right.
const (
	serverYears = 10
	clientYears = 1
	// clockSkew is how far clocks of a site may differ.
	clockSkew = time.Hour
)

// writeUnit is the organizational unit in a client certificate that stands for
// the right to write. Its common name is the client's name, its organization
// the namespace.
const writeUnit = "write"

// Fingerprint names a certificate for pinning: the SHA-256 of its bytes in hex.
func Fingerprint(certificate []byte) string {
	sum := sha256.Sum256(certificate)
	return hex.EncodeToString(sum[:])
}

// ServerCertificate returns the certificate of the cache folder dir, making one
// for this host at the first time.
func ServerCertificate(dir string) (tls.Certificate, error) {
	certFile, keyFile := filepath.Join(dir, "serve", "cert.pem"), filepath.Join(dir, "serve", "key.pem")
	c, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err == nil || !errors.Is(err, fs.ErrNotExist) {
		return c, wrap("server certificate", err)
	}
	name, err := os.Hostname()
	if err != nil {
		name = "localhost"
	}
	t := &x509.Certificate{
		Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().AddDate(serverYears, 0, 0),
		DNSNames: []string{name, "localhost"}, IPAddresses: addresses(),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	if err := issue(t, nil, certFile, keyFile); err != nil {
		return c, wrap("server certificate", err)
	}
	c, err = tls.LoadX509KeyPair(certFile, keyFile)
	return c, wrap("server certificate", err)
}

// addresses are those of this host, for clients that check names.
func addresses() []net.IP {
	ips := []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback}
	all, err := net.InterfaceAddrs()
	if err != nil {
		return ips // names are all that is lost; who pins does not need them
	}
	for _, a := range all {
		if n, ok := a.(*net.IPNet); ok && !n.IP.IsLoopback() {
			ips = append(ips, n.IP)
		}
	}
	return ips
}

// IssueClient makes a certificate for a client, signed by the folder's own
// authority, which it makes at the first time. Both are PEM.
func IssueClient(dir string, i Identity, certFile, keyFile string) error {
	if err := i.check(); err != nil {
		return wrap("client certificate", err)
	}
	ca, err := authority(dir)
	if err != nil {
		return wrap("client certificate", err)
	}
	t := &x509.Certificate{
		Subject:  pkix.Name{CommonName: i.Name, Organization: []string{i.Namespace}},
		NotAfter: time.Now().AddDate(clientYears, 0, 0),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	if i.Write {
		t.Subject.OrganizationalUnit = []string{writeUnit}
	}
	return wrap("client certificate", issue(t, &ca, certFile, keyFile))
}

// authority loads or makes the folder's own authority.
func authority(dir string) (tls.Certificate, error) {
	certFile, keyFile := filepath.Join(dir, "serve", "ca.pem"), filepath.Join(dir, "serve", "ca-key.pem")
	c, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err == nil || !errors.Is(err, fs.ErrNotExist) {
		return c, err
	}
	if err := os.MkdirAll(filepath.Dir(certFile), 0o700); err != nil {
		return c, err
	}
	t := &x509.Certificate{
		Subject: pkix.Name{CommonName: "ore cache clients"}, NotAfter: time.Now().AddDate(serverYears, 0, 0),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	if err := issue(t, nil, certFile, keyFile); err != nil {
		return c, err
	}
	return tls.LoadX509KeyPair(certFile, keyFile)
}

// issue makes a key and a certificate for it, signed by parent, or by itself
// if that is nil.
func issue(t *x509.Certificate, parent *tls.Certificate, certFile, keyFile string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return err
	}
	t.SerialNumber, t.NotBefore = serial, time.Now().Add(-clockSkew)
	above, signer := t, any(key)
	if parent != nil {
		above, signer = parent.Leaf, parent.PrivateKey
	}
	der, err := x509.CreateCertificate(rand.Reader, t, above, key.Public(), signer)
	if err != nil {
		return err
	}
	raw, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	// The certificate comes last: without it there is nothing to load.
	if err := whole.Write(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw}), 0o600); err != nil {
		return err
	}
	return whole.Write(certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o644)
}

// clientAuthorities returns whom the server believes about clients: the given
// PEM, or the folder's own authority, if there is one.
func clientAuthorities(dir string, given []byte) (*x509.CertPool, error) {
	if given == nil {
		b, err := os.ReadFile(filepath.Join(dir, "serve", "ca.pem"))
		if errors.Is(err, fs.ErrNotExist) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		given = b
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(given) {
		return nil, errors.New("client authority: no certificate in the PEM")
	}
	return pool, nil
}

// Revoke ends all certificates of the cache folder dir for the client called name
// that were issued before at.
func Revoke(dir, name string, at time.Time) error {
	if err := checkName(name); err != nil {
		return wrap("revoke", err)
	}
	return revoke.Open(dir).Add(name, at)
}

// ofCertificate reads who a verified client certificate stands for.
func ofCertificate(c *x509.Certificate) (Identity, error) {
	i := Identity{Name: c.Subject.CommonName, Write: slices.Contains(c.Subject.OrganizationalUnit, writeUnit)}
	if len(c.Subject.Organization) == 1 {
		i.Namespace = c.Subject.Organization[0]
	}
	return i, i.check()
}

func wrap(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", what, err)
}
