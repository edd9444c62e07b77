// Package table writes and reads partition tables: GPT after the UEFI
// specification 2.10, chapter 5, and the older MBR (5.2 there).
//
// A table is a value. [Table.Blocks] says which bytes belong where on the disk,
// in the order in which they are to be written: of a GPT first the copy at the
// end of the disk, then the entries, then the header, then the protective MBR.
// A disk without a table thus has, whenever the power fails, either none or the
// whole one, since a sector is written whole or not at all.
//
// [Read] believes nothing: it takes a GPT only with both checksums right and all
// partitions inside of the disk, from the copy at its end where the
// first one is damaged.
package table
