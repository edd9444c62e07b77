package serve

import "time"

// Limits of the server. A client can occupy so much of it and no more.
const (
	// headerTime is how long a request's header may take.
	headerTime = 10 * time.Second
	// bodyTime is how long a small body may take.
	bodyTime = 30 * time.Second
	// idleTime is how long a connection without requests is kept.
	idleTime = 2 * time.Minute
	// pingTime is after which silence a connection is tested; a client that was
	// cut off is noticed then.
	pingTime = 15 * time.Second
	// maxHeader bounds a request's header.
	maxHeader = 64 << 10
	// maxConnections bounds open connections: some 30 KiB of memory each.
	maxConnections = 4096
	// maxStreams bounds the requests of one connection that go on at once.
	maxStreams = 256

	// leastRate is the bytes a second that an upload or a download must move on
	// average: a sixteenth of the slowest link in use, 500 kbit/s.
	leastRate = 4 << 10
	// stall is how long a transfer may stand still.
	stall = 30 * time.Second
	// copyBuffer is the unit in which bodies are moved: large enough that system
	// calls cost nothing.
	copyBuffer = 256 << 10

	// maxUploads bounds the uploads of one client at once: the layers of one
	// image, and some to spare.
	maxUploads = 16
	// uploadIdle is after which silence an unfinished upload is removed.
	uploadIdle = 10 * time.Minute
	// sweepEvery is how often unfinished uploads and leases are looked at.
	sweepEvery = 30 * time.Second
	// maxBlob bounds a blob: a layer of a whole suite has some 100 GiB.
	maxBlob = 1 << 40

	// maxPatchWork bounds how many patches are made at once: each takes a core
	// and up to 600 MiB of memory.
	maxPatchWork = 2
	// maxAhead bounds the new images for which patches are still to be made ahead
	// of need. Those beyond it get theirs when somebody asks.
	maxAhead = 64
	// relatives is from how many older images a new one is patched ahead of need.
	relatives = 2
	// maxKeptPatches bounds the disk that patches and chunk lists take; they can
	// be made again.
	maxKeptPatches = 2 << 30
	// leastShared is the part of a large blob that a relative must have for a
	// patch to be tried: below it, most would be sent anyway.
	leastShared = 0.2
	// smallBlob is up to which size a patch is always tried: a layer of one
	// package shares no block with the one of its older version, and yet most of
	// its content. Making it takes some seconds.
	smallBlob = 16 << 20

	// maxLeases bounds the builds that are waited for in one namespace.
	maxLeases = 10_000
	// maxWatchers bounds the listeners to one build's progress.
	maxWatchers = 1000
	// stopTime is how long a graceful stop waits for requests that go on.
	stopTime = 10 * time.Second
)
