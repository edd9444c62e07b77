package boot

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ore"
	"ore/deb/shelf"
)

// fake returns what a kernel's package would give, with a kernel of a few bytes.
func fake(t *testing.T) *Boot {
	t.Helper()
	dir := t.TempDir()
	b := &Boot{config: Config{Dir: filepath.Join(dir, "boot")}, tree: &shelf.Tree{Dir: filepath.Join(dir, "tree")}}
	b.Kernel = Kernel{Path: filepath.Join(dir, "vmlinuz"), Package: ore.Package{Name: "linux"}}
	put(t, b.Kernel.Path, "kernel")
	return b
}

func put(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// No machine boots bytes that do not match their digest.
func TestChangedBytesAreNotBooted(t *testing.T) {
	b := fake(t)
	made := 0
	path := b.made("initrd", ".cpio")
	initrd := func() error {
		return b.make(path, func(f *os.File) error {
			made++
			_, err := f.WriteString("initramfs")
			return err
		})
	}
	for range 3 {
		if err := errors.Join(b.kernel(), initrd()); err != nil || made != 1 {
			t.Fatalf("made %d times, %v", made, err)
		}
	}
	put(t, b.Kernel.Path, "Kernel")
	if err := b.kernel(); !errors.Is(err, errChanged) || !strings.Contains(err.Error(), "remove the folder "+b.tree.Dir) {
		t.Errorf("a kernel that was written to: %v", err)
	}
	put(t, b.Kernel.Path, "kernel") // unpacked anew, with another stamp
	if err := b.kernel(); err != nil {
		t.Errorf("the same bytes: %v", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		t.Fatal(err)
	}
	put(t, path, "Initramfs")
	if err := initrd(); !errors.Is(err, errChanged) || !strings.Contains(err.Error(), "remove it") {
		t.Errorf("an initramfs that was written to: %v", err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := initrd(); err != nil || made != 2 {
		t.Errorf("removed, as was said: made %d times, %v", made, err)
	}
	// Without its record nothing is known of a file.
	put(t, path, "Initramfs")
	if err := os.Remove(path + proofSuffix); err != nil {
		t.Fatal(err)
	}
	if err := initrd(); err != nil || made != 3 {
		t.Errorf("without its record: made %d times, %v", made, err)
	}
}

// A stamp is all that is looked at as long as it stands: that is why a start
// does not take longer.
func TestUnchangedBytesAreNotRead(t *testing.T) {
	b := fake(t)
	if err := b.kernel(); err != nil {
		t.Fatal(err)
	}
	record := b.made("kernel", proofSuffix, b.Kernel.Path)
	p := readProof(record)
	p.Digest = ore.DigestOf([]byte("another")) // which reading would find wrong
	if err := p.write(record); err != nil {
		t.Fatal(err)
	}
	if err := b.kernel(); err != nil {
		t.Errorf("the kernel was read: %v", err)
	}
	put(t, record, "{damaged")
	if err := b.kernel(); err != nil || readProof(record).Digest != ore.DigestOf([]byte("kernel")) {
		t.Errorf("a damaged record: %v", err)
	}
}

func BenchmarkKernelStamp(b *testing.B) {
	dir := b.TempDir()
	x := &Boot{config: Config{Dir: dir}, tree: &shelf.Tree{Dir: dir}, Kernel: Kernel{Path: filepath.Join(dir, "vmlinuz")}}
	if err := os.WriteFile(x.Kernel.Path, make([]byte, 8<<20), 0o600); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if err := x.kernel(); err != nil {
			b.Fatal(err)
		}
	}
}
