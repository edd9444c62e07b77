package seal

import (
	"bytes"
	"crypto/ecdh"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
)

// Name is how a hello says which link it is for. It is public.
type Name [nameSize]byte

// Secrets are what a link's two ends make from the pair's key.
type Secrets struct {
	key  Key
	name Name
}

// NewSecrets returns those of a pair's key.
func NewSecrets(k Key) Secrets {
	s := Secrets{key: k}
	name := derive(k[:], nil, "ore trunk name")
	copy(s.name[:], name[:])
	return s
}

// Name returns the link's name.
func (s Secrets) Name() Name { return s.name }

// mac is what the holder of the pair's key can make of a message.
func (s Secrets) mac(label string, parts ...[]byte) []byte {
	h := hmac.New(sha256.New, s.key[:])
	h.Write([]byte(label))
	for _, p := range parts {
		h.Write(p)
	}
	return h.Sum(nil)
}

// Labels keep messages of one kind from being taken for another.
const (
	labelHello  = "ore trunk hello"
	labelAnswer = "ore trunk answer"
	labelKeys   = "ore trunk keys"
)

// Greeting is a hello that waits for its answer.
type Greeting struct {
	Message []byte // to be sent, as often as need be
	private *ecdh.PrivateKey
	index   uint32
}

// Greet makes a hello. The index is what we will call the session.
func (s Secrets) Greet(index uint32, clock uint64) (*Greeting, error) {
	private, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	be := binary.BigEndian
	b := append(make([]byte, 0, HelloSize), KindHello, Version, 0, 0)
	b = append(b, s.name[:]...)
	b = be.AppendUint64(be.AppendUint32(b, index), clock)
	b = append(b, private.PublicKey().Bytes()...)
	b = append(b, s.mac(labelHello, b)...)
	return &Greeting{Message: b, private: private, index: index}, nil
}

// Hello is what a hello says.
type Hello struct {
	Name  Name
	Clock uint64 // of who says it
	index uint32
	point []byte
}

// ParseHello reads a hello, of which nothing is to be believed before Authentic.
func ParseHello(b []byte) (Hello, bool) {
	if len(b) != HelloSize || b[0] != KindHello || b[1] != Version || b[2] != 0 || b[3] != 0 {
		return Hello{}, false
	}
	be := binary.BigEndian
	return Hello{Name: Name(b[4:]), index: be.Uint32(b[12:]), Clock: be.Uint64(b[16:]), point: b[24 : 24+pointSize]}, true
}

// Authentic reports whether the hello in b was made by a holder of the key.
func (s Secrets) Authentic(b []byte) bool {
	return len(b) == HelloSize && hmac.Equal(b[HelloSize-macSize:], s.mac(labelHello, b[:HelloSize-macSize]))
}

// Answer answers the authentic hello in b and returns the session that begins.
// The index is what we call it.
func (s Secrets) Answer(b []byte, index uint32) (message []byte, _ *Session, err error) {
	h, ok := ParseHello(b)
	if !ok {
		return nil, nil, ErrCorrupt
	}
	private, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	be := binary.BigEndian
	m := append(make([]byte, 0, AnswerSize), KindAnswer, Version, 0, 0)
	m = be.AppendUint32(be.AppendUint32(m, h.index), index)
	m = append(m, private.PublicKey().Bytes()...)
	m = append(m, s.mac(labelAnswer, b, m)...)
	k := pair{private: private, point: h.point, hello: b, answer: m}
	ses, err := s.session(k, index, h.index)
	if err != nil {
		return nil, nil, err
	}
	ses.in, ses.out = ses.out, ses.in // what goes out there comes in here
	return m, ses, nil
}

// Complete takes the answer to a greeting and returns the session, or nil if it
// is none.
func (s Secrets) Complete(g *Greeting, b []byte) *Session {
	if len(b) != AnswerSize || !bytes.Equal(b[:4], []byte{KindAnswer, Version, 0, 0}) {
		return nil
	}
	be := binary.BigEndian
	body := b[:AnswerSize-macSize]
	if be.Uint32(b[4:]) != g.index || !hmac.Equal(b[len(body):], s.mac(labelAnswer, g.Message, body)) {
		return nil
	}
	k := pair{private: g.private, point: body[12:], hello: g.Message, answer: b}
	ses, err := s.session(k, g.index, be.Uint32(b[8:]))
	if err != nil {
		return nil
	}
	return ses
}

// pair is what two hosts have said to each other.
type pair struct {
	private       *ecdh.PrivateKey
	point         []byte // the other's
	hello, answer []byte
}

// session makes a session as the one who greeted has it.
func (s Secrets) session(k pair, ours, theirs uint32) (*Session, error) {
	point, err := ecdh.X25519().NewPublicKey(k.point)
	if err != nil {
		return nil, err
	}
	secret, err := k.private.ECDH(point) // refuses points that give a known secret
	if err != nil {
		return nil, err
	}
	talk := sha256.New()
	talk.Write(k.hello)
	talk.Write(k.answer)
	info := labelKeys + string(talk.Sum(nil))
	there := derive(secret, s.key[:], info+"there")
	back := derive(secret, s.key[:], info+"back")
	return newSession(ours, theirs, there, back)
}
