// Package sandbox runs programs as root in a tree that is being installed,
// whoever runs it, with the same result: files that belong to the right users,
// devices, set-user-ID bits and file capabilities.
//
// It comes in three tiers:
//
//   - [Root]: real root. The tree's files are what they are meant to be.
//   - [SubIDs]: an ordinary user with subordinate ids (subuid(5)). Users exist
//     in a user namespace; only devices do not, and are recorded.
//   - [Single]: an ordinary user with nothing. In a user namespace with one id
//     every file belongs to that id, and what it is meant to belong to is
//     recorded.
//
// [Spawn] starts the own executable again as a worker in namespaces of its
// own; the worker calls [Enter] and gets a [Sandbox]: it makes files and says
// what they are meant to be (Chown, Mknod, Setxattr), mounts overlays, runs
// programs in trees (Run) and finally asks what every file is meant to be
// (Owner). Everything ends with the worker, and the worker with its starter
// (see package namespace). A worker that makes a file by other means says who
// owns it with Chown. A program that uses this package calls [Main] first
// thing in main, and its tests in TestMain.
//
// # Records
//
// A record is the extended attribute "user.ore.owner" on the inode itself, so
// that it follows renames and hard links, goes when the file goes, and is
// copied by an overlay when the file is. A device is stood in for by an empty
// regular file with a record. The kernel allows user attributes only on
// regular files and folders (xattr(7)); the rare symbolic link, pipe or socket
// that is not root's stands in a table beside the tree, Options.Owners, by
// inode number and time of birth, or of modification where a copy-up by an
// overlay has changed the former.
//
// # What programs see
//
// In a tree of tier Single programs must believe what was recorded: those of
// the package passwd, for example, rewrite /etc/shadow as a new file that they
// give the owner that the old one shows. A seccomp filter hands the system
// calls that set or show owners, users and devices to a supervisor in Go
// (seccomp_unotify(2)), which answers them from the records or lets them pass.
// Nobody is kept out of anything by this: all runs with the rights of the one
// user, and a program that cheats only cheats itself.
//
// In every tier a program lacks the capabilities that reach beyond its tree, finds
// what tells the kernel something in /proc read-only, and cannot open a device
// that it made: a step of real root's is not the host's administrator.
//
// In every tier the calls of the fsync family do nothing and succeed, since a
// tree whose building is interrupted is thrown away.
//
// # Limits
//
// POSIX access control lists for users that do not exist in the namespace are
// refused as by the kernel. In tier SubIDs programs see a device that they made
// as an empty regular file. In tier Single a program that became another user
// may still read and write what root may, set-user-ID programs do not change
// the user, and supplementary groups do not exist. Programs for other architectures than the host's
// 64-bit one are not supervised. The tree must lie on a file system with user
// extended attributes in the tiers other than Root: ext4, xfs, btrfs, or tmpfs
// from Linux 6.6. Overlay mounts in user namespaces need Linux 5.11.
package sandbox
