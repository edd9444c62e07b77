// Package export writes an image for the world's tools.
//
// An image is layers of squashfs and a manifest, which only ore reads. Here it
// becomes one of these:
//
//	tar     the merged tree as a PAX archive (pax(1), POSIX.1-2001), with
//	        owners as numbers and file capabilities as GNU tar and bsdtar keep
//	        them, in records SCHILY.xattr.security.capability
//	oci     an OCI image layout (github.com/opencontainers/image-spec, 1.0):
//	        a folder with one tar+zstd layer for each layer of the image, for
//	        skopeo, podman and other engines of containers
//	ext4    a file system with the merged tree and free space
//	qcow2   that file system as a disk of QEMU
//	vmdk    that file system as a disk of VMware (monolithicSparse, which
//	        Workstation and Fusion start and vmkfstools -i imports)
//
// # Trees
//
// Tar archives and file systems hold the merged tree: what a machine sees that
// mounts the layers one above the other. An OCI image keeps the layers apart,
// so that images with the same base share it; a whiteout becomes an empty file
// ".wh.NAME". Sockets are left out of archives, which cannot hold them. For
// engines that do not read zstd, "skopeo copy --dest-decompress oci:X:latest
// dir:Y" unpacks the layers, and Y can be copied on, to docker-archive too.
//
// The manifest's annotations name the key, the tree digest and the digest of
// the image as ore has it; ore.lock names the blob of the layout that is the
// environment as JSON.
//
// # Disks
//
// A disk is the file system itself, without partition table or boot loader: an
// image has no kernel of its own. It is started with one from outside, such as
// "linux.uml ubd0=X.ext4 root=/dev/ubda rw init=/bin/sh" or QEMU's -kernel and
// -initrd with root=/dev/vda, and mounts as it is (mount -o loop, qemu-nbd). A
// file system has a quarter of its content and 64 MiB free, unless
// [Target.Size] says otherwise; resize2fs changes it later.
//
// # Bytes
//
// What is written depends on the image and the versions of this package and
// its compressor alone; a vmdk also names its own file. Times in an OCI image's
// configuration are 1970, the tree's are those of the layers. A file or folder
// appears whole under its name or not at all. Layers are compared with their
// digests before they are read, and cannot be removed meanwhile.
package export
