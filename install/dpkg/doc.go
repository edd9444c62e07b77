// Package dpkg writes and reads dpkg's own database, /var/lib/dpkg, as
// dpkg --unpack leaves it, so that dpkg --configure takes over from there.
//
//	status            a paragraph per package, "install ok unpacked"
//	info/P.list       the paths that package P brought, one a line
//	info/P.EXT        the files of its control member
//	triggers/File     file triggers: "path package[/noawait]"
//	triggers/T        packages interested in the explicit trigger T
//	triggers/Unincorp triggers that were activated and nobody was told of yet
//	diversions        groups of three lines: from, to, package
//	statoverride      "user group mode path"
//
// P is the name, with ":architecture" behind it for packages that may be
// installed for several architectures at once (Multi-Arch: same). The formats
// are those of dpkg 1.17 to 1.22: deb-conffiles(5), deb-triggers(5),
// dpkg-divert(1), dpkg-statoverride(1), and dpkg's doc/triggers.txt.
//
// Everything here is pure: bytes in, bytes out. Where they lie is the caller's.
package dpkg
