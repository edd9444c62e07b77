//go:build system

package installing

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

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

// wasBuilt is the image that setAside has set aside.
func wasBuilt(t *testing.T, list string) image.Manifest {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(list, builtAt))
	if err != nil {
		t.Fatal(err)
	}
	m, err := image.DecodeManifest(b)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// isKept sees that the image that is kept here is, to the byte, one that was built.
func isKept(t *testing.T, built image.Manifest) {
	t.Helper()
	var kept image.Manifest
	if err := json.Unmarshal(images(t, "show", "--json", string(built.Key)), &kept); err != nil {
		t.Fatal(err)
	}
	if kept.Digest() != built.Digest() {
		t.Errorf("captured %+v with the tree %s, built %+v with the tree %s", kept.Layers, kept.Tree.Short(), built.Layers, built.Tree.Short())
	}
}

// TestNetworkCapture plays a machine that has installed packages of which there is no
// image: it is asked for the one that it made, once, and the host has that then. Who has
// no machine's secret is not heard.
func TestNetworkCapture(t *testing.T) {
	list, ok := assignedBut(t, func(list string) { setAside(t, list) }, nil, []string{"--install-from", "base", "--again"})
	if !ok {
		return
	}
	built := wasBuilt(t, list)
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
	isKept(t, built)
	s.end(syscall.SIGINT)
	leaves(t)
}

// smallFile is the least that starts from its own disk, with the smallest of Debian's
// kernels: an emulated machine takes its packages apart and seals them, and each byte
// of that costs ten times what it does elsewhere.
const smallFile = `environment:
  base: debian/bookworm
  kernel: linux-image-cloud-amd64
machines: {root: disk}
run: {command: ["true"]}
`

// TestNetworkCaptureOfMachine has an emulated machine boot from the network and install
// packages of which there is no image: the host has one then, to the byte the one that
// it had built itself, and the machine that is assigned next gets that.
func TestNetworkCaptureOfMachine(t *testing.T) {
	file := filepath.Join(t.TempDir(), "small.yaml")
	if err := os.WriteFile(file, []byte(smallFile), 0o644); err != nil {
		t.Fatal(err)
	}
	list, ok := assignedBut(t, func(list string) { setAside(t, list) }, []string{"-f", file}, []string{"-f", file, "--install-from", "base", "--again"})
	built := wasBuilt(t, list)
	if !ok { // it has gone well in there
		if out, err := command(t, list, "assign", lab.Card, "-f", file, "--again"); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		if r := recipeOf(t, list); r.Image == nil || r.Image.Digest() != built.Digest() || r.Strategy != recipe.Whole {
			t.Errorf("the next machine gets %+v", r.Image)
		}
		return
	}
	lab.Ethernet(t)
	disk := filepath.Join(t.TempDir(), "disk")
	if err := errors.Join(os.WriteFile(disk, nil, 0o600), os.Truncate(disk, 4<<30)); err != nil {
		t.Fatal(err)
	}
	s := serve(t, list)
	m, begun := lab.Run(t, firmware(false, disk)...), time.Now()
	for _, says := range []string{"node1: base: ", "node1: packages: ", "node1: capture", "is kept"} {
		s.expect(t, says)
		t.Logf("%-18s after %6.0f s, and %6.0f s of CPU", says, time.Since(begun).Seconds(), m.CPU().Seconds())
	}
	isKept(t, built)
	for _, g := range listed(t, list).Stages {
		t.Logf("%-16s %6.1f s %s", g.Name, g.Seconds, g.Note)
	}
	m.End()
	s.end(syscall.SIGINT)
	leaves(t)
}
