package node

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"ore"
	"ore/guest"
	"ore/image"
	"ore/node/installing"
)

// Limits of a node.
const (
	// BootDeadline is how long a machine may take until its init calls home.
	// Sixteen machines under emulation on two busy cores take a minute.
	BootDeadline = 5 * time.Minute
	// InstallDeadline is how long a start of machines that install themselves may
	// take: hundreds of packages, under emulation, sixteen times, on two cores.
	InstallDeadline = 4 * time.Hour
	// consoleEnds is how much of each console is kept at either end: a kernel's first
	// words, and its last.
	consoleEnds = 64 << 10
	// consoleLines is how many lines of a console an error shows.
	consoleLines = 12
	// meetTime is how long a machine may take to note who else is there: it is
	// a few small files, and one that was stopped must not keep others waiting.
	meetTime = 5 * time.Second
	// startsAtOnce bounds machines that boot at the same time: more than this
	// only compete for the cores and the page cache.
	startsAtOnce = 4
)

// Boot says what machines are started with. The paths are the node's host's.
type Boot struct {
	Hypervisor  string
	Program     []string // the hypervisor's program and fixed first arguments, as its driver wants them
	Env         []string // of the program, beside the node's own
	Kernel      string
	Initrd      string
	Accelerator string // how QEMU runs machines; "" lets its driver say
	Modules     string // a squashfs of the kernel's modules, "" for none
	Disk        string // formatted sparse disk of the wanted size, copied for each machine
	Release     string // the kernel's release, for people
}

// Start asks for machines. A second Start for the same job adds machines to the
// first ones' network.
type Start struct {
	Job       string
	Network   ore.Network
	Subnet    netip.Prefix     // of a job on several hosts, where addresses go by rank; the zero value has the node choose
	Allow     []netip.AddrPort // services that machines reach in spite of Network, on this host too; the first start's count
	Image     image.Manifest
	Boot      Boot
	Machines  []Machine
	Resources ore.Resources
	Size      int          // machines of the whole job
	Hosts     []string     // names of all machines of the job, by rank
	Own       []guest.File // what each machine is given beside the image
	Secret    []byte       // random, for keys that all machines of the job share; nil has the node's first start's
	Inputs    []Input      // what all machines mount
	// Lazy says where layers are read that the store does not have yet (package
	// node/lazy). Who shows them there has verified what can be read of them.
	Lazy map[ore.Digest]string `json:",omitempty"`
	Grow bool                  // of Machines, those that run stay as they are and are not started; lost ones are
	// Again has those of Machines whose installation failed, and which were kept, go
	// on where they failed; others stay as they are and are not in the answer.
	Again bool `json:",omitempty"`

	Install *installing.Order `json:",omitempty"` // how machines install themselves; nil: they mount the image
}

// Input is a blob of the store that machines mount, read-only.
type Input struct {
	Digest ore.Digest // of a squashfs
	Path   string     // where machines have it
	File   bool       // the path is the file [InputFile] of it, not its root
}

// InputFile is the name that an input has in its squashfs if it is a file.
const InputFile = guest.MountedFile

// Machine is one machine asked for.
type Machine struct {
	Name string
	Rank int
}

// Started is one machine that was started.
type Started struct {
	Machine
	IP      string
	Memory  int64 `json:",omitempty"` // bytes
	Kernel  string
	Boot    time.Duration // from the start of its process to its call home
	Timings []Timing      // the stages of that, as its init measured them
	Begun   time.Time
	Lost    string      `json:",omitempty"` // how it ended, or why it never was ready, if it does not run any more
	Stages  []ore.Stage `json:",omitempty"` // how it installed itself, if it did
	Lasting bool        `json:",omitempty"` // Lost is what every other try would end with
	Failed  string      `json:",omitempty"` // why it is still in its installer; see installing.Order
}

// Timing is one stage of a machine's boot.
type Timing struct {
	Stage string
	Took  time.Duration
}

// Update is one line of the answer to a start: an event on the way, or, last,
// the machines or the error.
type Update struct {
	Event   *ore.Event `json:",omitempty"`
	Started []Started  `json:",omitempty"`
	Error   string     `json:",omitempty"`
	Stage   string     `json:",omitempty"` // where the error happened
	Machine string     `json:",omitempty"`
	Console string     `json:",omitempty"`
}

// StartError says which machine failed to start and how far it had come.
type StartError struct {
	Machine string
	Stage   string // "disk", "install", "start", "boot"
	Console string // the end of its console
	Cause   error
}

// Error gives the machine, the stage, the cause and what the console said last.
func (e *StartError) Error() string {
	return fmt.Sprintf("machine %s: %s: %v", e.Machine, e.Stage, e.Cause) + ConsoleEnd(e.Console)
}

// ConsoleEnd sets the last lines of a console off from an error that they are
// added to. It returns "" for a console that said nothing.
func ConsoleEnd(console string) string {
	lines := strings.Split(strings.TrimRight(console, "\r\n"), "\n")
	lines = lines[max(0, len(lines)-consoleLines):]
	if len(lines) == 1 && lines[0] == "" {
		return ""
	}
	return "\n  the end of its console:\n    " + strings.Join(lines, "\n    ")
}

// Unwrap returns the cause.
func (e *StartError) Unwrap() error { return e.Cause }

// ErrUnknown is returned for a machine that the node does not have.
var ErrUnknown = errors.New("no such machine")

// ErrReleased is why a start ends whose job was released.
var ErrReleased = errors.New("the job was released on this host while its machines started")
