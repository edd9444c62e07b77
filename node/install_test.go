package node

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"ore"
	"ore/guest"
	"ore/image"
	"ore/node/installing"
)

// installs has the machines of s install themselves with a shell's script.
func (b *bench) installs(t *testing.T, s *Start, script string) {
	t.Helper()
	d, err := b.node.config.Store.PutBytes(t.Context(), []byte("a squashfs"))
	if err != nil {
		t.Fatal(err)
	}
	s.Install = &installing.Order{
		Image: image.Manifest{Layers: []image.Layer{{Digest: d}}}, Program: d, Blobs: []ore.Digest{d},
		Command: []string{"/bin/sh", "-c", script}, Machines: map[string]installing.Machine{},
	}
	for _, m := range s.Machines {
		s.Install.Machines[m.Name] = installing.Machine{Recipe: []byte(`"` + m.Name + `"`), Root: guest.Root{FileSystem: guest.FileSystem{UUID: "u", FS: "ext4", Part: 1}}}
	}
	s.Resources.Disk = 1 << 20
}

// Machines install themselves beside each other, each with its own recipe, and
// are then started again, on what they have installed.
func TestInstall(t *testing.T) {
	b := newBench(t)
	s := b.ask("m0", "m1")
	out := t.TempDir()
	b.installs(t, &s, `r=$(cat); echo "$r" >`+out+`/$(echo "$r" | tr -d '"'); echo '{"stage":"format","event":"start"}'; echo '{"stage":"restart","event":"start"}'`)
	started, err := b.Start(t.Context(), s, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range started {
		if got, err := os.ReadFile(filepath.Join(out, m.Name)); err != nil || string(got) != `"`+m.Name+`"`+"\n" {
			t.Errorf("recipe of %s: %q, %v", m.Name, got, err)
		}
		var names []string
		for _, stage := range m.Stages {
			names = append(names, stage.Name)
		}
		if want := []string{installing.Begin, "format", installing.Restart, installing.Ready}; !slices.Equal(names, want) {
			t.Errorf("stages of %s: %q", m.Name, names)
		}
		var id guest.Identity
		if id = b.identityOf(t, m.Name); id.InMemory || id.Root == nil || id.Root.UUID != "u" || id.Layers != 0 || len(id.Blobs) > 0 {
			t.Errorf("identity of %s: %+v", m.Name, id)
		}
		if info, err := os.Stat(filepath.Join(b.dir, machineFolder+m.Name, "disk")); err != nil || info.Size() != s.Resources.Disk {
			t.Errorf("disk of %s: %v, %v", m.Name, info, err)
		}
		if exit, err := b.Exec(t.Context(), m.Name, guest.Command{Args: []string{"/bin/true"}}); err != nil || exit.Code != 0 {
			t.Errorf("%s: %+v, %v", m.Name, exit, err)
		}
	}
}

// The installer's machine has its layers, the program, and what layers of the
// image there is room for, and is told so.
func TestInstallerIsWired(t *testing.T) {
	b := newBench(t)
	s := b.ask("m0")
	b.installs(t, &s, "")
	for range 2 * installing.Devices {
		s.Install.Blobs = append(s.Install.Blobs, s.Install.Program)
	}
	w, err := (&batch{node: b.node, start: s}).installer(place{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(w.files) != installing.Devices-1 || w.id.Layers != 1 || len(w.id.Mounts) != 1 || w.id.Mounts[0].Path != "/bin/sh" || len(w.id.Blobs) != installing.Devices-3 || !w.id.InMemory {
		t.Errorf("%d files, %+v", len(w.files), w.id)
	}
}

// An installer that fails is told with its stage, its cause and its console, and
// leaves no machine where all are needed.
func TestInstallFails(t *testing.T) {
	b := newBench(t)
	s := b.ask("m0", "m1")
	b.installs(t, &s, `if grep -q m1; then echo '{"stage":"format","event":"fail","text":"mkfs: no room"}'; echo last words >&2; exit 1; fi; sleep 1000`)
	_, err := b.Start(t.Context(), s, nil)
	var failed *StartError
	if !errors.As(err, &failed) || failed.Machine != "m1" || failed.Stage != "install" {
		t.Fatalf("%v", err)
	}
	if text := err.Error(); !strings.Contains(text, "stage format: mkfs: no room") || !strings.Contains(text, "last words") {
		t.Errorf("%v", err)
	}
	if all := b.node.Machines(); len(all) > 0 {
		t.Errorf("machines are left: %v", all)
	}
}

// identityOf reads what a machine was told last.
func (b *bench) identityOf(t *testing.T, machine string) guest.Identity {
	t.Helper()
	var id guest.Identity
	text, err := os.ReadFile(filepath.Join(b.dir, machineFolder+machine, "fake", "identity.json"))
	if err == nil {
		err = json.Unmarshal(text, &id)
	}
	if err != nil {
		t.Fatal(err)
	}
	return id
}
