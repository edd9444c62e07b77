// Package netboot boots machines that ore did not start: whatever is switched on
// in a network and asks there for something to boot. It serves what `ore
// install serve` promises; what the machine boots, and what it does then, comes
// from outside.
//
// # The way of a machine
//
//	firmware, BIOS or UEFI
//	   DHCP (package dhcp): an address, if this server gives them, and a file's name
//	   TFTP (package tftp), or HTTP for firmware that can: iPXE
//	iPXE
//	   DHCP again: this time the name is a URL
//	   GET /boot/MAC: a script, which depends on what the machine is to do
//	      unknown, or failed      says so on the screen, and asks again after a while
//	      to be installed         loads the installer's kernel and initramfs
//	      installed, restarting   boots from its own disk
//	installer
//	   POST /report/TOKEN: how it goes, a JSON object a line (see roster.Report)
//	   /mine/TOKEN/...: what only this machine may ask (see [Mine])
//	the installed system's first process
//	   POST /report/TOKEN: {"n":N,"stage":"ready","event":"end"}
//
// Which machines there are, and what each is to become, is in package roster.
//
// UEFI firmware of a machine that is installed is given no file at all, and so
// goes on with its next boot entry; a BIOS would start over with the network, and
// so is given iPXE, which starts the disk.
//
// # Files
//
// Kernel and initramfs are named by digest: GET /blob/sha256:... gives them, with
// ranges (RFC 9110, section 14), so that a transfer that broke goes on where it
// was. Whoever opens them vouches that the bytes are those of the digest.
// One more small initramfs is made for each try, with the file
// /ore/netboot.json (see [Identity]): who the machine is, where home is, the
// secret for reports, and the recipe, in which [Here] has become this server's
// address. It is a newc archive of its own, which the
// kernel unpacks after the others (initramfs-buffer-format of the kernel's
// documentation). Nothing of that is on the kernel's command line.
//
// # Limits
//
// What machines install at once of an image or a disk image, they have from one another
// (package relay), and it leaves this server about once, or some times where it is larger
// than a quarter of a machine's memory and they begin seconds apart. The installer itself, a kernel
// and an initramfs that firmware loads, leaves it for each machine, and so do packages,
// which this server fetches once. Everything is bound to one interface. Nothing here is secret from the network
// that machines boot from, and nothing that comes from there is believed more
// than a network card's address can be: that is what PXE is. Whoever is on that
// network can ask as if his card's address were a machine's, once that is assigned,
// and read its recipe (with the hashes of its users' passwords), report in its
// place, and send an image in its name. So machines boot in a network (a VLAN) that
// nobody else is in, and an operator assigns those that are seen to wait rather than
// addresses that are yet to come. A machine installs only what an operator assigned
// to it. UEFI's Secure Boot refuses Debian's
// unsigned iPXE; machines that insist on it cannot be booted this way.
package netboot
