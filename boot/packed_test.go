package boot

import (
	"bufio"
	"bytes"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"ore/squashfs"
)

// TestJoin reads back what is joined, as the kernel does: one archive behind the
// other.
func TestJoin(t *testing.T) {
	dir := t.TempDir()
	file := func(name string, content []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, content, 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	var early bytes.Buffer
	if err := WriteCPIO(&early, Entry{Path: "init", Mode: modeExec, Data: []byte("process 1")}); err != nil {
		t.Fatal(err)
	}
	layer := bytes.Repeat([]byte("layer"), 5001) // not a multiple of four
	var out bytes.Buffer
	err := join(t.Context(), &out, []packedPart{
		{Part{Name: "early", Size: int64(early.Len())}, "", file("early", early.Bytes())},
		{Part{Name: "layer", Size: int64(len(layer))}, packedLayer, file("layer", layer)},
		{Part{Name: "program", Size: 3}, packedProgram, file("program", []byte("ore"))},
	})
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	r := bufio.NewReader(&out)
	for {
		if _, err := r.Peek(1); err != nil {
			break
		}
		list, err := ReadCPIO(r)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range list {
			got[e.Path] = string(e.Data)
		}
	}
	for name, want := range map[string]string{"init": "process 1", "ore/packed/layer0": string(layer), "ore/packed/program": "ore", "ore/packed": ""} {
		if have, ok := got[name]; !ok || have != want {
			t.Errorf("%s: %d bytes, want %d", name, len(have), len(want))
		}
	}
}

// TestCarried says of some modules whether a machine that installs itself may
// need them.
func TestCarried(t *testing.T) {
	for file, want := range map[string]bool{
		"kernel/drivers/nvme/host/nvme.ko": true, "kernel/drivers/net/ethernet/intel/e1000e/e1000e.ko.xz": true, "kernel/drivers/net/virtio_net.ko": true,
		"kernel/fs/xfs/xfs.ko": true, "kernel/drivers/md/raid456.ko": true, "kernel/drivers/usb/storage/uas.ko": true,
		"kernel/sound/core/snd.ko": false, "kernel/drivers/gpu/drm/amd/amdgpu/amdgpu.ko": false, "kernel/drivers/net/wireless/ath/ath.ko": false, "kernel/fs/nfs/nfs.ko": false,
	} {
		if got := isCarried(file); got != want {
			t.Errorf("%s: %v", file, got)
		}
	}
}

// written makes a squashfs of entries; content is of regular files.
func written(t *testing.T, entries []squashfs.Entry, content map[string]string) string {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "layer"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w, err := squashfs.NewWriter(f, squashfs.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		e.Size = int64(len(content[e.Path]))
		if err := w.Add(e, bytes.NewReader([]byte(content[e.Path]))); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return f.Name()
}

// TestSlim merges two layers: what the upper one takes away, replaces and adds
// is so, several names of one file stay names of one, and what nobody needs is
// left out.
func TestSlim(t *testing.T) {
	dir := func(p string) squashfs.Entry { return squashfs.Entry{Path: p, Mode: fs.ModeDir | 0o755} }
	file := func(p string) squashfs.Entry { return squashfs.Entry{Path: p, Mode: 0o644, UID: 7} }
	gone := func(p string) squashfs.Entry {
		return squashfs.Entry{Path: p, Mode: fs.ModeDevice | fs.ModeCharDevice}
	}
	lower := written(t, []squashfs.Entry{dir("."), dir("a"), file("a/old"), file("a/kept"), dir("b"), file("b/under"), dir("doc"), file("doc/left"),
		file("gone-first"), {Path: "second", Hardlink: "gone-first"}, {Path: "third", Hardlink: "gone-first"}},
		map[string]string{"a/old": "old", "a/kept": "kept", "b/under": "under", "doc/left": "left out", "gone-first": "content"})
	upper := written(t, []squashfs.Entry{dir("."), dir("a"), gone("a/old"), file("a/kept"), file("b"), {Path: "link", Mode: fs.ModeSymlink | 0o777, Link: "b"}, gone("gone-first")},
		map[string]string{"a/kept": "replaced", "b": "a file now"})
	s := &slim{merged: map[string]slimmed{}, leave: []string{"doc/"}}
	defer s.close()
	for _, l := range []string{lower, upper} {
		if err := s.open(l); err != nil {
			t.Fatal(err)
		}
	}
	out, err := os.Create(filepath.Join(t.TempDir(), "slim"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	if err := s.write(t.Context(), out); err != nil {
		t.Fatal(err)
	}
	info, err := out.Stat()
	if err != nil {
		t.Fatal(err)
	}
	r, err := squashfs.NewReader(out, info.Size())
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for e, err := range r.Entries() {
		if err != nil {
			t.Fatal(err)
		}
		switch {
		case e.Hardlink != "":
			got[e.Path] = "= " + e.Hardlink
		case e.Mode.IsRegular():
			f, err := r.Open(e.Path)
			if err != nil {
				t.Fatal(err)
			}
			b, err := io.ReadAll(f)
			if err != nil || e.UID != 7 {
				t.Fatalf("%s: owner %d, %v", e.Path, e.UID, err)
			}
			got[e.Path] = string(b)
		default:
			got[e.Path] = e.Mode.Type().String() + e.Link
		}
	}
	want := map[string]string{".": "d---------", "a": "d---------", "a/kept": "replaced", "b": "a file now", "doc": "d---------",
		"link": "L---------b", "second": "content", "third": "= second"}
	if len(got) != len(want) {
		t.Errorf("got %q", got)
	}
	for p, w := range want {
		if got[p] != w {
			t.Errorf("%s: %q, want %q", p, got[p], w)
		}
	}
}
