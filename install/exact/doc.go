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
//   - if a [Memory] says that the package was seen to be exact: the one that
//     comes with this package ([Known]), and what a site has seen itself.
//
// Packages that both images have may have any scripts as long as those mention
// nothing that comes or goes: neither a name of a package, nor a program, nor a
// path. Triggers that are activated must be of the kind that makes a file anew
// from what is there, see [regenerating].
//
// Everything else is refused. A refusal costs time, a wrong tree costs trust.
//
// What only the finished tree can tell is checked there: that nothing is left of
// what went and nothing lacks of what is to be there, that no capability was
// lost, and that no alternative is taken only because it came first ([Finished]).
//
// What a package is known to leave (an account that its scripts made, a file) is
// taken away after it, if no other package's scripts mention it.
package exact
