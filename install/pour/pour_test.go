package pour

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ore"
	"ore/image"
	"ore/install/pour/blob"
	"ore/squashfs"
)

// All files get their owners, so it takes root.
func root(t testing.TB) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("files get owners and devices are made: run it as root")
	}
}

// Whatever the layers have, what is poured is what they make together.
func TestRandomTrees(t *testing.T) {
	root(t)
	for seed := range uint64(60) {
		r := rand.New(rand.NewPCG(seed, 1))
		want := model{}
		var layers [][]byte
		for i := range 1 + r.IntN(4) {
			entries := random(r, i > 0)
			o := []squashfs.Options{small, {BlockSize: 4 << 10, Compression: squashfs.LZ4}, {BlockSize: 8 << 10, Compression: squashfs.None}}[r.IntN(3)]
			want.lay(i, entries)
			layers = append(layers, pack(t, o, entries))
		}
		o := order(t, layers, serve(t, nil, layers...))
		for name, f := range want {
			if f.Mode.IsRegular() && r.IntN(4) == 0 && !linked(want, f) {
				f.capability = []byte{1, 0, 0, 2, 0, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
				want[name] = f
				o.Manifest.Capabilities = append(o.Manifest.Capabilities, image.Capability{Path: name, Value: f.capability})
			}
		}
		if err := Pour(t.Context(), o); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		if compare(t, o.Target, want); t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

// linked says whether f has another name in m.
func linked(m model, f file) bool {
	n := 0
	for _, other := range m {
		if other.id == f.id {
			n++
		}
	}
	return n > 1
}

// Layers of mksquashfs have tails of files apart, and files share blocks.
func TestForeignLayers(t *testing.T) {
	root(t)
	if _, err := exec.LookPath("mksquashfs"); err != nil {
		t.Skip("mksquashfs is not installed: apt-get install squashfs-tools")
	}
	for _, args := range [][]string{
		{"-comp", "zstd", "-tailends"}, {"-comp", "gzip", "-no-fragments"}, {"-comp", "xz", "-b", "4096"}, {"-comp", "lz4", "-noD"},
	} {
		t.Run(strings.Join(args, " "), func(t *testing.T) {
			src := t.TempDir()
			r := rand.New(rand.NewPCG(7, 7))
			noise := make([]byte, 700_001)
			for i := range noise {
				noise[i] = byte(r.Uint32())
			}
			for name, b := range map[string][]byte{
				"a/noise": noise, "a/twice": noise, "b": noise[:131_072], "c": bytes.Repeat([]byte("text "), 100_000), "d": []byte("short"),
				"e": append(make([]byte, 400_000), noise[:100]...), "f": nil, "g": make([]byte, 300_000),
			} {
				if err := errors.Join(os.MkdirAll(filepath.Join(src, "a"), 0o755), os.WriteFile(filepath.Join(src, name), b, 0o640)); err != nil {
					t.Fatal(err)
				}
			}
			if err := os.Link(filepath.Join(src, "c"), filepath.Join(src, "a", "c")); err != nil {
				t.Fatal(err)
			}
			out := filepath.Join(t.TempDir(), "layer")
			if text, err := exec.Command("mksquashfs", append([]string{src, out, "-no-xattrs", "-quiet", "-no-progress"}, args...)...).CombinedOutput(); err != nil {
				t.Fatalf("mksquashfs: %v\n%s", err, text)
			}
			layer, err := os.ReadFile(out)
			if err != nil {
				t.Fatal(err)
			}
			o := order(t, [][]byte{layer}, serve(t, nil, layer))
			if err := Pour(t.Context(), o); err != nil {
				t.Fatal(err)
			}
			compare(t, o.Target, read(t, src))
		})
	}
}

// some returns a layer that has a hundred files of noise, the n-th of them n KiB.
func some(t testing.TB) (model, []byte) {
	r := rand.New(rand.NewPCG(3, 3))
	entries := []entry{{Entry: squashfs.Entry{Path: ".", Mode: fs.ModeDir | 0o755}}}
	for i := range 100 {
		b := make([]byte, i<<10)
		for j := range b {
			b[j] = byte(r.Uint32())
		}
		entries = append(entries, entry{squashfs.Entry{Path: fmt.Sprintf("%02d", i), Mode: 0o644}, b})
	}
	want := model{}
	want.lay(0, entries)
	return want, pack(t, small, entries)
}

// counted counts the bytes that are answered.
type counted struct {
	http.ResponseWriter
	n *atomic.Int64
}

func (c counted) Write(b []byte) (int, error) {
	n, err := c.ResponseWriter.Write(b)
	c.n.Add(int64(n))
	return n, err
}

// Sources that break, are silent, or do not have it are gone on from where they
// ended, and no byte comes twice.
func TestSourcesThatFail(t *testing.T) {
	root(t)
	want, layer := some(t)
	var sent atomic.Int64
	cut := func(w http.ResponseWriter, r *http.Request, b []byte) bool {
		http.ServeContent(&limited{ResponseWriter: counted{w, &sent}, left: 100_000}, r, "", time.Time{}, bytes.NewReader(b))
		return true
	}
	silent := make(chan struct{})
	t.Cleanup(func() { close(silent) })
	for what, instead := range map[string]handler{
		"breaks": cut,
		"is silent": func(w http.ResponseWriter, r *http.Request, b []byte) bool {
			select {
			case <-silent:
			case <-r.Context().Done():
			}
			return true
		},
		"is down": func(w http.ResponseWriter, r *http.Request, b []byte) bool {
			w.WriteHeader(http.StatusServiceUnavailable)
			return true
		},
		"has it not": func(w http.ResponseWriter, r *http.Request, b []byte) bool {
			http.NotFound(w, r)
			return true
		},
		"has another": func(w http.ResponseWriter, r *http.Request, b []byte) bool {
			http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(b[1:]))
			return true
		},
		"gives no ranges": func(w http.ResponseWriter, r *http.Request, b []byte) bool {
			w.Write(b)
			return true
		},
	} {
		t.Run(what, func(t *testing.T) {
			sent.Store(0)
			good := serve(t, func(w http.ResponseWriter, r *http.Request, b []byte) bool {
				http.ServeContent(counted{w, &sent}, r, "", time.Time{}, bytes.NewReader(b))
				return true
			}, layer)
			o := order(t, [][]byte{layer}, serve(t, instead, layer), good)
			o.Client.Stall = 50 * time.Millisecond
			if err := Pour(t.Context(), o); err != nil {
				t.Fatal(err)
			}
			compare(t, o.Target, want)
			if n := sent.Load(); n != int64(len(layer)) {
				t.Errorf("%d bytes were sent of a layer of %d", n, len(layer))
			}
		})
	}
	t.Run("breaks, and is alone", func(t *testing.T) {
		o := order(t, [][]byte{layer}, serve(t, cut, layer))
		if err := Pour(t.Context(), o); err != nil {
			t.Fatal(err)
		}
		compare(t, o.Target, want)
	})
}

// limited breaks the connection after some bytes.
type limited struct {
	http.ResponseWriter
	left int
}

func (l *limited) Write(b []byte) (int, error) {
	n, err := l.ResponseWriter.Write(b[:min(len(b), l.left)])
	if l.left -= n; l.left == 0 && err == nil {
		http.NewResponseController(l.ResponseWriter).Flush()
		panic(http.ErrAbortHandler)
	}
	return n, err
}

// Unwrap is for http.ResponseController.
func (l *limited) Unwrap() http.ResponseWriter { return l.ResponseWriter }

// Unwrap is for http.ResponseController.
func (c counted) Unwrap() http.ResponseWriter { return c.ResponseWriter }

// Where no source gives it all, the error has the trouble of each.
func TestNoSource(t *testing.T) {
	_, layer := some(t)
	down := serve(t, func(w http.ResponseWriter, r *http.Request, _ []byte) bool {
		w.WriteHeader(http.StatusBadGateway)
		return true
	}, layer)
	gone := serve(t, nil)
	o := order(t, [][]byte{layer}, down, gone)
	d := ore.DigestOf(layer)
	o.From[d] = append(o.From[d], filepath.Join(t.TempDir(), "none"))
	err := Pour(t.Context(), o)
	for _, part := range []string{down.URL, "502 Bad Gateway", gone.URL, "404 Not Found", "none: no such file", d.Short()} {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("the error %q does not have %q", err, part)
		}
	}
	if !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the error hides its causes: %v", err)
	}
}

// What is not what the digest says fails, wherever in it the lie is.
func TestLyingSource(t *testing.T) {
	root(t)
	_, layer := some(t)
	for _, at := range []int{100, 50_000, len(layer) / 2, len(layer) - 1} {
		lie := bytes.Clone(layer)
		lie[at] ^= 1
		s := serve(t, func(w http.ResponseWriter, r *http.Request, _ []byte) bool {
			http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(lie))
			return true
		}, layer)
		err := Pour(t.Context(), order(t, [][]byte{layer}, s))
		if err == nil {
			t.Errorf("a wrong byte at %d is taken", at)
		}
		if at == len(layer)-1 && !errors.Is(err, image.ErrRotten) || err != nil && at == len(layer)-1 && !strings.Contains(err.Error(), s.URL) {
			t.Errorf("a wrong byte in the padding: %v", err)
		}
	}
}

// A file is there while most of its layer is still to come.
func TestWrittenWhileItArrives(t *testing.T) {
	root(t)
	want, layer := some(t)
	p := &paused{after: len(layer) / 2}
	o := order(t, [][]byte{layer}, serve(t, func(w http.ResponseWriter, r *http.Request, b []byte) bool {
		if !strings.HasPrefix(r.Header.Get("Range"), fmt.Sprintf("bytes=%d-", headSize)) {
			return false // the head or the tables
		}
		p.ResponseWriter = w
		http.ServeContent(p, r, "", time.Time{}, bytes.NewReader(b))
		return true
	}, layer))
	p.name = filepath.Join(o.Target, "30")
	if err := Pour(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	if p.after > 0 || !p.seen {
		t.Error("half of the layer had been sent and a file in its first third was not there")
	}
	compare(t, o.Target, want)
}

// paused stops sending after some bytes until a file is there.
type paused struct {
	http.ResponseWriter
	after int
	name  string
	seen  bool
}

func (p *paused) Write(b []byte) (int, error) {
	if p.after <= 0 {
		return p.ResponseWriter.Write(b)
	}
	n, err := p.ResponseWriter.Write(b)
	if p.after -= n; p.after > 0 || err != nil {
		return n, err
	}
	if err := http.NewResponseController(p.ResponseWriter).Flush(); err != nil {
		return n, err
	}
	deadline := time.After(10 * time.Second)
	for tick := time.Tick(time.Millisecond); ; {
		if _, err := os.Stat(p.name); err == nil {
			p.seen = true
			return n, nil
		}
		select {
		case <-tick:
		case <-deadline:
			return n, nil
		}
	}
}

// What is in the folder before is not written to, and no link in it is followed.
func TestWhatIsThereIsLeft(t *testing.T) {
	root(t)
	layer := pack(t, small, []entry{
		{Entry: squashfs.Entry{Path: ".", Mode: fs.ModeDir | 0o755}},
		{Entry: squashfs.Entry{Path: "a", Mode: fs.ModeDir | 0o755}},
		{Entry: squashfs.Entry{Path: "a/b", Mode: 0o644}, data: []byte("new")},
	})
	s := serve(t, nil, layer)
	t.Run("a folder is one for us", func(t *testing.T) {
		o := order(t, [][]byte{layer}, s)
		if err := os.MkdirAll(filepath.Join(o.Target, "a", "lost+found"), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := Pour(t.Context(), o); err != nil {
			t.Fatal(err)
		}
		if st, err := os.Stat(filepath.Join(o.Target, "a")); err != nil || st.Mode().Perm() != 0o755 {
			t.Errorf("the folder has %v, %v", st.Mode(), err)
		}
	})
	t.Run("a link is none", func(t *testing.T) {
		o, elsewhere := order(t, [][]byte{layer}, s), t.TempDir()
		if err := os.Symlink(elsewhere, filepath.Join(o.Target, "a")); err != nil {
			t.Fatal(err)
		}
		if err := Pour(t.Context(), o); err == nil {
			t.Error("a link stands for a folder")
		}
		if _, err := os.Lstat(filepath.Join(elsewhere, "b")); err == nil {
			t.Error("the link was followed")
		}
	})
	t.Run("a file is in the way", func(t *testing.T) {
		o := order(t, [][]byte{layer}, s)
		name := filepath.Join(o.Target, "a", "b")
		if err := errors.Join(os.Mkdir(filepath.Dir(name), 0o755), os.WriteFile(name, []byte("old"), 0o600)); err != nil {
			t.Fatal(err)
		}
		if err := Pour(t.Context(), o); !errors.Is(err, fs.ErrExist) {
			t.Errorf("a file in the way: %v", err)
		}
		if b, err := os.ReadFile(name); err != nil || string(b) != "old" {
			t.Errorf("it now has %q, %v", b, err)
		}
	})
}

// Names of one file on several file systems are files of their own.
func TestLinkAcrossFileSystems(t *testing.T) {
	root(t)
	entries := []entry{
		{Entry: squashfs.Entry{Path: ".", Mode: fs.ModeDir | 0o755}},
		{Entry: squashfs.Entry{Path: "a", Mode: fs.ModeDir | 0o755}},
		{Entry: squashfs.Entry{Path: "a/f", Mode: 0o640, UID: 1, GID: 2, ModTime: 77}, data: []byte("content")},
		{Entry: squashfs.Entry{Path: "a/p", Mode: fs.ModeNamedPipe | 0o600, ModTime: 78}},
		{Entry: squashfs.Entry{Path: "b", Mode: fs.ModeDir | 0o755}},
		{Entry: squashfs.Entry{Path: "b/f", Hardlink: "a/f"}},
		{Entry: squashfs.Entry{Path: "b/p", Hardlink: "a/p"}},
	}
	layer := pack(t, small, entries)
	o := order(t, [][]byte{layer}, serve(t, nil, layer))
	mount := filepath.Join(o.Target, "b")
	if err := os.Mkdir(mount, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("memory", mount, "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Unmount(mount, 0) })
	want := model{}
	want.lay(0, entries)
	for _, name := range []string{"b/f", "b/p"} {
		f := want[name]
		f.id, f.capability = name, []byte{1, 0, 0, 2, 0, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
		if name == "b/p" {
			f.capability = nil
		} else {
			o.Manifest.Capabilities = []image.Capability{{Path: "a/f", Value: f.capability}, {Path: name, Value: f.capability}}
			first := want["a/f"]
			first.capability = f.capability
			want["a/f"] = first
		}
		want[name] = f
	}
	if err := Pour(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	text, _ := read(t, o.Target).listing(t)
	if wanted, _ := want.listing(t); text != wanted {
		t.Errorf("the tree is %q, want %q", text, wanted)
	}
}

// Progress goes up to the size of the layers and ends there; what is cancelled
// ends at once and leaves no file open.
func TestProgressAndCancel(t *testing.T) {
	root(t)
	_, layer := some(t)
	o := order(t, [][]byte{layer}, serve(t, nil, layer))
	var last ore.Event
	o.Watch = func(e ore.Event) {
		if e.Done < last.Done || e.Total != int64(len(layer)) || last.Final {
			t.Errorf("after %+v came %+v", last, e)
		}
		last = e
	}
	if err := Pour(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	if !last.Final || last.Done != last.Total {
		t.Errorf("the last was %+v", last)
	}
	ctx, cancel := context.WithCancel(t.Context())
	o.Target, o.Watch = t.TempDir(), func(ore.Event) { cancel() }
	if err := Pour(ctx, o); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if open, err := filepath.Glob("/proc/self/fd/*"); err != nil || holds(open, o.Target) {
		t.Errorf("files in the folder are still open, %v", err)
	}
}

// holds says whether one of these links leads into the folder.
func holds(links []string, dir string) bool {
	for _, l := range links {
		if to, err := os.Readlink(l); err == nil && strings.HasPrefix(to, dir) {
			return true
		}
	}
	return false
}

// A layer at hand, which is a file, is poured like one that comes.
func TestFromAFile(t *testing.T) {
	root(t)
	want, layer := some(t)
	name := filepath.Join(t.TempDir(), "layer")
	if err := os.WriteFile(name, layer, 0o600); err != nil {
		t.Fatal(err)
	}
	o := order(t, [][]byte{layer})
	o.From[ore.DigestOf(layer)] = []string{name}
	if err := Pour(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	compare(t, o.Target, want)
	if err := os.WriteFile(name, layer[:1000], 0o600); err != nil {
		t.Fatal(err)
	}
	o.Target = t.TempDir()
	if err := Pour(t.Context(), o); err == nil || !strings.Contains(err.Error(), "it has 1000 bytes, not") {
		t.Errorf("a short file: %v", err)
	}
}

// FuzzLayer opens what may be a layer and finds out where its files are.
func FuzzLayer(f *testing.F) {
	entries := []entry{
		{Entry: squashfs.Entry{Path: ".", Mode: fs.ModeDir | 0o755}},
		{Entry: squashfs.Entry{Path: "a", Mode: 0o644}, data: bytes.Repeat([]byte("abc"), 3000)},
		{Entry: squashfs.Entry{Path: "b", Mode: 0o644}, data: []byte("short")},
		{Entry: squashfs.Entry{Path: "c", Mode: 0o644, Hardlink: "b"}},
	}
	f.Add(pack(f, small, entries))
	f.Add(pack(f, squashfs.Options{BlockSize: 8 << 10, Compression: squashfs.None}, entries))
	f.Fuzz(func(t *testing.T, b []byte) {
		name := filepath.Join(t.TempDir(), "layer")
		if err := os.WriteFile(name, b, 0o600); err != nil {
			t.Fatal(err)
		}
		d := ore.DigestOf(b)
		o := Options{From: map[ore.Digest][]string{d: {name}}}
		l, err := openLayer(t.Context(), &o.Client, blob.Blob{Digest: d, Size: int64(len(b)), From: o.From[d]}, &meter{})
		if err != nil {
			return
		}
		m := merge([]*layer{l, l})
		w, err := l.worker()
		if err != nil {
			t.Fatalf("a second reader does not open: %v", err)
		}
		list, err := l.locate(t.Context(), []*worker{w}, m.content(1))
		if err != nil {
			return
		}
		in := bytes.NewReader(b)
		for _, x := range list {
			x.stored = make([]byte, x.n)
			if _, err := in.ReadAt(x.stored, x.at); err != nil && err != io.EOF {
				t.Fatalf("a block at %d of %d: %v", x.at, len(b), err)
			}
			w.near.at, w.near.block = x.at, x.stored
			for _, p := range x.parts {
				if _, err := w.content(p.node, p.index); errors.Is(err, errFar) {
					t.Fatalf("block %d of %s is not where it was", p.index, p.node.Path)
				}
			}
		}
	})
}
