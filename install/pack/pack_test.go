package pack

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ore"
	"ore/install/tree"
	"ore/squashfs"
)

var options = squashfs.Options{BlockSize: 128 << 10, Compression: "zstd", Level: 3}

// tarball returns a compressed tar of the entries.
func tarball(t testing.TB, list ...tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	for _, h := range list {
		content := h.PAXRecords["content"]
		h.Size = int64(len(content))
		h.PAXRecords = without(h.PAXRecords, "content")
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, content); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(w.Close(), z.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func without(m map[string]string, key string) map[string]string {
	out := map[string]string{}
	for k, v := range m {
		if k != key {
			out[k] = v
		}
	}
	return out
}

func file(name, content string) tar.Header {
	return tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644, PAXRecords: map[string]string{"content": content}}
}

// deb writes a .deb (deb(5)) and returns its path and digest.
func deb(t testing.TB, control, data []byte) (string, ore.Digest) {
	t.Helper()
	var b bytes.Buffer
	b.WriteString("!<arch>\n")
	for _, m := range []struct {
		name string
		body []byte
	}{{"debian-binary", []byte("2.0\n")}, {"control.tar.gz", control}, {"data.tar.gz", data}} {
		fmt.Fprintf(&b, "%-16s%-12d%-6d%-6d%-8s%-10d`\n", m.name, 0, 0, 0, "100644", len(m.body))
		b.Write(m.body)
		if len(m.body)%2 == 1 {
			b.WriteByte('\n')
		}
	}
	name := filepath.Join(t.TempDir(), "x.deb")
	if err := os.WriteFile(name, b.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	return name, ore.DigestOf(b.Bytes())
}

func sample(t testing.TB) (string, ore.Digest) {
	program := file("./usr/bin/x", strings.Repeat("program ", 40000))
	program.PAXRecords[paxCapability] = "capability"
	program.Mode, program.Uid, program.Gid = 0o4755, 5, 6
	return deb(t,
		tarball(t, file("./control", "Package: x\nVersion: 1\nArchitecture: all\n"), file("./conffiles", "/etc/x.conf\n")),
		tarball(t, tar.Header{Name: "./", Typeflag: tar.TypeDir, Mode: 0o755}, program, file("./etc/x.conf", "a=1\n"),
			tar.Header{Name: "./usr/bin/y", Typeflag: tar.TypeLink, Linkname: "./usr/bin/x"},
			tar.Header{Name: "./usr/bin/z", Typeflag: tar.TypeSymlink, Linkname: "x"}))
}

// conffileMD5 is what md5sum says of "a=1\n".
const conffileMD5 = "d5e29449b9e66d5b4bb0d6ce48fbbcb1"

// taken collects what a sink gets.
type taken map[string]*bytes.Buffer

type closer struct{ io.Writer }

func (closer) Close() error { return nil }

func (s taken) sink(_ int, n *tree.Node) (io.WriteCloser, error) {
	s[n.Path] = &bytes.Buffer{}
	return closer{s[n.Path]}, nil
}

// The second Get finds the pack: it is the same without the .deb.
func TestDecodedOnce(t *testing.T) {
	s, err := Open(t.TempDir(), options, nil)
	if err != nil {
		t.Fatal(err)
	}
	name, d := sample(t)
	for _, deb := range []string{name, "/nonexistent"} {
		got := taken{}
		p, err := s.Get(t.Context(), d, deb, got.sink)
		if err != nil {
			t.Fatal(err)
		}
		check(t, p, got)
		if err := p.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if !s.Has(d) || s.Has(ore.DigestOf(nil)) {
		t.Error("Has")
	}
}

func check(t *testing.T, p *Pack, got taken) {
	t.Helper()
	var names []string
	for i := range p.Nodes {
		names = append(names, p.Nodes[i].Path)
	}
	if s := strings.Join(names, " "); s != ". usr/bin/x etc/x.conf usr/bin/y usr/bin/z" {
		t.Errorf("entries %q", s)
	}
	x := p.Nodes[1]
	if x.UID != 5 || x.GID != 6 || tree.UnixMode(x.Mode) != 0o4755 || string(x.Capability) != "capability" {
		t.Errorf("entry %+v", x)
	}
	if ore.NewDigest(x.Sum) != ore.DigestOf(got["usr/bin/x"].Bytes()) || got["usr/bin/x"].Len() != 320000 || len(got) != 2 {
		t.Errorf("content of %d bytes of %d files", got["usr/bin/x"].Len(), len(got))
	}
	if p.Nodes[3].Hardlink != "usr/bin/x" || p.Nodes[4].Link != "x" || p.Conffiles["etc/x.conf"] != conffileMD5 {
		t.Errorf("links and conffiles: %+v %v", p.Nodes[3:], p.Conffiles)
	}
}

// A file that is not what was fetched makes no pack.
func TestWrongBytes(t *testing.T) {
	s, err := Open(t.TempDir(), options, nil)
	if err != nil {
		t.Fatal(err)
	}
	name, _ := sample(t)
	other := ore.DigestOf([]byte("another"))
	if _, err := s.Get(t.Context(), other, name, nil); err == nil || !strings.Contains(err.Error(), "fetch it again") {
		t.Errorf("error %v", err)
	}
	broken, d := deb(t, tarball(t, file("./control", "Package: x\n")), []byte("no tar"))
	if _, err := s.Get(t.Context(), d, broken, nil); err == nil {
		t.Error("a broken package was taken")
	}
	left, err := filepath.Glob(filepath.Join(s.dir, "*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
}

func BenchmarkMake(b *testing.B) {
	name, d := sample(b)
	for b.Loop() {
		s, err := Open(b.TempDir(), options, nil)
		if err != nil {
			b.Fatal(err)
		}
		p, err := s.Get(b.Context(), d, name, nil)
		if err != nil {
			b.Fatal(err)
		}
		p.Close()
	}
}
