// Package image is what a machine boots from and where it is kept.
//
// An image is an ordered list of layers and a [Manifest]. A layer is a sealed,
// read-only squashfs file; a machine mounts them one above the other, lowest
// first, and puts a private writable disk on top. So one more machine costs
// nothing that depends on the image's size, and every hypervisor is served by
// the same bytes.
//
// # Layers
//
// The lowest layer holds a whole tree. Each further one holds what changed: new
// and changed entries, and a character device 0:0 (a whiteout, as overlayfs
// names it) for every name that went. A layer has no extended attributes, so
// no opaque folders, redirects or metacopies: the squashfs of some guest
// kernels would not see them. File capabilities therefore stand in the
// manifest, and the guest sets them again. An image has at most [MaxLayers].
//
// # Digests
//
// Two digests name an image. The tree digest is the hash of a canonical listing
// of the merged tree (see [Listing]): it depends on the environment alone,
// however the image was built. The digests of the layers, and with them that of
// the manifest, depend on the way it was built and on the writer's version too.
//
// # Store
//
// A [Store] keeps blobs (layers and manifests) in files named by their digest.
// A blob appears whole: it is written to a temporary file, hashed, and renamed.
// Machines get blobs by [Store.Verified], which reads a blob again if its file
// was touched since its bytes were last seen to match. A Store may be used by several goroutines
// and several processes at once.
package image
