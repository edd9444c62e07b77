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
// # Keys
//
// Of each pair of hosts the one with the lower id greets, until it is answered;
// package seal has the messages and how data is sealed. A hello not newer than
// the newest is ignored, unless it is the newest itself, which gets the same
// answer again: it was lost, or the hello came by another path. A host that
// answers uses the new keys once the other has.
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
// # Paths
//
// Package datagram has the two kinds. UDP is greeted on first, TCP as well after
// 1.5 seconds without an answer; while TCP is in use UDP is tried again and
// again, and used as soon as it answers. The size of datagrams on UDP is found
// by padded probes (RFC 8899): first 1,232 bytes, then what the interface allows,
// then what is usual and by halves. A probe of the size in use goes every two
// seconds, also to notice that the other side is gone: after seven seconds
// without anything authentic keys are agreed upon anew.
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
package trunk
