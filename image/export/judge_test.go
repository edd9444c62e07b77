package export

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"ore"
	"ore/image"
)

// TestTarJudge has GNU tar unpack the archive and compares the tree with what
// the kernel shows of the layers.
func TestTarJudge(t *testing.T) {
	s, m := built(t)
	want := seen(t, s, m)
	dir := t.TempDir()
	untar(t, exported(t, s, m, Tar), dir)
	compare(t, listed(t, dir), want)
}

func untar(t *testing.T, archive, dir string, more ...string) {
	t.Helper()
	run(t, append([]string{"tar", "-C", dir, "--numeric-owner", "--xattrs", "--xattrs-include=*", "-xpf", archive}, more...)...)
}

// TestExt4Judge has e2fsck check the file system and the kernel mount it, to
// read and to write.
func TestExt4Judge(t *testing.T) {
	s, m := built(t)
	want := seen(t, s, m)
	p := exported(t, s, m, Ext4)
	run(t, "e2fsck", "-fn", p)
	at := mounted(t, "-t", "ext4", "-o", "loop,ro", p)
	got := listed(t, at)
	if !strings.HasPrefix(got["lost+found"], "drwx------ 0:0") {
		t.Errorf("lost+found: %q", got["lost+found"])
	}
	delete(got, "lost+found")
	compare(t, got, want)
	var st syscall.Statfs_t
	if err := syscall.Statfs(at, &st); err != nil {
		t.Fatal(err)
	}
	if free := st.Bavail * uint64(st.Bsize); free < 64<<20 {
		t.Errorf("%d bytes free, fewer than 64 MiB", free)
	}
}

func TestExt4CanBeWritten(t *testing.T) {
	s, m := built(t)
	p := exported(t, s, m, Ext4)
	if os.Getuid() != 0 {
		t.Skip("only root may mount")
	}
	at := t.TempDir()
	run(t, "mount", "-t", "ext4", "-o", "loop", p, at)
	err := os.WriteFile(filepath.Join(at, "many", "another"), []byte(noise(40<<20)), 0o644)
	for i := range 300 {
		if err == nil {
			err = os.WriteFile(filepath.Join(at, "many", fmt.Sprint(i)), []byte("x"), 0o644)
		}
	}
	if err == nil {
		err = os.RemoveAll(filepath.Join(at, "bin"))
	}
	run(t, "umount", at)
	if err != nil {
		t.Fatal(err)
	}
	run(t, "e2fsck", "-fn", p)
	run(t, "e2fsck", "-fp", p) // resize2fs insists on it
	run(t, "resize2fs", p, "300M")
	run(t, "e2fsck", "-fn", p)
}

// TestDisksJudge has qemu-img check the disks, and compares their content with
// the file system's.
func TestDisksJudge(t *testing.T) {
	s, m := built(t)
	plain := exported(t, s, m, Ext4)
	info, err := os.Stat(plain)
	if err != nil {
		t.Fatal(err)
	}
	if taken := info.Sys().(*syscall.Stat_t).Blocks * 512; taken > 12<<20 {
		t.Errorf("the file system takes %d bytes of the disk for some 6 MiB of content", taken)
	}
	for _, f := range []Format{QCOW2, VMDK} {
		p := exported(t, s, m, f)
		out := run(t, "qemu-img", "check", "-f", string(f), p)
		if !strings.Contains(out, "No errors were found") {
			t.Errorf("%s: %s", f, out)
		}
		var i struct {
			Size int64 `json:"virtual-size"`
		}
		if err := json.Unmarshal([]byte(run(t, "qemu-img", "info", "--output=json", "-f", string(f), p)), &i); err != nil || i.Size != info.Size() {
			t.Errorf("%s: %d bytes, not %d: %v", f, i.Size, info.Size(), err)
		}
		back := filepath.Join(t.TempDir(), "raw")
		run(t, "qemu-img", "convert", "-f", string(f), "-O", "raw", p, back)
		run(t, "cmp", plain, back)
		if packed, err := os.Stat(p); err != nil || packed.Size() > 12<<20 {
			t.Errorf("%s: the file has %d bytes for some 6 MiB of content: %v", f, packed.Size(), err)
		}
	}
}

// TestOCIJudge has skopeo read the layout, copy it to another and to an
// archive for docker, whose layers, applied one after another, give the tree
// that the kernel shows.
func TestOCIJudge(t *testing.T) {
	s, m := built(t)
	want := seen(t, s, m)
	dir := exported(t, s, m, OCI)
	tmp := t.TempDir()
	out := run(t, "skopeo", "inspect", "oci:"+dir+":latest")
	for _, w := range []string{`"Architecture": "amd64"`, `"Os": "linux"`, `"Created": "1970-01-01T00:00:00Z"`} {
		if !strings.Contains(out, w) {
			t.Errorf("inspect does not say %s: %s", w, out)
		}
	}
	run(t, "skopeo", "--insecure-policy", "copy", "oci:"+dir+":latest", "oci:"+filepath.Join(tmp, "copy")+":latest")
	// Docker's archives have no zstd, and skopeo does not unpack on its own.
	archive, plain := filepath.Join(tmp, "docker.tar"), filepath.Join(tmp, "plain")
	run(t, "skopeo", "--insecure-policy", "copy", "--dest-decompress", "oci:"+filepath.Join(tmp, "copy")+":latest", "dir:"+plain)
	run(t, "skopeo", "--insecure-policy", "copy", "dir:"+plain, "docker-archive:"+archive+":ore:latest")
	unpacked := filepath.Join(tmp, "unpacked")
	if err := os.Mkdir(unpacked, 0o755); err != nil {
		t.Fatal(err)
	}
	run(t, "tar", "-C", unpacked, "-xf", archive)
	var list []struct{ Layers []string }
	if err := json.Unmarshal(read(t, filepath.Join(unpacked, "manifest.json")), &list); err != nil || len(list) != 1 || len(list[0].Layers) != len(m.Layers) {
		t.Fatalf("%v: %v", list, err)
	}
	root := t.TempDir()
	for _, l := range list[0].Layers {
		apply(t, filepath.Join(unpacked, l), root)
	}
	compare(t, listed(t, root), want)
}

// apply puts a layer over a tree as the OCI specification says: removals
// first; a name that is not a folder in both replaces what was there.
func apply(t *testing.T, layer, root string) {
	t.Helper()
	lines := bufio.NewScanner(strings.NewReader(run(t, "tar", "--quoting-style=literal", "-tf", layer)))
	for lines.Scan() {
		name := lines.Text()
		base := filepath.Base(name)
		p := filepath.Join(root, name)
		info, err := os.Lstat(p)
		if removed, ok := strings.CutPrefix(base, ".wh."); ok {
			p = filepath.Join(filepath.Dir(p), removed)
		} else if err != nil || info.IsDir() == strings.HasSuffix(name, "/") {
			continue
		}
		if err := os.RemoveAll(p); err != nil {
			t.Fatal(err)
		}
	}
	untar(t, layer, root, "--exclude=.wh.*")
}

func read(t *testing.T, p string) []byte {
	t.Helper()
	b, err := os.ReadFile(p)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestOCINamesTheImage follows the layout from its index to the lock.
func TestOCINamesTheImage(t *testing.T) {
	s, m := built(t)
	dir := exported(t, s, m, OCI)
	blob := func(d ore.Digest) []byte {
		b := read(t, filepath.Join(dir, "blobs", "sha256", d.Hex()))
		if ore.DigestOf(b) != d {
			t.Errorf("blob %s has other bytes", d)
		}
		return b
	}
	var index ociIndex
	var manifest ociManifest
	var lock ore.Environment
	if err := json.Unmarshal(read(t, filepath.Join(dir, "index.json")), &index); err != nil || len(index.Manifests) != 1 {
		t.Fatal(index, err)
	}
	if err := json.Unmarshal(blob(index.Manifests[0].Digest), &manifest); err != nil {
		t.Fatal(err)
	}
	if manifest.Annotations["ore.key"] != string(m.Key) || manifest.Annotations["ore.tree"] != string(m.Tree) {
		t.Errorf("annotations: %v", manifest.Annotations)
	}
	if err := json.Unmarshal(blob(ore.Digest(manifest.Annotations["ore.lock"])), &lock); err != nil || lock.Key() != m.Key {
		t.Errorf("the lock's key is %s, not %s: %v", lock.Key(), m.Key, err)
	}
	for _, l := range append(manifest.Layers, manifest.Config) {
		if int64(len(blob(l.Digest))) != l.Size {
			t.Errorf("%s: size %d", l.Digest, l.Size)
		}
	}
}

// TestOCIRefusesWhiteoutNames has a file in a layer that OCI would take for a removal.
func TestOCIRefusesWhiteoutNames(t *testing.T) {
	s, m := built(t)
	d, n, err := s.Put(context.Background(), func(f *os.File) error {
		return writeSquashfs(f, []sample{folder("."), regular(".wh.etc", "")})
	})
	if err != nil {
		t.Fatal(err)
	}
	m.Layers = append(m.Layers, image.Layer{Digest: d, Size: n})
	err = Write(context.Background(), s, m, OCI, filepath.Join(t.TempDir(), "oci"))
	if err == nil || !strings.Contains(err.Error(), ".wh.etc") {
		t.Errorf("got %v", err)
	}
}
