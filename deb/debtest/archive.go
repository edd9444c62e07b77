// Package debtest makes small signed archives of Debian packages for tests and
// serves them on 127.0.0.1, with faults on request.
//
// The packages are real: dpkg unpacks and configures them. The archive has the
// layout of Debian's mirrors (dists, pool, by-hash), one suite, one component,
// and a key of its own:
//
//	a := debtest.New(t, debtest.Package{Name: "hello", Fields: map[string]string{"Depends": "libgreet"}},
//		debtest.Package{Name: "libgreet"})
//	archive, err := deb.Open(ctx, deb.Config{Mirror: a.URL, Keyring: a.KeyFile, ...})
package debtest

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/clearsign"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
)

// Suite is the suite of every test archive.
const Suite = "test"

// keyAge is how old a test archive's key is, so that releases of the past can
// be signed with it.
const keyAge = 10 * 365 * 24 * time.Hour

// Archive is a test archive that is being served. Its methods may be called
// while it serves.
type Archive struct {
	URL     string // of the mirror, without a slash at its end
	Key     []byte // the certificate that signs it, armored
	KeyFile string // a file with it

	t      testing.TB
	entity *openpgp.Entity

	mu       sync.Mutex // guards what follows
	files    map[string][]byte
	fault    Fault
	requests []string
}

// Fault may answer a request in its own way, given what the archive would
// answer (nil for a file that is not there). It reports whether it did.
type Fault func(w http.ResponseWriter, r *http.Request, content []byte) bool

// Release says how an archive is published.
type Release struct {
	Date       time.Time // zero means now
	ValidUntil time.Time // zero means no such field
	Origin     string    // "" means Debian
	Codename   string    // "" means Suite
	Signer     *Archive  // whose key signs it; nil means the archive's own
}

// New makes an archive of the packages and serves it until the test ends.
func New(t testing.TB, packages ...Package) *Archive {
	t.Helper()
	a := &Archive{t: t, files: make(map[string][]byte)}
	born := func() time.Time { return time.Now().Add(-keyAge) }
	var err error
	a.entity, err = openpgp.NewEntity("Test Archive", "", "archive@example.org",
		&packet.Config{Algorithm: packet.PubKeyAlgoEdDSA, Time: born})
	if err != nil {
		t.Fatal(err)
	}
	var key bytes.Buffer
	w, err := armor.Encode(&key, openpgp.PublicKeyType, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := a.entity.Serialize(w); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	a.Key = key.Bytes()
	a.KeyFile = filepath.Join(t.TempDir(), "archive.asc")
	if err := os.WriteFile(a.KeyFile, a.Key, 0o644); err != nil {
		t.Fatal(err)
	}
	a.Publish(Release{}, packages...)
	server := httptest.NewServer(http.HandlerFunc(a.serve))
	t.Cleanup(server.Close)
	a.URL = server.URL
	return a
}

// Publish replaces what the archive holds. Packages of before stay in the pool,
// as they do for a while on real mirrors.
func (a *Archive) Publish(r Release, packages ...Package) {
	a.t.Helper()
	var index strings.Builder
	pool := make(map[string][]byte)
	for _, p := range packages {
		deb, err := p.Build()
		if err != nil {
			a.t.Fatalf("build package %s: %v", p.Name, err)
		}
		path := p.path()
		pool[path] = deb
		fmt.Fprintf(&index, "%sFilename: %s\nSize: %d\nSHA256: %x\n\n", p.control(), path, len(deb), sha256.Sum256(deb))
	}
	plain := []byte(index.String())
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	if _, err := z.Write(plain); err != nil {
		a.t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		a.t.Fatal(err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for path, content := range pool {
		a.files[path] = content
	}
	dists := "dists/" + Suite + "/"
	dir := "main/binary-amd64/"
	a.files[dists+dir+"Packages"], a.files[dists+dir+"Packages.gz"] = plain, packed.Bytes()
	a.files[fmt.Sprintf("%s%sby-hash/SHA256/%x", dists, dir, sha256.Sum256(packed.Bytes()))] = packed.Bytes()
	a.files[dists+"InRelease"] = a.sign(r, r.text(map[string][]byte{
		dir + "Packages": plain, dir + "Packages.gz": packed.Bytes()}))
}

// text returns the Release file for the indexes.
func (r Release) text(indexes map[string][]byte) string {
	var b strings.Builder
	origin, codename := r.Origin, r.Codename
	if origin == "" {
		origin = "Debian"
	}
	if codename == "" {
		codename = Suite
	}
	fmt.Fprintf(&b, "Origin: %s\nLabel: Test\nSuite: %s\nCodename: %s\nDate: %s\n", origin, codename, codename, r.date().Format(dateLayout))
	if !r.ValidUntil.IsZero() {
		fmt.Fprintf(&b, "Valid-Until: %s\n", r.ValidUntil.UTC().Format(dateLayout))
	}
	b.WriteString("Acquire-By-Hash: yes\nNo-Support-for-Architecture-all: Packages\n" +
		"Architectures: all amd64\nComponents: main\nSHA256:\n")
	for path, content := range indexes {
		fmt.Fprintf(&b, " %x %d %s\n", sha256.Sum256(content), len(content), path)
	}
	return b.String()
}

const dateLayout = "Mon, 02 Jan 2006 15:04:05 UTC"

func (r Release) date() time.Time {
	if r.Date.IsZero() {
		return time.Now().UTC()
	}
	return r.Date.UTC()
}

// sign makes an InRelease file of a Release.
func (a *Archive) sign(r Release, text string) []byte {
	signer := a
	if r.Signer != nil {
		signer = r.Signer
	}
	var out bytes.Buffer
	w, err := clearsign.Encode(&out, signer.entity.PrivateKey, &packet.Config{Time: r.date})
	if err != nil {
		a.t.Fatal(err)
	}
	if _, err := w.Write([]byte(text)); err != nil {
		a.t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		a.t.Fatal(err)
	}
	out.WriteByte('\n')
	return out.Bytes()
}

// Break makes requests go wrong as f says, until the next Break; nil repairs.
func (a *Archive) Break(f Fault) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.fault = f
}

// Requests returns the paths asked for since the last call, in order.
func (a *Archive) Requests() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	list := slices.Clone(a.requests)
	a.requests = nil
	return list
}

// serve answers a request.
func (a *Archive) serve(w http.ResponseWriter, r *http.Request) {
	path := strings.TrimPrefix(r.URL.Path, "/")
	a.mu.Lock()
	a.requests = append(a.requests, path)
	content, ok := a.files[path]
	fault := a.fault
	a.mu.Unlock()
	if fault != nil && fault(w, r, content) {
		return
	}
	if !ok {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("ETag", fmt.Sprintf("%q", fmt.Sprintf("%x", sha256.Sum256(content))))
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content))
}
