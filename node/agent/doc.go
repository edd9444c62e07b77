// Package agent is what runs on a physical host that lends itself to jobs of
// others: it keeps blobs within a quota, passes them on by the chain, starts the
// supervisors of jobs and gives their owners a way to them. And it is the side
// that speaks to agents, [Client].
//
// A host needs nothing beforehand but the program itself: kernels, hypervisors,
// layers and inputs come as blobs, and no archive is asked from there.
//
// # Interface
//
// HTTP/1.1 over TLS 1.3, both sides with certificates of one [Authority]:
//
//	GET    /v1/host                    Facts
//	POST   /v1/renew                   Renewal: the caller is alive, and so are its jobs
//	POST   /v1/jobs/ID                 a supervisor for the job, if there is none; answers Grip
//	DELETE /v1/jobs/ID                 ends it and all that it has
//	POST   /v1/jobs/ID/blobs           Wanted: holds what is here, answers Lacking
//	POST   /v1/jobs/ID/blobs/DIGEST    what the chain brought is verified, kept and held
//	PUT    /v1/jobs/ID/blobs/DIGEST    the same of the request's body, for callers that the chain cannot reach
//	POST   /v1/jobs/ID/reach           Reach: whether it can
//	POST   /v1/jobs/ID/offers/DIGEST   the chain gives what is here to others; answers chain.Blob
//	POST   /v1/jobs/ID/coming          ComingBlobs: machines can read them while they come; answers Shown
//	GET    /v1/jobs/ID/coming/DIGEST   lazy.Touched: what they have read of one
//	DELETE /v1/jobs/ID/coming          what of them is not here does not come: who reads it hears so
//	POST   /v1/jobs/ID/boot            kit.Kit: is laid out, answers node.Boot
//	PUT    /v1/jobs/ID/peers           Peers: where the job's other machines are
//	*      /v1/jobs/ID/node/...        the supervisor's own interface, package node
//
// An answer that is no success has a body {"Error": "..."}.
//
// # Who may do what
//
// Who has no certificate of the authority does not come past the handshake. Who
// has a client's can have programs run as the agent's user: hypervisors are sent.
// So an agent runs as an ordinary user, and its authority signs whom it trusts. A
// job belongs to the key that made it: to all others it does not exist. Agents
// have certificates of another use than clients; of a job whose owner named them
// as peers they may use the way to commands, so that a machine can start
// processes on one of another host, and nothing else.
//
// # Life and death
//
// A job ends when its owner says so, or has not renewed it for [LeaseTime]. An
// agent on a lease ends with its standard input, or when nobody has called for
// that long. Supervisors end with their agent, however it ends. What stays is
// the blobs, up to the quota, the least recently used removed first.
//
// # Folder
//
//	blobs, partial, stamps, quarantine   an image.Store, which agents may share
//	used/DIGEST                          its time is the blob's last use
//	laid/DIGEST/                         a kit's part in the form that machines want
//	lives/NAME/lock, chain/, jobs/ID/    one agent's life; swept by the next if nobody holds the lock
package agent
