package pour

import (
	"bytes"
	"errors"
	"fmt"
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

	"ore"
	"ore/image"
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

// Sources that break or do not have it are gone on from where they ended, and no
// byte comes twice.
func TestSourcesThatFail(t *testing.T) {
	root(t)
	want, layer := some(t)
	var sent atomic.Int64
	cut := func(w http.ResponseWriter, r *http.Request, b []byte) bool {
		http.ServeContent(&limited{ResponseWriter: counted{w, &sent}, left: 100_000}, r, "", time.Time{}, bytes.NewReader(b))
		return true
	}
	for what, instead := range map[string]handler{
		"breaks": cut,
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
	deadline := time.After(time.Minute) // it takes milliseconds, on a computer that is not busy
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
