// Package deb hides Debian: where the signed indexes of an archive come from,
// what a wish for packages closes to, and how the packages get here.
//
// [Open] reads the indexes of a suite, from a mirror that was named or from
// the host's own apt configuration, and proves them: the signature of InRelease
// against a keyring, the hash of every index against InRelease, its dates
// against the clock and against what was seen before. Proved indexes are kept
// in a compact form (package deb/index) that opens in well under a millisecond,
// so that a second Open within [Config.MaxAge] touches no network.
//
// [Archive.Resolve] turns an [ore.Wants] into an [ore.Environment]: the base
// set (essential, required, apt, and what those need) and the closure of the
// wishes, chosen as apt chooses (package deb/resolve). [Archive.Fetch] and
// [Archive.FetchAll] bring the packages home into one folder, verified and
// named by their digest (package deb/fetch).
//
// Not here: installing anything (package install), source packages, other
// architectures than amd64 and all.
package deb
