// Package archive reads Debian binary packages, the .deb files of deb(5).
//
// A .deb is an ar(5) archive with three members, in this order:
//
//	debian-binary     the format's version, "2.0\n"
//	control.tar[.*]   control, maintainer scripts, conffiles, md5sums ...
//	data.tar[.*]      the files that the package brings
//
// [Open] checks the whole frame and decodes the control member, which is
// small. The data member is a stream: [Deb.Files] yields its entries one by
// one with clean, relative names, and reads the stream to its very end, so
// that the compressed format's own checks have been made when it reports
// io.EOF. [ReadControl] is for callers who want the control paragraph alone.
//
// Nothing here trusts its input, and nothing touches the file system: whoever
// writes entries to disk must not follow symbolic links of the archive
// ([os.Root] does not).
//
// xz, the format that nearly all Debian packages have, is decoded by package
// deb/archive/xz; a caller may bring another decoder as a [Decompress].
package archive
