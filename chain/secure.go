package chain

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

// Limits of what strangers can make a peer hold or wait for.
const (
	// handshakeTimeout bounds the time from a connection to proof of a key: a
	// stranger holds one descriptor and no more for so long.
	handshakeTimeout = 5 * time.Second
	// maxMessage bounds a sealed message: an order with eight sets of MaxChunks.
	maxMessage = 2 << 20
)

// protocolMagic opens each connection; the digit is the protocol's version.
const protocolMagic = "orechn/3"

// ErrRefused is what errors match when the other side does not accept a key or
// the key does not open what was asked for.
var ErrRefused = errors.New("refused")

// GrantID says which key is meant. It is no secret.
type GrantID [16]byte

// MarshalText gives the id as hex digits.
func (g GrantID) MarshalText() ([]byte, error) { return []byte(hex.EncodeToString(g[:])), nil }

// UnmarshalText reads what MarshalText gives.
func (g *GrantID) UnmarshalText(b []byte) error {
	if hex.DecodedLen(len(b)) != len(g) {
		return fmt.Errorf("grant id %q: not %d hex digits", b, 2*len(g))
	}
	_, err := hex.Decode(g[:], b)
	return err
}

// Grant is a key and what it opens. Whoever holds one that conducts may give
// orders; all others may read the blobs that it names and nothing else.
type Grant struct {
	ID      GrantID
	Key     []byte // 32 secret bytes
	Blobs   []Digest
	Conduct bool
}

// keySize is that of grants and of AES-256.
const keySize = 32

// NewGrant makes a grant with a fresh key.
func NewGrant() Grant {
	g := Grant{Key: make([]byte, keySize)}
	rand.Read(g.ID[:]) // never fails: crypto/rand ends the program instead
	rand.Read(g.Key)
	return g
}

// opens says whether the grant lets its holder read d.
func (g Grant) opens(d Digest) bool {
	for _, b := range g.Blobs {
		if b == d {
			return true
		}
	}
	return false
}

// link is a connection whose both ends have shown that they hold a grant's key.
// Messages are sealed (AES-256-GCM, the counter of each direction as nonce, so
// that none can be read, changed, replayed or dropped unseen); the bytes of
// chunks travel bare beside them, for the sake of sendfile, and are verified by
// their sums.
type link struct {
	net.Conn
	grant    Grant
	in, out  cipher.AEAD
	inN      uint64
	outN     uint64
	incoming bool
}

func mac(key []byte, parts ...[]byte) []byte {
	h := hmac.New(sha256.New, key)
	for _, p := range parts {
		h.Write(p)
	}
	return h.Sum(nil)
}

// transcript is what both sides prove: it binds roles, grant and nonces.
type transcript struct {
	id           GrantID
	nonceC, nonS [32]byte
}

func (t transcript) prove(key []byte, role string) []byte {
	return mac(key, []byte("ore chain "+role), t.id[:], t.nonceC[:], t.nonS[:])
}

func (t transcript) link(c net.Conn, g Grant, incoming bool) (*link, error) {
	l := &link{Conn: c, grant: g, incoming: incoming}
	toServer, err := seal(t.prove(g.Key, "to server"))
	if err != nil {
		return nil, err
	}
	toClient, err := seal(t.prove(g.Key, "to client"))
	if err != nil {
		return nil, err
	}
	l.in, l.out = toClient, toServer
	if incoming {
		l.in, l.out = toServer, toClient
	}
	return l, nil
}

func seal(key []byte) (cipher.AEAD, error) {
	b, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(b)
}

// open proves to the other side that we hold g, and has it prove the same.
func open(c net.Conn, g Grant) (*link, error) {
	if err := c.SetDeadline(time.Now().Add(handshakeTimeout)); err != nil {
		return nil, err
	}
	t := transcript{id: g.ID}
	rand.Read(t.nonceC[:])
	hello := append(append([]byte(protocolMagic), t.id[:]...), t.nonceC[:]...)
	if _, err := c.Write(hello); err != nil {
		return nil, fmt.Errorf("handshake: %w", err)
	}
	var answer [2 * sha256.Size]byte
	if _, err := io.ReadFull(c, answer[:]); err != nil {
		if errors.Is(err, io.EOF) {
			err = ErrRefused // who does not know the key is told nothing
		}
		return nil, fmt.Errorf("handshake: %w", err)
	}
	copy(t.nonS[:], answer[:])
	if !hmac.Equal(answer[sha256.Size:], t.prove(g.Key, "server")) {
		return nil, fmt.Errorf("handshake: %w: the other side does not hold the key", ErrRefused)
	}
	if _, err := c.Write(t.prove(g.Key, "client")); err != nil {
		return nil, fmt.Errorf("handshake: %w", err)
	}
	if err := c.SetDeadline(time.Time{}); err != nil {
		return nil, err
	}
	return t.link(c, g, false)
}

// accept is the other end of open; find looks up grants.
func accept(c net.Conn, find func(GrantID) (Grant, bool)) (*link, error) {
	if err := c.SetDeadline(time.Now().Add(handshakeTimeout)); err != nil {
		return nil, err
	}
	var hello [len(protocolMagic) + 16 + 32]byte
	if _, err := io.ReadFull(c, hello[:]); err != nil {
		return nil, fmt.Errorf("handshake: %w", err)
	}
	if string(hello[:len(protocolMagic)]) != protocolMagic {
		return nil, fmt.Errorf("handshake: %w: not this protocol", ErrRefused)
	}
	var t transcript
	copy(t.id[:], hello[len(protocolMagic):])
	copy(t.nonceC[:], hello[len(protocolMagic)+len(t.id):])
	g, ok := find(t.id)
	if !ok {
		return nil, fmt.Errorf("handshake: %w: unknown grant", ErrRefused)
	}
	rand.Read(t.nonS[:])
	if _, err := c.Write(append(t.nonS[:], t.prove(g.Key, "server")...)); err != nil {
		return nil, fmt.Errorf("handshake: %w", err)
	}
	var proof [sha256.Size]byte
	if _, err := io.ReadFull(c, proof[:]); err != nil {
		return nil, fmt.Errorf("handshake: %w", err)
	}
	if !hmac.Equal(proof[:], t.prove(g.Key, "client")) {
		return nil, fmt.Errorf("handshake: %w: wrong key", ErrRefused)
	}
	if err := c.SetDeadline(time.Time{}); err != nil {
		return nil, err
	}
	return t.link(c, g, true)
}

func nonce(n uint64) []byte { return binary.BigEndian.AppendUint64(make([]byte, 4, 12), n) }

// send seals v as JSON. It must not be called from two goroutines at once.
func (l *link) send(v any) error {
	plain, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if len(plain)+l.out.Overhead() > maxMessage {
		return fmt.Errorf("send message: %d bytes, more than %d", len(plain), maxMessage)
	}
	b := make([]byte, 4, 4+len(plain)+l.out.Overhead())
	b = l.out.Seal(b, nonce(l.outN), plain, nil)
	binary.BigEndian.PutUint32(b, uint32(len(b)-4))
	l.outN++
	_, err = l.Conn.Write(b)
	return err
}

// receive opens a message into v. What has no length has no seal either, and is passed
// over: a receiver writes it to see whether this host's kernel acknowledges it. It must
// not be called from two goroutines at once.
func (l *link) receive(v any) error {
	var head [4]byte
	for n := uint32(0); n == 0; n = binary.BigEndian.Uint32(head[:]) {
		if _, err := io.ReadFull(l.Conn, head[:]); err != nil {
			return err
		}
	}
	n := binary.BigEndian.Uint32(head[:])
	if n > maxMessage || int(n) < l.in.Overhead() {
		return fmt.Errorf("receive message: %d bytes: out of range", n)
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(l.Conn, b); err != nil {
		return err
	}
	plain, err := l.in.Open(b[:0], nonce(l.inN), b, nil)
	if err != nil {
		return fmt.Errorf("receive message: %w: not sealed by the other end", ErrRefused)
	}
	l.inN++
	return json.Unmarshal(plain, v)
}

// secure puts TLS under a connection where the caller wants it.
func secure(c net.Conn, conf *tls.Config, incoming bool) net.Conn {
	switch {
	case conf == nil:
		return c
	case incoming:
		return tls.Server(c, conf)
	}
	return tls.Client(c, conf)
}
