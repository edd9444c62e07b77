// Package chunk brings a layer to a host that holds near relatives of it, for
// little more than what differs.
//
// # Lists
//
// A [List] names the bytes of a blob in pieces. The pieces of a squashfs image
// are its own stored blocks, small ones joined, so that equal files give equal
// chunks wherever they lie; what is between them, and blobs that are no
// squashfs, is cut by content. A list depends on the blob alone. Its [List.Root]
// is the root of a Merkle tree (RFC 6962, 2.1): with it and a few hashes
// ([List.Prove]) any range can be verified without the rest of the list. The root
// stands in the manifest of an image, and so under its builder's signature: how a
// blob is cut is therefore part of the format, and changes with the list's version.
// [Assemble] makes the blob from local files and ranges that it is given, and
// goes on where an earlier call was interrupted.
//
// # Patches
//
// A chunk that changed by one byte is fetched whole, and so are all of an
// image's tables, in which every position moves when one file grows. A
// [Patch] avoids that. It tells one image as what changed from another:
//
//   - blocks that the old image has are copied;
//   - all other blocks, and the tables, are compared expanded, by package delta,
//     with those of the old image that were not copied;
//   - the receiver compresses them again, which gives the same bytes, since the
//     writer of layers is deterministic. Whoever makes the patch tries that out;
//     a block for which it does not hold is told as it is stored.
//
// The result of a patch is not trusted: it is compared with the digest of the
// blob like all that a store takes. Where a patch is of no use (the relative is
// not known, too much changed, the digest does not match) there are the chunks.
//
// # Format of a list
//
// Numbers are unsigned varints.
//
//	"orechunk" 1      magic and version
//	32 bytes          SHA-256 of the blob
//	number            size of the blob
//	number            count of chunks
//	count times       number: size of the chunk; 32 bytes: its SHA-256
//
// # Format of a patch
//
//	"orepatch" 1      magic and version
//	32 bytes          SHA-256 of the old image
//	32 bytes          SHA-256 of the new image
//	number            size of the new image
//	number            block size with which zstd compresses
//	number            level of zstd
//	number            count of operations
//	operations        see operation
//	number            bytes of expanded content
//	rest              the content as a delta (package delta)
//
// # Limits
//
// Lists and patches come from strangers: their readers take memory in
// proportion to what they were given, and never more than the limits of this
// package.
package chunk
