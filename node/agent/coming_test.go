package agent

import (
	"strings"
	"testing"
	"time"

	"ore"
)

// A host that cannot show what is still coming says so beforehand, and refuses;
// nobody but a job's owner may ask.
func TestComingIsRefused(t *testing.T) {
	b := newBench(t, nil)
	c := b.client(t)
	j, err := c.Job(t.Context(), "one")
	if err != nil {
		t.Fatal(err)
	}
	if j.Lazy() {
		t.Error("it says that it can")
	}
	d := ore.DigestOf([]byte("a layer"))
	if _, err := j.Show(t.Context(), []ComingBlob{{Digest: d, Size: 7}}); err == nil || !strings.Contains(err.Error(), "/dev/fuse") {
		t.Errorf("it shows what is coming: %v", err)
	}
	if _, err := j.Touched(t.Context(), d); err == nil {
		t.Error("something was read")
	}
	other := b.client(t)
	foreign := &Job{client: other, id: "one"}
	if _, err := foreign.Show(t.Context(), nil); err == nil || !strings.Contains(err.Error(), ErrGone.Error()) {
		t.Errorf("a stranger asks for another's job: %v", err)
	}
}

// What is coming is read from where it comes, then from the store, and waited for
// in between.
func TestComingBecomesPlain(t *testing.T) {
	b := newBench(t, nil)
	text := []byte("a layer of some bytes")
	d := ore.DigestOf(text)
	name, err := nameOf(d)
	if err != nil {
		t.Fatal(err)
	}
	c := &coming{blobs: b.agent.blobs, digest: d, size: int64(len(text)), reader: b.agent.blobs.peer.Reader(name)}
	defer c.close()
	got := make([]byte, 100)
	type answer struct {
		n   int
		err error
	}
	read := make(chan answer, 1)
	go func() {
		n, err := c.readAt(t.Context(), got, 2)
		read <- answer{n, err}
	}()
	select {
	case a := <-read:
		t.Fatalf("a blob that nobody has was read: %+v", a)
	case <-time.After(2 * lookAgain):
	}
	if _, err := b.agent.blobs.store.PutBytes(t.Context(), text); err != nil {
		t.Fatal(err)
	}
	if a := <-read; a.err != nil || string(got[:a.n]) != string(text[2:]) {
		t.Errorf("read %q, %v", got[:a.n], a.err)
	}
}
