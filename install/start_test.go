package install

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"ore"
	"ore/image"
	"ore/install/exact"
	"ore/install/fold"
)

// attempt is a build that started from another image, or was to.
type attempt struct {
	from, to     []string
	image        image.Manifest // that it started from
	made         image.Manifest
	clean        image.Manifest
	refused      string // why it did not start from there
	relied       exact.Memory
	took, normal time.Duration
	removed      []string // packages
	prerms       int      // of those, how many have a prerm
}

func (a attempt) String() string { return fmt.Sprintf("%v to %v", a.from, a.to) }

// try builds a set from nothing and from an image of another set, and compares
// the trees that their layers make, entry by entry.
func try(t *testing.T, dir string, from, to []string, learn exact.Memory) attempt {
	t.Helper()
	a := attempt{from: from, to: to}
	have, debs := lock(t, "bookworm", from...)
	want, _ := lock(t, "bookworm", to...)
	b := builder(t, dir, debs)
	var err error
	if a.image, err = b.Build(t.Context(), Request{Environment: have}); err != nil {
		t.Fatalf("%v: %v", a, err)
	}
	start := time.Now()
	if a.clean, err = b.Build(t.Context(), Request{Environment: want}); err != nil {
		t.Fatalf("%v: %v", a, err)
	}
	a.normal = time.Since(start)
	tell := b.Watch
	b.Watch = func(e ore.Event) {
		if e.Stage == "refuse" {
			a.refused = e.Text
		}
		tell.Tell(e)
	}
	r := Request{Environment: want, From: &a.image, Seen: learn, Try: learn != nil, Started: func(m exact.Memory) { a.relied = m }}
	start = time.Now()
	if a.made, err = b.Build(t.Context(), r); err != nil {
		if learn == nil {
			t.Fatalf("%v: %v", a, err)
		}
		a.refused = err.Error()
		return a
	}
	a.took = time.Since(start)
	for _, p := range have.Packages {
		if !exact.Has(want.Packages, p) {
			a.removed = append(a.removed, p.Name)
		}
	}
	a.compare(t, b)
	return a
}

// compare proves that the image is like the one made from nothing.
func (a *attempt) compare(t *testing.T, b *Builder) {
	t.Helper()
	if a.refused != "" && a.made.Digest() != a.clean.Digest() {
		t.Errorf("%v: refused, and the image is not the usual one", a)
	}
	made, clean, old := readImage(t, b.Store, a.made), readImage(t, b.Store, a.clean), readImage(t, b.Store, a.image)
	for _, name := range compare(made, clean) {
		t.Errorf("%v: /%s: %s, from nothing %s", a, name, describe(made.nodes[name]), describe(clean.nodes[name]))
	}
	if a.made.Tree != a.clean.Tree || a.made.Bytes != a.clean.Bytes || a.made.Files != a.clean.Files {
		t.Errorf("%v: tree %s of %d bytes, from nothing %s of %d", a, a.made.Tree.Short(), a.made.Bytes, a.clean.Tree.Short(), a.clean.Bytes)
	}
	for _, name := range a.removed {
		for _, spec := range []string{name, name + ":amd64"} {
			if old.nodes[infoDir+"/"+spec+".prerm"] != nil {
				a.prerms++
			}
		}
	}
}

// Images are made from others by removing and installing packages, and nobody
// can tell. Among what is removed are packages with a prerm; users get the
// numbers that they would have had, although the packages that make them came in
// another order.
func TestStartFromAnotherImage(t *testing.T) {
	prerms := 0
	for _, c := range []struct{ from, to string }{
		{"netcat-openbsd hello jq", "jq ed"},
		{"dbus less", "dbus openssh-client"},
		{"openssh-client hello", "cron hello"},
		{"python3-attr libjson-perl", "python3-click"},
	} {
		a := try(t, testDir(t), strings.Fields(c.from), strings.Fields(c.to), nil)
		t.Logf("%v: %d removed, %v; from the base %v", a, len(a.removed), a.took, a.normal)
		if a.refused != "" {
			t.Errorf("%v: %s", a, a.refused)
		}
		if n := len(a.made.Layers); n != 3 || a.made.Layers[1] != a.image.Layers[1] {
			t.Errorf("%v: %d layers", a, n)
		}
		if a.relied == nil {
			t.Errorf("%v: what was relied on is not told", a)
		}
		prerms += a.prerms
	}
	if prerms == 0 {
		t.Error("no package with a prerm was removed")
	}
}

// What is not known to leave no trace is not removed: the build starts from the
// base. Memory can change that in both directions.
func TestRefusal(t *testing.T) {
	a := try(t, testDir(t), []string{"sudo"}, []string{"hello"}, nil)
	if !strings.Contains(a.refused, "sudo") || a.relied != nil {
		t.Errorf("refused: %q", a.refused)
	}
	have, debs := lock(t, "bookworm", "hello", "ed")
	want, _ := lock(t, "bookworm", "hello", "less")
	b := builder(t, testDir(t), debs)
	m, err := b.Build(t.Context(), Request{Environment: have})
	if err != nil {
		t.Fatal(err)
	}
	why, err := b.Usable(t.Context(), m, want, nil, nil)
	if err != nil || why != "" {
		t.Errorf("usable: %q, %v", why, err)
	}
	// What was never decoded here tells of itself only by its .deb.
	more, debs := lock(t, "bookworm", "hello", "udev")
	if err := debs.FetchAll(t.Context(), more.Packages, nil); err != nil {
		t.Fatal(err)
	}
	blind, err := b.Usable(t.Context(), m, more, nil, nil)
	if err != nil || blind != "" {
		t.Errorf("usable for all that is known: %q, %v", blind, err)
	}
	if why, err := b.Usable(t.Context(), m, more, nil, debs.AtHand(more.Packages)); err != nil || !strings.Contains(why, "udev") {
		t.Errorf("its .deb says that udev cannot be added: %q, %v", why, err)
	}
	var relied exact.Memory
	if _, err := b.Build(t.Context(), Request{Environment: want, From: &m, Started: func(x exact.Memory) { relied = x }}); err != nil {
		t.Fatal(err)
	}
	if why, err := b.Usable(t.Context(), m, want, relied.Broken(), nil); err != nil || !strings.Contains(why, "traces") {
		t.Errorf("what was seen to be broken is used: %q, %v", why, err)
	}
	broken := m
	broken.Tree = m.Layers[0].Digest // any other
	var no *refusal
	if _, err := b.Build(t.Context(), Request{Environment: want, From: &broken, Try: true}); !errors.As(err, &no) || !strings.Contains(no.why, "do not make the tree") {
		t.Errorf("an image whose layers make another tree: %v", err)
	}
	want.Files = []ore.LockedFile{{Path: "/opt", Mode: 0o040755}}
	if why, err := b.Usable(t.Context(), m, want, nil, nil); err != nil || why != "" {
		t.Errorf("with files: %q, %v", why, err)
	}
	m.Environment.Files = want.Files
	if why, err := b.Usable(t.Context(), m, want, nil, nil); err != nil || why == "" {
		t.Errorf("an image with files is usable: %v", err)
	}
}

// A script that fails when its package goes is no reason for a build to fail.
func TestFailingRemoval(t *testing.T) {
	have, debs := lock(t, "bookworm", "hello", "sudo")
	want, _ := lock(t, "bookworm", "hello")
	b := builder(t, testDir(t), debs)
	m, err := b.Build(t.Context(), Request{Environment: have})
	if err != nil {
		t.Fatal(err)
	}
	// sudo refuses to go where root has no password.
	r := Request{Environment: want, From: &m, Try: true}
	var no *refusal
	if _, err := b.Build(t.Context(), r); !errors.As(err, &no) || !strings.Contains(no.why, "sudo") {
		t.Errorf("trying it: %v", err)
	}
	r.Try = false
	if _, err := b.Build(t.Context(), r); err != nil {
		t.Error(err)
	}
}

// An image of many layers is folded into two, and the tree is the same. The
// folded one can be started from again.
func TestFold(t *testing.T) {
	dir := testDir(t)
	var m image.Manifest
	var b *Builder
	for i, set := range []string{"hello jq", "jq ed", "ed less hello"} {
		env, debs := lock(t, "bookworm", strings.Fields(set)...)
		b = builder(t, dir, debs)
		r := Request{Environment: env}
		if i > 0 {
			r.From = &m
		}
		var err error
		if m, err = b.Build(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	if len(m.Layers) != 4 {
		t.Fatalf("%d layers", len(m.Layers))
	}
	folded, err := fold.Fold(t.Context(), b.Store, m, testOptions)
	if err != nil {
		t.Fatal(err)
	}
	if len(folded.Layers) != 2 || folded.Layers[0] != m.Layers[0] || folded.Tree != m.Tree || folded.Key != m.Key {
		t.Errorf("folded: %+v", folded.Layers)
	}
	if diff := compare(readImage(t, b.Store, folded), readImage(t, b.Store, m)); len(diff) > 0 {
		t.Errorf("the folded tree differs in %d places: %v", len(diff), diff[:min(len(diff), 10)])
	}
	again, err := fold.Fold(t.Context(), b.Store, m, testOptions)
	if err != nil || again.Digest() != folded.Digest() {
		t.Errorf("folded again: %s, %v", again.Digest().Short(), err)
	}
	want, _ := lock(t, "bookworm", "hello")
	clean, err := b.Build(t.Context(), Request{Environment: want})
	if err != nil {
		t.Fatal(err)
	}
	made, err := b.Build(t.Context(), Request{Environment: want, From: &folded})
	if err != nil || made.Tree != clean.Tree || len(made.Layers) != 3 {
		t.Errorf("started from the folded image: %d layers, tree %s, want %s: %v", len(made.Layers), made.Tree.Short(), clean.Tree.Short(), err)
	}
	if !slices.Equal(made.Layers[:2], folded.Layers) {
		t.Error("it did not start from the folded image")
	}
}
