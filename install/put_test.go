package install

import (
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"ore"
	"ore/install/apt"
	"ore/install/dpkg"
	"ore/install/load"
	"ore/install/sandbox"
	"ore/install/tree"
	"ore/install/wire"
	"ore/squashfs"
)

// plainOwners are owners of a tree in which all is root's.
type plainOwners struct{ Sandbox }

func (plainOwners) Chown(string, int, int) error { return nil }

func (plainOwners) Owner(path string) (sandbox.Stat, error) {
	st, err := os.Lstat(path)
	if err != nil {
		return sandbox.Stat{}, err
	}
	return sandbox.Stat{Mode: st.Mode()}, nil
}

// fake returns a loaded package with the files, each with its name as content.
func fake(t *testing.T, rank int, control string, files ...string) *load.Package {
	t.Helper()
	x := &load.Package{Rank: rank, Stage: t.TempDir()}
	nodes := []tree.Node{{Entry: squashfs.Entry{Path: ".", Mode: fs.ModeDir | 0o755}}}
	for _, f := range files {
		if name, ok := strings.CutSuffix(f, "/"); ok {
			nodes = append(nodes, tree.Node{Entry: squashfs.Entry{Path: name, Mode: fs.ModeDir | 0o755}})
			continue
		}
		if err := os.WriteFile(filepath.Join(x.Stage, strconv.Itoa(len(nodes))), []byte(control[:12]+f), 0o644); err != nil {
			t.Fatal(err)
		}
		nodes = append(nodes, tree.Node{Entry: squashfs.Entry{Path: f, Mode: 0o644}})
	}
	var err error
	x.Package, err = dpkg.New(map[string][]byte{"control": []byte(control + "Version: 1\nArchitecture: all\n")}, nodes, nil)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

// base returns a phase in an empty tree.
func basePhase(t *testing.T) *phase {
	t.Helper()
	dir := t.TempDir()
	w := &worker{Order: wire.Order{Environment: ore.Environment{Manual: []string{"a", "b"}}}, sb: plainOwners{}, scratch: dir}
	w.Work = dir
	p := w.newPhase(nil, nil, filepath.Join(dir, "tree"))
	if err := p.skeleton(); err != nil {
		t.Fatal(err)
	}
	return p
}

func content(t *testing.T, p *phase, name string) string {
	t.Helper()
	b, err := p.view().ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// A package that replaces another has its files, whichever is unpacked first.
func TestReplacedFiles(t *testing.T) {
	a := func(t *testing.T) *load.Package {
		return fake(t, 0, "Package: a\nReplaces: b (<< 2)\n", "usr/", "usr/both", "usr/a")
	}
	b := func(t *testing.T) *load.Package {
		return fake(t, 1, "Package: b\nSection: x\n", "usr/", "usr/both", "usr/b")
	}
	for name, set := range map[string][]*load.Package{"replacing first": {a(t), b(t)}, "replaced first": {b(t), a(t)}} {
		p := basePhase(t)
		if err := p.put(t.Context(), set); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if got := content(t, p, "usr/both"); !strings.HasPrefix(got, "Package: a") {
			t.Errorf("%s: the file is that of %q", name, got)
		}
		if got, want := content(t, p, infoDir+"/b.list"), "/.\n/usr\n/usr/b\n"; got != want {
			t.Errorf("%s: list of b %q, want %q", name, got, want)
		}
		if got, want := content(t, p, infoDir+"/a.list"), "/.\n/usr\n/usr/both\n/usr/a\n"; got != want {
			t.Errorf("%s: list of a %q, want %q", name, got, want)
		}
	}
}

func TestFilesOfTwoPackages(t *testing.T) {
	p := basePhase(t)
	err := p.put(t.Context(), []*load.Package{fake(t, 0, "Package: a\nSection: x\n", "x"), fake(t, 1, "Package: b\nSection: x\n", "x")})
	if err == nil || !strings.Contains(err.Error(), "/x is also in package a") {
		t.Errorf("error %v", err)
	}
}

// A phase over another takes files over from it, obeys its diversions and
// activates the triggers of what is configured there.
func TestOverAnotherPhase(t *testing.T) {
	below := basePhase(t)
	if err := below.put(t.Context(), []*load.Package{fake(t, 0, "Package: b\nSection: x\n", "usr/", "usr/both", "usr/b")}); err != nil {
		t.Fatal(err)
	}
	v := below.view()
	for name, text := range map[string]string{
		dpkg.Dir + "/diversions": "/usr/sh\n/usr/sh.distrib\ndash\n",
		interestsFile:            "/usr/share/shells b/noawait\n/usr/share/other missing\n",
	} {
		if err := v.WriteFile(name, 0o644, []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	w := below.worker
	p := w.newPhase(nil, []string{below.upper}, filepath.Join(w.Work, "over"))
	if err := os.Mkdir(p.upper, 0o755); err != nil {
		t.Fatal(err)
	}
	var err error
	if p.configured, err = p.configuredBelow(); err != nil {
		t.Fatal(err)
	}
	a := fake(t, 1, "Package: a\nReplaces: b\n", "usr/", "usr/both", "usr/sh", "usr/share/", "usr/share/shells/", "usr/share/shells/a", "usr/share/other")
	if err := p.put(t.Context(), []*load.Package{a}); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"usr/sh.distrib":      "Package: a\nRusr/sh",
		"usr/sh":              "",
		"usr/both":            "Package: a\nRusr/both",
		infoDir + "/b.list":   "/.\n/usr\n/usr/b\n",
		infoDir + "/a.list":   "/.\n/usr\n/usr/both\n/usr/sh\n/usr/share\n/usr/share/shells\n/usr/share/shells/a\n/usr/share/other\n",
		pendingFile:           "/usr/share/shells -\n",
		apt.States:            "Package: b\nArchitecture: amd64\nAuto-Installed: 1\n\n",
		dpkg.Dir + "/nothing": "",
	} {
		if got := content(t, p, name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if got := content(t, p, statusFile); strings.Count(got, "Status: install ok unpacked\n") != 2 {
		t.Errorf("status %q", got)
	}
	if _, err := os.Lstat(below.upper + "/usr/sh.distrib"); err == nil {
		t.Error("the phase below was written to")
	}
}
