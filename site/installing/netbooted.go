package installing

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"ore"
	"ore/deb/fetch"
	"ore/deb/proxy"
)

// What machines that boot from the network may ask for stays as long as some of
// them may, whatever becomes of the images and packages that it is of: in a folder
// for each list of machines,
//
//	HEX                a blob, under a further name or, where that cannot be, a link
//	packages-HEX.json  where the packages of the environment with this key are from
//	captured-HEX.json  of which environment an image is taken (see Taker)
//	lock               shared by who adds what is on no list yet, alone for who sweeps
const (
	packagesPrefix = "packages-"
	packagesSuffix = ".json" // of lists of both kinds
	lockName       = "lock"
)

// kept is the folder.
func (n *Network) kept() string {
	list := n.Roster
	if abs, err := filepath.Abs(list); err == nil {
		list = abs
	}
	return filepath.Join(n.Site.Dirs.Images, "netboot", ore.DigestOf([]byte(list)).Hex())
}

// lock opens and locks the folder; errBusy if somebody has it who does not share it.
func (n *Network) lock(how int) (*os.File, error) {
	if err := os.MkdirAll(filepath.Dir(n.kept()), 0o755); err != nil {
		return nil, err
	}
	for {
		if err := os.Mkdir(n.kept(), 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, err
		}
		f, err := os.OpenFile(filepath.Join(n.kept(), lockName), os.O_RDWR|os.O_CREATE, 0o600)
		if errors.Is(err, fs.ErrNotExist) {
			continue // who swept removed the folder meanwhile
		}
		if err != nil {
			return nil, err
		}
		for {
			if err = unix.Flock(int(f.Fd()), how); !errors.Is(err, unix.EINTR) {
				break
			}
		}
		if err != nil {
			f.Close()
			return nil, &fs.PathError{Op: "lock", Path: f.Name(), Err: err}
		}
		if n.locks(f) {
			return f, nil
		}
		f.Close()
	}
}

// locks says whether a file is still the one that is locked.
func (n *Network) locks(f *os.File) bool {
	is, err := f.Stat()
	now, err2 := os.Stat(filepath.Join(n.kept(), lockName))
	return err == nil && err2 == nil && os.SameFile(is, now)
}

// begin keeps others from sweeping until Close.
func (n *Network) begin() (err error) {
	if n.telling == nil {
		n.telling, err = n.lock(unix.LOCK_SH)
	}
	return err
}

// Close lets others sweep again: what Tell named is on the list of machines, or
// is not wanted.
func (n *Network) Close() error {
	if n.telling == nil {
		return nil
	}
	err := n.telling.Close()
	n.telling = nil
	return err
}

// keep has files stay.
func (n *Network) keep(files map[ore.Digest]string) error {
	for d, path := range files {
		name := filepath.Join(n.kept(), d.Hex())
		err := os.Link(path, name)
		if err != nil && !errors.Is(err, fs.ErrExist) {
			err = os.Symlink(path, name)
		}
		if err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return nil
}

// keepPackages notes where the packages of an environment are from. They are
// fetched when the first machine asks for them.
func (n *Network) keepPackages(ctx context.Context, w ore.Wants, env ore.Environment) error {
	a, err := n.Site.Archive(ctx, w)
	if err != nil {
		return err
	}
	var files []fetch.File
	for _, p := range env.Packages {
		f, err := a.File(p)
		if err != nil {
			return err
		}
		files = append(files, f)
	}
	b, err := json.Marshal(files)
	if err != nil {
		return err
	}
	return n.write(packagesOf(env), b)
}

func packagesOf(env ore.Environment) string {
	return packagesPrefix + strings.TrimPrefix(string(env.Key()), "sha256:") + packagesSuffix
}

// write writes a file of the folder, which appears whole.
func (n *Network) write(name string, b []byte) error {
	f, err := os.CreateTemp(n.kept(), "new-*")
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Rename(f.Name(), filepath.Join(n.kept(), name))
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}

// Sweep removes what machines cannot ask for any more: all but some blobs, and what
// recipes name. While somebody is making what a machine is to become, it does
// nothing: who comes later sweeps. What this one has told must be among it.
func (n *Network) Sweep(blobs []ore.Digest, recipes [][]byte) error {
	if err := n.Close(); err != nil {
		return err
	}
	used := map[string]bool{lockName: true}
	for _, d := range blobs {
		used[d.Hex()] = true
	}
	for _, b := range recipes {
		var r struct { // of a recipe, perhaps another version's, what names something
			Environment ore.Environment
			Blobs       map[ore.Digest]json.RawMessage
			Capture     string
		}
		if err := json.Unmarshal(b, &r); err != nil {
			return fmt.Errorf("sweep what machines may ask for: %w", err)
		}
		used[packagesOf(r.Environment)] = true
		if r.Capture != "" {
			used[capturedOf(r.Environment)] = true
		}
		for d := range r.Blobs {
			used[d.Hex()] = true
		}
	}
	f, err := n.lock(unix.LOCK_EX | unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("sweep what machines may ask for: %w", err)
	}
	defer f.Close()
	all, err := os.ReadDir(n.kept())
	for _, e := range all {
		if !used[e.Name()] {
			err = errors.Join(err, os.Remove(filepath.Join(n.kept(), e.Name())))
		}
	}
	if err == nil && len(blobs)+len(recipes) == 0 { // no machine is left on this list
		err = os.Remove(f.Name())
		_ = os.Remove(n.kept()) // somebody may tell again by now: then it stays
	}
	return err
}

// Blob opens what Tell named.
func (n *Network) Blob(_ context.Context, d ore.Digest) (io.ReadSeekCloser, error) {
	if d.Hex() == "" {
		return nil, fs.ErrNotExist
	}
	return os.Open(filepath.Join(n.kept(), d.Hex()))
}

// Further answers requests for packages (package deb/proxy), of the environments
// that machines are to have. It is to be closed.
type Further struct {
	network *Network
	proxy   *proxy.Proxy

	mu    sync.Mutex // guards known
	known map[string]bool
}

// Further returns what answers requests for packages: each is fetched once,
// however many machines ask, and is then this host's.
func (n *Network) Further() (*Further, error) {
	p, err := proxy.New(proxy.Config{Dir: filepath.Join(n.Site.Dirs.Cache, "deb", "proxy"), Watch: n.Watch})
	return &Further{network: n, proxy: p, known: map[string]bool{}}, err
}

// ServeHTTP answers.
func (f *Further) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if err := f.learn(); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	f.proxy.ServeHTTP(w, r)
}

// Close ends what is being fetched.
func (f *Further) Close() error { return f.proxy.Close() }

// learn reads which packages may be asked for since it was asked last: machines
// are assigned by other processes.
func (f *Further) learn() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	lists, err := filepath.Glob(filepath.Join(f.network.kept(), packagesPrefix+"*"+packagesSuffix))
	if err != nil {
		return err
	}
	for _, l := range lists {
		if f.known[l] {
			continue
		}
		b, err := os.ReadFile(l)
		if errors.Is(err, fs.ErrNotExist) {
			continue // swept meanwhile
		}
		var files []fetch.File
		if err == nil {
			err = json.Unmarshal(b, &files)
		}
		if err == nil {
			err = f.proxy.Know(files...)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", l, err)
		}
		f.known[l] = true
	}
	return nil
}
