// Package delta writes one sequence of bytes as what changed from another that
// the reader has.
//
// It is meant for content that lost its alignment: programs that were compiled
// again and tables of positions, in which long stretches are the same but for
// numbers that all moved by the same amount. So a stretch that is nearly the
// same is told as the byte-wise difference from the old one, which is mostly
// zeros and repeats itself (C. Percival, "Naive differences of executable code",
// 2003), and the rest as it is. Stretches are found by hashes of 8 bytes instead
// of that paper's suffix array: it takes an eighth of the memory, and what is
// shorter than 8 bytes is not worth its description.
//
// # Format
//
// All numbers are unsigned varints (encoding/binary) unless said otherwise.
//
//	1 byte    version, 1
//	number    length of the new bytes
//	3 streams control, difference, extra
//
// A stream is its length, its packed length, and a zstd frame (RFC 8878) of so
// many bytes. The control stream is a sequence of commands of three numbers:
// how many bytes to take from the difference stream and add to the old bytes
// at the old position, how many to take from the extra stream after that, and
// by how much the old position moves on then (a signed varint).
//
// The format tells nothing about whether the old bytes were the right ones or
// the patch came through whole: its user compares digests.
//
// [Decode] of hostile bytes gives an error or other bytes, and takes no more
// memory than its limit allows.
package delta
