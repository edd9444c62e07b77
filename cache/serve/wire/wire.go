// Package wire is what a cache's server and its clients say to each other: the
// protocol, its types and its limits. Transport is HTTP/2 or HTTP/1.1 over TLS.
//
// # Who is asking
//
// A client shows a token (Authorization: Bearer) or a client certificate.
// Either belongs to one namespace and has the right to read, or to read and
// write. A namespace sees its own images and those of the namespace [Shared],
// and nothing of any other: not even whether a blob exists.
//
// # Requests
//
//	GET    /v1/health                 anybody: 200 while the server works
//	GET    /v1/stats                  Stats
//	GET    /v1/images                 []Listed, own and shared
//	GET    /v1/images/KEY?have=D      the manifest as a delta (package delta) from manifest D, or from nothing
//	POST   /v1/candidates             Wanted -> []Candidate, both packed (see Pack)
//	POST   /v1/images                 Registration -> Registered; all layers must be readable by the client
//	DELETE /v1/images/KEY             forget an image of one's own namespace
//	GET    /v1/blobs/D                a blob; ranges as in RFC 9110, 14
//	GET    /v1/blobs/D/chunks         its chunk list (package chunk)
//	POST   /v1/patches                Near -> a patch (package chunk) from one of the blobs that the client has; 204 if none is of use
//	POST   /v1/uploads                Upload -> Session; the bytes are reserved in the quota
//	GET    /v1/uploads/ID             Session
//	PUT    /v1/uploads/ID?offset=N    bytes of the blob from N on, where N is Session.Received
//	POST   /v1/uploads/ID/commit      verifies the whole; only then the blob exists
//	DELETE /v1/uploads/ID             gives up
//	POST   /v1/leases/KEY?wait=S      Lease: the image exists, or you build it, or another does; waits up to S seconds for a change
//	PUT    /v1/leases/KEY/ID          heartbeat of the builder, with an ore.Event or nothing as body
//	GET    /v1/leases/KEY/ID          an answer of one byte that ends with the lease; if the builder's end closes first, as it does when the builder is killed, the lease is given back
//	DELETE /v1/leases/KEY/ID          the builder gives up: the next one asks
//	GET    /v1/leases/KEY/events      progress of the build as server-sent events, each an ore.Event as JSON
//
// Errors have a status and a [Refusal] as body. 404 means that there is no such
// thing, or none that the client may know of.
package wire

import (
	"time"

	"ore"
	"ore/cache"
	"ore/image"
)

// Shared is the namespace that every client may read: base images.
const Shared = "shared"

// Names of headers.
const (
	HeaderManifest  = "Ore-Manifest"  // digest of the manifest that is sent
	HeaderFrom      = "Ore-From"      // digest of what a delta or a patch starts from
	HeaderSignature = "Ore-Signature" // base64 of an image.Signature in JSON, if there is one
	HeaderRoot      = "Ore-Root"      // root of a chunk list's Merkle tree
	HeaderSize      = "Ore-Size"      // bytes of what a delta expands to
	HeaderNamespace = "Ore-Namespace" // where an image was found
)

// Limits that both sides know.
const (
	// MaxManifest bounds a manifest: the largest suites have 70,000 packages of
	// some 250 bytes each.
	MaxManifest = 64 << 20
	// MaxJSON bounds every other body of JSON.
	MaxJSON = 1 << 20
	// MaxNear bounds the blobs that a client names as near relatives.
	MaxNear = 64
	// MaxCandidates bounds an answer: a plan compares few.
	MaxCandidates = 16
	// MaxWait is how long a request for a lease may be kept waiting, less than
	// what the proxies of the world allow an answer to take.
	MaxWait = 25 * time.Second
	// Heartbeat is how often a builder shows that it lives.
	Heartbeat = 5 * time.Second
	// Expiry is after how long without one the next client may build: a few lost
	// heartbeats.
	Expiry = 4 * Heartbeat
)

// Refusal is the body of every error.
type Refusal struct{ Error string }

// Listed is one image in a listing.
type Listed struct {
	Namespace string
	cache.Entry
}

// Wanted asks for candidates.
type Wanted struct {
	Environment ore.Environment
	Max         int
}

// Candidate is an image from which the wanted environment may be made with
// less work than from nothing.
type Candidate struct {
	Namespace string
	cache.Candidate
	Lacks  []int         // places of Missing in the wanted environment, see Shorten
	Layers []image.Layer // of its image
}

// Registration lists an image whose layers the server has.
type Registration struct {
	Manifest  []byte          // its canonical bytes
	Signature image.Signature // of the builder; zero for nobody's
	BuildTime time.Duration   // what making it took: its worth to eviction
}

// Registered is the answer to a registration.
type Registered struct{ Manifest ore.Digest }

// Near asks for a patch that makes Target from one of Have.
type Near struct {
	Target ore.Digest
	Have   []ore.Digest
}

// Upload announces a blob.
type Upload struct {
	Digest ore.Digest
	Size   int64
}

// Session is an upload that goes on, or one that is not needed.
type Session struct {
	ID       string // "" if Exists
	Exists   bool   // the blob is there, and readable by the client
	Received int64  // bytes so far: where to go on
}

// State says what a client that asked for a lease is to do.
type State string

// The states of a lease.
const (
	Exists State = "exists" // the image can be fetched
	Build  State = "build"  // this client is to make it
	Wait   State = "wait"   // another makes it: ask again
)

// Lease is the answer to who builds an image.
type Lease struct {
	State State
	ID    string    // of the builder's lease
	Event ore.Event // the latest of the builder, if State is Wait
}

// Stats is what a server tells of itself.
type Stats struct {
	Namespace string
	Images    int
	Blobs     int
	Bytes     int64 // of the blobs of the namespace
	Quota     int64 // 0 for none
	Reserved  int64 // bytes of unfinished uploads
	Uploads   int
	Leases    int
	Started   time.Time
	Served    int64 // bytes of blobs and patches since then, to all
}
