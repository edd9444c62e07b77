// Package tree puts entries into a build tree on the host's disk and reads
// such trees back.
//
// A build tree is where packages are unpacked and their scripts run before the
// result is sealed into a layer. It is built by one worker inside a sandbox and
// thrown away or kept as a disposable cache, so nothing here calls fsync.
//
// Names inside a build tree come from packages and scripts. [Root] therefore
// follows symbolic links only as the tree itself would if it were "/": never to
// a file of the host (openat2(2), RESOLVE_IN_ROOT).
package tree
