package roster

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/netip"
	"regexp"
	"time"

	"ore"
	"ore/netboot/link"
)

// State is where in its life a machine is.
type State string

// The states; the package's documentation says how they follow each other.
const (
	Waiting    State = "waiting"
	Assigned   State = "assigned"
	Installing State = "installing"
	Restarting State = "restarting"
	Installed  State = "installed"
	Failed     State = "failed"
)

// System is what a machine is to become, and how it gets there: the installer
// that it boots, and what that is told. Systems have one digest if they are equal,
// or come to the same.
type System struct {
	Kernel    ore.Digest   `json:"kernel"`              // of the installer
	Initramfs []ore.Digest `json:"initramfs,omitempty"` // of the installer, in order
	Arguments string       `json:"arguments,omitempty"` // of its kernel; no secrets, anybody may read them
	Recipe    []byte       `json:"-"`                   // what the installer is to do, in a form that is the installer's

	// Becomes names what the machine is in the end, by whatever installer and from
	// whatever it was made; "" stands for all of the above.
	Becomes ore.Digest `json:"becomes,omitempty"`
}

const (
	// maxArguments is what the kernel of x86 takes (COMMAND_LINE_SIZE is 2048),
	// less what the loader adds.
	maxArguments = 1500
	// maxInitramfs bounds the files of a boot script.
	maxInitramfs = 8
	// maxRecipe bounds what a machine is sent: a lock of thousands of packages, and
	// an image's list of as many.
	maxRecipe = 16 << 20
)

// Digest names the system: by what it becomes, if somebody has said it, so that a
// machine is not installed again since the installer is a newer one.
func (s System) Digest() ore.Digest {
	if s.Becomes != "" {
		return s.Becomes
	}
	b, err := json.Marshal(s.kept())
	if err != nil {
		panic("roster: a system holds only strings: " + err.Error())
	}
	return ore.NewDigest(sha256.Sum256(b))
}

// plain is text that means itself in a script of iPXE: no control characters,
// no $ that would be replaced.
var plain = regexp.MustCompile(`^[ -#%-~]*$`)

// Check says what is wrong with a system.
func (s System) Check() error {
	all := append([]ore.Digest{s.Kernel}, s.Initramfs...)
	if s.Becomes != "" {
		all = append(all, s.Becomes)
	}
	for _, d := range all {
		if _, err := ore.ParseDigest(string(d)); err != nil {
			return fmt.Errorf("system: %w", err)
		}
	}
	switch {
	case len(s.Initramfs) > maxInitramfs:
		return fmt.Errorf("system: %d initramfs files, more than %d: join them", len(s.Initramfs), maxInitramfs)
	case len(s.Arguments) > maxArguments:
		return fmt.Errorf("system: kernel arguments of %d octets, more than %d: leave some out", len(s.Arguments), maxArguments)
	case !plain.MatchString(s.Arguments):
		return fmt.Errorf("system: kernel arguments %q: hold $ or what is no printable ASCII: leave it out", s.Arguments)
	case len(s.Recipe) > maxRecipe:
		return fmt.Errorf("system: recipe of %d octets, more than %d: make it smaller", len(s.Recipe), maxRecipe)
	}
	return nil
}

// Machine is what is known of one machine.
type Machine struct {
	MAC      link.MAC     `json:"mac"`
	Name     string       `json:"name,omitempty"`
	State    State        `json:"state"`
	Since    time.Time    `json:"since"` // of the state
	Heard    time.Time    `json:"heard"` // its last word, whatever it was
	Address  netip.Addr   `json:"address,omitzero"`
	Firmware string       `json:"firmware,omitempty"` // "BIOS" or "UEFI"
	UUID     string       `json:"uuid,omitempty"`
	Want     ore.Digest   `json:"want,omitempty"`   // the system that it is to become
	Is       ore.Digest   `json:"is,omitempty"`     // the system that it is
	Began    time.Time    `json:"began,omitzero"`   // when the installer of the last try called home, by the clock here
	Tries    int          `json:"tries,omitempty"`  // how often an installer has called home
	Token    ore.Digest   `json:"token,omitempty"`  // hash of the secret of the last try
	Offers   []ore.Digest `json:"offers,omitempty"` // of the secrets that were given since, the newest last
	Last     int64        `json:"last,omitempty"`   // number of the last report of this try
	Reason   string       `json:"reason,omitempty"` // why it failed
	Stages   []ore.Stage  `json:"stages,omitempty"` // of the last try
}

// Step is what a machine that asks is to do.
type Step int

// What a machine may be told.
const (
	Wait    Step = iota // ask again in a while
	Install             // boot the installer
	Local               // boot from its own disk
)

// Next says what the machine is to do now, were it to ask.
func (m Machine) Next() Step {
	switch m.State {
	case Assigned, Installing:
		return Install
	case Restarting, Installed:
		return Local
	}
	return Wait
}

// hostname is a label of RFC 1123, section 2.1.
var hostname = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

// CheckName says what is wrong with a machine's name.
func CheckName(s string) error {
	if !hostname.MatchString(s) {
		return fmt.Errorf("name %.80q: not a host's name: use up to 63 of a-z, 0-9 and -", s)
	}
	return nil
}
