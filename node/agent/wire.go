package agent

import (
	"errors"
	"net/netip"
	"time"

	"ore"
	"ore/chain"
	"ore/vnet/trunk"
)

const (
	// LeaseTime is after which time without a sign of its owner a job ends: long
	// enough for a switch that is restarted, short enough that nobody notices the
	// machines of a client that was killed.
	LeaseTime = 15 * time.Second
	// renewEvery leaves a lease time for three signs, of which two may be lost.
	renewEvery = LeaseTime / 3
	// reachTime is how long a connection to a caller may take: firewalls drop what
	// they do not let through, and nobody is told.
	reachTime = 3 * time.Second
	// DefaultQuota is how many bytes of blobs a host keeps for the next job.
	DefaultQuota = 20 << 30
	// DefaultPort is where clients look for an agent of which they know the host
	// only; none that IANA has given away.
	DefaultPort = "7447"
)

// Ready is the line of JSON that an agent prints when it serves.
type Ready struct {
	Addr  string `json:"addr"`  // of the interface
	Chain string `json:"chain"` // of the transfer of blobs
	Trunk string `json:"trunk"` // from where the links of machines' networks come; their ports are each job's own
	Name  string `json:"name"`  // the host's
}

// Facts is what a host says of itself.
type Facts struct {
	Name    string
	Version string         // of ore
	Chain   string         // address of the transfer of blobs
	Subnets []netip.Prefix // IPv4 networks that the host is part of
	Rack    string         `json:",omitempty"` // where the host stands, if that was said
	Switch  string         `json:",omitempty"` // that the rack is connected with
	Link    float64        `json:",omitempty"` // bytes a second of its link, each way, if that is known
	Cores   int
	Memory  int64   // bytes that are lent
	Free    int64   // of these bytes those that programs can have
	Load    float64 // of the last minute, as uptime(1) has it
	KVM     bool    // /dev/kvm can be opened; that a kernel starts on it is not said
	Disk    int64   // free bytes where blobs and machines' disks are
	Quota   int64   // bytes of blobs that are kept
	Held    int64   // bytes of blobs that are there
	Blobs   []ore.Digest
	Jobs    []JobFacts
}

// JobFacts is one job on a host.
type JobFacts struct {
	ID       string
	Machines []string
	Begun    time.Time
	Links    []trunk.Stats // to the job's other hosts
}

// Grip is what the owner of a job needs beside the job.
type Grip struct {
	Chain   string      // address of the transfer of blobs
	Conduct chain.Grant // orders it; ends with the job
	Lazy    bool        // machines there can read layers that are still coming
}

// ComingBlob is a blob that machines are to read before it is there.
type ComingBlob struct {
	Digest ore.Digest
	Size   int64
}

// Shown says where the machines of a job find blobs that are still coming.
type Shown struct {
	Paths map[ore.Digest]string
}

// Wanted is blobs that a job needs.
type Wanted struct {
	Blobs []ore.Digest
}

// Reach asks whether the host can connect to an address of the caller.
type Reach struct {
	Addr string
}

// Lacking is those of them that are not there.
type Lacking struct {
	Blobs []ore.Digest
}

// Peer is a machine of the job on another host.
type Peer struct {
	Addr string // of its host's agent
	Name string // of that agent, as its certificate has it
}

// Peers says where machines of a job are, by their names.
type Peers map[string]Peer

// Renewal says which jobs still have their owner.
type Renewal struct {
	Jobs []string
}

// Renewed is the answer: those of the jobs that the host does not have.
type Renewed struct {
	Gone []string
}

// failure is the body of an answer that is an error.
type failure struct {
	Error string
	Gone  bool `json:",omitempty"` // there is no such job
}

// ErrGone is returned for a job that the host does not have, or not for this
// caller.
var ErrGone = errors.New("no such job on this host")

// ErrLost is the cause of errors that come of a host that does not answer.
var ErrLost = errors.New("the host is lost")

// nodePart is where in a job's path the supervisor's interface begins.
const nodePart = "/node"
