package trunk

import (
	"bytes"
	"crypto/ecdh"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"time"
)

// secrets are what a link's two ends make from the pair's key.
type secrets struct {
	key  Key
	name [nameSize]byte // by which a greeting says which link it is for; public
}

func newSecrets(k Key) secrets {
	s := secrets{key: k}
	name := derive(k[:], nil, "ore trunk name")
	copy(s.name[:], name[:])
	return s
}

// mac is what the holder of the pair's key can make of a message.
func (s secrets) mac(label string, parts ...[]byte) []byte {
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

// greeting is a hello that waits for its answer.
type greeting struct {
	message []byte
	private *ecdh.PrivateKey
	index   uint32
	made    time.Time
}

// greet makes a hello.
func (s secrets) greet(index uint32, clock uint64, now time.Time) (*greeting, error) {
	private, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	be := binary.BigEndian
	b := append(make([]byte, 0, helloSize), kindHello, version, 0, 0)
	b = append(b, s.name[:]...)
	b = be.AppendUint64(be.AppendUint32(b, index), clock)
	b = append(b, private.PublicKey().Bytes()...)
	b = append(b, s.mac(labelHello, b)...)
	return &greeting{message: b, private: private, index: index, made: now}, nil
}

// hello is a parsed greeting. Its mac was not checked yet.
type hello struct {
	name  [nameSize]byte
	index uint32
	clock uint64
	point []byte
}

func parseHello(b []byte) (hello, bool) {
	if len(b) != helloSize || b[0] != kindHello || b[1] != version || b[2] != 0 || b[3] != 0 {
		return hello{}, false
	}
	be := binary.BigEndian
	return hello{name: [nameSize]byte(b[4:]), index: be.Uint32(b[12:]), clock: be.Uint64(b[16:]), point: b[24 : 24+pointSize]}, true
}

// authentic reports whether a hello was made by a holder of the key.
func (s secrets) authentic(b []byte) bool {
	return hmac.Equal(b[helloSize-macSize:], s.mac(labelHello, b[:helloSize-macSize]))
}

// answer answers an authentic hello and returns the session that begins.
func (s secrets) answer(b []byte, h hello, index uint32) (message []byte, _ *session, err error) {
	private, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	be := binary.BigEndian
	m := append(make([]byte, 0, answerSize), kindAnswer, version, 0, 0)
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

// complete takes the answer to a greeting and returns the session, or nil if it
// is none.
func (s secrets) complete(g *greeting, b []byte) *session {
	if len(b) != answerSize || !bytes.Equal(b[:4], []byte{kindAnswer, version, 0, 0}) {
		return nil
	}
	be := binary.BigEndian
	body := b[:answerSize-macSize]
	if be.Uint32(b[4:]) != g.index || !hmac.Equal(b[len(body):], s.mac(labelAnswer, g.message, body)) {
		return nil
	}
	k := pair{private: g.private, point: body[12:], hello: g.message, answer: b}
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
func (s secrets) session(k pair, ours, theirs uint32) (*session, error) {
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
