package ore

import (
	"slices"
	"strings"
)

// EnvironmentVersion is part of every key: it changes when the meaning of an
// environment's fields does.
const EnvironmentVersion = 1

// Environment is a resolved wish, the lock: exact packages with their hashes,
// files by content, steps by text. Two equal environments have the same key
// and, installed anywhere by any way, the same tree.
type Environment struct {
	Version  int // EnvironmentVersion
	Base     Base
	Arch     string         // Debian's name, "amd64"
	Packages []Package      // the closure, sorted by name, then architecture
	Manual   []string       // the names that were asked for, sorted; the rest came along
	Files    []LockedFile   // sorted by path
	Steps    []Step         // sorted so that a step follows all that it needs
	Sources  []LockedSource // the apt sources that the tree is given, in order
}

// Package is one exact binary package of an archive.
type Package struct {
	Name    string
	Version string // Debian policy 5.6.12
	Arch    string // "amd64" or "all"
	Path    string // relative to its archive's root (Filename in Packages)
	Archive string // "" for the base's mirror, else the URI of a further repository
	Size    int64  // bytes of the .deb
	Digest  Digest // of the .deb
	Base    bool   // belongs to the base set: essential, required, apt, and what those need
}

// String returns name=version:arch.
func (p Package) String() string { return p.Name + "=" + p.Version + ":" + p.Arch }

// LockedFile is a file of the environment with its content named by digest.
type LockedFile struct {
	Path   string
	Mode   uint32 // as in stat(2): type and permission bits
	Link   string // target, for symbolic links
	Digest Digest // for regular files
	Size   int64
}

// LockedSource is an apt source as the tree's /etc/apt/sources.list.d has it.
// It is written by suite and components alone where it is the base's mirror,
// so that the key does not depend on which mirror was used.
type LockedSource struct {
	URI        string // "" for the base's mirror
	Suite      string
	Components []string
	Key        Digest // of the certificate, for further repositories
}

// BaseOnly returns the environment that holds e's base set and nothing else:
// the part that is installed first, as a layer of its own.
func (e Environment) BaseOnly() Environment {
	b := Environment{Version: e.Version, Base: e.Base, Arch: e.Arch}
	for _, s := range e.Sources {
		if s.URI == "" {
			b.Sources = append(b.Sources, s)
		}
	}
	for _, p := range e.Packages {
		if p.Base {
			b.Packages = append(b.Packages, p)
		}
	}
	return b
}

// Sort puts the packages, the manual names and the files into their canonical
// order. Steps keep theirs, which is an order of the graph.
func (e *Environment) Sort() {
	slices.SortFunc(e.Packages, func(a, b Package) int {
		if c := strings.Compare(a.Name, b.Name); c != 0 {
			return c
		}
		return strings.Compare(a.Arch, b.Arch)
	})
	slices.Sort(e.Manual)
	slices.SortFunc(e.Files, func(a, b LockedFile) int { return strings.Compare(a.Path, b.Path) })
}
