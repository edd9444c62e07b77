package ore

// System is how a machine that installs itself is set up beside its
// environment: what makes it one machine, and somebody's.
type System struct {
	Users    []User // accounts beside those of packages, in the order given; root may be one
	Locale   string // locale(7), "de_DE.UTF-8"; "" for C.UTF-8
	TimeZone string // of tzdata, "Europe/Berlin"; "" for UTC
	Network  Setup  // once the machine starts on its own
	Loader   Loader
	Firmware Firmware
}

// User is an account of a machine, with cloud-init's words for it.
type User struct {
	Name     string
	Gecos    string // who it is, for people (passwd(5))
	UID      int    // 0 lets the machine choose, but for root
	Shell    string // "" for /bin/bash
	Groups   []string
	Password string   // as crypt(5) has it; "" for none, so that only keys let in
	Keys     []string // lines of authorized_keys (sshd(8))
}

// Setup says how a machine that starts on its own gets its address.
type Setup string

// The setups of a network; "" means DHCP.
const (
	DHCP  Setup = "dhcp"
	NoNet Setup = "none"
)

// Loader is what starts a machine's kernel from its disk.
type Loader string

// The boot loaders; NoLoader is for machines that are always started directly.
const (
	NoLoader Loader = ""
	GRUB     Loader = "grub"
)

// Firmware is what starts a machine on its own; "" means that nothing does.
type Firmware string

// The kinds of firmware.
const (
	BIOS Firmware = "bios"
	UEFI Firmware = "uefi"
)
