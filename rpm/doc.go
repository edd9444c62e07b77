// Package rpm makes environments of RPM packages, from any repository that dnf
// can read: what a job file asks for with
//
//	environment:
//	  base: rpm/NAME
//	  packages: [bash, coreutils, "hello=2:1.5-3"]
//	  repositories:
//	    - {uri: "http://example.org/os/$basearch", key: ./key.asc}
//	    - {uri: "http://example.org/own", unsigned: true}
//
// NAME is a word for people. There is no base set: the tree holds what is asked
// for and what that needs, without what it only recommends. "hello=1.5" and
// "hello=2:1.5-3" ask for a version. Of several repositories the first that has a
// package gives it.
//
// # The way of a build
//
// [Maker.Resolve] fetches each repository's index and has dnf resolve the wish.
// What comes of it is a lock as Debian's: exact packages with their digests; the
// repositories stand in it by the digest of their key and by what they give.
//
// [Maker.Build] fetches these packages by digest, has rpmkeys check their
// signatures, has dnf install them, and seals the tree as the base layer of an
// image. Files and steps are put over it by package install, as over any base.
//
// dnf and rpm are Debian's, unpacked into a folder (package tools), and run in
// a sandbox without network (install/sandbox), as the packages' scriptlets do, which
// have the new tree as their root, with /dev and /proc. All that comes from
// elsewhere is fetched by this package, which knows its digest before.
//
// # What is trusted
//
// A repository with a key gives packages only that are signed with it, header and
// payload; "unsigned: true" says that nobody has to have signed them. The key is
// part of the environment's key: a tree of packages that nobody checked is not
// given to one who asks for checked ones. The indexes themselves need no signature
// (dnf's default, too): who sends a false one can offer older packages of the
// signer, and none that are not the signer's.
//
// # What a tree depends on
//
// The tree digest depends on the lock alone. rpm's database has the newest build
// time of the packages as time of the installation; it is where the tree's own rpm
// looks for it. What is in /dev, and the modes of the folders that a machine mounts
// something over, are as in a Debian tree, and so is "/" itself.
//
// # What cannot be had
//
//   - Starting from another image. An environment with one package more is made
//     from all packages, or found whole; only its steps are kept.
//   - Other architectures than x86_64, and indexes that name packages by another
//     hash than SHA-256.
//   - Groups of packages (@core), and streams of modules.
//   - A database for a tree whose own rpm does not use sqlite: that rpm finds
//     nothing installed.
//   - A kernel of the tree: machines have Debian's, as all others, and its modules.
//   - A scriptlet that fails after its package is installed is a note, as for rpm.
package rpm
