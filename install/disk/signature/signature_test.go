package signature

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// empty makes an empty sparse file of 512 MiB, in which every program finds room.
func empty(t *testing.T) string {
	t.Helper()
	p := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(p, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(p, size); err != nil {
		t.Fatal(err)
	}
	return p
}

const (
	size = 512 << 20
	id   = "0a1b2c3d-0a1b-4c2d-8e3f-0a1b2c3d4e5f"
)

func read(t *testing.T, path string) *Found {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	got, err := Read(f, info.Size())
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// What the programs themselves write is known, with identifier and label, and
// blkid says the same.
func TestReadsWhatProgramsWrite(t *testing.T) {
	for _, c := range []struct {
		command, pkg string
		want         Found
	}{
		{"mkfs.ext4 -q -F -U " + id + " -L root", "e2fsprogs", Found{"ext4", id, "root"}},
		{"mkfs.xfs -q -f -m uuid=" + id + " -L data", "xfsprogs", Found{"xfs", id, "data"}},
		{"mkfs.btrfs -q -f -U " + id + " -L much", "btrfs-progs", Found{"btrfs", id, "much"}},
		{"mkfs.vfat -F 32 -i 1A2B3C4D -n BOOT", "dosfstools", Found{"vfat", "1A2B-3C4D", "BOOT"}},
		{"mkfs.vfat -F 16 -i 1A2B3C4D", "dosfstools", Found{"vfat", "1A2B-3C4D", ""}},
		{"mkswap -q -U " + id + " -L swap", "util-linux", Found{"swap", id, "swap"}},
	} {
		argv := strings.Fields(c.command)
		if _, err := exec.LookPath(argv[0]); err != nil {
			t.Errorf("%s is not here: install the Debian package %s", argv[0], c.pkg)
			continue
		}
		p := empty(t)
		if out, err := exec.Command(argv[0], append(argv[1:], p)...).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", c.command, err, out)
		}
		if got := read(t, p); got == nil || *got != c.want {
			t.Errorf("%s: got %v, want %v", c.command, got, c.want)
		}
		out, err := exec.Command("blkid", "-p", "-o", "export", p).Output()
		if err != nil || !strings.Contains(string(out), "TYPE="+c.want.Kind+"\n") || !strings.Contains(string(out), "UUID="+c.want.UUID+"\n") {
			t.Errorf("blkid thinks otherwise: %v\n%s", err, out)
		}
	}
}

func TestMarks(t *testing.T) {
	for _, m := range marks() {
		b := make([]byte, 3<<20)
		copy(b[m.at:], m.text)
		got, err := Read(bytes.NewReader(b), int64(len(b)))
		if err != nil || got == nil || got.Kind != m.kind {
			t.Errorf("%s: %v, %v", m.kind, got, err)
		}
	}
}

func TestEnds(t *testing.T) {
	for _, c := range []struct {
		at   int
		text string
		want string
	}{
		{3<<20 - 8<<10, "\xfc\x4e\x2b\xa9", "raid"},
		{3<<20 - 64<<10, "\xfc\x4e\x2b\xa9", "raid"},
		{3<<20 - 1, "x", "data"},
		{1<<20 - 1, "x", "data"},
		{700, "x", "data"},
	} {
		b := make([]byte, 3<<20)
		copy(b[c.at:], c.text)
		got, err := Read(bytes.NewReader(b), int64(len(b)))
		if err != nil || got == nil || got.Kind != c.want {
			t.Errorf("%q at %d: %v, %v", c.text, c.at, got, err)
		}
	}
	for _, n := range []int{0, 1, 512, 5000, 3 << 20} {
		if got, err := Read(bytes.NewReader(make([]byte, n)), int64(n)); got != nil || err != nil {
			t.Errorf("empty, %d bytes: %v, %v", n, got, err)
		}
	}
	if _, err := Read(bytes.NewReader(make([]byte, 100)), 3<<20); err == nil {
		t.Error("a device that ends early is no empty one")
	}
}

func FuzzRead(f *testing.F) {
	f.Add([]byte("XFSB"), uint32(0))
	f.Add([]byte("LABELONE"), uint32(512))
	f.Add([]byte("\xfc\x4e\x2b\xa9"), uint32(4096))
	f.Fuzz(func(t *testing.T, text []byte, at uint32) {
		b := make([]byte, 1<<20+int(at%(1<<20)))
		copy(b[int(at)%len(b):], text)
		got, err := Read(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			t.Fatal(err)
		}
		if (got == nil) != (bytes.Count(b, []byte{0}) == len(b)) && got != nil {
			t.Errorf("an empty device holds %v", got)
		}
	})
}
