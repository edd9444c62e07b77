//go:build system

package installing

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"io"
	"net/http"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"ore"
	"ore/boot"
	"ore/install/recipe"
	"ore/netboot"
	"ore/netboot/lab"
)

// get asks the server as machines do.
func get(t *testing.T, url string) (status int, body []byte) {
	t.Helper()
	q, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(q)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, err = io.ReadAll(resp.Body); err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, body
}

// has sees that an address gives the bytes of a digest.
func has(t *testing.T, url string, d ore.Digest, size int64) {
	t.Helper()
	status, body := get(t, url)
	if got := ore.NewDigest(sha256.Sum256(body)); status != http.StatusOK || got != d || int64(len(body)) != size {
		t.Errorf("%s: status %d, %d bytes of %s, want %d of %s", url, status, len(body), got.Short(), size, d.Short())
	}
}

// serverAt is where the server answers in the lab's network.
const serverAt = "http://10.9.0.1:8067"

// booting asks as a machine that boots, and returns what it is told to do.
func booting(t *testing.T) recipe.Recipe {
	t.Helper()
	_, script := get(t, serverAt+"/boot/"+strings.ReplaceAll(lab.Card, ":", "-"))
	token := regexp.MustCompile(`/identity/\w+`).Find(script)
	_, archive := get(t, serverAt+string(token))
	entries, err := boot.ReadCPIO(bytes.NewReader(archive))
	if err != nil {
		t.Fatalf("%v: the script was\n%s", err, script)
	}
	var who netboot.Identity
	for _, e := range entries {
		if e.Path == netboot.IdentityPath {
			err = json.Unmarshal(e.Data, &who)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	r, err := recipe.Parse(bytes.NewReader(who.Recipe))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestNetworkPackages plays a machine that is to install its packages: all that its
// recipe names comes from the server, packages through its proxy, which is asked before
// any mirror: in this network there is no other host. When the machine is forgotten, so is all that.
func TestNetworkPackages(t *testing.T) {
	list, ok := assigned(t, nil, []string{"--install-from", "base"}) // what the image is made of is on this host then
	if !ok {
		return
	}
	lab.Ethernet(t)
	s := serve(t, list)
	const at = serverAt
	s.expect(t, "HTTP at "+at)
	defer http.DefaultClient.CloseIdleConnections()
	r := booting(t)
	if r.Strategy != recipe.Base || r.Image == nil || !r.Partial || len(r.Archive) == 0 || r.Archive[0] != "proxy:"+at+"/packages" {
		t.Fatalf("strategy %s, partial %v, packages from %q", r.Strategy, r.Partial, r.Archive)
	}
	var one string
	for d, b := range r.Blobs {
		one = b.From[0]
		has(t, one, d, b.Size)
	}
	base := map[ore.Digest]bool{}
	for _, p := range r.Image.Environment.Packages {
		base[p.Digest] = true
	}
	n, bytes := 0, int64(0)
	for _, p := range r.Environment.Packages {
		if !base[p.Digest] {
			has(t, at+"/packages/sha256/"+p.Digest.Hex(), p.Digest, p.Size)
			n, bytes = n+1, bytes+p.Size
		}
	}
	if n == 0 {
		t.Error("the base lacks nothing")
	}
	t.Logf("%d blobs, and %d packages of %d bytes", len(r.Blobs), n, bytes)
	if status, _ := get(t, at+"/packages/sha256/"+ore.DigestOf([]byte("x")).Hex()); status != http.StatusNotFound {
		t.Errorf("what nobody is to have: status %d", status)
	}
	if out, err := command(t, list, "forget", "node1"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if status, _ := get(t, one); status != http.StatusNotFound {
		t.Errorf("%s, once the machine is forgotten: status %d", one, status)
	}
	s.end(syscall.SIGINT)
	leaves(t)
}
