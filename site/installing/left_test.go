package installing

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"ore"
	"ore/cluster"
	"ore/guest"
	"ore/install/capture"
	"ore/site/installing/leaving"
)

// far is a machine on another host, with its disk in a folder.
type far struct {
	cluster.Node
	disk  string
	lost  error
	stuck string // of whose path this is the end never comes
}

// Get does as a machine does.
func (f *far) Get(ctx context.Context, machine, dir string, patterns []string, w io.Writer) error {
	if machine != "m0" || f.lost != nil {
		return f.lost
	}
	if f.stuck != "" && strings.HasSuffix(patterns[0], f.stuck) {
		<-ctx.Done()
		return errors.New("the connection is closed")
	}
	root, err := os.OpenRoot(filepath.Join(f.disk, dir))
	if err != nil {
		return err
	}
	defer root.Close()
	return guest.PackMatches(w, root, patterns)
}

// left is a machine that has left an image, and a host that expects it and notes what it
// is told.
func (w *taking) left(t *testing.T) (l *leaving.Reader, n *far, closed func() error, told *[]string) {
	t.Helper()
	told = new([]string)
	m := Maker{Site: w.network.Site, Elsewhere: true, Watch: func(e ore.Event) {
		if e.Final || e.Stage == "note" {
			*told = append(*told, e.Text)
		}
	}}
	m.Job.Machines.Disk = 1 << 20
	image := m.capture(t.Context(), w.recipe)
	if at := image.address(); strings.Contains(at, "/") {
		t.Errorf("it is to be sent to %s", at)
	}
	image.machine = "m0"
	l, n = &leaving.Reader{}, &far{disk: t.TempDir()}
	closed = l.Expect(t.Context(), image.left())
	if err := capture.Leave(n.disk, w.image, w.store, nil); err != nil {
		t.Fatal(err)
	}
	return l, n, closed, told
}

// What a machine of another host has left on its disk is kept as an image here once the
// job's machines are let go; that it could not be read is told, and no error.
func TestLeftOnAnotherHost(t *testing.T) {
	for _, c := range []struct {
		summary string
		lost    error
		machine string
		told    string
	}{
		{"read", nil, "m0", "is kept"},
		{"another machine's", nil, "m1", ""},
		{"nothing", nil, "m0", ""}, // which the machine has told
		{"lost", errors.New("host h1 is lost"), "m0", "is not kept as an image: host h1 is lost: the next machines install it again"},
	} {
		t.Run(c.summary, func(t *testing.T) {
			w := newTaking(t)
			l, n, closed, told := w.left(t)
			if n.lost = c.lost; c.summary == "nothing" {
				if err := os.RemoveAll(filepath.Join(n.disk, capture.Left)); err != nil {
					t.Fatal(err)
				}
			}
			l.Installed(n, c.machine)
			if err := closed(); err != nil {
				t.Fatal(err)
			}
			if text := strings.Join(*told, "\n"); c.told == "" && text != "" || !strings.Contains(text, c.told) {
				t.Errorf("told %q, want %q", *told, c.told)
			}
			kept, err := w.network.Site.Cache.Find(t.Context(), w.recipe.Environment.Key())
			if want := c.summary == "read"; (err == nil) != want || want && kept.Digest() != w.image.Digest() {
				t.Errorf("kept %+v, %v", kept, err)
			}
			l.Installed(n, "m0") // too late
		})
	}
}

// An image that does not come is given up at last, which is told: the manifest before
// the job begins, and the layers some time after its end.
func TestSlowLinkOfWhatIsLeft(t *testing.T) {
	for _, c := range []struct {
		stuck, told    string
		ready, release time.Duration
	}{
		{"manifest", "is not kept as an image: its manifest has not come in 10s", leaving.ManifestTime, 0},
		{"", "is not kept as an image: not all of it has come 2m0s after the job's end", 0, leaving.MaxLinger},
	} {
		w := newTaking(t)
		synctest.Test(t, func(t *testing.T) {
			l, n, closed, told := w.left(t)
			if n.stuck = c.stuck; c.stuck == "" {
				n.stuck = w.image.Layers[0].Digest.Hex()
			}
			begun := time.Now()
			l.Installed(n, "m0")
			if took := time.Since(begun); took != c.ready {
				t.Errorf("%s: the job begins after %v", n.stuck, took)
			}
			begun = time.Now()
			if err := closed(); err != nil {
				t.Fatal(err)
			}
			if took := time.Since(begun); took != c.release {
				t.Errorf("%s: its machines are let go after %v", n.stuck, took)
			}
			if len(*told) != 1 || !strings.Contains((*told)[0], c.told) {
				t.Errorf("%s: told %q", n.stuck, *told)
			}
		})
	}
}

// Who cancels a job does not wait for its image.
func TestCancelledWhileImageComes(t *testing.T) {
	w := newTaking(t)
	m := Maker{Site: w.network.Site, Elsewhere: true}
	m.Job.Machines.Disk = 1 << 20
	ctx, cancel := context.WithCancel(t.Context())
	image := m.capture(ctx, w.recipe)
	image.machine = "m0"
	l, n := &leaving.Reader{}, &far{disk: t.TempDir(), stuck: w.image.Layers[0].Digest.Hex()}
	closed := l.Expect(ctx, image.left())
	if err := capture.Leave(n.disk, w.image, w.store, nil); err != nil {
		t.Fatal(err)
	}
	l.Installed(n, "m0")
	cancel()
	if err := closed(); err != nil {
		t.Error(err)
	}
}
