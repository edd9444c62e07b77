package install

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"ore"
	"ore/image"
	"ore/install/bases"
	"ore/install/tree"
	"ore/squashfs"
)

// imageTree reads the merged tree of an image from its layers. content keeps
// the bytes of small files for comparison.
type listed struct {
	nodes   map[string]*tree.Node
	content map[string][]byte
}

// keepContent bounds the files whose bytes are kept for messages and for
// comparisons that look into them.
const keepContent = 2 << 20

func readImage(t testing.TB, store *image.Store, m image.Manifest) listed {
	t.Helper()
	all := listed{nodes: map[string]*tree.Node{}, content: map[string][]byte{}}
	for _, l := range m.Layers {
		if err := store.Verify(t.Context(), l.Digest); err != nil {
			t.Fatal(err)
		}
		p, err := store.Path(l.Digest)
		if err != nil {
			t.Fatal(err)
		}
		if err := all.layer(p); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range m.Capabilities {
		all.nodes[c.Path].Capability = c.Value
	}
	return all
}

func (l *listed) layer(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return err
	}
	r, err := squashfs.NewReader(f, st.Size())
	if err != nil {
		return err
	}
	var links []squashfs.Entry
	for e, err := range r.Entries() {
		if err != nil {
			return err
		}
		n := &tree.Node{Entry: e}
		if old := l.nodes[e.Path]; n.Whiteout() || old != nil && !(old.Mode.IsDir() && e.Mode.IsDir()) {
			maps.DeleteFunc(l.nodes, func(name string, _ *tree.Node) bool {
				return name == e.Path || strings.HasPrefix(name, e.Path+"/")
			})
		}
		if n.Whiteout() {
			continue
		}
		if e.Hardlink != "" {
			links = append(links, e)
			continue
		}
		if n.Regular() {
			in, err := r.Open(e.Path)
			if err != nil {
				return err
			}
			if err := l.read(n, in); err != nil {
				return err
			}
		}
		l.nodes[e.Path] = n
	}
	for _, e := range links {
		n := *l.nodes[e.Hardlink]
		n.Path = e.Path
		l.nodes[e.Path] = &n
		l.content[e.Path] = l.content[e.Hardlink]
	}
	return nil
}

func (l *listed) read(n *tree.Node, r io.Reader) error {
	h := sha256.New()
	if n.Size > keepContent {
		_, err := io.Copy(h, r)
		n.Sum = [32]byte(h.Sum(nil))
		return err
	}
	b, err := io.ReadAll(r)
	n.Sum, l.content[n.Path] = sha256.Sum256(b), b
	return err
}

// readTar reads the tree that mmdebstrap wrote.
func readTar(t testing.TB, name string) listed {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	l := listed{nodes: map[string]*tree.Node{}, content: map[string][]byte{}}
	for r := tar.NewReader(f); ; {
		h, err := r.Next()
		if err == io.EOF {
			return l
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := l.tarEntry(h, r); err != nil {
			t.Fatal(err)
		}
	}
}

func (l *listed) tarEntry(h *tar.Header, r io.Reader) error {
	n := &tree.Node{Entry: squashfs.Entry{
		Path: path.Clean(h.Name), Mode: tree.GoMode(uint32(h.Mode)), UID: uint32(h.Uid), GID: uint32(h.Gid),
		Major: uint32(h.Devmajor), Minor: uint32(h.Devminor),
	}}
	if c := h.PAXRecords["SCHILY.xattr.security.capability"]; c != "" {
		n.Capability = []byte(c)
	}
	l.nodes[n.Path] = n
	switch h.Typeflag {
	case tar.TypeReg:
		n.Size = h.Size
		return l.read(n, r)
	case tar.TypeLink:
		c := *l.nodes[path.Clean(h.Linkname)]
		c.Path = n.Path
		l.nodes[n.Path], l.content[n.Path] = &c, l.content[path.Clean(h.Linkname)]
	case tar.TypeSymlink:
		n.Mode, n.Link = fs.ModeSymlink|fs.ModePerm, h.Linkname
	case tar.TypeDir:
		n.Mode |= fs.ModeDir
	case tar.TypeChar:
		n.Mode |= fs.ModeDevice | fs.ModeCharDevice
	case tar.TypeBlock:
		n.Mode |= fs.ModeDevice
	case tar.TypeFifo:
		n.Mode |= fs.ModeNamedPipe
	default:
		return fmt.Errorf("%s: tar type %q", h.Name, h.Typeflag)
	}
	return nil
}

// mmdebstrap makes the tree of the packages with mmdebstrap and returns it.
func mmdebstrap(t testing.TB, suite string, epoch int64, packages []string) listed {
	t.Helper()
	out := filepath.Join(t.TempDir(), "tree.tar")
	if dir := os.Getenv("ORE_TEST_ORACLE"); dir != "" { // keep the oracle's trees between runs
		out = filepath.Join(dir, fmt.Sprintf("%s-%d.tar", strings.Join(packages, "_"), epoch))
		if _, err := os.Stat(out); err == nil {
			return readTar(t, out)
		}
	}
	args := []string{"--quiet", "--mode=root", "--variant=minbase", "--include=" + strings.Join(packages, ",")}
	args = append(args, suite, out)
	switch mirror := os.Getenv("ORE_MIRROR"); {
	case mirror != "":
		args = append(args, "deb "+mirror+" "+suite+" main")
	default:
		if sources := hostSources(); sources != "" {
			args = append(args, sources)
		}
	}
	cmd := exec.CommandContext(context.Background(), "mmdebstrap", args...)
	// The host's own variables would reach the scripts.
	cmd.Env = []string{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LC_ALL=C.UTF-8",
		"SOURCE_DATE_EPOCH=" + strconv.FormatInt(epoch, 10), "PYTHONHASHSEED=0",
	}
	if b, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("mmdebstrap: %v\n%s", err, b)
	}
	return readTar(t, out)
}

// hostSources returns the file with the host's Debian sources in deb822 form.
func hostSources() string {
	const name = "/etc/apt/sources.list.d/debian.sources"
	if _, err := os.Stat(name); err != nil {
		return ""
	}
	return name
}

// describe returns a node's line of a listing, without what is compared apart.
func describe(n *tree.Node) string {
	if n == nil {
		return "(nothing)"
	}
	s := fmt.Sprintf("%v %d:%d", n.Mode, n.UID, n.GID)
	switch {
	case n.Regular():
		s += fmt.Sprintf(" %x", n.Sum[:6])
	case n.Mode.Type() == fs.ModeSymlink:
		s += " -> " + n.Link
	case n.Mode&fs.ModeDevice != 0:
		s += fmt.Sprintf(" %d:%d", n.Major, n.Minor)
	}
	if n.Capability != nil {
		s += fmt.Sprintf(" capability %x", n.Capability)
	}
	return s
}

// compare lists the paths at which the trees differ.
func compare(ours, theirs listed) []string {
	var diff []string
	for name, n := range ours.nodes {
		if o := theirs.nodes[name]; o == nil || !tree.Same(n, o) {
			diff = append(diff, name)
		}
	}
	for name := range theirs.nodes {
		if ours.nodes[name] == nil {
			diff = append(diff, name)
		}
	}
	slices.Sort(diff)
	return diff
}

var errNoEpoch = errors.New("no base was noted")

// epochOf returns the time that scripts of the environment's build saw.
func epochOf(t testing.TB, b *Builder, env ore.Environment) int64 {
	t.Helper()
	p, err := b.places(env)
	if err != nil {
		t.Fatal(err)
	}
	n, err := bases.Read(p.base.Nodes)
	if err != nil {
		t.Fatal(errors.Join(errNoEpoch, err))
	}
	return n.Epoch
}
