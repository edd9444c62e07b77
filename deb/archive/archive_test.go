package archive

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
	"github.com/ulikunitz/xz/lzma"
)

// part is one member of an ar archive under construction.
type part struct {
	name string
	data []byte
}

// ar writes an ar archive as deb(5) describes it.
func ar(parts ...part) []byte {
	var b bytes.Buffer
	b.WriteString(arMagic)
	for _, p := range parts {
		fmt.Fprintf(&b, "%-16s%-12d%-6d%-6d%-8s%-10d`\n", p.name, 0, 0, 0, "100644", len(p.data))
		b.Write(p.data)
		if len(p.data)%2 == 1 {
			b.WriteByte('\n')
		}
	}
	return b.Bytes()
}

// tarOf writes a tar with the given headers; a regular file's content is its
// Linkname, which is cleared.
func tarOf(t testing.TB, headers ...tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range headers {
		var content string
		if h.Typeflag == tar.TypeReg {
			content, h.Linkname = h.Linkname, ""
			h.Size = int64(len(content))
		}
		if h.Mode == 0 {
			h.Mode = 0o644
		}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, content); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// packed compresses b in the given format; bzip2 has no encoder in Go.
func compress(t testing.TB, format string, b []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	var w io.WriteCloser
	var err error
	switch format {
	case "":
		return b
	case "gz":
		w = gzip.NewWriter(&out)
	case "xz":
		w, err = xz.NewWriter(&out)
	case "zst":
		w, err = zstd.NewWriter(&out)
	case "lzma":
		w, err = lzma.NewWriter(&out)
	case "bz2":
		c := exec.Command("bzip2", "-c")
		c.Stdin = bytes.NewReader(b)
		o, err := c.Output()
		if err != nil {
			t.Fatal(err)
		}
		return o
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

var (
	version = part{"debian-binary", []byte("2.0\n")}
	control = tar.Header{Typeflag: tar.TypeReg, Name: "./control", Linkname: "Package: x\nVersion: 1\n"}
)

func deb(t testing.TB, format string, files ...tar.Header) []byte {
	t.Helper()
	suffix := ""
	if format != "" {
		suffix = "." + format
	}
	c := tarOf(t, tar.Header{Typeflag: tar.TypeDir, Name: "./", Mode: 0o755}, control)
	return ar(version, part{"control.tar" + suffix, compress(t, format, c)},
		part{"data.tar" + suffix, compress(t, format, tarOf(t, files...))})
}

// list reads every entry as a line.
func list(b []byte) (string, error) {
	d, err := Open(bytes.NewReader(b), int64(len(b)), nil)
	if err != nil {
		return "", err
	}
	f, err := d.Files()
	if err != nil {
		return "", err
	}
	defer f.Close()
	var out strings.Builder
	for {
		h, err := f.Next()
		if err == io.EOF {
			return out.String(), nil
		}
		if err != nil {
			return out.String(), err
		}
		body, err := io.ReadAll(f)
		if err != nil {
			return out.String(), err
		}
		fmt.Fprintf(&out, "%c %s %s %s\n", h.Typeflag, h.Name, h.Linkname, body)
	}
}

func TestFilesOfEveryFormat(t *testing.T) {
	files := []tar.Header{
		{Typeflag: tar.TypeDir, Name: "./", Mode: 0o755},
		{Typeflag: tar.TypeDir, Name: "./usr/", Mode: 0o755},
		{Typeflag: tar.TypeReg, Name: "./usr/a", Linkname: strings.Repeat("content ", 4)},
		{Typeflag: tar.TypeLink, Name: "./usr/b", Linkname: "./usr/a"},
		{Typeflag: tar.TypeSymlink, Name: "/usr/c", Linkname: "../../etc/shadow"},
		{Typeflag: tar.TypeReg, Name: "./" + strings.Repeat("long/", 60) + "name", Linkname: "x"},
	}
	want := "5 .  \n5 usr  \n0 usr/a  " + strings.Repeat("content ", 4) + "\n1 usr/b usr/a \n2 usr/c ../../etc/shadow \n0 " +
		strings.Repeat("long/", 60) + "name  x\n"
	for _, format := range []string{"", "gz", "xz", "zst", "bz2", "lzma"} {
		got, err := list(deb(t, format, files...))
		if err != nil || got != want {
			t.Errorf("%q: %v\n got %q\nwant %q", format, err, got, want)
		}
	}
}

func TestRefused(t *testing.T) {
	data := part{"data.tar", tarOf(t)}
	good := part{"control.tar", tarOf(t, control)}
	for _, c := range []struct {
		summary string
		deb     []byte
		want    string
	}{
		{"empty", nil, "not an ar archive"},
		{"another format", []byte("PK\x03\x04 and so on"), "not an ar archive"},
		{"no version", ar(good, data), "first member is not debian-binary"},
		{"a later version", ar(part{"debian-binary", []byte("3.0\n")}, good, data), "only the formats 2.x"},
		{"order", ar(version, data, good), `"data.tar" where a control.tar was expected`},
		{"compression", ar(version, part{"control.tar.rar", nil}, data), "control.tar.rar"},
		{"no data", ar(version, good), "is missing"},
		{"no control file", ar(version, part{"control.tar", tarOf(t)}, data), "no control file"},
		{"cut short", deb(t, "xz")[:200], "unexpected EOF"},
		{"upwards", deb(t, "", tar.Header{Typeflag: tar.TypeReg, Name: "./a/../../x"}), "leads out of the tree"},
		{"hard link upwards", deb(t, "", tar.Header{Typeflag: tar.TypeLink, Name: "./a", Linkname: "../x"}), "leads out of the tree"},
		{"entry type", deb(t, "", tar.Header{Typeflag: tar.TypeCont, Name: "./a"}), "not allowed"},
		{"a member's size", bytes.Replace(ar(version, good, data), []byte("4         `\n"), []byte("-4        `\n"), 1), "not a number"},
	} {
		if _, err := list(c.deb); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want %q", c.summary, err, c.want)
		}
	}
}

// TestCheckAtEnd damages the check that stands behind the tar's end, which a
// reader that stops there would not see.
func TestCheckAtEnd(t *testing.T) {
	for _, format := range []string{"gz", "xz", "zst"} {
		b := deb(t, format, tar.Header{Typeflag: tar.TypeReg, Name: "a", Linkname: "hello"})
		for i := 1; i < 12; i++ {
			bad := bytes.Clone(b)
			bad[len(bad)-i] ^= 0x40
			if got, err := list(bad); err == nil && got != "0 a  hello\n" {
				t.Errorf("%s: byte -%d: wrong content without an error", format, i)
			}
		}
		bad := bytes.Clone(b)
		at := map[string]int{"gz": 6, "xz": 13, "zst": 2}[format]
		bad[len(bad)-at] ^= 0x40
		if _, err := list(bad); err == nil {
			t.Errorf("%s: a damaged check was not noticed", format)
		}
	}
}

func TestReadControl(t *testing.T) {
	b := deb(t, "xz")
	got, err := ReadControl(bytes.NewReader(b), int64(len(b)))
	if err != nil || string(got) != "Package: x\nVersion: 1\n" {
		t.Errorf("got %q, %v", got, err)
	}
}

// closeCounter is a Decompress whose streams count how often they are closed.
type closeCounter struct{ opened, closed int }

func (c *closeCounter) decompress(format string, r io.Reader) (io.ReadCloser, error) {
	c.opened++
	rc, err := Decode(format, r)
	return struct {
		io.Reader
		io.Closer
	}{rc, closer(func() error { c.closed++; return rc.Close() })}, err
}

type closer func() error

func (c closer) Close() error { return c() }

func TestDecompressIsClosed(t *testing.T) {
	for _, b := range [][]byte{
		deb(t, "xz", tar.Header{Typeflag: tar.TypeReg, Name: "a", Linkname: "hello"}),
		ar(version, part{"control.tar.gz", compress(t, "gz", tarOf(t, tar.Header{Typeflag: tar.TypeReg, Name: "../x"}))}, part{"data.tar", nil}),
	} {
		var c closeCounter
		d, err := Open(bytes.NewReader(b), int64(len(b)), c.decompress)
		if err == nil {
			f, err := d.Files()
			if err != nil {
				t.Fatal(err)
			}
			if _, err := f.Next(); err != nil {
				t.Fatal(err)
			}
			if err := f.Close(); err != nil {
				t.Fatal(err)
			}
			if _, err := f.Next(); err == nil || errors.Is(err, io.EOF) {
				t.Errorf("Next after Close: %v", err)
			}
		}
		if c.opened == 0 || c.opened != c.closed {
			t.Errorf("%d decoders opened, %d closed", c.opened, c.closed)
		}
	}
}

// TestAgainstDpkg reads packages that dpkg-deb made.
func TestAgainstDpkg(t *testing.T) {
	tree := t.TempDir()
	write := func(name, content string) {
		t.Helper()
		p := filepath.Join(tree, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("DEBIAN/control", "Package: x\nVersion: 1\nArchitecture: all\nMaintainer: a <a@example.org>\nDescription: d\n")
	write("DEBIAN/conffiles", "/etc/x.conf\n")
	write("etc/x.conf", "one\n")
	write("usr/share/"+strings.Repeat("very-long-name/", 12)+"file", strings.Repeat("two", 100_000))
	if err := os.Symlink("x.conf", filepath.Join(tree, "etc/link")); err != nil {
		t.Fatal(err)
	}
	for _, format := range []string{"xz", "gzip", "zstd", "none"} {
		out := filepath.Join(t.TempDir(), "x.deb")
		if b, err := exec.Command("dpkg-deb", "-Z"+format, "--uniform-compression", "-b", tree, out).CombinedOutput(); err != nil {
			t.Fatalf("dpkg-deb: %v: %s", err, b)
		}
		b, err := os.ReadFile(out)
		if err != nil {
			t.Fatal(err)
		}
		d, err := Open(bytes.NewReader(b), int64(len(b)), nil)
		if err != nil {
			t.Fatalf("%s: %v", format, err)
		}
		if got := string(d.Control()["conffiles"]); got != "/etc/x.conf\n" {
			t.Errorf("%s: conffiles %q", format, got)
		}
		// dpkg-deb --fsys-tarfile is the oracle for the stream.
		want, err := exec.Command("dpkg-deb", "--fsys-tarfile", out).Output()
		if err != nil {
			t.Fatal(err)
		}
		rc, err := d.data.open()
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(rc)
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: the data stream differs from dpkg-deb's (%d and %d bytes, %v)", format, len(got), len(want), err)
		}
		rc.Close()
	}
}

func FuzzOpen(f *testing.F) {
	for _, format := range []string{"", "gz", "xz", "zst", "lzma"} {
		f.Add(deb(f, format, tar.Header{Typeflag: tar.TypeReg, Name: "a", Linkname: "hello"}))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		d, err := Open(bytes.NewReader(b), int64(len(b)), nil)
		if err != nil {
			return
		}
		if _, err := ReadControl(bytes.NewReader(b), int64(len(b))); err != nil {
			t.Errorf("Open accepts what ReadControl refuses: %v", err)
		}
		files, err := d.Files()
		if err != nil {
			return
		}
		defer files.Close()
		for total := 0; total < 1<<24; total++ {
			h, err := files.Next()
			if err != nil {
				return
			}
			if strings.HasPrefix(h.Name, "/") || strings.Contains("/"+h.Name+"/", "/../") {
				t.Fatalf("name %q", h.Name)
			}
			n, _ := io.CopyN(io.Discard, files, 1<<24)
			total += int(n)
		}
	})
}
