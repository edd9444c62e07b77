package installing

import (
	"archive/tar"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ore"
	"ore/cluster"
	"ore/install/capture"
)

// far is a machine on another host, with its disk in a folder.
type far struct {
	cluster.Node
	disk string
	lost error
}

func (f *far) Get(_ context.Context, machine, dir string, patterns []string, w io.Writer) error {
	if machine != "m0" || f.lost != nil {
		return f.lost
	}
	t := tar.NewWriter(w)
	b, err := os.ReadFile(filepath.Join(f.disk, dir, patterns[0]))
	if err == nil {
		err = t.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: patterns[0], Size: int64(len(b))})
	}
	if err == nil {
		_, err = t.Write(b)
	}
	return errors.Join(err, t.Close())
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
		{"lost", errors.New("host h1 is lost"), "m0", "is not kept as an image: host h1 is lost: the next machines install it again"},
	} {
		t.Run(c.summary, func(t *testing.T) {
			w := newTaking(t)
			var told []string
			m := Maker{Site: w.network.Site, Elsewhere: true, Watch: func(e ore.Event) {
				if e.Final || e.Stage == "note" {
					told = append(told, e.Text)
				}
			}}
			m.Job.Machines.Disk = 1 << 20
			image := m.capture(t.Context(), w.recipe)
			if at := image.address(); strings.Contains(at, "/") {
				t.Errorf("it is to be sent to %s", at)
			}
			image.machine = "m0"
			l := &leaving{}
			closed := l.expect(t.Context(), image)
			n := &far{disk: t.TempDir(), lost: c.lost}
			if err := capture.Leave(n.disk, w.image, w.store, nil); err != nil {
				t.Fatal(err)
			}
			l.installed(n, c.machine)
			if err := closed(); err != nil {
				t.Fatal(err)
			}
			if text := strings.Join(told, "\n"); c.told == "" && text != "" || !strings.Contains(text, c.told) {
				t.Errorf("told %q, want %q", told, c.told)
			}
			kept, err := w.network.Site.Cache.Find(t.Context(), w.recipe.Environment.Key())
			if want := c.summary == "read"; (err == nil) != want || want && kept.Digest() != w.image.Digest() {
				t.Errorf("kept %+v, %v", kept, err)
			}
			l.installed(n, "m0") // too late
		})
	}
}
