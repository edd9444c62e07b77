package chain_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"io"
	"math/big"
	"net"
	"sync"
	"testing"
	"time"

	"ore/chain"
)

// TestSlowReadersHurtThemselves opens streams that are never read, and then has
// an honest peer fetch the same blob.
func TestSlowReadersHurtThemselves(t *testing.T) {
	want := content(8<<20, 1)
	b, l, name := cut(t, want)
	source, tail := start(t, nil), start(t, nil)
	if err := source.Add(b, l, name); err != nil {
		t.Fatal(err)
	}
	g := grantFor(b)
	source.wire(t, b, g)
	for range 20 {
		// A peer whose link to the source stops after the handshake.
		lazy := start(t, func(c *chain.Config) {
			c.Dialer.Dial = func(_ context.Context, network, address string) (net.Conn, error) {
				c, err := net.Dial(network, address)
				return &stalling{Conn: c, left: 20_000, closed: make(chan struct{})}, err
			}
			c.Silence = patience
		})
		w := lazy.wire(t, b, g)
		w.order(takeAll(b, source))
	}
	w := tail.wire(t, b, g)
	w.order(takeAll(b, source))
	w.until(whole)
	same(t, tail, b, want)
}

// stalling is a connection of which only so much is read.
type stalling struct {
	net.Conn
	left   int
	closed chan struct{}
	once   sync.Once
}

func (s *stalling) Read(b []byte) (int, error) {
	if s.left <= 0 {
		<-s.closed
		return 0, net.ErrClosed
	}
	n, err := s.Conn.Read(b[:min(len(b), s.left)])
	s.left -= n
	return n, err
}

func (s *stalling) Close() error {
	s.once.Do(func() { close(s.closed) })
	return s.Conn.Close()
}

// TestStrangersAreHungUpOn sends what is no handshake.
func TestStrangersAreHungUpOn(t *testing.T) {
	p := start(t, nil)
	for _, hello := range []string{"GET / HTTP/1.1\r\nHost: example.org\r\nAccept: */*\r\nUser-Agent: none\r\n\r\n", "orechn/3" + string(make([]byte, 48))} {
		c, err := net.Dial("tcp", p.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(c, hello); err != nil {
			t.Fatal(err)
		}
		c.SetReadDeadline(time.Now().Add(patience))
		if n, err := c.Read(make([]byte, 1)); n > 0 || err == nil {
			t.Errorf("a stranger was answered (%d bytes, %v)", n, err)
		} else if e, ok := err.(net.Error); ok && e.Timeout() {
			t.Error("a stranger was not hung up on")
		}
		c.Close()
	}
}

// FuzzConnection lets strangers and holders of a key say anything. The peer must
// live on.
func FuzzConnection(f *testing.F) {
	p := start(f, nil)
	b, l, name := cut(f, content(100_000, 1))
	if err := p.Add(b, l, name); err != nil {
		f.Fatal(err)
	}
	f.Add([]byte("orechn/3"))
	f.Add(append(append([]byte("orechn/3"), p.conduct.ID[:]...), make([]byte, 100)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := net.Dial("tcp", p.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		c.Write(b)
		c.(*net.TCPConn).CloseWrite()
		c.SetReadDeadline(time.Now().Add(patience))
		if n, _ := io.Copy(io.Discard, c); n > 64 {
			t.Errorf("%d bytes for who has shown no key", n)
		}
	})
}

// certificate makes one that signs itself, and the settings of both sides that
// accept it and nothing else.
func certificate(t *testing.T) (server, client *tls.Config) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	form := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"peer.example.org"}, NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature}
	der, err := x509.CreateCertificate(rand.Reader, form, form, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(parsed)
	own := []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}
	server = &tls.Config{Certificates: own, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert}
	client = &tls.Config{Certificates: own, RootCAs: pool, ServerName: "peer.example.org"}
	return server, client
}

func TestTLSGoesUnderneath(t *testing.T) {
	server, client := certificate(t)
	want := content(2<<20, 1)
	b, l, name := cut(t, want)
	secret := func(c *chain.Config) { c.TLS, c.Dialer.TLS = server, client }
	source, tail := start(t, secret), start(t, secret)
	if err := source.Add(b, l, name); err != nil {
		t.Fatal(err)
	}
	g := grantFor(b)
	d := chain.Dialer{TLS: client}
	for _, p := range []place{source, tail} {
		s, err := d.Conduct(t.Context(), p.Addr().String(), p.conduct)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		w := wire{t, s}
		w.order(chain.Order{Kind: chain.Prepare, Blob: b, Grant: g})
		if p.Peer == tail.Peer {
			w.order(takeAll(b, source))
			w.until(whole)
		} else {
			w.until(func(r chain.Report) bool { return r.Ready })
		}
	}
	same(t, tail, b, want)
	if _, err := (chain.Dialer{}).Conduct(t.Context(), source.Addr().String(), source.conduct); err == nil {
		t.Error("a connection without TLS was accepted")
	}
	foreign, _ := certificate(t)
	d.TLS = &tls.Config{Certificates: foreign.Certificates, RootCAs: client.RootCAs, ServerName: client.ServerName}
	if _, err := d.Conduct(t.Context(), source.Addr().String(), source.conduct); err == nil {
		t.Error("a foreign certificate was accepted")
	}
}
