package configure

import (
	"fmt"
	"strings"

	"ore"
	"ore/install/disk"
)

// Fstab returns the text of /etc/fstab: all file systems of a layout, those
// first under which others are mounted.
func Fstab(l disk.Layout) string {
	var b strings.Builder
	b.WriteString("# <file system> <mount point> <type> <options> <dump> <pass>\n")
	for _, m := range l.FileSystems() {
		where, options, pass := m.Mount, "defaults", 2
		switch m.FS {
		case "swap":
			where, options, pass = "none", "sw", 0
		case "vfat": // it has no permissions; a boot loader and its keys concern root alone
			if m.Mount == disk.SystemMount {
				options = "umask=0077"
			}
		case "xfs", "btrfs": // their fsck does nothing: fsck.xfs(8), fsck.btrfs(8)
			pass = 0
		}
		if where == "" {
			continue
		}
		if where == "/" && m.FS == "ext4" {
			options, pass = "errors=remount-ro", 1
		}
		fmt.Fprintf(&b, "UUID=%s %s %s %s 0 %d\n", m.UUID, escape(where), m.FS, options, pass)
	}
	return b.String()
}

// escape writes a mount point as getmntent(3) reads it.
func escape(s string) string {
	return strings.NewReplacer(" ", `\040`, "\t", `\011`, "\n", `\012`, `\`, `\134`, "#", `\043`).Replace(s)
}

// Hosts returns the text of /etc/hosts. Debian gives the host's own name an
// address of its own, 127.0.1.1 (Debian reference, 5.1.1).
func Hosts(name string) string {
	names := name
	if short, _, long := strings.Cut(name, "."); long {
		names += " " + short
	}
	return "127.0.0.1 localhost\n127.0.1.1 " + names + "\n\n" +
		"::1 localhost ip6-localhost ip6-loopback\nff02::1 ip6-allnodes\nff02::2 ip6-allrouters\n"
}

// Arrays returns the text of /etc/mdadm/mdadm.conf.
func Arrays(l disk.Layout) string {
	var b strings.Builder
	b.WriteString("HOMEHOST <ignore>\nMAILADDR root\n")
	for _, a := range l.Arrays {
		hex := strings.ReplaceAll(a.ID, "-", "")
		fmt.Fprintf(&b, "ARRAY %s metadata=1.2 UUID=%s:%s:%s:%s\n", a.Device, hex[:8], hex[8:16], hex[16:24], hex[24:])
	}
	return b.String()
}

// resume returns the text of initramfs-tools' conf.d/resume: with several places
// to swap to, or none, it would guess (initramfs.conf(5)).
func resume(l disk.Layout) string {
	for _, m := range l.FileSystems() {
		if m.FS == "swap" {
			return "RESUME=UUID=" + m.UUID + "\n"
		}
	}
	return "RESUME=none\n"
}

// Arguments returns the kernel's line of a machine that starts on its own.
func Arguments(l disk.Layout, console string) string {
	line := "root=UUID=" + root(l).UUID + " ro quiet" // as Debian's GRUB has it: a serial line is slow
	if extra := consoles(console); extra != "" {
		line += " " + extra
	}
	return line
}

// consoles returns the arguments for a screen and a serial line. The last is
// where the first process writes.
func consoles(console string) string {
	if console == "" {
		return ""
	}
	return "console=tty0 console=" + console
}

// grubConfig returns the settings for grub-mkconfig(8); see the GRUB manual,
// "Simple configuration handling". It leaves the kernel's root to that program.
func grubConfig(console string) string {
	b := "GRUB_TIMEOUT=1\nGRUB_DISABLE_OS_PROBER=true\nGRUB_CMDLINE_LINUX=\"" + consoles(console) + "\"\n"
	unit, speed := serial(console)
	if unit == "" {
		return b
	}
	return b + "GRUB_TERMINAL=\"console serial\"\nGRUB_SERIAL_COMMAND=\"serial --unit=" + unit + " --speed=" + speed + "\"\n"
}

// serial returns the unit and the speed of a PC's serial line, "" where GRUB has
// no driver for it.
func serial(console string) (unit, speed string) {
	line, mode, _ := strings.Cut(console, ",")
	unit, ok := strings.CutPrefix(line, "ttyS")
	if !ok {
		return "", ""
	}
	if speed = mode[:len(mode)-len(strings.TrimLeft(mode, "0123456789"))]; speed == "" {
		speed = "9600" // as the kernel has it
	}
	return unit, speed
}

// interfaces returns the text of /etc/network/interfaces (interfaces(5)):
// patterns, since a card's name is known only to the machine's own kernel and udev.
func interfaces(n ore.Setup) string {
	b := "source /etc/network/interfaces.d/*\n\nauto lo\niface lo inet loopback\n"
	if n == ore.NoNet {
		return b
	}
	return b + "\nauto /en*/=ethernet\nauto /eth*/=ethernet\niface ethernet inet dhcp\n"
}

// networkd is a file of systemd.network(5) for every wired card.
const networkd = "[Match]\nType=ether\nKind=!*\n\n[Network]\nDHCP=yes\n"

// root returns the file system that is mounted on /.
func root(l disk.Layout) disk.Made {
	for _, m := range l.FileSystems() {
		if m.Mount == "/" {
			return m
		}
	}
	return disk.Made{}
}
