package chain_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"ore/chain"
	"ore/chain/set"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds what a test waits for things that take milliseconds.
const patience = 2 * time.Minute

// content is n bytes that depend on the seed.
func content(n int, seed uint64) []byte {
	b := make([]byte, n)
	var key [32]byte
	key[0] = byte(seed)
	rand.NewChaCha8(key).Read(b)
	return b
}

// place is a peer in a test, with the grant that conducts it.
type place struct {
	*chain.Peer
	dir     string
	conduct chain.Grant
}

func start(t testing.TB, change func(*chain.Config)) place {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	cfg := chain.Config{Dir: t.TempDir(), Listener: l}
	if change != nil {
		change(&cfg)
	}
	p, err := chain.Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	g := chain.NewGrant()
	g.Conduct = true
	p.Allow(g)
	return place{p, cfg.Dir, g}
}

// cut makes a blob of b and puts it into a file.
func cut(t testing.TB, b []byte) (chain.Blob, chain.List, string) {
	t.Helper()
	l, d, err := chain.Cut(t.Context(), bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "blob")
	if err := os.WriteFile(name, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return chain.NewBlob(d, l), l, name
}

// wire is what conducts one peer in a test.
type wire struct {
	t *testing.T
	s *chain.Session
}

func (p place) wire(t *testing.T, blob chain.Blob, g chain.Grant) wire {
	t.Helper()
	s, err := chain.Dialer{}.Conduct(t.Context(), p.Addr().String(), p.conduct)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	w := wire{t, s}
	w.order(chain.Order{Kind: chain.Prepare, Blob: blob, Grant: g})
	w.until(func(r chain.Report) bool { return r.Ready })
	return w
}

func (w wire) order(o chain.Order) {
	w.t.Helper()
	if err := w.s.Order(o); err != nil {
		w.t.Fatal(err)
	}
}

func (w wire) until(ok func(chain.Report) bool) chain.Report {
	w.t.Helper()
	end := time.Now().Add(patience)
	for time.Now().Before(end) {
		r, err := w.s.Next()
		if err != nil {
			w.t.Fatal(err)
		}
		if ok(r) {
			return r
		}
	}
	w.t.Fatal("the report that was waited for did not come")
	return chain.Report{}
}

func whole(r chain.Report) bool { return r.Whole }

func takeAll(b chain.Blob, from place) chain.Order {
	return chain.Order{Kind: chain.Take, Blob: b, Wants: []chain.Want{{Source: "source", Address: from.Addr().String(), Chunks: set.Full(b.Chunks)}}}
}

func grantFor(b chain.Blob) chain.Grant {
	g := chain.NewGrant()
	g.Blobs = []chain.Digest{b.Digest}
	return g
}

func same(t *testing.T, p place, b chain.Blob, want []byte) {
	t.Helper()
	name, ok := p.Path(b.Digest)
	if !ok {
		t.Fatal("the blob is not whole")
	}
	got, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Error("the blob has other bytes than the source's")
	}
}

func TestBytesGoThroughARelay(t *testing.T) {
	for _, n := range []int{0, 1, 100_000, 5 << 20} {
		want := content(n, 1)
		b, l, name := cut(t, want)
		source, relay, tail := start(t, nil), start(t, nil), start(t, nil)
		if err := source.Add(b, l, name); err != nil {
			t.Fatal(err)
		}
		g := grantFor(b)
		last := tail.wire(t, b, g)
		middle := relay.wire(t, b, g)
		source.wire(t, b, g)
		last.order(takeAll(b, relay)) // before the relay has anything
		middle.order(takeAll(b, source))
		last.until(whole)
		middle.until(whole)
		same(t, tail, b, want)
		same(t, relay, b, want)
		left, err := filepath.Glob(filepath.Join(tail.dir, "*.part"))
		if err != nil || len(left) > 0 {
			t.Errorf("%d bytes: files are left beside the blob: %v %v", n, left, err)
		}
	}
}

func TestWrongBytesAreNeitherStoredNorForwarded(t *testing.T) {
	want := content(3<<20, 1)
	b, l, name := cut(t, want)
	bad := bytes.Clone(want)
	bad[2<<20] ^= 1
	badName := filepath.Join(t.TempDir(), "bad")
	if err := os.WriteFile(badName, bad, 0o600); err != nil {
		t.Fatal(err)
	}
	source, liar, tail := start(t, nil), start(t, nil), start(t, nil)
	if err := errors.Join(source.Add(b, l, name), liar.Add(b, l, badName)); err != nil {
		t.Fatal(err)
	}
	g := grantFor(b)
	last := tail.wire(t, b, g)
	liar.wire(t, b, g)
	source.wire(t, b, g)
	last.order(takeAll(b, liar))
	r := last.until(func(r chain.Report) bool { return len(r.Flows) == 1 && r.Flows[0].Wrong })
	if r.Whole || r.Chunks == 0 || r.Chunks == b.Chunks {
		t.Errorf("after a wrong chunk: %d of %d chunks, whole: %v", r.Chunks, b.Chunks, r.Whole)
	}
	if _, ok := tail.Path(b.Digest); ok {
		t.Error("the blob is visible though a chunk is wrong")
	}
	last.order(takeAll(b, source)) // goes on from what was right
	got := last.until(whole)
	same(t, tail, b, want)
	if got.Traffic.In != b.Size {
		t.Errorf("%d bytes were taken in, the blob has %d", got.Traffic.In, b.Size)
	}
}

func TestAKeyOpensItsBlobsOnly(t *testing.T) {
	b, l, name := cut(t, content(1000, 1))
	other, l2, name2 := cut(t, content(1000, 2))
	source, tail := start(t, nil), start(t, nil)
	if err := errors.Join(source.Add(b, l, name), source.Add(other, l2, name2)); err != nil {
		t.Fatal(err)
	}
	g := grantFor(b)
	source.wire(t, b, g)
	stolen := g // the key is right for b: the tail tries to read the other blob with it
	stolen.Blobs = []chain.Digest{other.Digest}
	w := tail.wire(t, other, stolen)
	w.order(takeAll(other, source))
	r := w.until(func(r chain.Report) bool { return len(r.Flows) == 1 && r.Flows[0].Lost > 1 })
	if r.Chunks > 0 {
		t.Error("a blob was read with another blob's key")
	}
	forged := chain.NewGrant()
	forged.Conduct = true
	if _, err := (chain.Dialer{}).Conduct(t.Context(), source.Addr().String(), forged); !errors.Is(err, chain.ErrRefused) {
		t.Errorf("an unknown grant: %v, want a refusal", err)
	}
	forged.ID = source.conduct.ID
	if _, err := (chain.Dialer{}).Conduct(t.Context(), source.Addr().String(), forged); !errors.Is(err, chain.ErrRefused) {
		t.Errorf("a wrong key: %v, want a refusal", err)
	}
}

func TestReleaseEndsStreamsAndForgets(t *testing.T) {
	want := content(1<<20, 1)
	b, _, _ := cut(t, want)
	relay, tail := start(t, nil), start(t, nil)
	g := grantFor(b)
	middle, last := relay.wire(t, b, g), tail.wire(t, b, g)
	last.order(takeAll(b, relay)) // waits: the relay has no source
	last.until(func(r chain.Report) bool { return len(r.Flows) == 1 && r.Flows[0].Cause == "" })
	middle.order(chain.Order{Kind: chain.Release, Blob: b})
	r := last.until(func(r chain.Report) bool { return len(r.Flows) == 1 && r.Flows[0].Lost > 1 })
	if r.Flows[0].Cause == "" {
		t.Error("a stream outlived its grant")
	}
}

func TestWhatIsThereIsNotFetched(t *testing.T) {
	want := content(4<<20, 1)
	b, l, name := cut(t, want)
	half := l.Chunks[len(l.Chunks)/2].Offset
	source, tail := start(t, nil), start(t, func(c *chain.Config) {
		c.Fill = func(_ context.Context, _ chain.Blob, _ chain.List, f *os.File) error {
			_, err := f.WriteAt(want[half:], half) // the second half, behind a hole
			return err
		}
	})
	if err := source.Add(b, l, name); err != nil {
		t.Fatal(err)
	}
	g := grantFor(b)
	source.wire(t, b, g)
	w := tail.wire(t, b, g)
	w.order(takeAll(b, source))
	if r := w.until(whole); r.Traffic.In != half {
		t.Errorf("%d bytes were fetched, want the %d that were missing", r.Traffic.In, half)
	}
	same(t, tail, b, want)
}

func TestTheFirstIsSentFirst(t *testing.T) {
	b, _, _ := cut(t, content(1<<20, 1))
	b.First = []chain.Span{{From: 20, Count: 2}, {From: 5, Count: 1}, {From: 20, Count: 3}}
	seq := b.Sequence()
	if len(seq) != b.Chunks {
		t.Fatalf("%d chunks in the sequence, want %d", len(seq), b.Chunks)
	}
	for i, want := range []int{20, 21, 5, 22, 0, 1, 2, 3, 4, 6} {
		if seq[i] != want {
			t.Fatalf("sequence %v, want 20 21 5 22 0 1 ...", seq)
		}
	}
}

func TestUniformSizeGrowsWithTheBlob(t *testing.T) {
	for _, c := range []struct{ blob, want int64 }{{1, 32 << 10}, {64 << 20, 64 << 10}, {512 << 20, 128 << 10}, {1 << 40, 1 << 20}} {
		if got := chain.UniformSize(c.blob); got != c.want {
			t.Errorf("blob of %d bytes: chunks of %d, want %d", c.blob, got, c.want)
		}
	}
}

func TestListsAreCheckedAndCanonical(t *testing.T) {
	l := chain.List{}
	for i := range 5 {
		l.Chunks = append(l.Chunks, chain.Chunk{Offset: l.Size(), Size: int64(i + 1), Sum: sha256.Sum256([]byte{byte(i)})})
	}
	got, err := chain.DecodeList(l.Encode())
	if err != nil || got.Digest() != l.Digest() || got.Check() != nil {
		t.Errorf("a list does not survive: %v", err)
	}
	l.Chunks[2].Offset++
	if l.Check() == nil {
		t.Error("a gap was not found")
	}
}

func FuzzDecodeList(f *testing.F) {
	l := chain.List{Chunks: []chain.Chunk{{Size: 3}, {Offset: 3, Size: 4}}}
	f.Add(l.Encode())
	f.Add([]byte("orehops\x01\xff\xff\xff\x7f"))
	f.Fuzz(func(t *testing.T, b []byte) {
		l, err := chain.DecodeList(b)
		if err != nil {
			return
		}
		if err := l.Check(); err != nil {
			t.Error(err)
		}
		if !bytes.Equal(l.Encode(), b) {
			t.Error("two encodings of one list")
		}
	})
}

func FuzzSet(f *testing.F) {
	b, _ := set.Full(70).MarshalText()
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		var s set.Set
		if s.UnmarshalText(b) != nil {
			return
		}
		if n := s.Count(); n > s.Of() || s.Has(s.Of()) {
			t.Errorf("%d of %d chunks", n, s.Of())
		}
	})
}
