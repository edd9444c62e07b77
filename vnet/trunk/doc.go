// Package trunk joins the networks of a job's hosts by encrypted links, so that
// machines of one job see one network wherever they run.
//
// A [Mesh] is one host's links to all others of the job. It is told everything:
// which hosts there are, where, with which keys, and which machines run there.
//
//	mesh, err := trunk.New(trunk.Config{Network: net, ID: "a", Listen: at})
//	mesh.Address()                        // is told to the others
//	err = mesh.Set([]trunk.Peer{{ID: "b", Key: trunk.PairKey(job, "a", "b"), Address: there, Machines: m}})
//
// Frames go as sealed datagrams over UDP; where UDP does not come through, over
// one TCP connection, until it does. Frames larger than a datagram are cut and
// put together again, and small ones share one, so that the machines' MTU does
// not depend on the way between their hosts.
//
// # Datagrams
//
// All numbers are big-endian. There are three kinds; of each pair of hosts the
// one with the lower id greets.
//
//	hello:  1, version, 0 0, link (8 bytes), index (4), time (8), point (32), mac (32)
//	answer: 2, version, 0 0, their index (4), index (4), point (32), mac (32)
//	data:   3, version, 0 0, their index (4), counter (8), sealed records, tag (16)
//
// link is a public name made from the pair's key. An index is what its sender
// calls the session, so that the other can say which one it means. time is the
// sender's clock: a hello not newer than the newest is ignored, unless it is the
// newest itself, which gets the same answer again. A point is an ephemeral
// X25519 key (RFC 7748). A mac is HMAC-SHA256 under the pair's key, of a label
// and what comes before it, in the answer also of the hello. From both points,
// the pair's key as salt, and a hash of both messages HKDF makes two keys, one
// for each direction. This is the shape of Noise's NNpsk0: whoever knows the
// pair's key later cannot read what was said before.
//
// Data is sealed by AES-256-GCM, the counter as nonce and the first 16 bytes as
// additional data. Counters are checked against a window ([RFC 6479]), so that
// nothing is taken twice. Keys are renewed after 2 minutes or 2^22 datagrams,
// and never used beyond 2^23 (the limit of RFC 9001, 6.6).
//
// # Records
//
// A datagram holds any number of them:
//
//	0                                              the rest is padding
//	1 length(2) frame                              a whole frame
//	2 id(2) total(2) offset(2) length(2) bytes     a piece of a frame
//	3 number(4) time(8)                            a probe: is to be echoed
//	4 number(4) time(8) size(2)                    its echo, with the size of its datagram
//	5 train(2) index(2) count(2)                   one of many that measure the rate
//	6 train(2)                                     asks what came of them
//	7 train(2) bytes(4) microseconds(4)            tells it
//
// # The path's MTU
//
// Datagrams are never fragmented by IP. Their size is found by padded probes
// (RFC 8899): first 1,232 bytes, then what the interface allows, then by halves;
// a probe of the size in use goes every two seconds, also to notice that the
// other side is gone. ICMP is not believed.
//
// # What protects what
//
// Who has no key can neither read, write, repeat nor change anything, and is
// never sent more than it sent. Each peer has a socket of its own, connected to
// its address, with its own queue, buffers and goroutines: one that floods, is
// silent, or sends garbage fills only these. What it may send is what its
// machines may (package ethernet). Pieces of at most 64 frames are kept, each
// for at most a second. Nothing blocks a machine: what cannot be sent is dropped
// and counted.
//
// # Non-goals
//
// Relaying between hosts that cannot reach each other, hosts behind a NAT that
// changes their address, and multicast beyond copying a frame to each host.
//
// [RFC 6479]: https://www.rfc-editor.org/rfc/rfc6479
package trunk
