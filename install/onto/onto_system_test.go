//go:build system

package onto

import (
	"os"
	"strings"
	"sync/atomic"
	"testing"

	"ore"
	"ore/image"
	"ore/install/exact"
	"ore/install/recipe"
)

// It is the same whatever it is installed over. What is kept is the host's image
// to the byte.
func TestSameTreeOverImages(t *testing.T) {
	sameTree(t,
		start{
			summary: "over the base, and kept", save: true,
			lacks: func(p ore.Package, _ image.Manifest) bool { return !p.Base },
			image: func(h *host, _ image.Manifest) *image.Manifest { return &h.base },
		},
		start{
			summary: "over some packages",
			lacks:   func(p ore.Package, some image.Manifest) bool { return !exact.Has(some.Environment.Packages, p) },
			image:   func(_ *host, some image.Manifest) *image.Manifest { return &some },
		},
	)
}

// A step that fails is named, with what it said, and leaves the target empty but
// for the folder of the work. The next try does not repeat the steps before it,
// nor ask for packages again.
func TestGoesOn(t *testing.T) {
	h := newHost(t)
	env := h.lock(t, "netcat-openbsd").BaseOnly()
	env.Steps = []ore.Step{
		{Name: "first", Run: "echo once > /opt/first"},
		{Name: "second", Needs: []string{"first"}, Run: "echo it is too late; exit 3"},
	}
	address, served := h.proxy(t, env)
	var again atomic.Bool
	o := Options{
		Target: t.TempDir(), Args: []string{workerWord},
		Recipe: recipe.Recipe{Environment: env, Archive: []string{"proxy:" + address}},
		Watch: func(e ore.Event) {
			if e.Text == "first: done before" {
				again.Store(true)
			}
		},
	}
	_, err := Install(t.Context(), o)
	if err == nil || !strings.Contains(err.Error(), "step second") || !strings.Contains(err.Error(), "it is too late") {
		t.Fatalf("a step that fails: %v", err)
	}
	if left, err := os.ReadDir(o.Target); err != nil || len(left) != 1 || left[0].Name() != Folder {
		t.Errorf("the target has %v, %v", left, err)
	}
	*served = nil
	o.Recipe.Environment.Steps = []ore.Step{env.Steps[0], {Name: "second", Needs: []string{"first"}, Run: "cat /opt/first"}}
	got, err := Install(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if !again.Load() || len(*served) > 0 {
		t.Errorf("the first step was run again: %v; packages were asked for again: %v", !again.Load(), *served)
	}
	if d, _ := digest(t, o.Target); d != got.Tree {
		t.Errorf("the files make the tree %s, not %s", d.Short(), got.Tree.Short())
	}
}
