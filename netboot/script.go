package netboot

import (
	"fmt"
	"strings"
	"time"

	"ore/netboot/roster"
)

const (
	// askEvery is how long a machine waits before it asks again.
	askEvery = 5 * time.Second
	// ipxeLine is the shebang that iPXE knows a script by.
	ipxeLine = "#!ipxe\n"
)

// waitScript lets a machine show a text and ask again. Times is how often it has
// asked since it was switched on.
func waitScript(base string, m roster.Machine, times int) string {
	var b strings.Builder
	b.WriteString(ipxeLine)
	text := "this machine is not known here"
	if m.State == roster.Failed {
		text = "the install failed: " + printable(m.Reason)
	}
	if times == 0 {
		fmt.Fprintf(&b, "echo ore: %s\necho To install it: ore install assign %s\n", text, m.MAC)
	}
	b.WriteString(":again\n")
	fmt.Fprintf(&b, "sleep %d\n", int(askEvery.Seconds()))
	fmt.Fprintf(&b, "chain --replace --autofree %s/boot/%s?asked=%d || goto again\n", base, m.MAC.Path(), times+1)
	return b.String()
}

// installScript boots the installer. An initramfs is named for UEFI's sake: there
// the kernel finds it by the initrd= of its command line (Documentation/admin-guide/
// efi-stub.rst); with BIOS iPXE hands all over, and the kernel ignores the names.
func installScript(base, token string, m roster.Machine, s roster.System) string {
	var b strings.Builder
	b.WriteString(ipxeLine)
	b.WriteString("imgfree\n")
	arguments := s.Arguments
	for i := range len(s.Initramfs) + 1 {
		arguments += fmt.Sprintf(" initrd=i%d", i)
	}
	fmt.Fprintf(&b, "kernel %s/blob/%s %s || goto failed\n", base, s.Kernel, strings.TrimSpace(arguments))
	for i, d := range s.Initramfs {
		fmt.Fprintf(&b, "initrd --name i%d %s/blob/%s || goto failed\n", i, base, d)
	}
	fmt.Fprintf(&b, "initrd --name i%d %s/identity/%s || goto failed\n", len(s.Initramfs), base, token)
	b.WriteString("boot || goto failed\n")
	b.WriteString(":failed\n")
	b.WriteString("echo ore: the installer could not be loaded, once more in a moment\n")
	b.WriteString(":again\n")
	fmt.Fprintf(&b, "sleep %d\n", int(askEvery.Seconds()))
	fmt.Fprintf(&b, "chain --replace --autofree %s/boot/%s || goto again\n", base, m.MAC.Path())
	return b.String()
}

// localScript boots from the machine's own disk. UEFI's boot manager goes on
// with its next entry when this one ends with an error, and stops at its menu
// when it ends with none (UEFI 2.10, section 3.1.7). A BIOS is not asked again,
// since many start over with the network: the first disk is booted directly.
func localScript() string {
	return ipxeLine +
		"iseq ${platform} efi && exit 1 ||\n" +
		"sanboot --no-describe --drive 0x80 || exit 0\n"
}

// printable makes a text safe within a script: one line, and nothing that iPXE
// would replace or read as an operator.
func printable(s string) string {
	const most = 200 // of a line on the screen that people still read
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' || strings.ContainsRune("$|&;\"'\\#", r) {
			return ' '
		}
		return r
	}, s)
	return s[:min(len(s), most)]
}
