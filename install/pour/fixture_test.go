package pour

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ore"
	"ore/image"
	"ore/install/tree"
	"ore/squashfs"
)

// entry is a name of a layer with its content.
type entry struct {
	squashfs.Entry
	data []byte
}

// small makes several blocks of a few bytes.
var small = squashfs.Options{BlockSize: 4 << 10, Compression: squashfs.Zstd, Level: 1}

// pack writes a layer. Links come last, as a writer wants it.
func pack(t testing.TB, o squashfs.Options, entries []entry) []byte {
	t.Helper()
	name := filepath.Join(t.TempDir(), "layer")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	o.Jobs = 1
	w, err := squashfs.NewWriter(f, o)
	if err != nil {
		t.Fatal(err)
	}
	for _, links := range []bool{false, true} {
		for _, e := range entries {
			if (e.Hardlink != "") != links {
				continue
			}
			e.Size = int64(len(e.data))
			if err := w.Add(e.Entry, bytes.NewReader(e.data)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// model is what a merged tree should have, made in another way than the code's:
// name by name. The value of a hard link is that of its file.
type model map[string]file

type file struct {
	entry
	id         string // which file of which layer it is
	capability []byte
}

func isWhiteout(e entry) bool { return (&tree.Node{Entry: e.Entry}).Whiteout() }

// lay lays a layer over the model.
func (m model) lay(layer int, entries []entry) {
	own := map[string]entry{}
	for _, e := range entries {
		own[e.Path] = e
	}
	for _, e := range entries {
		id := fmt.Sprint(layer, ":", e.Path)
		if e.Hardlink != "" {
			id = fmt.Sprint(layer, ":", e.Hardlink)
			name := e.Path
			e = own[e.Hardlink]
			e.Path = name
		}
		if !e.Mode.IsDir() {
			maps.DeleteFunc(m, func(name string, _ file) bool { return strings.HasPrefix(name, e.Path+"/") })
		}
		if delete(m, e.Path); !isWhiteout(e) {
			m[e.Path] = file{entry: e, id: id}
		}
	}
}

// listing returns the text of the tree's listing and its digest.
func (m model) listing(t testing.TB) (string, ore.Digest) {
	t.Helper()
	var text strings.Builder
	l := image.NewListing(&text)
	for _, name := range slices.SortedFunc(maps.Keys(m), tree.ComparePaths) {
		f := m[name]
		n := tree.Node{Entry: f.Entry, Sum: sha256.Sum256(f.data), Capability: f.capability}
		n.Path = name
		if !n.Regular() {
			n.Sum = [32]byte{}
		}
		it, err := n.Item()
		if n.Mode.Type() == fs.ModeSocket {
			it.Type, err = 's', nil
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := l.Add(it); err != nil {
			t.Fatal(err)
		}
	}
	d, err := l.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return text.String(), d
}

// read reads a folder as a model, whose ids are inodes.
func read(t testing.TB, dir string) model {
	t.Helper()
	found, err := tree.Scan(dir, false)
	if err != nil {
		t.Fatal(err)
	}
	m := model{}
	for _, x := range found {
		f := file{id: fmt.Sprint(x.Stat.Ino)}
		f.Entry = squashfs.Entry{
			Path: x.Path, Mode: tree.GoMode(x.Stat.Mode & 0o7777), UID: x.Stat.Uid, GID: x.Stat.Gid, ModTime: x.Stat.Mtim.Sec,
		}
		switch x.Stat.Mode & unix.S_IFMT {
		case unix.S_IFDIR:
			f.Mode |= fs.ModeDir
		case unix.S_IFLNK:
			f.Mode |= fs.ModeSymlink
			f.Link, err = os.Readlink(x.Host)
		case unix.S_IFREG:
			f.data, err = os.ReadFile(x.Host)
			buf := make([]byte, 64)
			if n, err := unix.Lgetxattr(x.Host, "security.capability", buf); err == nil {
				f.capability = buf[:n]
			}
		case unix.S_IFIFO:
			f.Mode |= fs.ModeNamedPipe
		case unix.S_IFSOCK:
			f.Mode |= fs.ModeSocket
		case unix.S_IFCHR:
			f.Mode |= fs.ModeDevice | fs.ModeCharDevice
		case unix.S_IFBLK:
			f.Mode |= fs.ModeDevice
		}
		if err != nil {
			t.Fatal(err)
		}
		if f.Mode&fs.ModeDevice != 0 {
			f.Major, f.Minor = unix.Major(x.Stat.Rdev), unix.Minor(x.Stat.Rdev)
		}
		m[x.Path] = f
	}
	return m
}

// compare tells what is wrong with a folder.
func compare(t testing.TB, dir string, want model) {
	t.Helper()
	got := read(t, dir)
	text, digest := got.listing(t)
	wantText, wantDigest := want.listing(t)
	if digest != wantDigest {
		t.Errorf("the tree is\n%q\nwant\n%q", strings.Split(text, "\n"), strings.Split(wantText, "\n"))
		return
	}
	ids := map[string]string{}
	for name, f := range want {
		if got[name].ModTime != f.ModTime {
			t.Errorf("%s has the time %d, want %d", name, got[name].ModTime, f.ModTime)
		}
		if id, seen := ids[f.id]; seen && id != got[name].id {
			t.Errorf("%s is not the same file as its other names", name)
		}
		ids[f.id] = got[name].id
	}
	if inodes := slices.Compact(slices.Sorted(maps.Values(ids))); len(inodes) != len(ids) {
		t.Errorf("%d files where %d are wanted", len(inodes), len(ids))
	}
}

// random returns the entries of a layer, with names that collide with those of
// other layers.
func random(r *rand.Rand, whiteouts bool) []entry {
	all := map[string]entry{".": {Entry: dir(r, ".")}}
	dirs := []string{"."}
	var files []string
	for range 5 + r.IntN(40) {
		name := path.Join(dirs[r.IntN(len(dirs))], string(rune('a'+r.IntN(7))))
		if _, there := all[name]; there || strings.Count(name, "/") > 4 {
			continue
		}
		e := entry{Entry: squashfs.Entry{Path: name, Mode: mode(r), UID: r.Uint32N(3), GID: r.Uint32N(3), ModTime: int64(r.Uint32())}}
		switch k := r.IntN(20); {
		case k < 7:
			e.Entry = dir(r, name)
			dirs = append(dirs, name)
		case k < 14:
			e.data = data(r)
			files = append(files, name)
		case k == 14:
			e.Mode, e.Link = fs.ModeSymlink|0o777, "x"+strings.Repeat("/..", r.IntN(4))
		case k == 15:
			e.Mode |= fs.ModeNamedPipe
		case k == 16:
			e.Mode |= fs.ModeDevice | fs.ModeCharDevice
			e.Major, e.Minor = 1+r.Uint32N(300), r.Uint32N(70000)
		case k == 17 && len(files) > 0:
			e.Hardlink = files[r.IntN(len(files))]
		case whiteouts:
			e.Mode, e.UID, e.GID = fs.ModeDevice|fs.ModeCharDevice, 0, 0
		default:
			e.Mode |= fs.ModeSocket
		}
		all[name] = e
	}
	return slices.SortedFunc(maps.Values(all), func(a, b entry) int { return tree.ComparePaths(a.Path, b.Path) })
}

func dir(r *rand.Rand, name string) squashfs.Entry {
	return squashfs.Entry{Path: name, Mode: fs.ModeDir | mode(r), UID: r.Uint32N(3), ModTime: int64(r.Uint32())}
}

func mode(r *rand.Rand) fs.FileMode { return tree.GoMode(r.Uint32N(0o10000)) }

// data is empty, short, or some blocks, of which some are all zeros.
func data(r *rand.Rand) []byte {
	b := make([]byte, []int{0, r.IntN(100), r.IntN(5000), 4096 * r.IntN(4), r.IntN(40_000)}[r.IntN(5)])
	for at := 0; at < len(b); at += 4096 {
		part := b[at:min(len(b), at+4096)]
		switch r.IntN(3) {
		case 0: // zeros
		case 1:
			copy(part, bytes.Repeat([]byte{byte(r.Uint32())}, len(part)))
		default:
			for i := range part {
				part[i] = byte(r.Uint32())
			}
		}
	}
	return b
}

// source serves layers.
type source struct {
	*httptest.Server
	blobs map[string][]byte // by the path of the address
}

// handler may answer in place of a source; it says whether it did.
type handler func(w http.ResponseWriter, r *http.Request, blob []byte) bool

// serve serves layers, each at its digest.
func serve(t testing.TB, instead handler, layers ...[]byte) *source {
	t.Helper()
	s := &source{blobs: map[string][]byte{}}
	for _, b := range layers {
		s.blobs["/"+ore.DigestOf(b).Hex()] = b
	}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, ok := s.blobs[r.URL.Path]
		switch {
		case instead != nil && instead(w, r, b):
		case !ok:
			http.NotFound(w, r)
		default:
			http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(b))
		}
	}))
	t.Cleanup(s.Close)
	return s
}

// order returns what pours layers that some sources have.
func order(t testing.TB, layers [][]byte, sources ...*source) Options {
	o := Options{Target: t.TempDir(), From: map[ore.Digest][]string{}}
	o.Client.Pause = time.Millisecond
	for _, b := range layers {
		d := ore.DigestOf(b)
		o.Manifest.Layers = append(o.Manifest.Layers, image.Layer{Digest: d, Size: int64(len(b))})
		for _, s := range sources {
			o.From[d] = append(o.From[d], s.URL+"/"+d.Hex())
		}
	}
	return o
}
