package site

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"ore"
	"ore/cluster"
	"ore/deb"
	"ore/deb/fetch"
	"ore/deb/shelf"
	"ore/site/driver"
	"ore/site/ledger"
)

// umlPackage is the package that holds User Mode Linux.
const umlPackage = "user-mode-linux"

// umlSuite is the suite that User Mode Linux comes from, whatever the host
// and the job run: the newest stable release of Debian. Its kernel, 6.12,
// handles a guest's page faults two to three times as fast as the 6.1 of the
// release before, since it hands a process's changed mappings to the host in
// one go (Linux 6.11, arch/um/kernel/skas/stub.c), and page faults are what
// programs under User Mode Linux wait for.
const umlSuite = "trixie"

// UMLSuiteVariable names the environment variable that has User Mode Linux
// taken from another suite.
const UMLSuiteVariable = "ORE_UML_SUITE"

// umlShelf is the shelf that User Mode Linux comes from, once it is known.
type umlShelf struct {
	mu    sync.Mutex // guards shelf
	shelf *shelf.Shelf
}

// umlBase returns the suite that User Mode Linux is to come from. If somebody
// chose it, by a lock or by the environment, no other will do.
func (s *Site) umlBase() (base ore.Base, chosen bool) {
	base = ore.Base{Distribution: "debian", Suite: umlSuite}
	if s.Pinned != nil && len(s.Pinned.Kernels[umlPackage]) > 0 {
		base.Suite = s.Pinned.Suites[umlPackage]
		if base.Suite == "" {
			return toolBase(), true // locks once had only kernels of that suite
		}
		return base, true
	}
	if suite := os.Getenv(UMLSuiteVariable); suite != "" {
		base.Suite = suite
		return base, true
	}
	return base, false
}

// umlChoice is what is remembered of the suite that User Mode Linux comes from,
// so that its index, which has nothing else that a job wants, need not be
// opened for each.
type umlChoice struct {
	Mirror, Keyring string
	Suite           string // the one that is wanted
	Checked         time.Time
	Offer           ore.Digest // of that suite
	Lacks           string     `json:",omitempty"` // why another suite has to do, "" if none has
}

func (s *Site) umlChoicePath() string { return filepath.Join(s.Dirs.State, "uml.json") }

// recall returns what is remembered about base; ok is false where that is
// nothing, or as old as indexes may get without a question to the mirror.
func (s *Site) recall(base ore.Base) (c umlChoice, ok bool) {
	text, err := os.ReadFile(s.umlChoicePath())
	if err != nil || json.Unmarshal(text, &c) != nil {
		return umlChoice{}, false
	}
	maxAge := s.MaxAge
	if maxAge == 0 {
		maxAge = deb.DefaultMaxAge
	}
	age := time.Since(c.Checked)
	return c, c.Mirror == s.Mirror && c.Keyring == s.Keyring && c.Suite == base.Suite && age >= 0 && age < maxAge
}

// umlArchive opens the archive that User Mode Linux comes from, and remembers
// it. Where the mirror does not have the suite, or the suite the package, and
// nobody chose it, that is the archive of the tools, as it is, this once, where the
// mirror cannot be asked.
func (s *Site) umlArchive(ctx context.Context, watch ore.Watcher) (*deb.Archive, umlChoice, error) {
	base, chosen := s.umlBase()
	c := umlChoice{Mirror: s.Mirror, Keyring: s.Keyring, Suite: base.Suite, Checked: time.Now()}
	a, err := s.archive(ctx, ore.Wants{Base: base}, watch)
	if err == nil {
		c.Offer = a.Offer()
		if s.Pinned == nil {
			_, err = a.Needs(ctx, ore.Wish{Name: umlPackage})
		}
	}
	if err != nil {
		if chosen || ctx.Err() != nil || base == toolBase() {
			return nil, c, fmt.Errorf("User Mode Linux: %w", err)
		}
		c.Lacks = err.Error()
		watch.Tell(ore.Event{Stage: "index", Text: fmt.Sprintf("User Mode Linux of %s: %v: taking that of %s", base.Suite, err, toolBase().Suite)})
		passing := fetch.Unreachable(err) // it may be there the next time
		if a, err = s.archive(ctx, ore.Wants{Base: toolBase()}, watch); err != nil || passing {
			return a, c, err
		}
	}
	text, err := json.Marshal(c)
	if err != nil {
		return nil, c, err
	}
	return a, c, ledger.WriteWhole(s.umlChoicePath(), text)
}

// umlTools returns the shelf that User Mode Linux is on. It shares its folder
// with that of the tools: trees are named by the digests of all their packages,
// so that no tree has packages of two suites.
func (s *Site) umlTools(ctx context.Context, watch ore.Watcher) (*shelf.Shelf, error) {
	s.uml.mu.Lock()
	defer s.uml.mu.Unlock()
	if s.uml.shelf != nil {
		return s.uml.shelf, nil
	}
	base, chosen := s.umlBase()
	if base == toolBase() {
		return s.tools(ctx, watch)
	}
	var err error
	c, ok := s.recall(base)
	if !ok || chosen && c.Lacks != "" {
		if _, c, err = s.umlArchive(ctx, watch); err != nil {
			return nil, err
		}
	}
	if c.Lacks != "" {
		s.uml.shelf, err = s.tools(ctx, watch)
		return s.uml.shelf, err
	}
	open := func(ctx context.Context) (*deb.Archive, error) {
		return s.archive(ctx, ore.Wants{Base: base}, watch)
	}
	s.uml.shelf, err = s.shelfOf(c.Offer, open)
	return s.uml.shelf, err
}

// umlNote says where User Mode Linux comes from, and why from there.
func (s *Site) umlNote() string {
	base, _ := s.umlBase()
	c, ok := s.recall(base)
	if !ok || c.Lacks == "" {
		return "of " + base.Suite
	}
	return fmt.Sprintf("of %s, which is slower than that of %s (%s)", toolBase().Suite, base.Suite, c.Lacks)
}

// checkKernel refuses a job whose machines cannot have the kernel that it asks
// for, before anything is fetched.
func (s *Site) checkKernel(ctx context.Context, j ore.Job) error {
	name := j.Wants.Kernel
	if _, _, err := driver.Choose(cluster.Reservation{Kernel: name, Machines: j.Machines}); err != nil || name == "" || s.Pinned != nil {
		return err // a lock's kernel was resolved when it was made
	}
	a, err := s.archive(ctx, ore.Wants{Base: toolBase()}, nil)
	if err == nil {
		_, err = a.Needs(ctx, ore.Wish{Name: name})
	}
	if err != nil {
		return fmt.Errorf("kernel %s: %w", name, err)
	}
	return nil
}
