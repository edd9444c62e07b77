// Package seal makes datagrams between two hosts that only they can read and
// make: how they agree on keys, and how data is sealed with them. It does no
// I/O.
//
// The two hosts share a [Key]. One of them greets:
//
//	hello:  1, version, 0 0, link (8 bytes), index (4), time (8), point (32), mac (32)
//	answer: 2, version, 0 0, their index (4), index (4), point (32), mac (32)
//	data:   3, version, 0 0, their index (4), counter (8), sealed, tag (16)
//
// All numbers are big-endian. link is a public name made from the pair's key. An
// index is what its sender calls the session, so that the other can say which
// one it means. time is the sender's clock, by which old hellos are known. A
// point is an ephemeral X25519 key (RFC 7748). A mac is HMAC-SHA256 under the
// pair's key, of a label and what comes before it, in the answer also of the
// hello. From both points, the pair's key as salt, and a hash of both messages
// HKDF makes two keys, one for each direction. This is the shape of Noise's
// NNpsk0: whoever learns the pair's key later cannot read what was said before.
//
// Data is sealed by AES-256-GCM, the counter as nonce and the first 16 bytes as
// additional data. Counters are checked against a window (RFC 6479), so that
// nothing is taken twice. Keys are to be renewed after 2 minutes or 2^22
// datagrams, and are never used beyond 2^23 (the limit of RFC 9001, 6.6).
package seal

// Kinds of datagrams, and the version that follows.
const (
	KindHello  = 1
	KindAnswer = 2
	KindData   = 3
	Version    = 1
)

// Sizes of datagrams and their parts.
const (
	HeadSize = 16 // of data
	TagSize  = 16 // of AES-GCM
	Overhead = HeadSize + TagSize

	HelloSize  = 24 + pointSize + macSize
	AnswerSize = 12 + pointSize + macSize

	macSize   = 32
	pointSize = 32
	nameSize  = 8
)
