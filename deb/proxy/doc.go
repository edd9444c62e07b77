// Package proxy is the caching package proxy that ore runs for the machines of a
// job or of a site: they ask it for packages, and however many ask, a package
// crosses the site's uplink once.
//
// # What it serves
//
//	GET /sha256/HEX           the file with the digest
//	GET /pool/...             a package, by its path in the archive
//	GET /dists/SUITE/...      InRelease, and what that lists, also by-hash
//
// The last two make it a mirror for programs that know nothing of ore: apt,
// debootstrap. It is no open proxy: it serves packages of locks that it was told
// of ([Proxy.Lock], [Proxy.Know]) and what the proved indexes of an archive have
// ([Proxy.Offer]), and gets them from where these say. Nothing that a client
// sends becomes an address. Release.gpg is not among it, since what is proved
// here is InRelease.
//
// # How
//
// A file that is asked for and not kept is fetched by package fetch into the
// place where the host's own packages are kept, in one flight for all who ask;
// they read the part as it grows, also those who come late. Its digest is known
// when it is whole, so the last byte is held back until then: what turns out to
// be wrong is cut off before its end, and reaches nobody as a complete answer.
// The same happens to a reader who has had bytes of a part that had to be begun
// again. Clients verify, too.
//
// What this host kept before is served at once, when it has been hashed once.
//
// Few files come at a time, and others wait. Who says how long it waits for an answer
// (Prefer: wait, RFC 7240) is told to come again when that is over, as long as
// anything comes: it need not take a long queue for a proxy that is dead.
//
// A flight goes on when those who asked have gone: others will ask. Its end is
// that of the proxy. Answers carry a strong ETag and take ranges (RFC 9110,
// section 14), so that a client goes on where a transfer broke.
package proxy
