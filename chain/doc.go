// Package chain brings blobs from one host to many: every receiver stores,
// verifies and forwards at the same time, so that many hosts have a blob hardly
// later than one.
//
// # Parts
//
// A [Peer] runs on each host. It serves chunks of the blobs that it has, also of
// those that still come in: who asks for a chunk that is not there waits for it
// on the open stream. It fetches what it is told to, from whom it is told to,
// and goes on from what it has, whatever happened before. It decides nothing. A
// conductor (package chain/conduct) holds a [Session] to each peer, gives orders
// and gets reports; it draws the shape (package chain/shape) and repairs it.
//
//	source --chunks--> relay --chunks--> relay --chunks--> tail
//	   ^                 ^                 ^                ^
//	   +-----------------+---- conductor --+----------------+
//
// Receivers pull: a repair is one order to the receiver that lost its source.
//
// # Chunks
//
// A [List] names a blob's chunks with their sums; its digest comes with the
// order, from the side that is trusted. A chunk becomes visible, and leaves,
// only when its sum matches. It leaves from the page cache by sendfile(2), which
// copies nothing. It comes by read(2) and write(2): who sums a chunk up has to see its
// bytes, so splice(2) from connection to file would have it written before it is
// verified, and read back for the sum: as many copies, and a chunk in the file that may
// be wrong. Nor would tee(2) into the next connection do, for the same reason: nothing
// unverified is passed on. What a hop holds in memory is one chunk for each source. A peer that was killed
// leaves a partial file and the list; the next life believes neither before it
// has summed the chunks up again, and fetches the rest. The owner may put chunks
// there too, from relatives of the blob ([Config].Fill): what is there is not
// fetched, but still forwarded.
//
// What goes first can be said ([Blob].First), and is told when it is there. Of
// several blobs that one host gets at once it precedes the rest of all. A
// [Reader] on a receiver's host reads the blob while it comes: it waits for what
// is missing, and has it asked for out of order, from hop to hop up to who has it.
//
// # Connections
//
// One TCP port serves all. Each connection begins with a proof of a grant's key
// by both sides, then carries sealed messages:
//
//	client: "orechn/3", id of the grant (16 bytes), nonce (32)
//	server: nonce (32), HMAC(key, "ore chain server", id, both nonces)
//	client: HMAC(key, "ore chain client", id, both nonces)
//	both:   length (4 bytes), message: JSON, sealed with AES-256-GCM by keys
//	        that the same HMAC makes, one for each direction, with a counter
//
// With a grant that conducts, messages are [Order] and [Report]. With all others
// they are requests for the list or a set of chunks of one blob, answered with
// frames: number (4 bytes), size (4 bytes), bytes of the chunk. A source with
// nothing to send says so ten times a second. Of one that does not, a receiver sees by
// a message of length zero, which is passed over, whether its host acknowledges
// anything still (package chain/pulse).
//
// # What protects what
//
// Grants: only who holds a key can ask, and only for the blobs of its grant,
// which a conductor makes for each transfer and revokes with it. Seals: nobody on
// the wire can read, change or repeat orders, keys and requests. Sums: whatever
// a peer sends, or somebody changes on the wire, no other bytes than the blob's
// are ever stored or forwarded. Limits: each connection costs a peer a goroutine
// and no buffers that wait; who reads slowly delays only himself; who is silent
// is left. What bare chunks do not have is secrecy: where others may see the
// wire and must not see the bytes, set TLS on both sides. It costs sendfile, and
// a copy of each byte through the program.
package chain
