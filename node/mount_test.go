package node

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"ore/image"
	"ore/vm"
)

// What is mounted is held for as long as the job has machines, and reaches them
// after the image's layers.
func TestInputsAreHeldAndAttached(t *testing.T) {
	b := newBench(t)
	store := b.node.config.Store
	d, err := store.PutBytes(t.Context(), []byte("a squashfs"))
	if err != nil {
		t.Fatal(err)
	}
	s := b.ask("m0")
	s.Inputs = []Input{{Digest: d, Path: "/data"}}
	if _, err := b.Start(t.Context(), s, nil); err != nil {
		t.Fatal(err)
	}
	if held, err := store.Held(d); err != nil || !held {
		t.Errorf("not held: %v", err)
	}
	w, err := (&batch{node: b.node, start: s}).wiring(place{}, nil)
	if p, perr := store.Path(d); err != nil || perr != nil || len(w.files) != 1 || w.files[0] != p {
		t.Errorf("%v, %v, %v", w.files, err, perr)
	}
	if err := b.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
	if held, err := store.Held(d); err != nil || held {
		t.Errorf("held after the release: %v", err)
	}
}

// No machine starts with an input that is gone or whose bytes do not match.
func TestInputsAreVerified(t *testing.T) {
	b := newBench(t)
	store := b.node.config.Store
	d, err := store.PutBytes(t.Context(), []byte("a squashfs"))
	if err != nil {
		t.Fatal(err)
	}
	p, err := store.Path(d)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Chmod(p, 0o600), os.WriteFile(p, []byte("other bytes"), 0o600)); err != nil {
		t.Fatal(err)
	}
	s := b.ask("m0")
	s.Inputs = []Input{{Digest: d, Path: "/data"}}
	for _, want := range []error{image.ErrRotten, image.ErrMissing} { // what does not match is put away
		if _, err := b.Start(t.Context(), s, nil); err == nil || !strings.Contains(err.Error(), want.Error()) {
			t.Errorf("%v, want %v", err, want)
		}
	}
}

func TestMoreDisksThanThereAre(t *testing.T) {
	b := &batch{start: Start{Image: image.Manifest{Layers: make([]image.Layer, 4)}, Inputs: make([]Input, 3)}}
	many := fmt.Errorf("machine m0: %w", &vm.DisksError{Need: 9, Most: 8})
	if err := b.disks(many); !strings.HasPrefix(err.Error(), "3 inputs to mount: 2 of 8 disks are free, beside 4 of the image") {
		t.Errorf("%v", err)
	}
	b.start.Inputs = nil
	if err := b.disks(many); err != many {
		t.Errorf("without inputs: %v", err)
	}
}
