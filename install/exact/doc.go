// Package exact decides whether an image can be made from another one that
// holds other packages, so that nobody could tell it from one made from nothing.
//
// Packages that the other image has too much are removed by dpkg, packages that
// it lacks are installed over it. Files and the database pose no problem; what
// maintainer scripts do may. A script that leaves something behind, or that
// looks at what other packages brought, makes a tree that depends on the way.
// So a package may be added or removed only if all that its scripts do is known
// to be undone by them and to depend on the package alone. That is so
//
//   - if it has no scripts, or only idle ones,
//   - if its scripts consist of the sections that certain debhelper programs
//     write ("# Automatically added by dh_..."), see [sections],
//   - if what it has beside them is made of tests of $1 and of calls of
//     update-alternatives,
//   - if a [Memory] says that the package was seen to be exact.
//
// Packages that both images have may have any scripts as long as those mention
// nothing that comes or goes: neither a name of a package, nor a program, nor a
// path. Triggers that are activated must be of the kind that makes a file anew
// from what is there, see [regenerating].
//
// Everything else is refused. A refusal costs time, a wrong tree costs trust.
//
// All of this is pure. What only the finished tree can tell is checked there:
// see [Left], [Lacking] and [Ties].
package exact
