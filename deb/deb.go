package deb

import (
	"context"
	"time"

	"ore"
	"ore/deb/fetch"
)

// Arch is the one architecture that environments are made for; packages of
// architecture "all" belong to it too.
const Arch = "amd64"

// DefaultMaxAge is how long proved indexes are used without asking the mirror
// again. Debian's mirrors change four times a day, so an hour loses little.
const DefaultMaxAge = time.Hour

// Config says which archive to open and where to keep what comes from it.
type Config struct {
	Dir          string           // cache folder; indexes and packages are kept below it
	Base         ore.Base         // the suite wanted; an empty Distribution means debian
	Mirror       string           // the mirror's URI; "" takes the host's apt configuration
	Components   []string         // of Mirror; nil means main
	Keyring      string           // file of trusted certificates; "" means what the source or the host names, else Debian's own
	Repositories []ore.Repository // further signed sources
	MaxAge       time.Duration    // 0 means DefaultMaxAge; negative asks the mirror every time
	Root         string           // where the host's configuration is read, "" for /
	Client       *fetch.Client    // nil means one of our own
	Watch        ore.Watcher      // hears of refreshes and of sources that are skipped
	Now          func() time.Time // the clock; nil means time.Now
}

func (c Config) now() time.Time {
	if c.Now == nil {
		return time.Now()
	}
	return c.Now()
}

func (c Config) maxAge() time.Duration {
	if c.MaxAge == 0 {
		return DefaultMaxAge
	}
	return c.MaxAge
}

func (c Config) distribution() string {
	if c.Base.Distribution == "" {
		return "debian"
	}
	return c.Base.Distribution
}

// Fetcher brings exact packages home.
type Fetcher interface {
	// Fetch returns the path of p's .deb, which has p's size and digest and
	// stays where it is. It may be called by many goroutines at once; the
	// same package is then fetched once.
	Fetch(ctx context.Context, p ore.Package) (path string, err error)
}

var _ Fetcher = (*Archive)(nil)
