package installing

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"ore"
	"ore/deb/fetch"
	"ore/image"
	"ore/install/recipe"
	"ore/site"
)

// network is one over a site of which it needs only the folders.
func network(t *testing.T) *Network {
	t.Helper()
	dir := t.TempDir()
	n := &Network{Site: &site.Site{}, Roster: filepath.Join(dir, "list")}
	n.Site.Dirs = site.Dirs{Images: filepath.Join(dir, "images"), Cache: filepath.Join(dir, "cache")}
	t.Cleanup(func() { n.Close() })
	return n
}

// blob is a file that n keeps, of which nothing else is left.
func blob(t *testing.T, n *Network, content string) ore.Digest {
	t.Helper()
	d := ore.DigestOf([]byte(content))
	path := filepath.Join(filepath.Dir(n.kept()), "of an image")
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := n.keep(map[ore.Digest]string{d: path}); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	return d
}

// TestSweep sees that what some machine may ask for stays, and all else goes, but
// not what another process is just telling.
func TestSweep(t *testing.T) {
	n, telling := network(t), network(t)
	telling.Site, telling.Roster = n.Site, n.Roster
	other := &Network{Site: n.Site, Roster: n.Roster + "2"}
	if err := errors.Join(n.begin(), telling.begin(), other.begin(), n.write("packages-00.json", []byte("[]"))); err != nil {
		t.Fatal(err)
	}
	kernel, layer, old, elsewhere := blob(t, n, "kernel"), blob(t, n, "layer"), blob(t, n, "old"), blob(t, other, "elsewhere")
	r := recipe.Recipe{Version: recipe.Version, Name: "m", Seed: "m", Strategy: recipe.Packages, Archive: []string{"proxy:http://10.9.0.1/packages"},
		Environment: ore.Environment{Version: ore.EnvironmentVersion, Packages: []ore.Package{{Name: "sample", Version: "1", Arch: "all", Size: 9, Digest: ore.DigestOf(nil), Path: "sample.deb"}}},
		Blobs:       map[ore.Digest]recipe.Source{layer: {Size: 5, From: []string{"http://10.9.0.1/x"}}}}
	if err := n.write(packagesOf(r.Environment), []byte("[]")); err != nil {
		t.Fatal(err)
	}
	names := func() (all []string) {
		list, err := os.ReadDir(n.kept())
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range list {
			all = append(all, e.Name())
		}
		return all
	}
	before := names()
	if err := n.Sweep([]ore.Digest{kernel}, [][]byte{r.Encode()}); err != nil {
		t.Fatal(err)
	}
	if got := names(); !slices.Equal(got, before) {
		t.Errorf("while another tells: %q of %q are left", got, before)
	}
	if err := telling.Close(); err != nil {
		t.Fatal(err)
	}
	if err := n.Sweep([]ore.Digest{kernel}, [][]byte{r.Encode()}); err != nil {
		t.Fatal(err)
	}
	want := []string{kernel.Hex(), layer.Hex(), lockName, packagesOf(r.Environment)}
	slices.Sort(want)
	if got := names(); !slices.Equal(got, want) {
		t.Errorf("left are %q, want %q", got, want)
	}
	if _, err := n.Blob(t.Context(), old); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("what was swept: %v", err)
	}
	f, err := other.Blob(t.Context(), elsewhere)
	if err != nil {
		t.Fatalf("another list's: %v", err)
	}
	f.Close()
}

// TestSweepOfAll leaves no folder when no machine is left, and whoever waits for its
// lock at that time has that of the next one.
func TestSweepOfAll(t *testing.T) {
	n := network(t)
	if err := n.begin(); err != nil {
		t.Fatal(err)
	}
	blob(t, n, "kernel")
	old, err := os.Open(filepath.Join(n.kept(), lockName))
	if err != nil {
		t.Fatal(err)
	}
	defer old.Close()
	if err := n.Sweep(nil, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(n.kept()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("its folder is left: %v", err)
	}
	if n.locks(old) {
		t.Error("a lock that was removed counts")
	}
	var telling sync.WaitGroup
	for range 4 { // those who tell and those who sweep, at once
		other := &Network{Site: n.Site, Roster: n.Roster}
		telling.Go(func() {
			for range 10 {
				if err := other.begin(); err != nil {
					t.Error(err)
				}
				if !other.locks(other.telling) {
					t.Error("it has told in a folder that is gone")
				}
				if err := other.Sweep(nil, nil); err != nil {
					t.Error(err)
				}
			}
		})
	}
	telling.Wait()
}

// TestFurther asks for a package before and after somebody has assigned a machine
// that needs it.
func TestFurther(t *testing.T) {
	n := network(t)
	f, err := n.Further()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	content := []byte("a package")
	digest, path := ore.DigestOf(content), filepath.Join(t.TempDir(), "sample.deb")
	if err := os.WriteFile(path, content, 0o644); err != nil {
		t.Fatal(err)
	}
	ask := func() (int, string) {
		w := httptest.NewRecorder()
		f.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/sha256/"+digest.Hex(), nil))
		return w.Code, w.Body.String()
	}
	if code, _ := ask(); code != http.StatusNotFound {
		t.Errorf("nobody needs it: %d", code)
	}
	b, err := json.Marshal([]fetch.File{{Path: path, Size: int64(len(content)), Digest: digest, URLs: []string{"http://127.0.0.1:1/sample.deb"}}})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(n.begin(), n.write("packages-01.json", b)); err != nil {
		t.Fatal(err)
	}
	if code, body := ask(); code != http.StatusOK || body != string(content) {
		t.Errorf("a machine needs it: %d %q", code, body)
	}
}

// TestPackagesThatCannotBeNoted costs a machine that has its image what it would install
// without it, which is told; to one that installs packages it is an error.
func TestPackagesThatCannotBeNoted(t *testing.T) {
	for _, finished := range []bool{true, false} {
		n := network(t)
		var told []string
		n.Watch = func(e ore.Event) {
			if e.Stage == "note" {
				told = append(told, e.Text)
			}
		}
		n.Site = opened(t, "http://127.0.0.1:1")
		r := recipe.Recipe{Name: "m7", Strategy: recipe.Packages, Archive: []string{"proxy:http://10.9.0.1/packages"}}
		if finished {
			r.Strategy, r.Image = recipe.Whole, &image.Manifest{}
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel() // no mirror answers
		err := n.packages(ctx, ore.Wants{Base: ore.Base{Suite: "bookworm"}}, &r)
		if finished && (err != nil || len(r.Archive) != 0 || len(told) != 1 || !strings.HasPrefix(told[0], "machine m7 has no packages")) {
			t.Errorf("%v, %v, told %q", err, r.Archive, told)
		}
		if !finished && (err == nil || len(r.Archive) != 1 || len(told) != 0) {
			t.Errorf("%v, %v, told %q", err, r.Archive, told)
		}
	}
}

// TestNetworkArchives has machines find packages here and at the mirror, at the mirror
// alone, and not at all.
func TestNetworkArchives(t *testing.T) {
	n := network(t)
	n.Packages, n.Site.Mirror = "http://10.9.0.1/packages", "http://mirror.example.org/debian"
	named := recipe.Recipe{Archive: []string{"proxy:http://10.9.0.1/packages"}}
	job := ore.Job{Wants: ore.Wants{Base: ore.Base{Distribution: "debian", Suite: "bookworm"}}}
	maker := func(direct bool, network ore.Network) Maker {
		m := Maker{Site: n.Site, Job: job, direct: direct}
		m.Job.Network = network
		return m
	}
	for _, c := range []struct {
		summary string
		maker   Maker
		recipe  recipe.Recipe
		want    string
		says    string
	}{
		{summary: "here, then the mirror", maker: maker(false, ""), recipe: named, want: "proxy:http://10.9.0.1/packages mirror:http://mirror.example.org/debian"},
		{summary: "no mirror", maker: maker(false, ore.Isolated), recipe: named, want: "proxy:http://10.9.0.1/packages"},
		{summary: "no packages", maker: maker(false, "")},
		{summary: "the mirror alone", maker: maker(true, ""), want: "mirror:http://mirror.example.org/debian"},
		{summary: "no way to it", maker: maker(true, ore.Isolated), says: "install from the mirror: the job's network is isolated"},
	} {
		got, err := n.archive(c.maker, c.recipe)
		if strings.Join(got, " ") != c.want || (err != nil) != (c.says != "") || err != nil && !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %q, %v", c.summary, got, err)
		}
	}
}
