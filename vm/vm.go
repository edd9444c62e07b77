package vm

import (
	"context"
	"io"
	"net"
	"os"

	"ore"
)

// Window is the most bytes that may be under way on home in one direction,
// written by one side and not yet read by the other, before a write blocks:
// the socket's buffers on the host, the hypervisor's and the guest's. Nothing
// may rely on a write of fewer bytes not blocking.
const Window = 1 << 20

// Hypervisor starts machines. It is safe for concurrent use: sixteen machines
// are started by sixteen calls at once.
type Hypervisor interface {
	// Name is the word that people use for it in job files: "uml", "qemu".
	Name() string

	// Probe finds out by trying what this hypervisor can do on this host. That
	// it cannot work is an answer, with a reason, and no error; an error says
	// that the question could not be answered, for example because ctx ended.
	// It may take seconds, and the caller may keep the answer.
	Probe(ctx context.Context) (Ability, error)

	// Start starts a machine and returns when its process runs and home is
	// connected on the host's side; the guest's kernel has then only begun. ctx
	// is the machine's life: when it ends, the machine is killed, also after
	// Start has returned.
	//
	// An error of Start or Wait that is the guest's or its kernel's is an
	// [*ExitError]; what the host refused (a missing file, no memory) is any
	// other error. When Start fails, nothing is left behind.
	//
	// Start takes c.Net over and closes it, whether it fails or not.
	Start(ctx context.Context, c Config) (Machine, error)
}

// Machine is a started machine. All methods may be called from any goroutine.
type Machine interface {
	// Home is the stream to the guest's init, always the same one. Reading
	// gives io.EOF once the machine has ended and all was read. Closing it does
	// not end the machine; who uses it closes it, also after the machine's end.
	Home() io.ReadWriteCloser

	// Wait returns when the machine has ended and everything that the driver
	// made for it is gone. It may be called many times and always gives the
	// same answer: nil when the guest powered off or rebooted (a machine boots
	// once), else an *ExitError, whose cause is ErrKilled after Kill and the
	// context's error after its end.
	Wait() error

	// Kill ends the machine at once, as pulling the plug does, and returns when
	// Wait would. Killing a machine that has ended is no error. An error means
	// that something could not be removed.
	Kill() error
}

// Pauser is the ability of some machines to stand still: between Pause and
// Resume no guest code runs and home carries nothing.
type Pauser interface {
	Pause(ctx context.Context) error
	Resume(ctx context.Context) error
}

// Config says what a machine is made of. The paths are the host's and absolute.
type Config struct {
	Name    string           // the machine's name within its job, "m0"; letters, digits, - and .
	Dir     string           // existing private folder for sockets and temporary files of this machine
	Kernel  string           // what the hypervisor starts; a driver that is its own kernel says so in its Ability
	Initrd  string           // initramfs, a newc cpio archive, perhaps compressed
	Extra   []byte           // a small newc archive that is appended to it: identity, token
	Layers  []string         // squashfs files, lowest first; read-only, shared with other machines
	Disk    string           // raw, sparse disk image, read-write, nobody else's; "" for none
	Append  []string         // further words of the kernel command line, in order; no spaces within
	Net     *os.File         // one end of an AF_UNIX SOCK_SEQPACKET pair, one Ethernet frame a packet; nil for none
	MAC     net.HardwareAddr // of the interface; needed with Net
	MTU     int              // of the interface, in bytes; 0 means 1500
	Console io.Writer        // gets what the console says, from one goroutine; nil for nobody
	Parity  bool             // the machine has RAID 4, 5 or 6, which its kernel must not leave out

	ore.Resources // Disk's size here is what the caller made Config.Disk; drivers do not use it
}

// Ability is what a probe found out.
type Ability struct {
	Works bool   // a machine can be started here
	Why   string // one sentence: why not, or what it runs on when it works
	Fix   string // what to do to make it work, or work better; "" when nothing is to be done

	Version     string // as the hypervisor gives it
	Accelerator string // "kvm", "tcg"; "" where there is no choice
	Unsure      bool   // the host was too busy to tell: another try may say something else of the accelerator
	MaxCPUs     int    // the most CPUs of one machine
	MaxDisks    int    // the most block devices of one machine, layers and disk together
	OwnKernel   bool   // the hypervisor is its own kernel: Config.Kernel is not used and a job cannot choose
}
