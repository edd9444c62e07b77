// Package quick compresses blocks to zstd frames (RFC 8878) with about the ratio of
// zstd's own level 1, at one and a half times the speed of the general encoder in
// Go: a build spends as long on compressing as on decoding what it compresses.
//
// What makes it quick is what it need not do. A block is at hand as a whole and has
// at most [MaxBlock] bytes, so there is no history to move, and a position is a
// number in the block. Each frame is on its own. The hash table has one entry a slot
// and stays in a core's second cache; entries of blocks before are told by their
// number, so that the table is never cleared.
//
// Literals are compressed by the general encoder's entropy coder (huff0).
package quick
