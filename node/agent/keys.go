package agent

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"slices"
	"time"
)

const (
	// validity is how long certificates hold: longer than any job. A throw-away
	// authority is forgotten with its run, and nothing that it signed is of use.
	validity = 2 * 365 * 24 * time.Hour
	// skew is by how much hosts' clocks may differ.
	skew = time.Hour
	// maxKeys bounds a line of keys: three PEM blocks of some hundred bytes.
	maxKeys = 64 << 10
)

// Keys is what one side of a connection has: the authority that it trusts, and
// its own certificate and key, all PEM. It is a secret. As JSON on one line it
// is what 'ore node' reads from its standard input.
type Keys struct {
	CA          string `json:"ca"`
	Certificate string `json:"certificate"`
	Key         string `json:"key"`
}

// ReadKeys reads one JSON value of keys from r, and no byte more than up to the
// end of its line.
func ReadKeys(r io.Reader) (Keys, error) {
	var line []byte
	one := make([]byte, 1)
	for len(line) <= maxKeys {
		n, err := r.Read(one)
		line = append(line, one[:n]...)
		if n == 1 && one[0] == '\n' || errors.Is(err, io.EOF) {
			return parseKeys(line)
		}
		if err != nil {
			return Keys{}, fmt.Errorf("read keys: %w", err)
		}
	}
	return Keys{}, fmt.Errorf("read keys: more than %d bytes on a line: give what 'ore hosts issue' printed", maxKeys)
}

func parseKeys(b []byte) (Keys, error) {
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	var k Keys
	if err := d.Decode(&k); err != nil {
		return Keys{}, fmt.Errorf("read keys: %w: give what 'ore hosts issue' printed", err)
	}
	if _, _, err := k.pair(); err != nil {
		return Keys{}, err
	}
	return k, nil
}

// pair returns the parts as crypto/tls wants them.
func (k Keys) pair() (tls.Certificate, *x509.CertPool, error) {
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM([]byte(k.CA)) {
		return tls.Certificate{}, nil, errors.New("keys: there is no certificate of an authority in them")
	}
	own, err := tls.X509KeyPair([]byte(k.Certificate), []byte(k.Key))
	if err != nil {
		return tls.Certificate{}, nil, fmt.Errorf("keys: %w", err)
	}
	return own, pool, nil
}

// server returns the settings of an agent's side.
func (k Keys) server() (*tls.Config, error) {
	own, pool, err := k.pair()
	if err != nil {
		return nil, err
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{own},
		ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool, NextProtos: []string{"http/1.1"},
	}, nil
}

// client returns the settings of who calls an agent of that name.
func (k Keys) client(name string) (*tls.Config, error) {
	own, pool, err := k.pair()
	if err != nil {
		return nil, err
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{own},
		RootCAs: pool, ServerName: name, NextProtos: []string{"http/1.1"},
	}, nil
}

// Authority signs the certificates of agents and their clients: a throw-away
// one made for a run, or one that an operator keeps.
type Authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// NewAuthority makes an authority with a fresh key.
func NewAuthority() (*Authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make authority: %w", err)
	}
	c := certificate("ore authority")
	c.IsCA, c.KeyUsage, c.MaxPathLenZero = true, x509.KeyUsageCertSign, true
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("make authority: %w", err)
	}
	if c, err = x509.ParseCertificate(der); err != nil {
		return nil, fmt.Errorf("make authority: %w", err)
	}
	return &Authority{cert: c, key: key}, nil
}

func certificate(name string) *x509.Certificate {
	var number [16]byte
	rand.Read(number[:]) // never fails: crypto/rand ends the program instead
	number[0] &= 0x7f    // RFC 5280, 4.1.2.2: a positive number
	now := time.Now()
	return &x509.Certificate{
		SerialNumber: new(big.Int).SetBytes(number[:]), Subject: pkix.Name{CommonName: name},
		NotBefore: now.Add(-skew), NotAfter: now.Add(validity), BasicConstraintsValid: true,
	}
}

// Agent issues the keys of the agent that clients call by one of names, DNS
// names or addresses.
func (a *Authority) Agent(names ...string) (Keys, error) {
	if len(names) == 0 {
		return Keys{}, errors.New("issue keys of an agent: it needs a name")
	}
	c := certificate(names[0])
	for _, n := range names {
		if ip := net.ParseIP(n); ip != nil {
			c.IPAddresses = append(c.IPAddresses, ip)
		} else {
			c.DNSNames = append(c.DNSNames, n)
		}
	}
	c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	return a.issue(c)
}

// Client issues the keys of somebody who uses agents.
func (a *Authority) Client(name string) (Keys, error) {
	c := certificate(name)
	c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	return a.issue(c)
}

func (a *Authority) issue(c *x509.Certificate) (Keys, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return Keys{}, fmt.Errorf("issue keys: %w", err)
	}
	c.KeyUsage = x509.KeyUsageDigitalSignature
	der, err := x509.CreateCertificate(rand.Reader, c, a.cert, key.Public(), a.key)
	if err != nil {
		return Keys{}, fmt.Errorf("issue keys: %w", err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return Keys{}, fmt.Errorf("issue keys: %w", err)
	}
	return Keys{CA: encode(certBlock, a.cert.Raw), Certificate: encode(certBlock, der), Key: encode(keyBlock, private)}, nil
}

// The types of PEM blocks (RFC 7468).
const (
	certBlock = "CERTIFICATE"
	keyBlock  = "PRIVATE KEY"
)

func encode(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

// Encode returns the authority with its secret, for an operator who keeps it.
func (a *Authority) Encode() ([]byte, error) {
	private, err := x509.MarshalPKCS8PrivateKey(a.key)
	if err != nil {
		return nil, fmt.Errorf("encode authority: %w", err)
	}
	return []byte(encode(certBlock, a.cert.Raw) + encode(keyBlock, private)), nil
}

// DecodeAuthority reads what Encode gave.
func DecodeAuthority(b []byte) (*Authority, error) {
	cert, rest := pem.Decode(b)
	key, _ := pem.Decode(rest)
	if cert == nil || key == nil || cert.Type != certBlock || key.Type != keyBlock {
		return nil, errors.New("decode authority: not a certificate and a key")
	}
	c, err := x509.ParseCertificate(cert.Bytes)
	if err != nil {
		return nil, fmt.Errorf("decode authority: %w", err)
	}
	k, err := x509.ParsePKCS8PrivateKey(key.Bytes)
	if err != nil {
		return nil, fmt.Errorf("decode authority: %w", err)
	}
	private, ok := k.(*ecdsa.PrivateKey)
	if !ok || !private.PublicKey.Equal(c.PublicKey) || !c.IsCA {
		return nil, errors.New("decode authority: the key is not the certificate's")
	}
	return &Authority{cert: c, key: private}, nil
}

// caller is who stands at the other end of a connection.
type caller struct {
	owner string   // the key, by its sum
	agent bool     // it is another agent
	names []string // an agent's
}

// callerOf reads a verified certificate.
func callerOf(s *tls.ConnectionState) (caller, error) {
	if s == nil || len(s.VerifiedChains) == 0 || len(s.PeerCertificates) == 0 {
		return caller{}, errors.New("no certificate")
	}
	c := s.PeerCertificates[0]
	sum := sha256.Sum256(c.RawSubjectPublicKeyInfo)
	who := caller{owner: hex.EncodeToString(sum[:]), agent: slices.Contains(c.ExtKeyUsage, x509.ExtKeyUsageServerAuth), names: slices.Clone(c.DNSNames)}
	for _, ip := range c.IPAddresses {
		who.names = append(who.names, ip.String())
	}
	return who, nil
}
