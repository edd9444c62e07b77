//go:build system

package installing

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"ore/image"
	"ore/install/capture"
	"ore/install/recipe"
	"ore/netboot/lab"
	"ore/netboot/roster"
	"ore/site"
)

// Where the process outside of the network leaves, in the folder of the list, the image
// that the host has built: its manifest, and a store with its layers.
const (
	builtAt  = "built.json"
	layersAt = "layers"
)

// images runs ore images.
func images(t *testing.T, args ...string) []byte {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), program(t), append([]string{"images"}, args...)...).Output()
	if err != nil {
		t.Fatalf("images %v: %v", args, err)
	}
	return out
}

// recipeOf is what the machines of a list are to do, all of them the same.
func recipeOf(t *testing.T, list string) recipe.Recipe {
	t.Helper()
	r, err := roster.Open(list, roster.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	systems, err := r.Systems()
	if err != nil || len(systems) != 1 {
		t.Fatalf("%d systems, %v", len(systems), err)
	}
	p, err := recipe.Parse(bytes.NewReader(systems[0].Recipe))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// setAside keeps a copy of the image that a list's machines get, and removes it here.
func setAside(t *testing.T, list string) {
	t.Helper()
	m := *recipeOf(t, list).Image
	dirs, err := site.FindDirs(os.Getenv)
	if err != nil {
		t.Fatal(err)
	}
	from, err := image.OpenStore(dirs.Images)
	if err != nil {
		t.Fatal(err)
	}
	to, err := image.OpenStore(filepath.Join(list, layersAt))
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range m.Layers {
		path, err := from.Path(l.Digest)
		if err != nil {
			t.Fatal(err)
		}
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		err = to.PutStream(t.Context(), l.Digest, f)
		if f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(list, builtAt), m.Encode(), 0o600); err != nil {
		t.Fatal(err)
	}
	images(t, "rm", string(m.Key))
}

// TestNetworkCapture plays a machine that has installed packages of which there is no
// image: it is asked for the one that it made, once, and the host has that then. Who has
// no machine's secret is not heard.
func TestNetworkCapture(t *testing.T) {
	list, ok := assignedBut(t, func(list string) { setAside(t, list) }, nil, []string{"--install-from", "base", "--again"})
	if !ok {
		return
	}
	b, err := os.ReadFile(filepath.Join(list, builtAt))
	if err != nil {
		t.Fatal(err)
	}
	built, err := image.DecodeManifest(b)
	if err != nil {
		t.Fatal(err)
	}
	store, err := image.OpenStore(filepath.Join(list, layersAt))
	if err != nil {
		t.Fatal(err)
	}
	lab.Ethernet(t)
	s := serve(t, list)
	s.expect(t, "HTTP at "+serverAt)
	p := booting(t)
	machine := capture.Sender{To: p.Capture}
	if err := machine.Wanted(t.Context()); err != nil {
		t.Fatalf("%s: %v", p.Capture, err)
	}
	stranger := capture.Sender{To: serverAt + "/mine/x/captured/" + built.Key.Short()}
	if err := stranger.Wanted(t.Context()); err == nil {
		t.Error("a stranger is asked for an image")
	}
	if err := machine.Send(t.Context(), built, store); err != nil {
		t.Fatal(err)
	}
	s.expect(t, "is kept")
	if err := machine.Wanted(t.Context()); err == nil {
		t.Error("it is asked for it again")
	}
	var captured image.Manifest
	if err := json.Unmarshal(images(t, "show", "--json", string(built.Key)), &captured); err != nil {
		t.Fatal(err)
	}
	if captured.Digest() != built.Digest() {
		t.Errorf("captured %+v with the tree %s, built %+v with the tree %s", captured.Layers, captured.Tree.Short(), built.Layers, built.Tree.Short())
	}
	s.end(syscall.SIGINT)
	leaves(t)
}
