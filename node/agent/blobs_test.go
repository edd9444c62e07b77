package agent

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"ore"
	"ore/chain"
	"ore/chain/conduct"
	"ore/chain/shape"
	"ore/image"
)

// source is a peer that has blobs to give.
func source(t *testing.T) (*chain.Peer, conduct.Host) {
	t.Helper()
	p, err := chain.Start(t.Context(), chain.Config{Dir: t.TempDir(), Listener: listen(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	g := chain.NewGrant()
	g.Conduct = true
	p.Allow(g)
	return p, conduct.Host{Host: shape.Host{Name: "source"}, Address: p.Addr().String(), Conduct: g}
}

// bring sends content as if it were blob d.
func bring(t *testing.T, j *Job, content []byte, d ore.Digest) {
	t.Helper()
	p, from := source(t)
	path := filepath.Join(t.TempDir(), "blob")
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	list, _, err := chain.Cut(t.Context(), bytes.NewReader(content), int64(len(content)))
	if err != nil {
		t.Fatal(err)
	}
	name, err := nameOf(d)
	if err != nil {
		t.Fatal(err)
	}
	blob := chain.NewBlob(name, list)
	if err := p.Add(blob, list, path); err != nil {
		t.Fatal(err)
	}
	addr, g := j.Chain()
	r, err := conduct.New(conduct.Config{}).Send(t.Context(), conduct.Transfer{
		Blob: blob, Source: from, Receivers: []conduct.Host{{Host: shape.Host{Name: "host"}, Address: addr, Conduct: g}},
	})
	if err != nil || r.Hosts[0].Err != nil {
		t.Fatal(err, r.Hosts)
	}
}

func blob(n byte) ([]byte, ore.Digest) {
	b := bytes.Repeat([]byte{n}, 400<<10)
	return b, ore.DigestOf(b)
}

// What the chain brings is kept only if its bytes are those of its name,
// whatever the conductor says.
func TestOnlyVerifiedBlobsAreKept(t *testing.T) {
	b := newBench(t, nil)
	j := b.job(t, b.client(t), "job")
	good, d := blob(1)
	if lacking, err := j.Want(t.Context(), []ore.Digest{d}); err != nil || !slices.Equal(lacking, []ore.Digest{d}) {
		t.Fatalf("an empty host lacks %v, %v", lacking, err)
	}
	if err := j.Keep(t.Context(), d); err == nil {
		t.Error("a blob that did not come was kept")
	}
	wrong := bytes.Clone(good)
	wrong[100]++
	bring(t, j, wrong, d)
	if err := j.Keep(t.Context(), d); err == nil || !strings.Contains(err.Error(), image.ErrRotten.Error()) {
		t.Errorf("bytes of another blob: %v", err)
	}
	if lacking, err := j.Want(t.Context(), []ore.Digest{d}); err != nil || len(lacking) != 1 {
		t.Errorf("after bytes of another blob the host lacks %v, %v", lacking, err)
	}
	if err := j.Keep(t.Context(), "sha256:../../x"); err == nil {
		t.Error("a malformed digest was taken")
	}
}

// Who the chain cannot reach sends a blob itself; it too is taken only if its
// bytes are those of its name.
func TestGivenBlobs(t *testing.T) {
	b := newBench(t, nil)
	j := b.job(t, b.client(t), "job")
	content, d := blob(1)
	_, other := blob(2)
	if err := j.Give(t.Context(), other, bytes.NewReader(content)); err == nil {
		t.Error("bytes of another blob were taken")
	}
	if err := j.Give(t.Context(), d, bytes.NewReader(content)); err != nil {
		t.Fatal(err)
	}
	if lacking, err := j.Want(t.Context(), []ore.Digest{d, other}); err != nil || !slices.Equal(lacking, []ore.Digest{other}) {
		t.Errorf("the host lacks %v, %v", lacking, err)
	}
	open, closed := listen(t), listen(t)
	defer open.Close()
	closed.Close()
	if err := j.Reach(t.Context(), open.Addr().String()); err != nil {
		t.Errorf("an open port: %v", err)
	}
	if err := j.Reach(t.Context(), closed.Addr().String()); err == nil {
		t.Error("a closed port was reached")
	}
	if err := j.Reach(t.Context(), "127.0.0.2:80"); err == nil || !strings.Contains(err.Error(), "you come from") {
		t.Errorf("an address that is not the caller's: %v", err)
	}
}

// A second job finds the blobs of the first; what nobody holds goes, the least
// recently used first, when there is more than the quota.
func TestBlobsAreKeptForTheNextJob(t *testing.T) {
	b := newBench(t, func(c *Config) { c.Quota = 900 << 10 })
	c := b.client(t)
	first := b.job(t, c, "first")
	var all []ore.Digest
	for n := range byte(3) {
		content, d := blob(n)
		bring(t, first, content, d)
		if err := first.Keep(t.Context(), d); err != nil {
			t.Fatal(err)
		}
		all = append(all, d)
	}
	if lacking, err := first.Want(t.Context(), all); err != nil || len(lacking) != 0 {
		t.Fatalf("what a job holds went because of the quota: %v, %v", lacking, err)
	}
	offered, err := first.Offer(t.Context(), all[0])
	if err != nil || offered.Size != 400<<10 {
		t.Errorf("offered: %+v, %v", offered, err)
	}
	before := time.Now().Add(-time.Hour)
	if err := os.Chtimes(filepath.Join(b.dir, "used", all[1].Hex()), before, before); err != nil {
		t.Fatal(err)
	}
	if err := first.End(t.Context()); err != nil {
		t.Fatal(err)
	}
	second := b.job(t, c, "second")
	if lacking, err := second.Want(t.Context(), all); err != nil || !slices.Equal(lacking, all[1:2]) {
		t.Errorf("the second job lacks %v, %v; want the least recently used, %v", lacking, err, all[1])
	}
}

// What a killed agent left is removed by the next; what came of a blob is kept.
func TestNextLifeSweeps(t *testing.T) {
	b := newBench(t, nil)
	dead := filepath.Join(b.dir, "lives", "dead")
	for _, d := range []string{"jobs/x", "chain"} {
		if err := os.MkdirAll(filepath.Join(dead, d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	part := fmt.Sprintf("%064d.part", 7)
	if err := os.WriteFile(filepath.Join(dead, "chain", part), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	first := b.agent
	b.begin(t, nil) // beside the first, which lives
	if _, err := os.Stat(dead); err == nil {
		t.Error("what a dead agent left is there")
	}
	if _, err := os.Stat(filepath.Join(b.agent.life.chain(), part)); err != nil {
		t.Errorf("what came of a blob is lost: %v", err)
	}
	if _, err := os.Stat(first.life.dir); err != nil {
		t.Errorf("what a living agent has was removed: %v", err)
	}
}
