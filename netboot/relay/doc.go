// Package relay has machines that install themselves from the network pass on to
// one another what they get, so that an image leaves the server about once, however
// many machines install it at the same time.
//
// # The way of a blob
//
//	machine 3 -------> machine 2 -------> machine 1 -------> server
//	          chunk k            chunk k            chunk k
//
// A blob, such as an image's layer, is asked for in chunks of [Chunk] bytes. Before
// the first one a machine asks the server,
//
//	POST /chain/TOKEN/sha256:...   {"port": 40123}
//
// by the secret of its try, and says where it gives chunks itself. The answer has the
// SHA-256 of each chunk, and up to [Neighbours] machines that began with this blob
// before it and still install themselves, the last one first:
//
//	{"size": 52428800, "sums": "...", "from": ["http://10.9.0.51:40123/blob/"]}
//
// The first machine that begins with a blob has the server read it for the sums. Until
// they are there the answer is 503 (RFC 9110, section 15.6.4), the machine reads the blob
// from the server itself, and asks each second; then it goes on with chunks where it is.
//
// A chunk is asked of the first of these, as a range of GET /blob/sha256:...
// (RFC 9110, section 14), which is how the server gives it too. Who is asked for a
// chunk that he does not have asks for it himself, once for all who wait, and so
// nobody waits until a machine before it has written what it got: a slow disk holds
// up no other machine. Each machine names only those that began before it, so
// nobody waits for himself.
//
// # What is believed
//
// The sums, since they are from where the recipe is from. A chunk is neither used nor
// passed on unless it is what its sum says. A neighbour that gave another one is
// not asked again. The whole is compared with its digest by who writes it, as ever.
//
// # When a neighbour is gone, silent or slow
//
// A neighbour that answers with an error, or not at all for some time, has the chunk
// asked for at the next place as well, at last at the server, and the first that
// comes counts. If that is the later place, the neighbour is left alone for a while, and
// longer each time, where what was on its way at once counts once. One that says (502) that
// nobody gives the chunk to it, is not: it is asked for the next one, and where the server
// refuses for a while, all stay where they are. If it was the neighbour after all, its time is doubled: where the
// server's own line is slow, everything is, and to leave for the server would make it
// slower for all. The time is two seconds, or more where the machine itself takes long for what
// it gets: a neighbour that holds nobody up is not left for a server that would be
// quicker. One that gives chunks in that time, but takes more than a tenth of a second
// for each and longer than the machine itself, is compared with the server now and then, by
// an eighth of a chunk, and left alone if the server is three times as fast: first by the
// machines with few before them, so that those behind these need not. A machine that gives
// 700 kB/s, where the server gives 10 MiB/s, costs a second copy. A server that is gone matters as little as neighbours have what is asked for. If
// it says (404, 410) that it has the blob no more, and no neighbour has the chunk, who
// reads the blob is told so by the server itself.
//
// # Bounds
//
// Chunks are kept in memory, as many as a quarter of what the kernel has to give holds
// and 1 GiB at most, and the oldest goes first. Who is asked for one that is gone asks for
// it again. Machines that begin together are never far from one another, and need memory for
// little of the blob; those that begin later than the memory of those before reaches back
// have it from the server once more: of a blob of eight times that memory, which takes
// three seconds, four copies leave the server for eight machines a second apart. A machine that begins when all others have ended is the first of another chain:
// those that install themselves one after the other save nothing. [Relay.Close] ends it all,
// and waits for it; it is called before the installer ends, so nothing of it is there when the
// installed system starts. Only a blob that the machine itself has asked for is given, to
// whoever in its network asks: the server does no less.
package relay
