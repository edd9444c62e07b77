// Package capture brings the image of what one machine installed to where images
// are kept, so that the next machine need not install it.
//
// # The way
//
// The machine is told an address, which holds a secret and is good for one image. A
// machine that booted from the network has it from there: who can take its place in
// that network can send an image in its name, which is believed no more for that.
// It makes these requests (RFC 9110):
//
//	POST ADDRESS              whether the image is wanted: of several machines that
//	                          are told of one image, one; the status is 409 if not
//	PUT ADDRESS               the manifest; the answer is a JSON list of the
//	                          layers that are wanted, by digest
//	PUT ADDRESS/sha256/HEX    one of those
//	PUT ADDRESS               the manifest again, if any was; the answer is an empty
//	                          list
//
// The first is made before anything is installed, since an image that nobody takes
// need not be sealed. The last answer comes at once: the machine goes on, while what
// it sent is looked at.
//
// A machine that cannot reach who keeps its image leaves it on its disk instead
// ([Leave]), and is ready once it is sealed, before any of it has crossed a link. From
// there it is read: the manifest before the machine runs anything of its job
// ([Receiver.Begin]), and those layers that are wanted while it works
// ([Receiver.Collect]). So what its job does to the files is seen by the digests in a
// manifest that it had no hand in.
//
// # What is believed
//
// Nothing. The machine runs programs of packages and of a job, as root. So of the
// manifest only the order of the layers and the capabilities of files are taken,
// and these are proved:
//
//   - The environment is the one that the machine was to install, by its key.
//   - Each layer has the digest and the size that the manifest names, and all
//     together are no larger than what the receiver was told to take.
//   - The key of the base's layer, and of the last one, are those of the environment.
//     Those between have none: further steps go on upon all that the image has or, as
//     upon any image that has no layer of what was before its steps, not at all.
//   - The roots of the layers' chunk lists are computed from the layers, whatever the
//     manifest says.
//   - The digest of the merged tree is computed from the layers' contents, and is
//     the one that the manifest names.
//   - The database of dpkg in that tree lists the packages of the environment as
//     installed, in their versions, and no others.
//
// That the tree is the one which a clean build of the same environment makes
// cannot be seen by looking at it. Whoever keeps the image builds it again when
// there is time, and compares (package site/recheck); until then it is not signed,
// not given to others, and serves nothing but its own key.
package capture
