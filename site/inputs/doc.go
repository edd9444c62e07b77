// Package inputs makes of a host file or folder a blob that machines mount, and
// remembers what it has read of host files, so that they are not read again.
//
// # The blob
//
// An input is an image of one layer and no packages, registered in the image
// cache: so it is listed, held, verified, counted, pruned and evicted by value as
// all images are, with the seconds that making it took as the price of losing it.
// Its key is that of an environment that holds its name and the tree digest of its
// content, so that it is found wherever it was made.
//
// The bytes of the layer depend on the names, contents, permissions and symbolic
// links alone: everything belongs to root, set-user-id bits are dropped, and all
// times are 0, since a copy has others. Of a file the tree is a folder with the
// one name "input". How it is compressed is measured on samples (see choose.go).
//
// # Where it goes
//
// It goes from the host that a job comes from to the hosts that run it, to each once
// (package chain), and is kept there. A cache that serves a site does not have it: who
// asks for an input names a file that he has, and only its content tells the blob's key,
// so that there is nothing for him to fetch; and what a job reads is its owner's, whose
// right to it no cache knows, as a packages' archive is everybody's. So inputs are
// neither listed nor given nor taken there, also where they lie in the same folder.
//
// # The memo
//
// A source is read again only if something about it has changed. Its stamp is a
// digest of the listing: path, type, permissions, size, times of modification
// and of change, device and inode number of everything in it. No program can
// set the time of change (st_ctime, inode(7)), so what was written since has
// another stamp, however it was written, unless that was in the same tick of the
// clock as the change before. So nothing is remembered of what has changed within
// a tick of being looked at, the rule that git has for its index (its
// Documentation/technical/racy-git.txt).
package inputs
