package debtest

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"time"
)

// Package describes a binary package of a test archive.
type Package struct {
	Name    string
	Version string            // "" means 1.0
	Arch    string            // "" means all
	Fields  map[string]string // further fields: Depends, Provides, Essential ...
	Files   map[string]string // content by path, without a slash at its front
	Scripts map[string]string // maintainer scripts by name, such as postinst
}

// built is the time of everything in a test package, so that the same
// description gives the same bytes.
var built = time.Unix(1_700_000_000, 0)

func (p Package) version() string {
	if p.Version == "" {
		return "1.0"
	}
	return p.Version
}

func (p Package) arch() string {
	if p.Arch == "" {
		return "all"
	}
	return p.Arch
}

// path returns the package's place in the pool; the epoch is no part of it.
func (p Package) path() string {
	version := p.version()
	if _, after, ok := strings.Cut(version, ":"); ok {
		version = after
	}
	return fmt.Sprintf("pool/main/%s/%s/%s_%s_%s.deb", p.Name[:1], p.Name, p.Name, version, p.arch())
}

// control returns the paragraph of the package.
func (p Package) control() string {
	var b strings.Builder
	fmt.Fprintf(&b, "Package: %s\nVersion: %s\nArchitecture: %s\nMaintainer: Test <test@example.org>\n", p.Name, p.version(), p.arch())
	for _, name := range slices.Sorted(maps.Keys(p.Fields)) {
		fmt.Fprintf(&b, "%s: %s\n", name, p.Fields[name])
	}
	if p.Fields["Priority"] == "" {
		b.WriteString("Priority: optional\n")
	}
	b.WriteString("Description: package of a test\n")
	return b.String()
}

// Build returns the .deb (deb(5)).
func (p Package) Build() ([]byte, error) {
	scripts := map[string]string{"control": p.control()}
	maps.Copy(scripts, p.Scripts)
	controlTar, err := pack(scripts, 0o755)
	if err != nil {
		return nil, err
	}
	dataTar, err := pack(p.Files, 0o644)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	out.WriteString("!<arch>\n")
	member(&out, "debian-binary", []byte("2.0\n"))
	member(&out, "control.tar.gz", controlTar)
	member(&out, "data.tar.gz", dataTar)
	return out.Bytes(), nil
}

// member appends one member in the common format of ar.
func member(out *bytes.Buffer, name string, content []byte) {
	fmt.Fprintf(out, "%-16s%-12d%-6d%-6d%-8s%-10d`\n", name, built.Unix(), 0, 0, "100644", len(content))
	out.Write(content)
	if len(content)%2 == 1 {
		out.WriteByte('\n')
	}
}

// pack makes a compressed tar of the files and the folders that they stand in.
func pack(files map[string]string, mode int64) ([]byte, error) {
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	w := tar.NewWriter(z)
	made := make(map[string]bool)
	var errs []error
	var folder func(dir string)
	folder = func(dir string) {
		if made[dir] {
			return
		}
		made[dir] = true
		if dir != "." {
			folder(path.Dir(dir))
		}
		name := "./"
		if dir != "." {
			name += dir + "/"
		}
		errs = append(errs, w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: name, Mode: 0o755, ModTime: built}))
	}
	folder(".")
	for _, name := range slices.Sorted(maps.Keys(files)) {
		folder(path.Dir(name))
		content := files[name]
		errs = append(errs, w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "./" + name,
			Mode: mode, Size: int64(len(content)), ModTime: built}))
		_, err := w.Write([]byte(content))
		errs = append(errs, err)
	}
	errs = append(errs, w.Close(), z.Close())
	return out.Bytes(), errors.Join(errs...)
}
