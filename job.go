package ore

import "time"

// Job is what a person submits: an environment, machines, and what runs there.
type Job struct {
	Name     string
	Wants    Wants
	Machines Machines
	Network  Network
	Run      Run
}

// Wants is the environment that a job asks for, before it is resolved: names,
// perhaps with versions, relative to what the mirror has today.
type Wants struct {
	Base         Base
	Packages     []Wish       // in the order given
	Repositories []Repository // further signed apt sources
	Kernel       string       // a kernel package's name; "" lets the hypervisor's driver choose
	Files        []File       // put into the tree after the packages, sorted by path
	Steps        []Step       // run in the tree after the files
}

// Base is the suite that an environment starts from, "debian/bookworm".
type Base struct {
	Distribution string // "debian"
	Suite        string // "bookworm"; any suite of the mirror
}

// String returns the form used in job files.
func (b Base) String() string { return b.Distribution + "/" + b.Suite }

// Wish is one package asked for, at any version or at exactly one.
type Wish struct {
	Name    string
	Version string // "" for the newest of the suite
}

// String returns the form used in job files and by apt: name or name=version.
func (w Wish) String() string {
	if w.Version == "" {
		return w.Name
	}
	return w.Name + "=" + w.Version
}

// Repository is a signed apt source beside the mirror of the base
// (sources.list(5), deb822 form).
type Repository struct {
	URI        string
	Suite      string
	Components []string
	Key        []byte // the OpenPGP certificate that signs it, armored or binary
}

// File is one path that the job file puts into the environment: either
// Content, or a copy of the host's Source (a file or a whole folder).
type File struct {
	Path    string // absolute, in the machine
	Content []byte
	Source  string // absolute, on the host; "" when Content is meant
	Mode    uint32 // permission bits; 0 means 0644, or what the source has
}

// Step is a node of the graph of commands that complete an environment. A step
// runs as root in the tree once all steps that it needs are done. It may rely on
// what those did and on nothing of any other: what a step made is kept by its
// text and theirs, and used again whatever other steps there are.
type Step struct {
	Name    string
	Needs   []string
	Run     string // given to /bin/sh -e
	Network bool   // may reach the outside; the default is no network
}

// Machines is how many machines a job wants and of what size.
type Machines struct {
	Count      int
	Hypervisor string // "uml", "qemu", or "auto"
	Root       Root
	Storage    Storage // for those with their root on disk
	System     System  // for the same
	Resources
}

// Resources is what one machine gets.
type Resources struct {
	CPUs   int
	Memory int64 // bytes
	Disk   int64 // bytes; sparse, so it costs nothing until written
}

// Network says what a job's machines may reach besides each other.
type Network string

// The networks a job can have.
const (
	NAT      Network = "nat"      // outbound connections, never to the host itself
	Isolated Network = "isolated" // nothing but each other
)

// Mode says which machines run the command.
type Mode string

// The modes of a run.
const (
	Each  Mode = "each"  // on every machine
	First Mode = "first" // on rank 0, which can launch onto the others
	Array Mode = "array" // one task after another, spread over the machines
)

// Run is what happens on the machines. Exactly one of Command and Script is set.
type Run struct {
	Command []string
	Script  string
	Mode    Mode
	Tasks   Tasks
	Env     map[string]string
	Secrets map[string]Secret
	Inputs  []Input
	Outputs []string      // patterns, relative to the job's folder
	Timeout time.Duration // 0 means none
	Retries int           // further tries of a machine's work that the system, not the job, lost
	Publish []Port
}

// Tasks says where the tasks of an array come from: one a line of the file
// From, or one for every host file that Glob matches.
type Tasks struct {
	From string
	Glob string
}

// Input is a host file or folder that the job's machines have.
type Input struct {
	Source string // host path, absolute
	Mount  string // where machines have it, read-only, absolute; "" puts a copy of their own into the job's folder
}

// Secret is a value that reaches the job as a file in memory and is never
// stored in an image, a log or a result.
type Secret struct {
	File string // host path, absolute
}

// Port is a machine's TCP port made reachable at an address of the host.
type Port struct {
	Listen string // host:port on the host
	Rank   int
	Port   int // in the machine
}
