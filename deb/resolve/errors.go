package resolve

import (
	"fmt"
	"strings"

	"ore"
)

// UnknownError is a wish for a name that no index has.
type UnknownError struct {
	Name string
	Near []string // names of packages that may have been meant
}

// Error names near names, if there are any.
func (e *UnknownError) Error() string {
	text := fmt.Sprintf("package %s: no index of this suite has it", e.Name)
	if len(e.Near) == 0 {
		return text + ": look for its name in this suite, or add the repository that has it"
	}
	return text + ": did you mean " + strings.Join(e.Near, ", ") + "?"
}

// VirtualError is a wish for a name that several packages provide.
type VirtualError struct {
	Wish      ore.Wish
	Providers []string
}

// Error names the packages.
func (e *VirtualError) Error() string {
	return fmt.Sprintf("package %s: it is a virtual package: ask for one that provides it: %s",
		e.Wish, strings.Join(e.Providers, ", "))
}

// VersionError is a wish for a version that is not there, or for two versions
// of one package.
type VersionError struct {
	Wish  ore.Wish
	Have  []string // newest first
	Twice bool     // Have is the version that was wished before
}

// Error names the versions that there are.
func (e *VersionError) Error() string {
	if e.Twice {
		return fmt.Sprintf("package %s: version %s was asked for too: only one can be installed",
			e.Wish, strings.Join(e.Have, ", "))
	}
	return fmt.Sprintf("package %s: the indexes do not have this version: ask for %s, or use a mirror that has the old one (a snapshot)",
		e.Wish, strings.Join(e.Have, " or "))
}

// ConflictError is a set of wishes that contradict each other.
type ConflictError struct {
	Reasons []string // sentences, which together are the contradiction
}

// reasonsShown bounds the length of the message; the first reasons are those
// nearest to the wishes.
const reasonsShown = 12

// Error gives the reasons one a line.
func (e *ConflictError) Error() string {
	shown := e.Reasons[:min(reasonsShown, len(e.Reasons))]
	text := "packages: they cannot be installed together:\n  " + strings.Join(shown, "\n  ")
	if n := len(e.Reasons) - len(shown); n > 0 {
		text += fmt.Sprintf("\n  and %d more", n)
	}
	return text + "\nleave one of them out, or ask for another version"
}

// FieldError is a relationship field of an index that cannot be read.
type FieldError struct {
	Package, Version string
	Err              error
}

// Error names the package.
func (e *FieldError) Error() string {
	return fmt.Sprintf("package %s %s: %v", e.Package, e.Version, e.Err)
}

// Unwrap returns the cause.
func (e *FieldError) Unwrap() error { return e.Err }
