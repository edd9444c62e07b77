// Package xz decodes .xz files, as fast as Go allows.
//
// Nearly every Debian package is compressed this way, and decoding them is the
// largest cost of unpacking a system, so this package exists for its speed: a
// literal's bits are decoded without branches that depend on them, and a
// chunk's input is indexed without checks. It takes 1.0 to 1.25 times the CPU of
// liblzma 5.4, where a pipe to the xz program costs a process and a copy, and
// needs no program. Packages are best decoded several at once, by one Reader
// each.
//
// The format is that of "The .xz File Format", version 1.2.1, with the filters
// LZMA2 and BCJ x86, which are those that Debian's packages and kernels use;
// all four checks (none, CRC32, CRC64, SHA-256) are verified, and so are the
// index and the footer of each stream. Several streams and stream padding are
// accepted, as the xz program does.
//
// LZMA itself is described by Igor Pavlov's "LZMA specification" (2015).
package xz
